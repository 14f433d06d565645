"""Laws of a flow with a Gaussian for each class: a density, closed-form moments, latents that are N(0, I)."""

import math

import pytest
import torch

from laws import generator, normal
from upland.models.class_mixture import PRIOR, ClassMixture, ClassPrior
from upland.models.glow import Glow

SHAPE = (1, 5, 4)


def pictures(count, seed=0):
    """Two classes of pictures, one bright above and one below, and the class of each."""
    labels = torch.arange(count) % 2
    x = 0.05 * normal(count, *SHAPE, seed=seed, dtype=torch.float32)
    x[labels == 0, :, :2] += 0.3
    x[labels == 1, :, 3:] += 0.2
    return x, labels


def mixture(classes=2, dtype=torch.float32):
    flow = Glow(SHAPE, levels=1, depth=2, hidden=4, tones=1, generator=generator())
    flow.init_from_data(pictures(50)[0])
    return ClassMixture(flow, classes).to(dtype).eval()


@pytest.fixture(scope="module")
def fitted():
    model = mixture()
    model.fit_classes(*pictures(400))
    return model


def test_before_classes_are_fitted_it_is_the_flow():
    model, (x, _) = mixture(), pictures(20)
    expected = model.flow.log_prob(x)
    torch.testing.assert_close(model.log_prob(x), expected)
    model.train()
    assert torch.equal(model.log_prob(x), expected)


def test_the_density_is_the_weighted_sum_of_those_of_the_classes(fitted):
    x, _ = pictures(30, seed=1)
    each = torch.stack([fitted.of_class(number).log_prob(x) for number in range(2)], 1)
    torch.testing.assert_close(each, fitted.log_probs(x))
    weights = fitted.prior.log_weights.double().exp()
    assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(fitted.log_prob(x).exp(), (each.exp() * weights).sum(1))


def test_a_class_is_the_image_of_its_gaussian_under_the_flow(fitted):
    """Log p(x | c) by the change of variables, with the Gaussian's density as torch has it."""
    x, _ = pictures(12, seed=2)
    z, ladj = fitted.encode(x)
    for number in range(2):
        scale = fitted.prior.log_scales[number].exp()
        gaussian = torch.distributions.Normal(fitted.prior.means[number].double(), scale.double())
        expected = gaussian.log_prob(z.double()).sum(1) + ladj
        torch.testing.assert_close(fitted.of_class(number).log_prob(x), expected, rtol=1e-5, atol=1e-4)


def test_classes_of_fresh_pictures_are_found_and_have_standard_latents(fitted):
    x, labels = pictures(2_000, seed=3)
    assert float((fitted.log_probs(x).argmax(1) == labels).double().mean()) > 0.99
    for number in range(2):
        z = torch.cat(
            [level.mean.flatten(1) for level in fitted.of_class(number).latents(x[labels == number])], 1
        )
        z = z.detach()
        assert float(z.mean(0).abs().max()) < 0.5
        assert float((z.std(0) - 1).abs().max()) < 0.3
        other = torch.cat(
            [level.mean.flatten(1) for level in fitted.of_class(number).latents(x[labels != number])], 1
        )
        assert float(other.detach().mean(0).abs().max()) > 2


def test_moments_are_drawn_to_those_of_all_by_so_many_images():
    z, labels = normal(60, 3), torch.tensor([0] * 50 + [1] * 10)
    z[50:] += 4
    prior = ClassPrior(3, 3)
    prior.fit(z, labels)
    of_all = z.mean(0)
    own = z[50:]
    mean = (own.sum(0) + PRIOR * of_all) / (10 + PRIOR)
    torch.testing.assert_close(prior.means[1].double(), mean, rtol=1e-5, atol=1e-6)
    spread = (z - of_all).square().mean(0)
    drawn_to = torch.cat([of_all + sign * spread.sqrt().expand(int(PRIOR) // 2, -1) for sign in (-1, 1)])
    variance = torch.cat([own, drawn_to]).var(0, correction=0)
    torch.testing.assert_close(prior.log_scales[1].double(), 0.5 * variance.log(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prior.means[2].double(), of_all, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prior.log_scales[2].double(), 0.5 * spread.log(), rtol=1e-5, atol=1e-6)
    shares = torch.tensor([51, 11, 1]) / 63
    torch.testing.assert_close(prior.log_weights, shares.log())


def test_constant_latents_have_a_scale_all_the_same():
    prior = ClassPrior(2, 4)
    prior.fit(torch.ones(8, 4), torch.tensor([0, 1] * 4))
    prior.check_values()
    assert bool(prior.log_scales.isfinite().all())


def test_samples_are_of_the_classes(fitted):
    x = fitted.sample(400, generator(5))
    assert x.shape == (400, *SHAPE)
    assert torch.equal(x, fitted.sample(400, generator(5)))
    above, below = x[:, :, :2].mean((1, 2, 3)), x[:, :, 3:].mean((1, 2, 3))
    of_first = float((above > below).double().mean())
    assert 0.4 < of_first < 0.6
    assert math.isclose(float(fitted.sample(0).numel()), 0)


@pytest.mark.parametrize(("name", "value"), [("log_scales", 5.0), ("log_scales", -5.0), ("log_weights", 0.0)])
def test_values_that_no_fit_gives_are_refused(name, value):
    prior = ClassPrior(2, 3)
    prior.check_values()
    getattr(prior, name).fill_(value)
    with pytest.raises(ValueError, match="classes"):
        prior.check_values()
