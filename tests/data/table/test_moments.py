"""Moments at any magnitude and in any split, and the sentinels that have no part in them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.data.table.moments import RobustMoments, RunningMoments


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


# -- sentinels ---------------------------------------------------------------------------------------------


def robust(x, *cuts):
    result = RobustMoments()
    for part in np.split(np.asarray(x, dtype=np.float64), list(cuts)):
        result.update(part)
    return result.robust()


ORDINARY = {
    "normal": lambda g, n: g.normal(5, 2, n),
    "uniform": lambda g, n: g.uniform(-1, 1, n),
    "exponential": lambda g, n: g.exponential(size=n),
    "lognormal": lambda g, n: g.lognormal(0, 1, n),
    "wide lognormal": lambda g, n: g.lognormal(0, 2, n),
    "Pareto": lambda g, n: g.pareto(3, n),
    "Student": lambda g, n: g.standard_t(3, n),
    "counts": lambda g, n: g.poisson(3, n),
    "overdispersed counts": lambda g, n: g.negative_binomial(0.3, 0.02, n),
    "mostly zero": lambda g, n: (g.random(n) < 0.1) * g.exponential(size=n),
    "rare flag": lambda g, n: g.random(n) < 0.01,
    "never flag": lambda g, n: np.arange(n) == 3,
    "whole": lambda g, n: g.integers(0, 1000, n),
    "few levels": lambda g, n: g.choice([1.0, 2.0, 5000.0], n, p=[0.6, 0.39, 0.01]),
    "constant": lambda g, n: np.full(n, 0.1),
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("n", [2, 30, 300, 9_000])
def test_ordinary_values_have_the_moments_of_all(name, n):
    for seed in range(5):
        x = np.asarray(ORDINARY[name](np.random.default_rng(seed), n), dtype=np.float64)
        found, sentinels = robust(x, n // 3, n // 2)
        assert sentinels is None
        scale = max(x.std(), abs(x.mean()), 1e-300)
        assert found.mean == pytest.approx(x.mean(), rel=1e-12, abs=1e-12 * scale)
        assert found.deviation == pytest.approx(x.std(), rel=1e-12, abs=1e-15 * scale)
        assert (found.low, found.high) == (x.min(), x.max())


@pytest.mark.parametrize("name", ["Pareto", "Cauchy", "very wide lognormal"])
def test_heavy_tails_are_seldom_taken_for_sentinels(name):
    draws = {
        "Pareto": lambda g: g.pareto(1.0, 1_000),
        "Cauchy": lambda g: g.standard_cauchy(1_000),
        "very wide lognormal": lambda g: g.lognormal(0, 3, 1_000),
    }
    found = [robust(draws[name](np.random.default_rng(seed)))[1] is not None for seed in range(300)]
    assert np.mean(found) <= 0.02


SENTINELS = {
    "one 1e9": [1e9],
    "five -9999": [-9999.0] * 5,
    "both ends": [-9999.0, -9999.0, 1e9],
    "fifty": [-99999.0] * 50,
    "several values": [1e6, 1.1e6, 1.3e6, 2e6],
    "the largest double": [1.7e308],
}


@pytest.mark.parametrize("what", SENTINELS)
@pytest.mark.parametrize(
    "name", ["normal", "uniform", "exponential", "lognormal", "counts", "whole", "Student"]
)
@pytest.mark.parametrize("cuts", [(), (1,), (100, 101, 700)])
def test_sentinels_have_no_part_in_the_moments(what, name, cuts):
    g = np.random.default_rng(0)
    x = np.asarray(ORDINARY[name](g, 1_000), dtype=np.float64)
    values = SENTINELS[what]
    mixed = g.permutation(np.concatenate([x, values]))
    found, sentinels = robust(mixed, *cuts)
    assert sentinels is not None
    distinct, counts = np.unique(values, return_counts=True)
    assert (sentinels.values, sentinels.counts) == (tuple(distinct), tuple(counts))
    assert (sentinels.low, sentinels.high) == (x.min(), x.max())
    assert found.mean == pytest.approx(x.mean(), rel=1e-12, abs=1e-12)
    assert found.deviation == pytest.approx(x.std(), rel=1e-12)


@pytest.mark.parametrize("count", [51, 200])
def test_what_many_rows_hold_is_no_sentinel(count):
    x = np.random.default_rng(0).normal(size=1_000 - count)
    assert robust(np.concatenate([x, np.full(count, -9999.0)]))[1] is None


def test_the_state_does_not_grow_with_the_rows():
    moments, g = RobustMoments(), np.random.default_rng(0)
    for _ in range(50):
        moments.update(g.standard_cauchy(5_000))
    held = sum(len(part) for part in (moments._values, moments._counts, *moments._waiting))
    assert held < 3_000
