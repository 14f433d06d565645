"""Online ranks: the formula, row by row, and the gaps that are merged."""

import numpy as np
import pytest

from upland.calibration.online_ranks import GAPS, Urns


def urns_of(calibrations, seed=0):
    return Urns.begin(calibrations, np.random.default_rng(seed))


@pytest.mark.parametrize("size", [0, 1, 2, 50, GAPS - 1, GAPS, 1_100, 5_000, 10_000, 200_000])
def test_gaps_are_few_and_finest_in_both_tails(size):
    urns = urns_of([np.random.default_rng(0).normal(size=size)])
    assert urns.weights.size == (size + 1 if size < GAPS else urns.sizes[0]) <= GAPS
    assert urns.weights.sum() == size + 1
    assert (urns.weights > 0).all()
    from_end = np.minimum(np.cumsum(urns.weights), np.cumsum(urns.weights[::-1])[::-1])
    assert (urns.weights <= np.maximum(1, 0.03 * from_end + 1)).all()
    assert urns.weights[0] == urns.weights[-1] == 1


def test_gaps_lie_between_the_scores_of_their_ranks():
    scores = np.random.default_rng(1).normal(size=3_000)
    urns = urns_of([scores])
    new = np.random.default_rng(2).normal(size=(1, 500))
    gaps = urns.ranks(new, np.full(new.shape, 0.5)).gaps[0]
    ends = np.cumsum(urns.weights)
    below = (scores < new.T).sum(axis=1)
    assert ((ends - urns.weights)[gaps] <= below).all()
    assert (below < ends[gaps]).all()


def by_definition(urns, gaps, numbers, uniform):
    """One row after the other, one gap after the other."""
    ends = np.cumsum(urns.sizes)
    mass, found = urns.weights.astype(float), np.empty(gaps.shape)
    for row in range(gaps.shape[1]):
        for column in range(len(gaps)):
            gap, end = gaps[column, row], ends[numbers[column, row]]
            start = end - urns.sizes[numbers[column, row]]
            above = mass[gap + 1 : end].sum() + uniform[column, row] * mass[gap]
            found[column, row] = above / mass[start:end].sum()
        for gap in gaps[:, row]:
            mass[gap] += 1
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("sizes", [[40], [1_500], [20, 25, 30], [0, 5, 400]])
@pytest.mark.parametrize("segmented", [False, True])
def test_p_values_are_those_of_the_definition(sizes, ties, segmented):
    rng = np.random.default_rng(0)
    scale = (lambda x: np.rint(3 * x)) if ties else (lambda x: x)
    urns = urns_of([scale(rng.normal(size=size)) for size in sizes])
    rows, columns = 300, 1 if segmented else len(sizes)
    of = rng.integers(0, len(sizes), rows) if segmented else None
    numbers = of[None] if segmented else np.repeat(np.arange(columns)[:, None], rows, axis=1)
    scores = scale(rng.normal(size=(columns, rows)))
    tie, uniform = rng.random(scores.shape), rng.random(scores.shape)
    expected = by_definition(urns, urns.ranks(scores, tie, of).gaps, numbers, uniform)
    alone = by_definition(
        urns,
        urns.ranks(scores[:, 200:], tie[:, 200:], None if of is None else of[200:]).gaps,
        numbers[:, 200:],
        uniform[:, 200:],
    )
    for part in (slice(0, 200), slice(200, 300)):
        ranks = urns.ranks(scores[:, part], tie[:, part], None if of is None else of[part])
        np.testing.assert_allclose(urns.p_values(ranks, uniform[:, part]), expected[:, part], rtol=1e-12)
        if part.start:
            fresh = urns.p_values(ranks, uniform[:, part], counted=False)
            np.testing.assert_allclose(fresh, alone, rtol=1e-12)
        urns.add(ranks)
    assert urns.counts.sum() == scores.size


def test_equal_scores_are_ordered_at_random():
    """Of n + 1 equal scores each order is as likely: so are the gaps of the last."""
    gaps = [
        urns_of([np.ones(3)], seed)
        .ranks(np.ones((1, 1)), np.random.default_rng(~seed % 2**32).random((1, 1)))
        .gaps
        for seed in range(4_000)
    ]
    share = np.bincount(np.ravel(gaps), minlength=4) / len(gaps)
    assert abs(share - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / len(gaps))


@pytest.mark.parametrize("wrong", [[], [np.array([0.0, np.nan])], [np.zeros((2, 2))]])
def test_what_does_not_calibrate_is_refused(wrong):
    with pytest.raises(ValueError, match="calibration scores"):
        urns_of(wrong)


def test_more_urns_than_can_be_numbered_are_refused(monkeypatch):
    monkeypatch.setattr("upland.calibration.online_ranks.TIE_BITS", 54)
    with pytest.raises(ValueError, match="too many"):
        urns_of([np.arange(10.0)] * 20)
