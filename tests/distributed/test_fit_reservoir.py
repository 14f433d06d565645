"""A sample by keys is uniform, merges in any order, and its bound costs no row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from upland.distributed.reservoir import Reservoir, bound_of


def drawn(size, seed, counts, bound=np.inf):
    return Reservoir.merged([Reservoir.of(size, seed, part, n, bound) for part, n in enumerate(counts)])


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("partitions", "rows"))


def test_every_row_is_drawn_equally_often():
    counts, size, seeds = [30, 1, 12, 57], 20, range(2_000)
    hits = np.zeros(sum(counts))
    firsts = np.cumsum([0, *counts[:-1]])
    for seed in seeds:
        sample = drawn(size, seed, counts)
        hits[firsts[sample.partitions] + sample.rows] += 1
    expected = len(seeds) * size / sum(counts)
    # counts of a sample without replacement vary less by the factor of a finite population, (N - n) / (N - 1)
    statistic = ((hits - expected) ** 2 / expected).sum() * (len(hits) - 1) / (len(hits) - size)
    assert chi2.ppf(0.0005, len(hits) - 1) < statistic < chi2.ppf(0.9995, len(hits) - 1)


def test_pairs_of_rows_are_drawn_as_often_as_independent_keys_say():
    counts, size, seeds = [4, 2, 3], 3, range(6_000)
    together = np.zeros((9, 9))
    firsts = np.cumsum([0, *counts[:-1]])
    for seed in seeds:
        sample = drawn(size, seed, counts)
        numbers = firsts[sample.partitions] + sample.rows
        together[np.ix_(numbers, numbers)] += 1
    pairs = together[np.triu_indices(9, 1)]
    expected = len(seeds) * (3 * 2) / (9 * 8)
    statistic = ((pairs - expected) ** 2 / expected).sum()
    assert statistic < chi2.ppf(0.9995, len(pairs) - 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(1, 60), st.randoms())
def test_samples_merge_in_any_order_and_grouping(counts, size, random):
    whole = drawn(size, 7, counts)
    assert len(whole.rows) == min(size, sum(counts))
    parts = [Reservoir.of(size, 7, part, n) for part, n in enumerate(counts)]
    while len(parts) > 1:
        random.shuffle(parts)
        parts = [Reservoir.merged(parts[:2]), *parts[2:]]
    assert same(parts[0], whole)
    assert sorted(zip(whole.partitions, whole.rows, strict=True)) == list(
        zip(whole.partitions, whole.rows, strict=True)
    )
    for part, n in enumerate(counts):
        assert np.all(whole.rows_in(part) < n)
    assert sum(len(whole.rows_in(part)) for part in range(len(counts))) == len(whole.rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_leaves_out_no_row_of_the_sample_and_most_others(seed):
    counts, size = [40_000, 3, 60_000], 500
    bound = bound_of(size, sum(counts))
    offered = [Reservoir.of(size, seed, part, n, bound) for part, n in enumerate(counts)]
    assert same(Reservoir.merged(offered), drawn(size, seed, counts))
    assert sum(len(part.rows) for part in offered) < 2 * size


def test_no_bound_where_all_rows_are_wanted():
    assert bound_of(500, 500) == bound_of(500, 100) == np.inf


def test_another_seed_draws_other_rows():
    assert not same(drawn(50, 0, [500, 500]), drawn(50, 1, [500, 500]))
