"""Laws of the divergence of a group: closed forms, variances of an encoder, widths."""

import pytest
import torch

from latents import image_outputs, value
from laws import covariance, normal, points_with_moments
from upland.groups.divergence import Divergence
from upland.groups.outputs import ModelOutputs
from upland.models.base import Level


def kl(mean, spread, mean0, spread0):
    """KL(N(mean, spread) || N(mean0, spread0)) by PyTorch."""
    one, other = (torch.distributions.MultivariateNormal(m, s) for m, s in ((mean, spread), (mean0, spread0)))
    return float(torch.distributions.kl_divergence(one, other))


def uncertain_outputs(count, seed=0, scale=1.0):
    rows = image_outputs(count, seed, scale=scale)
    levels = [Level(0.8 * level.mean, torch.full_like(level.mean, 0.36 * scale**2)) for level in rows.levels]
    return rows._replace(levels=levels)


def test_of_given_moments_it_is_the_closed_form():
    """In the two-sample form, for any normal moments and any of the group's."""
    d, n = 5, 300
    mean, spread, mean0, spread0 = normal(d, seed=1), covariance(d, 2), normal(d, seed=3), covariance(d, 4)
    known = points_with_moments(mean0, spread0, 500, seed=5)
    seen = points_with_moments(mean, spread, n, seed=6)
    rows = [ModelOutputs(x, x[:, 0], [Level(x)]) for x in (known, seen)]
    expected = kl(mean, spread, mean0, spread0)
    assert value(Divergence("whole").fit(rows[0]), rows[1]) == pytest.approx(expected, rel=1e-4)
    prior = kl(mean, spread, torch.zeros(d).double(), torch.eye(d).double())
    assert value(Divergence("whole", against="prior").fit(rows[0]), rows[1]) == pytest.approx(prior, rel=1e-4)


def test_an_encoder_s_variance_is_part_of_the_covariance():
    x = points_with_moments(torch.zeros(3).double(), 0.5 * torch.eye(3).double(), 200)
    rows = ModelOutputs(x, x[:, 0], [Level(x, torch.full_like(x, 0.5))])
    assert value(Divergence("whole", against="prior").fit(rows), rows) == pytest.approx(0, abs=1e-9)


def test_uncertain_latents_are_distinguished_from_stretched_ones():
    fitted = Divergence("location").fit(uncertain_outputs(300, seed=50))
    near, far = value(fitted, uncertain_outputs(20)), value(fitted, uncertain_outputs(20, scale=1.5))
    assert far > 2 * near


def test_vectors_that_are_too_wide_are_refused():
    x = normal(100, 65)
    with pytest.raises(ValueError, match="vectors of 65 coordinates; at most 64"):
        Divergence("whole").fit(ModelOutputs(x, x[:, 0], [Level(x)]))
