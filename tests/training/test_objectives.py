"""Laws of the objectives on the Gaussian oracle, in float64: closed forms and minima."""

import numpy as np
import pytest
import torch

from laws import Gaussian, covariance, generator, normal, points_with_moments
from upland.detectors.arguments import CHOICES
from upland.training.objectives import OBJECTIVES, denoising, neighbour_distance, sliced

D, N, SIGMA = 3, 100_000, 0.6
MEAN, SPREAD = normal(D, seed=2), covariance(D, seed=4)
EYE = torch.eye(D, dtype=torch.float64)
X = points_with_moments(MEAN, SPREAD, N, seed=101)
"""Rows whose sample moments are MEAN and SPREAD exactly: only the noise is left to chance."""


def oracle(mean, precision):
    """grad E(x) = precision (x - mean), exactly symmetric."""
    return Gaussian(mean, torch.linalg.inv(precision))


def expected_denoising(mean, precision, sigma):
    """E |x - f(x + eps)|^2 in closed form: the residual is P (x - m) - (1 - P) eps."""
    bias = (MEAN - mean) @ precision
    moments = precision @ SPREAD @ precision.T + sigma**2 * (EYE - precision) @ (EYE - precision).T
    return bias @ bias + torch.trace(moments)


def expected_sliced(mean, precision, sigma):
    """E [-tr P + |P (x - m)|^2 / (2 sigma^2)]."""
    bias = (MEAN - mean) @ precision
    return -torch.trace(precision) + (bias @ bias + torch.trace(precision @ SPREAD @ precision.T)) / (
        2 * sigma**2
    )


CLOSED_FORMS = {"denoising": expected_denoising, "sliced": expected_sliced}


def optimum(name, sigma):
    """(mean, precision in units of sigma^2) where the objective must be least."""
    smoothed = SPREAD + sigma**2 * EYE if name == "denoising" else SPREAD
    return MEAN, sigma**2 * torch.linalg.inv(smoothed)


def away_from(mean, precision):
    yield mean + 0.5, precision
    yield mean, 1.4 * precision
    yield mean, 0.6 * precision
    yield mean, precision + 0.2 * EYE
    yield mean, torch.diag(torch.diag(precision))


def test_the_closed_forms_cover_every_objective_that_a_user_can_choose():
    assert set(CLOSED_FORMS) == set(CHOICES["objective"])


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("case", range(6))
def test_equals_its_closed_form_in_expectation(name, case):
    at = optimum(name, SIGMA)
    mean, precision = [at, *away_from(*at)][case]
    model = oracle(mean, precision).eval()
    loss = OBJECTIVES[name](model, X, SIGMA, generator(case)).detach()
    assert float(loss) == pytest.approx(float(CLOSED_FORMS[name](mean, precision, SIGMA)), rel=0.01, abs=0.01)


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_the_closed_form_is_least_where_theory_says(name, sigma):
    mean, precision = (value.clone().requires_grad_() for value in optimum(name, sigma))
    CLOSED_FORMS[name](mean, precision, sigma).backward()
    assert mean.grad.abs().max() < 1e-12
    assert precision.grad.abs().max() < 1e-12
    least = CLOSED_FORMS[name](*optimum(name, sigma), sigma)
    for other in away_from(*optimum(name, sigma)):
        assert CLOSED_FORMS[name](*other, sigma) > least + 1e-4


def loss_gradient(name, mean, precision, sigma):
    model = oracle(mean, precision).train()
    OBJECTIVES[name](model, X, sigma, generator(9)).backward()
    return torch.cat([model.mean.grad, model.precision.grad.flatten()]).norm()


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("sigma", [0.6, 1.0])
def test_the_gradient_in_the_weights_vanishes_there_and_nowhere_near(name, sigma):
    at = optimum(name, sigma)
    there = loss_gradient(name, *at, sigma)
    assert there < 0.03
    for mean, precision in away_from(*at):
        assert loss_gradient(name, mean, precision, sigma) > 5 * there


def test_sliced_with_unit_sigma_is_least_at_the_data_itself():
    mean, precision = optimum("sliced", 1.0)
    torch.testing.assert_close(precision, torch.linalg.inv(SPREAD))
    torch.testing.assert_close(Gaussian(MEAN, SPREAD).precision.detach(), precision)
    assert mean is MEAN


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_training_finds_the_optimum(name):
    """Gradient descent from elsewhere arrives at N(mu, S + sigma^2 I), or at N(mu, S)."""
    model = oracle(MEAN + 0.5, EYE).train()
    rows = points_with_moments(MEAN, SPREAD, 50_000, seed=101)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = OBJECTIVES[name](model, rows, SIGMA, generator(0))  # always the same noise
        value.backward()
        return value

    optimizer.step(loss)
    mean, precision = optimum(name, SIGMA)
    torch.testing.assert_close(model.mean.detach(), mean, atol=0.05, rtol=0)
    symmetric = 0.5 * (model.precision + model.precision.T).detach()  # only that part is in the energy
    torch.testing.assert_close(symmetric, precision, atol=0.05, rtol=0)


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_is_a_function_of_its_generator(objective):
    model = Gaussian(MEAN, SPREAD).eval()
    state = torch.get_rng_state()
    one, again, other = (objective(model, X[:50], SIGMA, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_the_noise_changes_the_value(objective):
    model = Gaussian(MEAN, SPREAD).eval()
    assert objective(model, X[:50], 0.3, generator()) != objective(model, X[:50], 0.6, generator())


@pytest.mark.parametrize("objective", [denoising, sliced])
def test_works_without_gradients_being_recorded(objective):
    with torch.no_grad():
        assert not objective(Gaussian(MEAN, SPREAD).eval(), X[:50], SIGMA, generator()).requires_grad


# -- the distance between neighbours -------------------------------------------------------------------------


def grid(step, width=2, side=6):
    axis = torch.arange(side, dtype=torch.float64) * step
    return torch.cartesian_prod(*[axis] * width).reshape(-1, width)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_neighbour_distance_of_a_grid(width):
    assert neighbour_distance(grid(0.5, width)) == pytest.approx(0.5 / np.sqrt(width))


def test_copies_of_rows_do_not_change_the_neighbour_distance():
    rows = grid(0.5)
    copied = torch.cat([rows, rows[:20], rows[:20], rows[:1].expand(500, -1)])
    assert neighbour_distance(copied) == pytest.approx(neighbour_distance(rows))


@pytest.mark.parametrize("rows", [torch.zeros(1, 3), torch.ones(40, 3)])
def test_without_neighbours_the_neighbour_distance_is_the_most(rows):
    assert neighbour_distance(rows, most=0.7) == 0.7


def test_the_neighbour_distance_stays_within_its_bounds():
    assert neighbour_distance(grid(1e-3), least=0.2) == 0.2
    assert neighbour_distance(grid(50.0), most=0.9) == 0.9
