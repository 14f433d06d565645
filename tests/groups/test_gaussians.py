"""Laws of the divergence: closed forms, its exact parts, its mean in finite samples, its extremes."""

import math

import pytest
import torch
from scipy.optimize import minimize

from laws import covariance, normal
from upland.groups.gaussians import (
    anisotropy,
    block_correlation,
    block_marginals,
    divergence,
    divergence_from_standard,
    likelihood_ratio_p_value,
    log_determinant,
    marginals,
    null_mean,
    reverse_infimum,
    reverse_supremum,
    sphericity,
    total_correlation,
    triangle_leading_order,
)

D = 6
MEAN, S = normal(D, seed=1), covariance(D, seed=2)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def gaussian(mean, spread):
    return torch.distributions.MultivariateNormal(mean, spread)


def test_divergence_is_that_of_torch():
    mean0, s0 = normal(D, seed=3), covariance(D, seed=4)
    expected = torch.distributions.kl_divergence(gaussian(MEAN, S), gaussian(mean0, s0))
    torch.testing.assert_close(divergence(MEAN, S, mean0, s0), expected, **CLOSE)


def test_divergence_from_standard_and_of_batches():
    standard = divergence(MEAN, S, torch.zeros(D).double(), torch.eye(D).double())
    torch.testing.assert_close(divergence_from_standard(MEAN, S), standard, **CLOSE)
    both = divergence_from_standard(torch.stack([MEAN, 2 * MEAN]), torch.stack([S, 3 * S]))
    torch.testing.assert_close(both[1], divergence_from_standard(2 * MEAN, 3 * S), **CLOSE)


def test_an_affine_map_leaves_it_unchanged():
    a, b = normal(D, D, seed=5), normal(D, seed=6)
    mean0, s0 = normal(D, seed=3), covariance(D, seed=4)
    moved = divergence(a @ MEAN + b, a @ S @ a.T, a @ mean0 + b, a @ s0 @ a.T)
    torch.testing.assert_close(moved, divergence(MEAN, S, mean0, s0), rtol=1e-8, atol=1e-8)


def test_dependence_and_marginals_add_up():
    parts = total_correlation(S) + marginals(MEAN, S).sum()
    torch.testing.assert_close(parts, divergence_from_standard(MEAN, S), **CLOSE)
    assert total_correlation(S) > 0.01
    assert abs(float(total_correlation(torch.diag(S.diagonal())))) < 1e-12


@pytest.mark.parametrize("width", [1, 2, 4, D])
def test_blocks_add_up(width):
    parts = block_correlation(S, width) + block_marginals(MEAN, S, width).sum()
    torch.testing.assert_close(parts, divergence_from_standard(MEAN, S), **CLOSE)


@pytest.mark.parametrize(
    "spread", [torch.zeros(3, 3), torch.ones(3, 3), torch.diag(torch.tensor([1, 0, -1e-9]))]
)
def test_the_determinant_of_what_has_no_inverse_is_finite(spread):
    values = log_determinant(torch.stack([spread.double(), torch.eye(3).double()]))
    assert torch.isfinite(values).all()
    assert values[0] < -20
    assert values[1] == 0


@pytest.mark.parametrize(("count", "width"), [(12, 3), (40, 8)])
def test_the_mean_over_samples(count, width):
    z = normal(20_000, count, width, seed=7)
    mean = z.mean(1)
    spread = (z - mean[:, None]).mT @ (z - mean[:, None]) / count
    values = divergence_from_standard(mean, spread)
    error = float(values.std()) / math.sqrt(len(values))
    assert abs(float(values.mean() - null_mean(count, width))) < 4 * error


def test_known_means_over_samples():
    assert float(null_mean(80, 48)) == pytest.approx(10.04, abs=0.005)
    assert float(null_mean(320, 12)) == pytest.approx(0.143, abs=0.0005)
    assert torch.isinf(null_mean(3, 3))


def test_the_likelihood_ratio_law():
    z = normal(4_000, 200, 2, seed=8)
    mean = z.mean(1)
    values = divergence_from_standard(mean, z.mT @ z / 200 - mean[..., None] * mean[:, None])
    p = [likelihood_ratio_p_value(float(v), 200, 2) for v in values]
    assert sum(q <= 0.05 for q in p) / len(p) == pytest.approx(0.05, abs=0.015)
    with pytest.raises(ValueError, match="5 vectors a dimension: 9 vectors of 2"):
        likelihood_ratio_p_value(0.1, 9, 2)


@pytest.mark.parametrize(
    ("forward", "known"), [(0.001, 0.00104), (0.01, 0.0115), (0.1, 0.160), (1, 7.56), (10, 6.6e8)]
)
def test_the_supremum_has_its_known_values(forward, known):
    assert reverse_supremum(forward) == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize("forward", [0.02, 0.5, 1.5])
def test_the_extremes_are_what_optimisation_finds(forward):
    """Over all zero-mean and shifted Gaussians of two dimensions on the sphere KL(N2 || N1) = forward."""

    def reverse(free):
        direction = free / (1e-12 + math.sqrt(float((free**2).sum())))
        low, high = 0.0, 60.0
        for _ in range(50):  # how far to go in this direction of (log variances, means)
            middle = (low + high) / 2
            low, high = (middle, high) if forth(middle * direction) < forward else (low, middle)
        return back(low * direction)

    def forth(at):
        u, m = at[:2], at[2:]
        return 0.5 * sum(math.expm1(a) - a + b * b for a, b in zip(u, m, strict=True))

    def back(at):
        u, m = at[:2], at[2:]
        return 0.5 * sum(math.expm1(-a) + a + b * b * math.exp(-a) for a, b in zip(u, m, strict=True))

    starts = normal(3, 4, seed=9).numpy()
    options = {"method": "Nelder-Mead", "options": {"maxiter": 400, "xatol": 1e-7, "fatol": 1e-10}}
    most = max(-minimize(lambda f: -reverse(f), start, **options).fun for start in starts)
    least = min(minimize(reverse, start, **options).fun for start in starts)
    assert most == pytest.approx(reverse_supremum(forward), rel=1e-4)
    assert least == pytest.approx(reverse_infimum(forward), rel=1e-4)


def test_extremes_at_the_ends_of_their_domain():
    assert reverse_supremum(0) == reverse_infimum(0) == 0
    assert reverse_supremum(1e-8) == pytest.approx(1e-8, rel=1e-3)
    assert reverse_infimum(1e-8) == pytest.approx(1e-8, rel=1e-3)
    assert reverse_supremum(1e4) == reverse_supremum(math.inf) == math.inf
    assert math.isfinite(reverse_infimum(1e300))
    assert reverse_infimum(3.0) < 3.0 < reverse_supremum(3.0)
    assert reverse_infimum(reverse_supremum(0.7)) == pytest.approx(0.7)
    for wrong in (-0.1, math.nan):
        with pytest.raises(ValueError, match="at least 0"):
            reverse_supremum(wrong)


def test_the_triangle_is_a_formula():
    assert triangle_leading_order(0.01, 0.04) == pytest.approx(0.09)
    assert triangle_leading_order(0.01, 0.04, sharp=False) == pytest.approx(0.19)


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
