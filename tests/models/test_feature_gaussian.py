"""Laws of the Gaussian of features: a density, latents that are N(0, I), and what it is of few rows."""

import math

import pytest
import torch

from laws import generator, normal
from upland.data.image.features import FeatureLayout
from upland.models.feature_gaussian import FeatureGaussian, whole_axes
from upland.models.stored import check_values

DIRECTIONS = FeatureLayout((5, 7), (0, 1, 1), directions=True)
PLAIN = FeatureLayout((5, 7), (0, 1, 1))
COUNTS = (1, 2, 3, 8, 12, 13, 200)


def rows(count, seed=0):
    spread = torch.linspace(0.8, 3, 12)
    return normal(count, 12, seed=seed, dtype=torch.float32) * spread + 2


def fitted(layout=PLAIN, axes=4, count=300, dtype=torch.float64):
    model = FeatureGaussian(layout, axes).to(dtype).eval()
    model.init_from_data(rows(count).to(dtype))
    return model


def covariance(model):
    return model.axes @ (model.variances - model.rest).diag() @ model.axes.T + model.rest * torch.eye(12).to(
        model.rest
    )


@pytest.mark.parametrize("axes", [1, 4, 11, 12, 50])
@pytest.mark.parametrize("layout", [PLAIN, DIRECTIONS], ids=["plain", "directions"])
def test_it_is_the_density_of_its_own_gaussian(axes, layout):
    model, x = fitted(layout, axes), rows(20, 1).double()
    gaussian = torch.distributions.MultivariateNormal(model.mean, covariance(model))
    torch.testing.assert_close(model.log_prob(x), gaussian.log_prob(model.vectors(x)), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.energy(x), -model.log_prob(x))


@pytest.mark.parametrize("axes", [1, 4, 12])
def test_draws_have_its_moments_and_latents_of_a_standard_normal(axes):
    model = fitted(axes=axes)
    draws = model.sample(40_000, generator())
    torch.testing.assert_close(draws.mean(0), model.mean, rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cov(draws.T), covariance(model), rtol=0.05, atol=0.1)
    (z,) = [level.mean for level in model.latents(draws)]
    assert z.shape == (40_000, axes)
    assert z.mean(0).abs().max() < 0.03
    torch.testing.assert_close(
        torch.cov(z.T).reshape(axes, axes), torch.eye(axes).double(), rtol=0, atol=0.03
    )


def test_of_many_rows_it_has_their_moments_along_the_axes():
    model, x = fitted(axes=12, count=5_000), rows(5_000).double()
    torch.testing.assert_close(model.mean, x.mean(0))
    torch.testing.assert_close(covariance(model), torch.cov(x.T, correction=0), rtol=0.02, atol=0.02)


def test_directions_are_all_that_counts_of_vectors_of_a_network():
    model, x = fitted(DIRECTIONS), rows(6, 2).double()
    longer = torch.cat([3 * x[:, :5], 0.1 * x[:, 5:]], 1)
    torch.testing.assert_close(model.log_prob(longer), model.log_prob(x))
    assert torch.isfinite(model.log_prob(torch.zeros_like(x))).all()


def test_a_map_behind_the_vectors_changes_nothing():
    model, x = fitted(), rows(6, 2).double()
    beside = torch.cat([x, normal(6, 9)], 1)
    assert torch.equal(model.log_prob(beside), model.log_prob(x))
    assert not model.shares(beside)[:, 12:].any()


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("axes", [1, 4, 12])
def test_of_few_rows_axes_are_at_right_angles_and_energies_finite(count, axes):
    model = fitted(axes=axes, count=count)
    torch.testing.assert_close(model.axes.T @ model.axes, torch.eye(axes).double(), rtol=0, atol=1e-9)
    check_values(model)
    assert torch.isfinite(model.energy(rows(50, 3).double())).all()


def test_equal_rows_have_a_density():
    model = FeatureGaussian(PLAIN, 4)
    model.init_from_data(rows(1).expand(30, 12))
    check_values(model)
    assert torch.isfinite(model.energy(rows(5))).all()


@pytest.mark.parametrize("count", [20, 60])
def test_of_few_wide_rows_new_ones_are_about_as_likely_as_it_says(count):
    """Moments of the rows themselves would make new ones several times as far as a normal row is."""
    wide = FeatureLayout((300,), (0, 1, 1))
    model, x = FeatureGaussian(wide, 16).double(), normal(count + 400, 300)
    model.init_from_data(x[:count])
    of_axes, of_rest = model._nats(x[count:])
    assert 0.3 < float(2 * of_axes.mean() / 16) < 1.7
    assert 0.8 < float(2 * of_rest.mean() / 284) < 1.25


def test_the_axes_are_those_of_the_largest_variances():
    x = rows(500).double()
    squares, axes, total = whole_axes(x - x.mean(0), 3)
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    torch.testing.assert_close(squares, values[-3:])
    torch.testing.assert_close(total, values.sum())
    assert (axes.abs().argmax(0) >= 9).all()


def test_shares_add_up_to_the_nats_above_the_mode():
    model, x = fitted(), rows(30, 4).double()
    shares = model.shares(x)
    mode = model.log_prob(model.mean[None])
    torch.testing.assert_close(shares.sum(1), mode - model.log_prob(x))
    assert (shares >= 0).all()
    assert not model.shares(model.mean[None]).any()


def test_a_row_has_one_energy_whatever_is_beside_it():
    model, x = fitted(dtype=torch.float32), rows(70, 5)
    one_by_one = torch.cat([model.energy(row[None]) for row in x])
    torch.testing.assert_close(one_by_one, model.energy(x), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_the_energy():
    model, x = fitted(DIRECTIONS), rows(4, 6).double()
    slope = x - model.reconstruct(x)
    step = 1e-5 * normal(4, 12, seed=7)
    change = model.energy(x + step) - model.energy(x - step)
    torch.testing.assert_close((slope * step).sum(1), change / 2, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["variances", "rest"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_variances_that_no_fit_gives_are_refused(name, value):
    model = fitted()
    getattr(model, name)[0] = value
    with pytest.raises(ValueError, match=r"must be positive|not all finite"):
        check_values(model)
