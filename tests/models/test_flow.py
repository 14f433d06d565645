"""Laws of flows, in float64: a density that integrates to 1, samples that follow it, normal latents."""

import copy

import numpy as np
import pytest
import torch

from laws import autograd_gradient, covariance, finite_difference, generator, normal
from upland.models.base import LikelihoodModel
from upland.models.bijections import ActNorm, InvertibleLinear
from upland.models.flow import WIDEST, Flow, table_flow
from upland.training.loop import Settings, Training, shuffled_batches
from upland.training.objectives import dequantised, likelihood

FLOWS = {
    "affine": lambda width: table_flow(width, hidden=(8,), coupling="affine", generator=generator()),
    "spline": lambda width: table_flow(width, hidden=(8,), coupling="spline", generator=generator()),
    "shallow": lambda width: table_flow(width, layers=1, hidden=(8, 8), generator=generator()),
}


def stirred(model, seed=0, scale=0.1):
    """Float64, every weight moved off its start."""
    model = model.double()
    source = generator(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(scale * torch.randn(value.shape, generator=source, dtype=value.dtype))
    return model


@pytest.fixture(params=FLOWS)
def make(request):
    return lambda width: stirred(FLOWS[request.param](width))


X = {width: normal(7, width, seed=width) * 2 for width in (1, 2, 5)}


@pytest.mark.parametrize("width", X)
def test_round_trip(make, width):
    model = make(width)
    z, ladj = model.encode(X[width])
    assert [part.shape for part in z] == [(7, width)]
    assert ladj.shape == (7,)
    torch.testing.assert_close(model.decode(z), X[width], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("width", X)
def test_ladj_is_that_of_the_jacobian(make, width):
    model = make(width)
    jacobian = torch.stack(
        [torch.func.jacrev(lambda row: model.encode(row[None])[0][0][0])(row) for row in X[width]]
    )
    expected = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(model.encode(X[width])[1], expected, rtol=1e-7, atol=1e-7)


def test_integrates_to_one(make):
    model = make(2)
    drawn = model.sample(20_000, generator(3))
    low, high = drawn.min(0).values - 2, drawn.max(0).values + 2
    sides = [
        torch.linspace(float(a), float(b), 401, dtype=torch.float64) for a, b in zip(low, high, strict=True)
    ]
    area = float(((high - low) / 400).prod())
    with torch.no_grad():
        total = model.log_prob(torch.cartesian_prod(*sides)).exp().sum() * area
    assert float(total) == pytest.approx(1, abs=2e-3)


def test_the_gradient_is_the_finite_difference(make):
    model = make(5)
    torch.testing.assert_close(
        autograd_gradient(model, X[5]), finite_difference(model.energy, X[5]), rtol=1e-5, atol=1e-6
    )


def test_linear_maps_alone_are_a_gaussian():
    model = stirred(Flow([ActNorm(3), InvertibleLinear(3, generator())], 3))
    origin = model.decode([torch.zeros(1, 3, dtype=torch.float64)])[0]
    spread = model.decode([torch.eye(3, dtype=torch.float64)]) - origin
    exact = torch.distributions.MultivariateNormal(origin, spread.T @ spread)
    x = normal(7, 3)
    torch.testing.assert_close(model.log_prob(x), exact.log_prob(x), rtol=1e-9, atol=1e-9)


def test_far_out_the_density_falls(make):
    model = make(5)
    away = normal(50, 5, seed=8)
    energies = torch.stack([model.energy(scale * away) for scale in (10.0, 100.0, 1000.0, 10_000.0)])
    assert (energies.diff(dim=0) > 0).all()


def test_every_weight_gets_a_gradient_and_moves(make):
    model = make(5)
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(2):
        optimizer.zero_grad()
        likelihood(model, X[5], 0.1, generator(step)).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None, name
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.abs().max() > 0, name
        optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_training_finds_a_gaussian():
    """By likelihood at N(mu, S + sigma^2 I): the entropy of that is the least mean energy."""
    spread = covariance(3)
    root = torch.linalg.cholesky(spread)
    rows = (normal(4000, 3) @ root.T + 2).float()
    model = table_flow(3, layers=2, hidden=(8,), generator=generator())
    model.init_from_data(rows[:2000])
    training = Training(model, lambda m, x, g: likelihood(m, x, 0.3, g), Settings(300, 3, 3, 1e-2, 256, 0))
    training.run(shuffled_batches(rows, 256, generator()), rows[:500])
    smooth = torch.distributions.MultivariateNormal(
        torch.full((3,), 2.0).double(), spread + 0.09 * torch.eye(3).double()
    )
    fresh = smooth.mean + normal(4000, 3, seed=9) @ torch.linalg.cholesky(smooth.covariance_matrix).T
    with torch.no_grad():
        lost = (smooth.log_prob(fresh) - model.log_prob(fresh.float())).mean()
        latent = model.latents(fresh.float())[0].mean
    assert 0 <= float(lost) < 0.05
    np.testing.assert_allclose(latent.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(latent.T.cov(), np.eye(3), atol=0.15)


def test_dequantised_noise_keeps_a_number_in_its_step():
    seen = []

    class Watching(Flow):
        def log_prob(self, x):
            seen.append(x)
            return super().log_prob(x)

    dequantised(Watching([ActNorm(3)], 3), torch.ones(1000, 3), 0.25, generator())
    (x,) = seen
    assert float((x - 1).abs().max()) <= 0.125
    assert float((x - 1).std()) == pytest.approx(0.25 / 12**0.5, rel=0.05)


def test_wide_tables_are_permuted_instead_of_mixed():
    wide = table_flow(WIDEST + 1, layers=1, hidden=(4,), generator=generator())
    x = normal(3, WIDEST + 1, dtype=torch.float32)
    assert not any(isinstance(part, InvertibleLinear) for part in wide.bijections)
    torch.testing.assert_close(wide.decode(wide.encode(x)[0]), x, rtol=1e-4, atol=1e-4)


def test_initialised_latents_have_mean_zero_and_deviation_one():
    model = table_flow(4, hidden=(8,), generator=generator()).double()
    x = normal(1000, 4) * torch.tensor([1.0, 5.0, 0.2, 3.0]).double() + 7
    model.init_from_data(x)
    z = model.latents(x)[0].mean
    torch.testing.assert_close(z.mean(0), torch.zeros(4).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(4).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("width", [60, WIDEST, WIDEST + 1])
def test_constant_columns_of_a_wide_table_do_not_multiply_the_noise_at_the_start(width):
    """A constant column is all noise in training: its deviation may be divided by a bound once, not again."""
    rows = normal(500, width, dtype=torch.float32)
    rows[:, ::3] = 0.5
    model = table_flow(width, hidden=(8,), generator=generator())
    model.init_from_data(rows)
    noisy = rows + 0.2 * normal(500, width, seed=4, dtype=torch.float32)
    with torch.no_grad():
        assert float(model.energy(noisy).mean()) < 3 * width


class Box(LikelihoodModel):
    """The uniform density on [-1/2, 1/2]^D."""

    def log_prob(self, x):
        inside = (x.abs() <= 0.5).flatten(1).all(1)
        return torch.where(inside, 0.0, -torch.inf).double()


@pytest.mark.parametrize("bits", [7, 8])
def test_bits_per_dim_of_a_uniform_density_are_the_bits_of_a_value(bits):
    values = torch.randint(0, 2**bits, (20, 3, 4), generator=generator()).double()
    found = Box().bits_per_dim((values + 0.5) / 2**bits - 0.5, 2.0**-bits, generator())
    torch.testing.assert_close(found, torch.full((20,), float(bits)).double())


def test_bits_per_dim_are_a_bound_of_the_cross_entropy(make):
    """By Jensen the mean over the noise of -log p is at least -log of the mean of p over a step."""
    model, step = make(1), 0.8
    centres = torch.tensor([[-0.8], [0.0], [0.8]], dtype=torch.float64)
    bits = model.bits_per_dim(centres.repeat(4_000, 1), step, generator()).reshape(-1, 3).mean(0)
    inside = torch.linspace(-step / 2, step / 2, 2_001, dtype=torch.float64)
    mass = step * model.log_prob((centres + inside).reshape(-1, 1)).exp().reshape(3, -1).mean(1)
    assert (bits > -mass.log2() - 0.02).all()
    assert (bits < -mass.log2() + 0.5).all()
