"""Laws of the false discovery rate: the step-up procedure, and the same from the histogram of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upland.calibration.conformal import Calibration
from upland.calibration.false_discovery import added_counts, benjamini_hochberg, discovery_cut


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
def test_the_histogram_decides_the_same(n, draws, alpha):
    p = (1 + np.array(draws, dtype=np.int64) % (n + 1)) / (n + 1)
    cut = discovery_cut(*np.unique(p, return_counts=True), alpha)
    np.testing.assert_array_equal(p <= cut, benjamini_hochberg(p, alpha))


def test_histograms_of_batches_add_up():
    rng = np.random.default_rng(0)
    known = Calibration(rng.normal(size=500))
    scores = np.concatenate([rng.normal(size=900), rng.normal(5, 1, size=100)])
    p = known.p_values(scores[:, None])
    values, counts = np.empty(0), np.empty(0, dtype=np.int64)
    for part in np.array_split(p, 7):
        values, counts = added_counts(values, counts, part)
    assert counts.sum() == p.size
    np.testing.assert_array_equal(p <= discovery_cut(values, counts, 0.1), benjamini_hochberg(p, 0.1))
    assert benjamini_hochberg(p, 0.1).sum() > 50


@pytest.mark.parametrize(("p_values", "alpha", "words"), [([0.5], 5, "alpha"), ([0.5, np.nan], 0.1, "NaN")])
def test_benjamini_hochberg_refuses(p_values, alpha, words):
    with pytest.raises(ValueError, match=words):
        benjamini_hochberg(p_values, alpha)
