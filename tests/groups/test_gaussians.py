"""Laws of the closed forms of Gaussians."""

import pytest
import torch

from laws import covariance, normal
from upland.groups.gaussians import anisotropy, divergence_from_standard, log_determinant, sphericity

D = 6
MEAN, S = normal(D, seed=1), covariance(D, seed=2)


def test_the_divergence_is_that_of_torch_in_batches_too():
    means, spreads = torch.stack([MEAN, 2 * MEAN]), torch.stack([S, 3 * S])
    groups, standard = (
        torch.distributions.MultivariateNormal(mean, spread)
        for mean, spread in ((means, spreads), (torch.zeros(D).double(), torch.eye(D).double()))
    )
    expected = torch.distributions.kl_divergence(groups, standard)
    torch.testing.assert_close(divergence_from_standard(means, spreads), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "spread", [torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.tensor([1, 0, -1e-9]))]
)
def test_the_determinant_of_what_has_no_inverse_is_finite(spread):
    values = log_determinant(torch.stack([spread.double(), torch.eye(3).double()]))
    assert torch.isfinite(values).all()
    assert values[0] < -20
    assert values[1] == 0


def test_sphericity_ignores_size_and_rotation():
    axes = torch.linalg.qr(normal(D, D, seed=10)).Q
    expected = sphericity(S)
    assert expected > 0.01
    torch.testing.assert_close(sphericity(7 * axes @ S @ axes.T), expected, rtol=1e-9, atol=1e-9)
    assert abs(float(sphericity(3 * torch.eye(D).double()))) < 1e-12


def test_anisotropy_is_nothing_for_uniform_directions():
    d = 4
    assert float(anisotropy(torch.zeros(d).double(), torch.eye(d).double() / d)) == pytest.approx(
        0, abs=1e-15
    )
    u = torch.nn.functional.normalize(normal(3_000, 50, d, seed=11), dim=-1)
    values = 50 * anisotropy(u.mean(1), u.mT @ u / 50)
    assert float(values.mean()) == pytest.approx(d + (d - 1) * (d + 2) / 2, rel=0.03)
