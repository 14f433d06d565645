"""Energies of segments in closed form: left out equals refitted, residuals equal regressions, credibility."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import upland.models.segment_fitting as module
import upland.models.segments as segments
from upland.models.credibility import MOST, Segments
from upland.models.segment_fitting import fitted_segments
from upland.models.segments import SegmentEnergies, bent, energies, unbent

WIDTH = 3


def draws(counts, seed=0, shift=0.0, spread=0.0):
    """Rows of segments whose means and scales differ, the segment of each, and an energy of each."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(len(counts)), counts)
    root = np.random.default_rng(99).normal(size=(WIDTH, WIDTH)) / 2
    means, scales = (
        shift * rng.normal(size=(len(counts), WIDTH)),
        np.exp(spread * rng.normal(size=(len(counts), 1))),
    )
    x = (rng.normal(size=(of.size, WIDTH)) @ root.T) * scales[of] + means[of]
    order = rng.permutation(of.size)
    pooled = np.square(x).sum(1)
    return torch.from_numpy(x[order]), torch.from_numpy(of[order]), torch.from_numpy(pooled[order])


def fit(counts, **options):
    x, of, pooled = draws(counts, **options)
    found, weights = fitted_segments(x, of, len(counts), pooled, pooled)
    return x, of, pooled, found, weights


def test_energies_of_a_row_are_those_of_a_fit_without_it():
    """With k and v held, by the sums of the formulas on the module's page."""
    counts = [6, 1, 2, 30]
    x, of, pooled = draws(counts, shift=1.0, spread=0.5)
    there = Segments(of, torch.bincount(of).double())
    moments = module._Moments.of(x, there)
    k, v = torch.tensor(2.5, dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64)
    values = pooled[:, None].repeat(1, module.PARTS)
    module._fit_gaussians(SegmentEnergies(4, WIDTH), values, x, there, moments, torch.stack([k, k, v]))
    z = bent(x)
    for row in range(len(x)):
        others = z[(of == of[row]) & (torch.arange(len(x)) != row)]
        n = len(others)
        mean = others.mean(0) if n else torch.zeros(WIDTH, dtype=torch.float64)
        centre = (k * moments.mean + n * mean) / (k + n)
        scale = moments.scales[of[row]]
        left = (others - mean) / scale
        precision = torch.linalg.inv((v * moments.covariance + left.T @ left) / (v + n))
        d = (z[row] - centre) / scale
        product = precision @ d
        expected = energies(
            (product.square() / precision.diagonal())[None], (product @ d)[None], pooled[row : row + 1]
        )
        torch.testing.assert_close(values[row], expected[0])


def test_residuals_are_those_of_a_regression_on_the_other_columns():
    x, of, _, found, _ = fit([50, 60], shift=1.0)
    residuals, squares, distance = found._residuals(x, of)
    covariance = torch.linalg.inv(found.precision.double())
    for column in range(WIDTH):
        rest = [other for other in range(WIDTH) if other != column]
        for row in range(0, len(x), 17):
            c, d = covariance[of[row]], bent(x[row]) - found.centre[of[row]]
            slope = torch.linalg.solve(c[rest][:, rest], c[rest, column])
            left = d[column] - slope @ d[rest]
            variance = c[column, column] - slope @ c[rest, column]
            torch.testing.assert_close(residuals[row, column], left, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(squares[row, column], left**2 / variance, rtol=1e-5, atol=1e-6)
    d = bent(x) - found.centre[of]
    torch.testing.assert_close(distance, torch.einsum("ni,nij,nj->n", d, found.precision[of].double(), d))


def credibilities(x, of):
    pooled = torch.from_numpy(np.square(x).sum(1))
    return fitted_segments(torch.from_numpy(x), torch.from_numpy(of), of.max() + 1, pooled, pooled)


def test_credibility_of_means_is_the_ratio_of_the_variances():
    """Of rows of variance 1 about means of variance .25."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(2_000), 20)
    x = rng.normal(size=(of.size, WIDTH)) + 0.5 * rng.normal(size=(2_000, WIDTH))[of]
    _, (k, u, v) = credibilities(x / 3, of)  # within what is not bent
    assert k == pytest.approx(4, rel=0.1)
    assert min(u, v) > 400


def test_credibility_of_scales_is_the_ratio_of_the_variances():
    """Of squares of normal rows of the variances 1 and 3: E var / var E = (2 (1 + 9) / 2) / 1."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(2_000), 40)
    x = rng.normal(size=(of.size, WIDTH)) * np.sqrt(rng.choice([1.0, 3.0], (2_000, WIDTH)))[of]
    found, (k, u, v) = credibilities(x / 6, of)
    assert u == pytest.approx(10, rel=0.1)
    assert min(k, v) > 200
    own = np.sqrt(np.diagonal(found.precision[:-1], axis1=1, axis2=2))
    assert (
        np.corrcoef(own.ravel(), 1 / np.stack([x[of == s].std(0) for s in range(2_000)]).ravel())[0, 1] > 0.95
    )


def test_credibility_of_covariances_goes_by_correlations():
    """Two columns that go with each other in half of the segments, and against each other in the others."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(1_000), 30)
    x = rng.normal(size=(of.size, 2))
    x[:, 1] = 0.6 * x[:, 0] * np.where(of % 2, 1, -1) + 0.8 * x[:, 1]
    _, (k, u, v) = credibilities(x / 3, of)
    # the product has the variance .36 between segments and within them E x^2 y^2 - .36 = 1 + .36; squares
    # have none between; the ridge, 2 % of the variance, is in both units: v^-1 = (.36 / 1.36) / 2
    assert v == pytest.approx(2 * 1.36 / 0.36, rel=0.1)
    assert min(k, u) > 200


def test_segments_that_do_not_differ_rank_as_the_pooled_energy():
    counts = [40] * 12
    x, _, pooled = draws(counts)
    of = torch.arange(len(x)) % len(counts)
    each = (
        x[:40].repeat(12, 1),
        torch.arange(12, dtype=torch.int64).repeat_interleave(40),
        pooled[:40].repeat(12),
    )
    found, weights = fitted_segments(each[0], each[1], 12, each[2], each[2])
    assert weights.tolist() == [MOST] * 3
    assert not found.weight.any()
    order = found.score(x, pooled, of).argsort()
    assert torch.equal(order, pooled.argsort())


def test_a_column_that_is_constant_in_each_segment_does_not_decide_alone():
    """Of nine others that do not differ: a tenth of the weight is its."""
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(500), 10)
    x = rng.normal(size=(of.size, 10)) / 3
    x[:, 4] = rng.normal(size=500)[of]
    found, (k, *_) = credibilities(x, of)
    assert k == pytest.approx(10, rel=0.05)
    assert all(values.isfinite().all() for values in found.state_dict().values())


def test_a_small_segment_is_nearer_to_the_pooled_mean_than_a_large_one():
    counts = [400] * 30 + [4]
    x, of, _, found, (k, *_) = fit(counts, shift=0.05, seed=1)
    means = torch.stack([bent(x[of == segment]).mean(0) for segment in range(len(counts))])
    moved = (found.centre[:-1] - found.centre[-1]) / (means - found.centre[-1])
    torch.testing.assert_close(
        moved, (torch.tensor(counts) / (torch.tensor(counts) + k))[:, None].expand_as(moved)
    )
    assert moved[-1].max() < 0.5 < moved[0].min()
    assert found.weight[-2] < found.weight[:-2].min()
    assert found.weight[-1] == 0  # rows of no segment


@pytest.mark.parametrize("chunk", [1, 40, 10_000])
def test_chunks_change_nothing(chunk, monkeypatch):
    counts = [30, 1, 7, 2, 30, 0, 12]
    whole = fit(counts, shift=1.0, spread=0.3)[3].state_dict()
    monkeypatch.setattr(module, "CHUNK", chunk)
    parts = fit(counts, shift=1.0, spread=0.3)[3].state_dict()
    for name, values in whole.items():
        torch.testing.assert_close(parts[name], values)


def test_a_score_does_not_depend_on_the_rows_beside_it():
    x, of, pooled, found, _ = fit([40] * 50, shift=1.0)
    whole = found.score(x, pooled, of)
    alone = torch.cat(
        [found.score(x[i : i + 1], pooled[i : i + 1], of[i : i + 1]) for i in range(0, 900, 90)]
    )
    torch.testing.assert_close(alone, whole[:900:90], rtol=1e-12, atol=0)
    turned = torch.arange(len(x) - 1, -1, -1)
    torch.testing.assert_close(
        found.score(x[turned], pooled[turned], of[turned])[turned], whole, rtol=1e-12, atol=0
    )


class Largest(TorchDispatchMode):
    """The most numbers of what any operation gives."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        parts = found if isinstance(found, tuple | list) else [found]
        self.numbers = max([self.numbers, *(p.numel() for p in parts if isinstance(p, torch.Tensor))])
        return found


@pytest.mark.parametrize("width", [4, 60])
def test_memory_of_a_score_does_not_grow_with_the_segments(width):
    largest = []
    for count in (1, 3_000):
        found = SegmentEnergies(count, width)
        found.scale.fill_(1.0)
        found.precision.copy_(torch.eye(width))
        x, of = torch.ones(5_000, width), torch.arange(5_000) % count
        with Largest() as watched:
            found.score(x, torch.ones(5_000, dtype=torch.float64), of)
        largest.append(watched.numbers)
    assert max(largest) <= max(segments.NUMBERS, 5_000 * width)


def test_rows_of_one_segment_have_the_products_of_single_rows():
    x, of, _, found, _ = fit([200, 40, 15, 3], shift=1.0)
    whole = found._products(x, of)
    expected = torch.einsum("nij,nj->ni", found.precision[of].double(), x)
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
    alone = torch.cat([found._products(x[n : n + 1], of[n : n + 1]) for n in range(len(x))])
    torch.testing.assert_close(whole, alone, rtol=1e-12, atol=1e-12)


def test_segments_without_rows_and_rows_without_segment_have_the_pooled_model():
    x, of, pooled, found, _ = fit([30, 0, 30], shift=1.0)
    assert found.weight[[1, 3]].tolist() == [0, 0]
    torch.testing.assert_close(found.precision[1], found.precision[3])
    torch.testing.assert_close(found.centre[1], bent(x).mean(0))
    order = found.score(x, pooled, torch.full_like(of, 3)).argsort()
    assert torch.equal(order, pooled.argsort())


@pytest.mark.parametrize("counts", [[2], [1, 1], [1, 1, 1, 1, 1], [5], [1, 9], [0, 2, 0]])
def test_few_rows_have_finite_numbers(counts):
    x, of, pooled, found, _ = fit(counts)
    for values in found.state_dict().values():
        assert values.isfinite().all()
    far = torch.cat([x, torch.full_like(x[:1], 1e30)])
    scores = found.score(far, torch.cat([pooled, pooled[:1] + 1e30]), torch.cat([of, of[:1]]))
    assert scores.isfinite().all()


def test_constant_columns_have_finite_numbers():
    x, of, pooled = draws([20, 30])
    x[:, 1] = 0.0
    found, _ = fitted_segments(x, of, 2, pooled, pooled)
    assert found.score(x, pooled, of).isfinite().all()


def test_shares_sum_to_the_score_and_expected_values_are_conditional_means():
    x, of, pooled, found, _ = fit([40, 60, 3], shift=1.0)
    by_pooled = bent(x).square()
    added, expected = found.shares(x, pooled, of, by_pooled)
    torch.testing.assert_close(added.sum(1), found.score(x, pooled, of))
    assert (added >= 0).all()
    residuals, _, _ = found._residuals(x, of)
    torch.testing.assert_close(bent(expected), bent(x) - residuals)


def test_bent_and_unbent_are_inverse():
    x = torch.linspace(-60, 60, 1001, dtype=torch.float64)
    torch.testing.assert_close(unbent(bent(x)), x)
    assert bent(x).diff().gt(0).all()
