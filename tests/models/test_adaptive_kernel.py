"""Laws of the adaptive kernel: the direct sum, bandwidths by neighbours, a row without itself, the views."""

import math

import pytest
import torch

from laws import covariance, finite_difference, normal
from upland.models.adaptive_kernel import (
    FOLDS,
    LEAST_BANDWIDTH,
    NEIGHBOURS,
    SHRINKAGE,
    WIDE_KNEE,
    AdaptiveKernel,
)
from upland.models.parts import Layout, plain_layout
from upland.models.stored import check_values

VIEWS = ["plain", "bent", "whitened"]


def kernel(points, view="plain", rows=None, **options):
    """A kernel in float64 on all of some distinct points, fitted; rows are the points unless given."""
    rows = points if rows is None else rows
    made = AdaptiveKernel(plain_layout(points.shape[1]), view, **options).double()
    count = torch.arange(len(points))
    own = torch.cat([count, torch.full((len(rows) - len(points),), -1)])
    made.set_points(points, count, own)
    made.left_out = made.fit(rows, None)
    return made


def two_clusters(count=60, width=3):
    """A dense and a sparse cluster in turn."""
    rows = normal(count, width)
    rows[::2] = 0.1 * rows[::2] + 1.5
    return rows


def direct(points, x, scale, squares_of_bandwidths):
    """-s^2 log of the mean of exp(-|x - c|^2 / (2 s^2 h^2)), by the definition; then sqrt(2 E)."""
    gaps = (x[:, None] - points).square().sum(2) / squares_of_bandwidths
    energy = -(scale**2) * torch.exp(-gaps / (2 * scale**2)).mean(1).log()
    return (2 * energy).clamp(min=0).sqrt()


def bandwidths(points):
    """Mean distances to the nearest others, and their median."""
    gaps = torch.cdist(points, points).sort(1).values[:, 1 : NEIGHBOURS + 1].mean(1)
    return gaps, gaps.median()


# -- the energy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adaptive", [True, False])
def test_with_chunks_of_one_it_is_the_direct_sum(adaptive):
    """Abramson's kernel, and Parzen's where there is one bandwidth."""
    points, x = two_clusters(), 0.7 * normal(40, 3, seed=1)
    made = kernel(points, "bent", adaptive=adaptive, chunk=1)
    delta, usual = bandwidths(points)
    squares = (delta / usual).clamp(min=LEAST_BANDWIDTH) if adaptive else torch.ones(len(points))
    torch.testing.assert_close(made.usual_distance, usual.reshape(1), rtol=1e-6, atol=0)
    expected = direct(points, x, 0.5 * usual, squares)
    torch.testing.assert_close(made.values(x), expected, rtol=1e-5, atol=1e-6)


def test_bandwidths_follow_the_distance_of_neighbours_and_are_one_in_the_middle():
    made = kernel(two_clusters())
    assert made.bandwidths[::2].max() < made.bandwidths[1::2].min()
    assert float(made.bandwidths.median()) == pytest.approx(1, rel=1e-6)
    assert (kernel(two_clusters(), adaptive=False).bandwidths == 1).all()


@pytest.mark.parametrize("chunk", [2, 7, 64])
def test_larger_chunks_leave_out_terms_of_the_mean_over_chunks(chunk):
    """The mean over chunks of the nearest exceeds the mean over all points, by a factor below the chunk."""
    points, x = two_clusters(56), normal(40, 3, seed=1)
    whole, some = (kernel(points, "bent", chunk=size) for size in (1, chunk))
    scale = (0.5 * whole.usual_distance).square()
    energies = [made.values(x).square() / 2 for made in (whole, some)]
    assert (energies[1] <= energies[0] + 1e-9).all()
    chunks = -(-56 // chunk)
    most = scale * math.log(56 / chunks)
    inside = energies[1] > 0  # lengths are cut at zero
    assert inside.any()
    assert (energies[0] - energies[1] <= most + 1e-9)[inside].all()


@pytest.mark.parametrize("view", ["plain", "bent"])
@pytest.mark.parametrize("chunk", [1, 8])
def test_left_out_energies_are_those_without_that_point(view, chunk):
    """Given the bandwidths, a point left out is an infinite distance, and still counts in the mean."""
    points = two_clusters(32)
    made = kernel(points, view, chunk=chunk)
    for number in range(len(points)):
        other = AdaptiveKernel(plain_layout(3), view, chunk=chunk).double()
        other.load_state_dict(made.state_dict() | {"bandwidths": other.bandwidths}, strict=False)
        other.points = points.clone()
        other.points[number] = 1e6
        other.bandwidths, other.usual_distance = made.bandwidths, made.usual_distance
        other.after_loading()
        found = other.values(points[number : number + 1])
        torch.testing.assert_close(found[0], made.left_out[number], rtol=1e-6, atol=1e-6)


def test_a_row_with_a_copy_is_not_left_out():
    """Its own support point is that of the copy too, so that it stays: `own` is -1."""
    points = two_clusters(20)
    made = kernel(points, rows=torch.cat([points, points[:5] + 0.01]))
    torch.testing.assert_close(made.left_out[20:], made.values(points[:5] + 0.01), rtol=1e-9, atol=1e-9)
    assert (made.left_out[:20] > made.values(points)).all()


def test_the_energy_grows_without_bound_away_from_all_points():
    made = kernel(two_clusters())
    x = torch.tensor([[4.0, 8.0, 20.0, 60.0, 1e6]], dtype=torch.float64).T.expand(-1, 3)
    values = made.values(x)
    assert (values.diff() > 0).all()
    assert values.isfinite().all()


def test_an_isolated_row_beside_a_dense_cluster_is_farther_for_the_adaptive_kernel():
    """The same distance from a dense cluster is more than from a sparse one; one bandwidth cannot tell."""
    dense, sparse = 0.05 * normal(40, 2), 0.8 * normal(40, 2, seed=1)
    points = torch.cat([dense - 20, sparse + 20])
    x = torch.tensor([[-20.0, -18.0], [20.0, 22.0]], dtype=torch.float64)
    adaptive, constant = (kernel(points, "bent", adaptive=how).values(x) for how in (True, False))
    assert adaptive[0] / adaptive[1] > 2 * constant[0] / constant[1]


def test_it_is_differentiable():
    made = kernel(two_clusters(), chunk=4)
    x = normal(6, 3, seed=5).requires_grad_()
    (gradient,) = torch.autograd.grad(made.values(x).sum(), x)
    torch.testing.assert_close(gradient, finite_difference(made.values, x), rtol=1e-4, atol=1e-5)


# -- the views -----------------------------------------------------------------------------------------------


def test_the_whitened_view_has_the_shrunk_identity_covariance():
    rows = normal(400, 5) @ torch.linalg.cholesky(covariance(5)).T
    seen = kernel(rows, "whitened").rows_in_view(rows)
    variances, axes = torch.linalg.eigh((rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(rows))
    mean = variances.mean()
    shrunk = mean * variances / ((1 - SHRINKAGE) * variances + SHRINKAGE * mean)
    expected = axes @ torch.diag(shrunk) @ axes.T
    torch.testing.assert_close(torch.cov(seen.T, correction=0), expected, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(seen.mean(0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-10)
    assert shrunk.max() / shrunk.min() < 1.3 < variances.max() / variances.min()


def test_where_columns_are_copies_a_difference_between_them_is_what_the_whitened_view_enlarges():
    one = normal(200, 1)
    rows = torch.cat([one, one + 0.01 * normal(200, 1, seed=1)], 1)
    together, apart = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, -1.0]]], dtype=torch.float64)
    made = kernel(rows, "whitened")
    lengths = [float(made.rows_in_view(pair).diff(dim=0).norm()) for pair in (together, apart)]
    assert lengths[1] > 5 * lengths[0]


def test_the_plain_view_begins_its_logarithm_at_eight_deviations():
    made = kernel(two_clusters())
    z = torch.tensor([1.0, 2.0, 5.0, WIDE_KNEE, 20.0], dtype=torch.float64)
    codes = torch.where(z > 2, 2 + torch.log1p(z - 2), z)  # as the encoder writes them
    expected = torch.where(z > WIDE_KNEE, WIDE_KNEE + torch.log1p(z - WIDE_KNEE), z)
    torch.testing.assert_close(made.rows_in_view(codes[:, None].expand(-1, 3))[:, 0], expected)


@pytest.mark.parametrize("view", VIEWS)
def test_each_level_of_a_one_hot_column_has_unit_variance_and_many_levels_less(view):
    few, many = Layout((0, 0, 0), (True,), (False,)), Layout((0,) * 40, (True,), (False,))
    for layout, variance in ((few, 1.0), (many, 10 / 40)):
        levels = torch.arange(400) % layout.width
        rows = torch.nn.functional.one_hot(levels, layout.width).double()
        made = AdaptiveKernel(layout, view).double()
        points = torch.eye(layout.width, dtype=torch.float64)
        made.set_points(points, torch.arange(layout.width), torch.full((400,), -1))
        made.fit(rows, None)
        scaled = rows * made.scale
        torch.testing.assert_close(
            scaled.var(0, correction=0), torch.full((layout.width,), variance, dtype=torch.float64)
        )


@pytest.mark.parametrize("width", [2, 31, 60])
def test_energies_of_the_whitened_view_are_those_of_fresh_rows_on_average(width):
    """Out of fold, of a fit on four fifths of the rows: inside the sample they are smaller, the more the axes
    were fitted to the rows (D > n / 3).
    """
    means = []
    for seed in range(10):
        rows, new = normal(90, width, seed=seed), normal(90, width, seed=100 + seed)
        made, part = kernel(rows, "whitened"), kernel(rows[:72], "whitened")
        inside = made._energies(rows, torch.arange(90))
        means.append([float(e.mean()) for e in (made.left_out, part.values(new), inside, made.values(new))])
    out_of_fold, of_fresh, inside, fresh = torch.tensor(means, dtype=torch.float64).mean(0).tolist()
    assert out_of_fold == pytest.approx(of_fresh, rel=0.04)
    assert out_of_fold >= fresh
    if width > 30:
        assert inside < 0.95 * fresh


def test_each_row_is_measured_by_folds_without_it():
    """A change of one row changes the energies of the rows of its own fold only by the fit on all."""
    rows = normal(50, 4)
    changed = rows.clone()
    changed[7] += 3.0
    before, after = (kernel(part, "whitened").left_out for part in (rows, changed))
    same_fold = torch.arange(50) % FOLDS == 7 % FOLDS
    same_fold[7] = False
    torch.testing.assert_close(before[same_fold], after[same_fold], rtol=0, atol=0)
    assert not torch.isclose(before[~same_fold], after[~same_fold], rtol=1e-6).all()


# -- explanations, persistence -------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_shares_are_not_negative_and_sum_to_the_energy(view):
    made, x = kernel(two_clusters(), view), normal(30, 3, seed=2)
    shares = made.shares(x)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), made.values(x))


def test_the_share_of_a_column_that_is_far_is_the_largest():
    x = torch.tensor([[0.0, 9.0, 0.0]], dtype=torch.float64)
    shares = kernel(two_clusters()).shares(x)[0]
    assert shares[1] > 0.9 * shares.sum()


@pytest.mark.parametrize("view", VIEWS)
def test_what_is_expected_lies_among_the_support_points(view):
    points = two_clusters()
    found = kernel(points, view).expected(normal(30, 3, seed=2) * 3)
    assert (found >= points.amin(0) - 1e-6).all()
    assert (found <= points.amax(0) + 1e-6).all()
    near = kernel(points, view, chunk=1).expected(points)[7]
    torch.testing.assert_close(near, points[7], atol=0.5, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
@pytest.mark.parametrize("view", VIEWS)
def test_few_and_equal_points_give_finite_energies(count, view):
    for points in (normal(count, 2), torch.zeros(count, 2, dtype=torch.float64)):
        made = kernel(points, view)
        assert made.values(normal(5, 2, seed=1)).isfinite().all()
        assert made.left_out.isfinite().all() or count == 1


@pytest.mark.parametrize("name", ["bandwidths", "usual_distance", "scale"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_values_that_no_fit_gives_are_refused(name, value):
    made = kernel(two_clusters())
    check_values(made)
    getattr(made, name)[0] = value
    with pytest.raises(ValueError, match=r"must be positive|not all finite"):
        check_values(made)
