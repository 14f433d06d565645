"""p-values of segments: those of direct counts, and their rates over redraws, in each segment and pooled."""

import numpy as np
import pytest

from laws import assert_level
from upland.calibration.segments import LEVELS, SegmentCalibration

COUNTS = np.array([3, 10, 18, 19, 40, 98, 99, 150, 0, 5] + [15] * 8 + [25] * 4)


def calibration(seed=0, counts=COUNTS, scale=1.0):
    rng = np.random.default_rng(seed)
    of = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    scores = rng.normal(size=of.size) + scale * of
    return SegmentCalibration(scores, of, rng.normal(size=of.size), len(counts))


def direct(found, score, segment):
    """The p-value by the formulas of the module's page."""
    if segment == found.count:
        return (1 + np.sum(found.unsegmented >= score)) / (found.unsegmented.size + 1)
    sizes = np.bincount(found.of, minlength=found.count)
    level = max(level for level in LEVELS if level <= sizes[segment])
    above = [other for other in LEVELS if other > level]
    same = (sizes >= level) & (sizes < (above[0] if above else np.inf))
    reference = found.scores[same[found.of]]
    own = (1 + np.sum(found.scores[found.of == segment] >= score)) / (sizes[segment] + 1)
    of_class = (1 + np.sum(reference >= score)) / (reference.size + 1)
    least = 1 / (level + 1)
    return own if own > least else min(of_class, least)


def test_they_are_those_of_direct_counts():
    found = calibration(scale=0.1)
    rng = np.random.default_rng(1)
    of = rng.integers(0, found.count + 1, 600)
    scores = rng.normal(size=600) + 0.1 * of
    scores[::5] = rng.choice(found.scores, 120)  # ties
    expected = [direct(found, score, segment) for score, segment in zip(scores, of, strict=True)]
    np.testing.assert_array_equal(found.p_values(scores, of), expected)


def redrawn(counts, redraws, new):
    """p-values of new normal rows and their segments; scores of segments have other scales and places, so
    that pooled ones would not be level in each.
    """
    rng = np.random.default_rng(5)
    place, spread = rng.normal(size=len(counts)), np.exp(rng.normal(size=len(counts)))
    all_p, all_of = [], []
    for _ in range(redraws):
        of = np.repeat(np.arange(len(counts)), counts)
        scores = place[of] + spread[of] * rng.normal(size=of.size)
        found = SegmentCalibration(scores, of, scores, len(counts))
        drawn = rng.choice(len(counts), new, p=counts / counts.sum())
        all_p.append(found.p_values(place[drawn] + spread[drawn] * rng.normal(size=new), drawn))
        all_of.append(drawn)
    return np.concatenate(all_p), np.concatenate(all_of)


def at_most(p, alpha):
    """No more than alpha, by the law of independent p-values at that level."""
    assert_level(np.maximum(p, np.where(p <= alpha, alpha, p)), alpha) if np.mean(
        p <= alpha
    ) > alpha else None


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_rate_holds_in_each_segment_and_over_all(alpha):
    counts = np.array([40, 40, 120, 25, 300])
    p, of = redrawn(counts, redraws=6_000, new=6)
    for segment, count in enumerate(counts):
        least = max(level for level in LEVELS if level <= count)
        if alpha >= 1 / (least + 1):
            assert_level(p[of == segment], alpha, groups=count)
    at_most(p, alpha)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_rate_of_small_segments_holds_over_them_together(alpha):
    counts = np.array([12, 5, 18, 9, 15, 7, 2, 14, 16, 11])
    p, _ = redrawn(counts, redraws=6_000, new=6)
    assert_level(p, alpha, groups=int(counts.sum()))


@pytest.mark.parametrize("small", [[2] * 20, [1] * 8, [18, 3], [5]])
@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.01])
def test_a_few_small_segments_beside_large_ones_have_the_rate_too(small, alpha):
    """Also where those of large segments would stand for too few rows, as their scores are other ones."""
    counts = np.array([100, 400, *small])
    rng, hits, redraws = np.random.default_rng(3), [], 4_000
    spread = np.where(np.arange(len(counts)) < 2, 1.0, 2.0)
    of = np.repeat(np.arange(len(counts)), counts)
    for _ in range(redraws):
        scores = spread[of] * rng.normal(size=of.size)
        one = rng.choice(np.arange(2, len(counts)), 1, p=np.array(small) / sum(small))
        hits.append(SegmentCalibration(scores, of, scores, len(counts)).p_values(2 * rng.normal(size=1), one))
    assert_level(np.concatenate(hits), alpha, groups=sum(small))


def test_segments_that_can_be_flagged_are_counted():
    found = calibration(counts=np.array([3, 4, 30, 0]))
    assert [found.n_below(alpha) for alpha in (0.5, 0.125, 0.05, 0.01)] == [4, 4, 1, 0]
    p = [found.p_values(np.array([np.inf]), np.array([segment]))[0] for segment in range(4)]
    np.testing.assert_array_equal(p, [1 / 8, 1 / 8, 1 / 31, 1 / 8])


def test_a_segment_of_its_own_scale_has_no_more_alarms_than_others():
    """Where the pooled p-values would alarm in nearly every row of it."""
    counts = np.array([1_000, 40])
    rng = np.random.default_rng(0)
    of = np.repeat([0, 1], counts)
    found = SegmentCalibration(rng.normal(size=of.size) + 50 * of, of, rng.normal(size=of.size), 2)
    p = found.p_values(rng.normal(size=500) + 50, np.ones(500, dtype=np.int64))
    assert np.mean(p <= 0.05) < 0.2


def test_nan_is_refused():
    zeros = np.zeros(2)
    for scores, others in [(np.array([0.0, np.nan]), zeros), (zeros, np.array([0.0, np.nan]))]:
        with pytest.raises(ValueError, match="NaN"):
            SegmentCalibration(scores, np.zeros(2, dtype=np.int64), others, 1)


def test_no_rows_have_no_p_values():
    assert calibration().p_values(np.empty(0), np.empty(0, dtype=np.int64)).shape == (0,)
