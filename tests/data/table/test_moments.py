"""Moments at any magnitude and in any split, and the sentinels that have no part in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.data.table.moments import RunningMoments


def moments(x, *cuts):
    result = RunningMoments()
    for part in np.split(np.asarray(x, dtype=np.float64), list(cuts)):
        result.update(part)
    return result


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_moments_do_not_depend_on_the_batches(x, first, second):
    cuts = sorted((min(first, len(x)), min(second, len(x))))
    whole, split = moments(x), moments(x, *cuts)
    assert split.mean == pytest.approx(np.mean(x), rel=1e-12, abs=1e-9)
    assert split.deviation == pytest.approx(whole.deviation, rel=1e-9, abs=1e-9)
    assert whole.deviation == pytest.approx(np.std(x), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1e-5, 1.0, 1e5, 1e200, 1e300])
@pytest.mark.parametrize("cuts", [(), (1,), (3, 5)])
def test_moments_neither_overflow_nor_vanish(unit, cuts):
    x = np.array([1.0, -2.0, 3.5, 0.25, 8.0, -1.0])
    result = moments(x * unit, *cuts)
    assert result.mean == pytest.approx(x.mean() * unit, rel=1e-12)
    assert result.deviation == pytest.approx(x.std() * unit, rel=1e-12)


def test_moments_across_magnitudes():
    x = np.array([5e-324, 1e-300, 1.0, 1e300, -1.7e308, 1.7e308])
    result = moments(x, 1, 2, 3, 4, 5)
    assert np.isfinite([result.mean, result.deviation]).all()
    assert result.deviation == pytest.approx(1.7e308 / np.sqrt(3), rel=1e-6)


def test_moments_keep_a_small_spread_on_a_large_offset():
    x = 1.7e9 + np.arange(1000.0) / 1000
    assert moments(x, 300).deviation == pytest.approx(np.arange(1000).std() / 1000, rel=1e-6)
