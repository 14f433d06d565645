"""Laws of the VAE, for tables and images: a bound, a latent, a reconstruction."""

import math

import pytest
import torch

from laws import autograd_gradient, finite_difference, generator, normal, randomise
from upland.models.vae import convolutional_vae, dense_vae
from upland.training.objectives import evidence

MADE = {
    "dense": (lambda g: dense_vae(3, (6, 5), 2, g), (3,)),
    "convolutional": (lambda g: convolutional_vae((1, 7, 5), (3, 4), 2, g), (1, 7, 5)),
    "two channels": (lambda g: convolutional_vae((2, 8, 8), (3,), 2, g), (2, 8, 8)),
}


@pytest.fixture(params=MADE)
def case(request):
    make, shape = MADE[request.param]
    return make(generator()).double().eval(), normal(4, *shape, seed=1)


def test_shapes(case):
    model, x = case
    assert model.energy(x).shape == (4,)
    assert model.reconstruct(x).shape == x.shape
    (level,) = model.latents(x)
    assert level.mean.shape == level.variance.shape == (4, 2)
    assert (level.variance > 0).all()
    assert model.sample(3, generator()).shape == (3, *x.shape[1:])


def test_energies_go_with_their_rows_and_are_the_same_twice(case):
    model, x = case
    whole = model.energy(x)
    assert torch.equal(model.energy(x), whole)
    assert torch.allclose(model.energy(x.flip(0)).flip(0), whole)


def test_the_gradient_is_the_finite_difference(case):
    model, x = case
    randomise(model, scale=0.3)
    flat = x.flatten(1)

    def energy(rows):
        return model.energy(rows.reshape(x.shape))

    found = autograd_gradient(model, x).flatten(1)
    assert torch.allclose(found, finite_difference(energy, flat), atol=1e-5)


def test_every_weight_receives_a_gradient(case):
    model, x = case
    model.train()
    randomise(model, scale=0.3)
    evidence(model, x, 0.1, generator()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def linear(width, latent):
    """A VAE that is factor analysis: x = A z + a + s eps, with the encoder of its own posterior."""
    model = dense_vae(width, (), latent, generator()).double().eval()
    loading, offset, spread = normal(latent, width, seed=2), normal(width, seed=3), 0.7
    precision = torch.eye(latent, dtype=torch.float64) + loading @ loading.T / spread**2
    with torch.no_grad():
        loading, precision = orthogonal(loading, precision, spread)
        covariance = torch.linalg.inv(precision)
        toward = loading.T @ covariance / spread**2
        model.decoder.weights[0].copy_(loading)
        model.decoder.biases[0].copy_(offset)
        log_variance = covariance.diagonal().log()
        model.encoder.weights[0].copy_(torch.cat([toward, torch.zeros_like(toward)], 1))
        model.encoder.biases[0].copy_(torch.cat([-offset @ toward, log_variance]))
        model.log_width.fill_(math.log(spread))
    truth = torch.distributions.MultivariateNormal(
        offset, loading.T @ loading + spread**2 * torch.eye(width, dtype=torch.float64)
    )
    return model, truth


def orthogonal(loading, precision, spread):
    """The same density with rows of A at right angles: the posterior is then a product."""
    _, axes = torch.linalg.eigh(precision)
    turned = axes.T @ loading
    return turned, torch.eye(len(turned), dtype=torch.float64) + turned @ turned.T / spread**2


def test_the_bound_is_the_likelihood_where_the_posterior_is_exact():
    """Over many draws; over the few fixed ones it is near."""
    model, truth = linear(4, 2)
    x = truth.sample((6,))
    many = model.bound(x, normal(20_000, 2, seed=5))
    assert torch.allclose(many, -truth.log_prob(x), atol=0.05)
    assert torch.allclose(model.energy(x), -truth.log_prob(x), atol=2.0)


def test_any_other_posterior_bounds_the_likelihood():
    model, truth = linear(4, 2)
    x, noise = truth.sample((200,)), normal(2_000, 2, seed=5)
    with torch.no_grad():
        model.encoder.biases[0].add_(0.5)
        slack = model.bound(x, noise) + truth.log_prob(x)
    assert (slack > 0.05).all()


def test_reconstructions_are_decoded_means():
    model, _ = linear(4, 2)
    x = normal(5, 4, seed=6)
    mean = model.latents(x)[0].mean
    assert torch.allclose(model.reconstruct(x), model.decoder(mean))
