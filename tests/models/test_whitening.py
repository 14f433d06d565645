"""Laws of the Gaussian in closed form: its density, its shrinkage, what is left out."""

import math

import pytest
import torch

from laws import generator, normal
from upland.models.flow import fitted_gaussian
from upland.models.stored import check_values
from upland.models.whitening import SHRINKAGE, Whitening, best_shrinkage, left_out_energy


def correlated(count, width, seed=0, factors=3, noise=0.3):
    """Rows of a few factors and some noise, and the factors' loadings: `(N, D)` and `(K, D)`, float64."""
    loadings = normal(factors, width, seed=100)
    return normal(count, factors, seed=seed) @ loadings + noise * normal(
        count, width, seed=seed + 50
    ), loadings


def scaled(x, sigma):
    """What `best_shrinkage` is given: rows over their scales, eigenvalues, eigenvectors, noise."""
    centred = x - x.mean(0)
    scale = (centred.square().mean(0) + sigma**2).sqrt()
    u, noise = centred / scale, (sigma / scale).square()
    return u, *torch.linalg.eigh(u.T @ u / len(u) + noise.diag()), noise


def energy_by_refits(u, rho):
    """The mean energy of each row under the Gaussian of all the others, but for a constant."""
    total = 0.0
    for number in range(len(u)):
        others = torch.cat([u[:number], u[number + 1 :]])
        centred = others - others.mean(0)
        covariance = (1 - rho) * centred.T @ centred / len(others) + rho * torch.eye(u.shape[1]).double()
        away = u[number] - others.mean(0)
        total += float(away @ torch.linalg.solve(covariance, away) + torch.logdet(covariance))
    return total / len(u) / 2


@pytest.mark.parametrize(("count", "width"), [(30, 4), (12, 20)])
@pytest.mark.parametrize("rho", [0.01, 0.3, 1.0])
def test_rows_left_out_in_closed_form_are_those_of_refits(count, width, rho):
    u, values, vectors, noise = scaled(correlated(count, width)[0], 0.0)
    found = left_out_energy(u @ vectors, values, vectors, noise, rho)
    assert found == pytest.approx(energy_by_refits(u, rho), rel=1e-9)


def test_the_noise_counts_as_draws_of_it_do():
    u, values, vectors, noise = scaled(correlated(2_000, 3)[0], 0.5)
    exact = left_out_energy(u @ vectors, values, vectors, noise, 0.0)
    drawn = u + noise.sqrt() * normal(2_000, 3, seed=9)
    covariance = torch.linalg.multi_dot([vectors, values.diag(), vectors.T])
    energies = (drawn @ torch.linalg.inv(covariance) * drawn).sum(1) + torch.logdet(covariance)
    assert exact == pytest.approx(0.5 * float(energies.mean()), abs=0.05)


def test_a_gaussian_without_a_density_has_an_infinite_energy():
    u, values, vectors, noise = scaled(correlated(5, 20)[0], 0.0)
    assert left_out_energy(u @ vectors, values, vectors, noise, 0.0) == math.inf


def test_the_fewer_rows_the_more_is_shrunk():
    chosen = [best_shrinkage(*scaled(normal(count, 30, seed=count), 0.1)) for count in (10, 60, 20_000)]
    assert chosen[0] == chosen[1] == 1.0  # these columns are independent
    related = [best_shrinkage(*scaled(correlated(count, 30)[0], 0.1)) for count in (10, 60, 20_000)]
    assert related == sorted(related, reverse=True)
    assert related[0] > related[2]
    assert related[2] <= SHRINKAGE[1]
    assert best_shrinkage(*scaled(normal(1, 3), 0.1)) == 1.0


@pytest.mark.parametrize("independent", [False, True])
def test_it_is_a_gaussian_with_noise(independent):
    x = correlated(5_000, 4)[0] + 2
    model = fitted_gaussian(x, 0.5, independent)
    covariance = x.T.cov(correction=0) + 0.25 * torch.eye(4).double()
    if independent:
        covariance = covariance.diagonal().diag()
    exact = torch.distributions.MultivariateNormal(x.mean(0), covariance)
    fresh = normal(50, 4, seed=3) * 2
    found = model.double().log_prob(fresh)
    torch.testing.assert_close(found, exact.log_prob(fresh), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(model.decode(model.encode(fresh)[0]), fresh, rtol=1e-7, atol=1e-7)


def test_latents_of_fresh_rows_are_normal():
    x = correlated(4_000, 6)[0]
    rows, fresh = x[:2_000], x[2_000:] + 0.2 * normal(2_000, 6, seed=7)
    z = fitted_gaussian(rows, 0.2).latents(fresh.float())[0].mean.double()
    torch.testing.assert_close(z.mean(0), torch.zeros(6).double(), rtol=0, atol=0.1)
    torch.testing.assert_close(z.T.cov(), torch.eye(6).double(), rtol=0, atol=0.15)


def test_its_samples_have_its_covariance():
    x = correlated(2_000, 3)[0]
    drawn = fitted_gaussian(x, 0.1).sample(20_000, generator())
    torch.testing.assert_close(drawn.double().T.cov(), x.T.cov(), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_constant_and_repeated_columns_stay_finite(sigma):
    x = correlated(40, 3)[0]
    doubtful = torch.cat([x, x[:, :1], torch.ones(40, 1).double()], 1)
    found = fitted_gaussian(doubtful, sigma).log_prob(doubtful.float())
    assert bool(found.isfinite().all())


def test_a_stored_matrix_without_an_inverse_is_refused():
    whitening = Whitening(3)
    check_values(whitening)
    with torch.no_grad():
        whitening.triangle[1, 1] = 0.0
    with pytest.raises(ValueError, match="diagonal of a whitening must be positive"):
        check_values(whitening)
