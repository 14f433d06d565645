"""Laws of conformal p-values: the formulas, the threshold, what is refused and warned of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from upland.calibration.conformal import (
    GUARANTEES,
    Calibration,
    calibration_of_folds,
    conformal_p_values,
    thinned,
    warn_of_weak,
)


def p_by_counting(reference, scores):
    return np.array([(1 + sum(r >= s for r in reference)) / (len(reference) + 1) for s in scores])


tied = st.integers(-3, 3).map(float)
many = st.lists(tied, min_size=1, max_size=30)


@given(many, many)
def test_p_values_count_ties_against_the_row(reference, scores):
    np.testing.assert_array_equal(conformal_p_values(reference, scores), p_by_counting(reference, scores))
    split = Calibration(np.array(reference))
    np.testing.assert_array_equal(split.p_values(np.array(scores)[:, None]), p_by_counting(reference, scores))


@given(many, st.integers(1, 4), st.data())
def test_cross_p_values_compare_within_the_fold(reference, folds, data):
    fold = np.array(
        data.draw(st.lists(st.integers(0, folds - 1), min_size=len(reference), max_size=len(reference)))
    )
    scores = data.draw(hnp.arrays(np.float64, (5, folds), elements=tied))
    expected = [
        (1 + sum(s >= row[k] for s, k in zip(reference, fold, strict=True))) / (len(reference) + 1)
        for row in scores
    ]
    cross = Calibration(np.array(reference), fold)
    np.testing.assert_array_equal(cross.p_values(scores), expected)
    assert cross.method == "cross"


def test_cross_of_one_fold_is_split():
    known, new = np.arange(9.0), np.array([[3.5], [20.0], [-1.0]])
    cross = Calibration(known, np.zeros(9, dtype=np.int64))
    np.testing.assert_array_equal(cross.p_values(new), Calibration(known).p_values(new))


def test_infinite_scores_have_the_smallest_p_value():
    assert conformal_p_values([1.0, 2.0, 3.0], [np.inf])[0] == 0.25
    assert Calibration(np.array([1.0, 2.0, 3.0])).smallest_p == 0.25


@pytest.mark.parametrize(
    ("reference", "scores", "words"),
    [
        ([], [1.0], r"shape \(n,\)"),
        ([[1.0, 2.0]], [1.0], r"not \(1, 2\)"),
        ([1.0, np.nan], [1.0], "NaN"),
        ([1.0], [np.nan], "NaN"),
    ],
)
def test_no_p_value_out_of_garbage(reference, scores, words):
    with pytest.raises(ValueError, match=words):
        conformal_p_values(reference, scores)


@given(many, many, st.floats(0.001, 0.999))
def test_the_threshold_is_p_at_most_alpha(reference, scores, alpha):
    known = Calibration(np.array(reference))
    flagged = known.p_values(np.array(scores)[:, None]) <= alpha
    above = np.array(scores) > known.threshold(alpha)
    if known.smallest_p <= alpha:
        np.testing.assert_array_equal(above, flagged)
    else:
        assert not flagged.any()
        assert known.threshold(alpha) == max(reference)


@pytest.mark.parametrize("n", [19, 39, 99, 999, 9999])
@pytest.mark.parametrize("alpha", [0.1, 0.05, 0.3, 0.1 + 0.2, 0.7])
def test_the_threshold_at_alphas_that_are_p_values(n, alpha):
    known = Calibration(np.arange(float(n)))
    scores = np.arange(n + 1) - 0.5
    np.testing.assert_array_equal(scores > known.threshold(alpha), known.p_values(scores[:, None]) <= alpha)


def test_constant_scores_are_noticed():
    assert Calibration(np.ones(9)).constant
    assert Calibration(np.repeat([1.0, 2.0], 5), np.repeat([0, 1], 5)).constant
    assert not Calibration(np.array([1.0, 1.0, 2.0])).constant
    assert not Calibration(np.array([1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1])).constant
    assert not Calibration(np.array([1.0])).constant
    assert not Calibration(np.array([1.0, 1.0]), np.array([0, 1])).constant


def test_every_method_says_what_it_guarantees():
    methods = {Calibration(np.ones(3), folds).method for folds in (None, np.zeros(3, dtype=np.int64))}
    assert set(GUARANTEES) == methods
    assert "2 alpha" in GUARANTEES["cross"]


def test_the_calibration_of_folds():
    parts = [np.arange(3.0), np.arange(10.0, 14.0)]
    cross = calibration_of_folds(parts, cross=True)
    assert cross.scores.tolist() == [0, 1, 2, 10, 11, 12, 13]
    assert cross.folds.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert calibration_of_folds(parts[:1], cross=False).folds is None
    assert calibration_of_folds(parts[:1], cross=True).folds.tolist() == [0, 0, 0]
    assert calibration_of_folds(parts, cross=True, most=4).scores.tolist() == [0, 2, 10, 13]


@given(st.integers(1, 200), st.integers(0, 250))
def test_thinned_values_are_evenly_spread(count, most):
    kept = thinned(np.arange(float(count)), most)
    assert len(kept) == min(count, max(most, 1))
    if len(kept) > 1:
        gaps = np.diff(kept)
        assert (kept[0], kept[-1]) == (0, count - 1)
        assert gaps.max() - gaps.min() <= 1


def test_weak_calibrations_are_warned_of():
    calibrations = {"row": Calibration(np.ones(30)), "step": Calibration(np.arange(9.0))}
    with pytest.warns(UserWarning, match="all 30 calibration rows have the same anomaly score"):
        warn_of_weak(calibrations, ["row"], 0.05)
    with pytest.warns(UserWarning, match="with 9 calibration steps there is none below 0.1, .* at least 19"):
        warn_of_weak(calibrations, ["step"], 0.05)
    warn_of_weak(calibrations, ["step"], 0.1)
    with pytest.warns(UserWarning) as caught:
        warn_of_weak({"step": Calibration(np.ones(1))}, ["step"], 0.05)
    assert [str(one.message)[:46] for one in caught] == ["p-values are coarse: with 1 calibration step t"]
