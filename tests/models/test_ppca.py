"""Laws of the Gaussian of principal axes: the dense one, its slope, its shares, rows that are left out."""

import pytest
import torch

from laws import autograd_gradient, finite_difference, generator, normal
from upland.models import ppca
from upland.models.base import EnergyModel
from upland.models.ppca import SHARE, PrincipalGaussian
from upland.models.stored import check_values

SHAPES = [(50, 4), (12, 9), (9, 9), (10, 9), (6, 20), (3, 2)]
shapes = pytest.mark.parametrize("shape", SHAPES)


def rows(count, width, seed=0):
    """Rows whose columns depend on each other."""
    return normal(count, width, seed=seed) @ normal(width, width, seed=7) + 3


def fitted(x):
    made = PrincipalGaussian(x.shape[1]).to(x)
    made.left_out = made.fit(x, None)
    return made


class Half(EnergyModel):
    """Half the squared length."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def energy(self, x):
        return 0.5 * self.part.values(x).square()


def dense(x, new, share=SHARE):
    """The length under N(m, S + s I), with s a share of the mean variance."""
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    rest = share * covariance.diagonal().mean() * torch.eye(x.shape[1], dtype=x.dtype)
    return ((new - mean) @ torch.linalg.inv(covariance + rest) * (new - mean)).sum(1).sqrt()


@shapes
def test_it_is_the_dense_gaussian(shape):
    x, new = rows(*shape), rows(30, shape[1], seed=1)
    torch.testing.assert_close(fitted(x).values(new), dense(x, new), rtol=1e-8, atol=0)


def test_with_few_axes_the_rest_has_one_variance(monkeypatch):
    monkeypatch.setattr(ppca, "AXES", 3)
    x, new = rows(60, 8), rows(30, 8, seed=1)
    centred = x - x.mean(0)
    squares, axes = torch.linalg.eigh(centred.T @ centred / len(x))
    rest = SHARE * squares.mean()
    own = torch.cat([rest.expand(5), squares[-3:] + rest])
    expected = (((new - x.mean(0)) @ axes).square() / own).sum(1).sqrt()
    torch.testing.assert_close(fitted(x).values(new), expected, rtol=1e-8, atol=0)


@shapes
def test_its_slope_is_the_gradient(shape):
    made, new = fitted(rows(*shape)), rows(10, shape[1], seed=1)
    slope = made.slope(new)
    torch.testing.assert_close(slope, autograd_gradient(Half(made), new), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(slope, finite_difference(Half(made).energy, new), rtol=1e-4, atol=1e-5)


@shapes
def test_shares_sum_to_the_length(shape):
    x = rows(*shape)
    made, new = fitted(x), torch.cat([rows(10, shape[1], seed=1), x.mean(0)[None]])
    shares = made.shares(new)
    assert bool((shares >= 0).all())
    torch.testing.assert_close(shares.sum(1), made.values(new), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(made.expected(new), x.mean(0).expand_as(new))


def test_rows_are_farther_where_they_are_left_out_and_as_far_as_new_ones():
    x, new = rows(60, 20), rows(400, 20, seed=1)
    made = fitted(x)
    assert made.left_out.shape == (60,)
    assert bool(made.left_out.mean() > 1.1 * made.values(x).mean())
    assert 0.9 < float(made.left_out.mean() / made.values(new).mean()) < 1.15


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_few_rows_are_enough(count):
    x, new = rows(count, 7), rows(50, 7, seed=1)
    made = fitted(x)
    assert made.left_out.shape == (count,)
    for found in (made.left_out, made.values(new), made.slope(new), made.shares(new)):
        assert bool(found.isfinite().all())
    if count > 1:  # no row is left out by a Gaussian without any width
        ratio = float(made.left_out.mean() / made.values(new).mean())
        assert 0.2 < ratio < 5


def test_rows_that_are_all_equal_are_at_the_least_length():
    x = torch.ones(6, 3, dtype=torch.float64)
    made = fitted(x)
    assert float(made.values(x).max()) < 1e-5
    assert bool((made.values(x + 0.1) > made.values(x)).all())


def test_in_single_precision_a_row_does_not_depend_on_its_place():
    x, new = rows(40, 30).float(), rows(64, 30, seed=1).float()
    made = fitted(x)
    order = torch.randperm(64, generator=generator())
    torch.testing.assert_close(made.values(new[order]), made.values(new)[order], rtol=1e-9, atol=0)
    torch.testing.assert_close(
        made.values(new), fitted(x.double()).values(new.double()), rtol=1e-4, atol=1e-5
    )


@shapes
def test_stored_it_is_the_same_bits(shape):
    x, new = rows(*shape).float(), rows(10, shape[1], seed=1).float()
    made, again = fitted(x), PrincipalGaussian(shape[1])
    again.load_state_dict(made.state_dict())
    check_values(again)
    assert torch.equal(again.values(new), made.values(new))


@pytest.mark.parametrize("name", ["variances", "rest"])
def test_variances_that_are_not_positive_are_refused(name):
    made = fitted(rows(10, 3))
    made.get_buffer(name)[0] = 0
    with pytest.raises(ValueError, match="must be positive"):
        check_values(made)
