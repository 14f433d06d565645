"""Laws of the calibration: exact p-values, and rates that are kept over redraws of everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from laws import standard_error
from upland.calibration.conformal import GUARANTEES, Calibration, benjamini_hochberg, conformal_p_values
from upland.detectors.energy import EnergyDetector

REDRAWS = 200
ALPHA = 0.1


# -- the formulas --------------------------------------------------------------------------------------------


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
    assert cross.kind == "cross"


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


def test_every_kind_says_what_it_guarantees():
    assert set(GUARANTEES) == {"split", "cross"}
    assert "2 alpha" in GUARANTEES["cross"]


# -- Benjamini-Hochberg --------------------------------------------------------------------------------------


def step_up(p, alpha):
    """The definition: reject the k smallest, k the largest rank with p_(k) <= alpha k / N."""
    ranked = sorted(p)
    best = max((k for k in range(1, len(p) + 1) if ranked[k - 1] * len(p) <= alpha * k), default=0)
    return np.array([best > 0 and value <= ranked[best - 1] for value in p])


p_values = st.lists(st.floats(1e-6, 1.0), min_size=0, max_size=25)


@given(p_values, st.floats(0.001, 0.999))
def test_the_step_up_procedure(p, alpha):
    np.testing.assert_array_equal(benjamini_hochberg(p, alpha), step_up(p, alpha).astype(bool))


@given(p_values, st.floats(0.001, 0.5))
def test_a_larger_rate_never_flags_less(p, alpha):
    assert np.all(benjamini_hochberg(p, alpha) <= benjamini_hochberg(p, 2 * alpha - 0.0005))


def test_a_known_table():
    """Benjamini and Hochberg 1995, their example: 15 p-values, four rejections at 0.05."""
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    assert benjamini_hochberg(p, 0.05).tolist() == [True] * 4 + [False] * 11


@settings(max_examples=300)
@given(st.integers(1, 40), st.lists(st.integers(0, 10_000), min_size=0, max_size=40), st.floats(0.001, 0.999))
def test_the_histogram_of_ranks_decides_the_same(n, draws, alpha):
    known = Calibration(np.arange(float(n)))
    ranks = 1 + np.array(draws, dtype=np.int64) % (n + 1)
    p = ranks / (n + 1)
    cut = known.discovery_cut(np.bincount(ranks, minlength=n + 2), alpha)
    np.testing.assert_array_equal(p <= cut, benjamini_hochberg(p, alpha))


def test_histograms_of_batches_add_up():
    rng = np.random.default_rng(0)
    known = Calibration(rng.normal(size=500))
    scores = np.concatenate([rng.normal(size=900), rng.normal(5, 1, size=100)])
    p = known.p_values(scores[:, None])
    counts = sum(np.bincount(known.ranks(part[:, None]), minlength=502) for part in np.array_split(scores, 7))
    np.testing.assert_array_equal(p <= known.discovery_cut(counts, 0.1), benjamini_hochberg(p, 0.1))
    assert benjamini_hochberg(p, 0.1).sum() > 50


# -- the rates, over redraws of training, calibration and test rows ------------------------------------------


def rows(rng, count, shift=0.0):
    """Skewed, dependent columns, so that nothing holds by symmetry."""
    raw = rng.normal(size=(count, 3))
    return np.column_stack([raw[:, 0], raw[:, 0] ** 2 + raw[:, 1], np.exp(0.5 * raw[:, 2])]) + shift


@pytest.fixture(scope="module", params=["split", "cross"])
def redraws(request):
    """For each redraw: p-values of normal rows alone, and of a batch of which a fifth are anomalies."""
    normal, mixed, smallest = [], [], 0.0
    for draw in range(REDRAWS):
        rng = np.random.default_rng(draw)
        detector = EnergyDetector(
            hidden=(8,), epochs=2, noise=0.5, calibration=request.param, random_state=draw, progress=False
        ).fit(rows(rng, 100 if request.param == "split" else 60))
        normal.append(detector.p_values(rows(rng, 50)))
        mixed.append(np.concatenate([normal[-1][:40], detector.p_values(rows(rng, 10, shift=6.0))]))
        smallest = detector.calibration_.smallest_p
    return request.param, np.array(normal), np.array(mixed), smallest


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2, 0.5])
def test_false_alarms_are_as_promised(redraws, alpha):
    kind, normal, _, smallest = redraws
    share = (normal <= alpha).mean(axis=1)
    mean, error = share.mean(), standard_error(share)
    assert mean <= alpha + 3 * error
    if kind == "split":
        assert mean >= np.floor(alpha / smallest + 1e-9) * smallest - 3 * error
    else:
        assert mean <= 2 * alpha


def discovery_shares(batches, alpha, n_normal):
    """False discovery proportion of each batch whose first rows are normal."""
    flagged = np.array([benjamini_hochberg(p, alpha) for p in batches])
    return flagged[:, :n_normal].sum(axis=1) / np.maximum(flagged.sum(axis=1), 1)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4])
def test_false_discoveries_are_as_promised(redraws, alpha):
    _, normal, mixed, _ = redraws
    for batches, n_normal in ((normal, normal.shape[1]), (mixed, 40)):
        proportion = discovery_shares(batches, alpha, n_normal)
        assert proportion.mean() <= alpha + 2 * standard_error(proportion)


def test_the_anomalies_are_found(redraws):
    _, _, mixed, _ = redraws
    assert (mixed[:, 40:] <= 0.1).mean() > 0.8


@pytest.mark.parametrize(("p_values", "alpha", "words"), [([0.5], 5, "alpha"), ([0.5, np.nan], 0.1, "NaN")])
def test_benjamini_hochberg_refuses(p_values, alpha, words):
    with pytest.raises(ValueError, match=words):
        benjamini_hochberg(p_values, alpha)
