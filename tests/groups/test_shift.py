"""The distance of the mean of a group: Hotelling without a ridge, and what ridge and directions do."""

import pytest
import torch

from latents import latent_outputs, value
from laws import covariance, normal
from upland.groups.shift import Shift


def rows(count, width, seed, away=0.0):
    root = torch.linalg.cholesky(covariance(width))
    return latent_outputs(normal(count, width, seed=seed) @ root.T + away)


@pytest.mark.parametrize("space", ["points", "latents"])
def test_without_a_ridge_it_is_the_distance_of_mahalanobis(space):
    normal_rows, group = rows(500, 6, 0), rows(7, 6, 1, away=0.5)
    fitted = Shift(space, ridge=0.0).fit(normal_rows)
    x = normal_rows.points.double()
    center = x.mean(0)
    inverse = torch.linalg.inv((x - center).T @ (x - center) / len(x))
    away = group.points.double().mean(0) - center
    assert value(fitted, group) == pytest.approx(float(away @ inverse @ away), rel=1e-9)


def test_a_large_ridge_leaves_the_plain_distance_of_means():
    normal_rows, group = rows(500, 6, 0), rows(7, 6, 1, away=0.5)
    x = normal_rows.points.double()
    fitted = Shift(ridge=1e9).fit(normal_rows)
    away = group.points.double().mean(0) - x.mean(0)
    expected = float(away.square().sum() / (1e9 * (x - x.mean(0)).square().mean()))
    assert value(fitted, group) == pytest.approx(expected, rel=1e-6)


def test_directions_of_fewer_rows_than_columns_are_the_same():
    """By the smaller of two matrices: rows that span 5 directions, as few and, repeated, as many."""
    few = latent_outputs(normal(6, 9, seed=3))
    many = latent_outputs(few.points.repeat(4, 1))
    other = latent_outputs(normal(4, 9, seed=4))
    found = [value(Shift(most=5).fit(some), other) for some in (few, many)]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_the_first_directions_are_those_of_most_variance():
    z = normal(400, 5, seed=5) * torch.tensor([1.0, 5.0, 1.0, 9.0, 1.0], dtype=torch.float64)
    fitted = Shift(most=2).fit(latent_outputs(z))
    along = torch.zeros(3, 5, dtype=torch.float64)
    along[:, 0] = 4.0
    across = along.roll(3, 1)
    base = z.mean(0)
    assert value(fitted, latent_outputs(base + across)) > 50 * value(fitted, latent_outputs(base + along))


def test_constant_rows_have_a_finite_distance():
    fitted = Shift().fit(latent_outputs(torch.ones(20, 4, dtype=torch.float64)))
    assert value(fitted, latent_outputs(torch.ones(3, 4, dtype=torch.float64))) == 0
