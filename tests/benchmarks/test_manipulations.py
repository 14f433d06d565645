"""Manipulations do what they say to a flow whose inverse is exact, and defeat what they say."""

import pytest
import torch
from benchmarks.manipulations import (
    blend,
    contrast,
    matched_contrast,
    mixture,
    on_shell,
    pixels,
    shell,
    whitened,
    whitening,
)

from laws import covariance, generator, normal
from upland.groups.divergence import Divergence
from upland.groups.outputs import ModelOutputs
from upland.groups.typicality import Typicality
from upland.models.base import Level

SHAPE = (1, 4, 4)


class Affine:
    """A flow of one linear map, its latents on two levels."""

    def __init__(self):
        self.matrix = torch.linalg.cholesky(covariance(16, seed=3))

    def encode(self, x):
        z = x.flatten(1) @ self.matrix.T
        ladj = self.matrix.diagonal().log().sum().expand(len(x))
        return [z[:, :8].reshape(-1, 2, 2, 2), z[:, 8:]], ladj

    def decode(self, z):
        whole = torch.cat([level.flatten(1) for level in z], 1)
        return torch.linalg.solve_triangular(self.matrix, whole.T, upper=False).T.reshape(-1, *SHAPE)

    def rows(self, x):
        z, ladj = self.encode(x)
        energy = sum(level.flatten(1).square().sum(1) for level in z) / 2 - ladj
        return ModelOutputs(x, energy, [Level(level) for level in z])


FLOW = Affine()


def normal_rows(count, seed=0):
    return FLOW.decode([normal(count, 8, seed=seed).reshape(-1, 2, 2, 2), normal(count, 8, seed=seed + 1)])


def outlying_rows(count, seed=0, scale=0.3):
    """Latents that depend on their neighbours and lie near the origin."""
    z = normal(count, 16, seed=seed)
    z = scale * (z + 0.9 * z.roll(1, 1))
    return FLOW.decode([z[:, :8].reshape(-1, 2, 2, 2), z[:, 8:]])


def value_of(statistic, rows):
    features = statistic.features(rows)
    return float(statistic.value(features.mean(0, keepdim=True), torch.tensor([len(features)])))


def test_pixels_are_those_of_a_file():
    x = torch.tensor([-3.0, 0.4, 127.6, 300.0, torch.nan, torch.inf])
    assert pixels(x).tolist() == [0, 0, 128, 255, 0, 255]
    assert pixels(x).dtype == torch.uint8


def test_contrast_keeps_the_mean_and_scales_the_rest():
    x = normal(5, 1, 6, 6)
    factors = torch.linspace(0, 2, 5).double()
    changed = contrast(x, factors)
    torch.testing.assert_close(changed.mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(changed.flatten(1).std(1), factors * x.flatten(1).std(1))
    torch.testing.assert_close(contrast(x, 1.0), x)


def test_matched_contrast_matches_the_histogram():
    def energy(x):
        return (x - 128).square().flatten(1).mean(1)

    reference = energy(128 + 20 * normal(400, 1, 8, 8))
    bold = 128 + 45 * normal(200, 1, 8, 8, seed=1)
    changed, factors = matched_contrast(bold, energy, reference)
    assert changed.dtype == torch.uint8
    assert factors.shape == (200,)
    quantiles = torch.tensor([0.1, 0.5, 0.9]).double()
    reached, wanted = (torch.quantile(v, quantiles) for v in (energy(changed.double()), reference))
    torch.testing.assert_close(reached, wanted, rtol=0.1, atol=0)


def test_the_shell_has_radius_sqrt_d():
    z = on_shell(FLOW.encode(outlying_rows(20))[0])
    radius = torch.cat([level.flatten(1) for level in z], 1).norm(dim=1)
    torch.testing.assert_close(radius, torch.full((20,), 4.0).double())
    assert torch.isfinite(on_shell([torch.zeros(2, 3)])[0]).all()


def dependence(z):
    """The total correlation of a Gaussian with the covariance of these latents."""
    return -0.5 * torch.linalg.slogdet(torch.corrcoef(z.T)).logabsdet


def test_the_shell_defeats_typicality_and_not_the_divergence():
    reference = FLOW.rows(normal_rows(2_000))
    before, after = (FLOW.rows(x) for x in (outlying_rows(300), shell(FLOW, outlying_rows(300))))
    typicality = Typicality().fit(reference)
    assert value_of(typicality, after) < 0.2 * value_of(typicality, before)
    divergence = Divergence("whole", 1).fit(reference)
    assert value_of(divergence, after) > 10 * value_of(divergence, FLOW.rows(normal_rows(300, seed=8)))
    assert dependence(after.levels[1].mean) > 0.5 * dependence(before.levels[1].mean)


def test_whitening_defeats_every_divergence():
    outlying = outlying_rows(300)
    z = whitened(FLOW.encode(outlying)[0])
    whole = torch.cat([level.flatten(1) for level in z], 1)
    torch.testing.assert_close(whole.T @ whole / 300, torch.eye(16).double(), rtol=0, atol=1e-9)
    reference, after = FLOW.rows(normal_rows(2_000)), FLOW.rows(whitening(FLOW, outlying))
    ordinary = FLOW.rows(normal_rows(300, seed=8))
    for divergence in (Divergence("whole", 1), Divergence("location", 0), Divergence("coordinate", 1)):
        assert value_of(divergence.fit(reference), after) < 1.5 * value_of(divergence, ordinary)


def test_whitening_takes_on_the_moments_of_normal_rows():
    """A flow that fits imperfectly, and the two-sample form."""
    reference = outlying_rows(2_000, seed=4, scale=0.8)
    divergence = Divergence("whole", 1).fit(FLOW.rows(reference))
    moved = (value_of(divergence, FLOW.rows(whitening(FLOW, normal_rows(300), n))) for n in (None, reference))
    assert next(moved) > 0.3
    assert next(moved) < 0.05


def test_whitening_of_few_rows_is_finite():
    assert torch.isfinite(whitening(FLOW, outlying_rows(5))).all()


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mixture_has_its_share(share):
    x, reference = torch.ones(20, 3), torch.zeros(50, 3)
    mixed = mixture(x, reference, share, generator())
    assert mixed.shape == x.shape
    assert float(mixed.mean()) == pytest.approx(share)


def test_a_blend_is_between():
    x, reference = normal(4, 3), normal(9, 3, seed=1)
    torch.testing.assert_close(blend(x, reference, 0.25), 0.25 * x + 0.75 * reference[:4])
