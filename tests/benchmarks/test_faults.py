"""Planted faults: they are where they are said to be, to be seen, and counted as they should."""

import numpy as np
import pytest
from benchmarks.report_faults import faults as section

from benchmarks import faults, normal_series, planted


@pytest.fixture(scope="module")
def normal():
    """Two channels that go together and a third that does not, with a period of 20 steps."""
    rng = np.random.default_rng(0)
    turns = 2 * np.pi * np.arange(4_000) / 20
    first = np.sin(turns) + 0.3 * rng.normal(size=turns.size)
    steps = np.stack([first, first + 0.3 * rng.normal(size=turns.size), rng.normal(size=turns.size)], axis=1)
    return normal_series.Normal("many", "made up", ("a", "b", "c"), [steps[:2_000]], [steps[2_000:]])


def test_what_channels_can_have_a_fault_is_known(normal):
    assert normal.moving == [0, 1, 2]
    assert normal.periods == {0: 20, 1: 20}
    assert normal.related == {0: 1, 1: 0}


@pytest.mark.parametrize("kind", planted.KINDS)
def test_a_fault_changes_its_channels_from_its_first_step_and_nothing_else(normal, kind):
    ones = planted.planted(normal, kind, 10)
    assert len(ones) == 10
    for one in ones:
        changed = one.values != one.normal
        assert not changed[: one.begin].any()
        assert changed[one.begin :].any()
        assert set(np.flatnonzero(changed.any(axis=0))) <= set(one.channels)
        assert len(one.values) - one.begin == (planted.KINDS[kind].delay or 64)


def test_plantings_are_the_same_ones_each_time(normal):
    first, second = (planted.planted(normal, "phase", 3) for _ in range(2))
    assert all((one.values == other.values).all() for one, other in zip(first, second, strict=True))


def test_a_channel_that_stands_still_takes_no_fault():
    steps = np.repeat(np.random.default_rng(0).normal(size=(100, 1)), 20, axis=0)
    normal = normal_series.Normal("one", "steps", ("a",), [steps], [steps])
    assert planted.planted(normal, "stuck", 5) == []


def test_outcomes_are_counted_within_the_window():
    values = np.zeros((10, 2))
    one = planted.Planting(values, values, 5, (1,))
    p_values, shares = np.ones(10), np.tile([1.0, 0.0], (10, 1))
    p_values[[2, 7, 8]], shares[8] = 0.001, [0.0, 1.0]
    scores = np.arange(10.0)

    def assess(pieces, begins):
        return faults.Assessed([p_values, np.ones(10)], [scores, scores], [shares, shares])

    counts = faults.counted(assess, {"stuck": [one, one]})["stuck"]
    assert (counts["n"], counts["found"], counts["named"], counts["false"]) == (2, 1, 1, 1)
    assert (counts["delay"], counts["plantings"]) == (2.0, "+-")


@pytest.mark.parametrize("method", ["PCA", "kNN"])
def test_peers_find_a_spike_and_its_channel(method):
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(1_500)[:, None] / np.array([3.0, 5.0, 8.0])) + 0.1 * rng.normal(size=(1_500, 3))
    normal = normal_series.Normal("many", "waves", ("a", "b", "c"), [waves[:1_000]], [waves[1_000:]])
    assess = faults.METHODS[method](normal, 0)
    stretch = normal.held[0][:364]
    values = stretch.copy()
    values[300, 2] += 8.0
    counts = faults.counted(assess, {"spike": [planted.Planting(values, stretch, 300, (2,))]})
    assert counts["spike"]["plantings"] == "+"


def test_the_section_has_a_line_for_each_kind_and_method():
    row = {"benchmark": "faults", "group": "pumps", "series": "pumps", "kind": "stuck"}
    counts = {"n": 20, "found": 18, "named": 9, "false": 1, "delay": 3.0, "called": {"stuck": 15, "None": 5}}
    rows = [{**row, **counts, "method": "upland", "seed": seed} for seed in (0, 1)]
    text = section(rows)
    assert "| stuck | upland | 20 x 2 | 90.0 ± 0.0 | 50.0 ± 0.0 | 5.0 ± 0.0 | 3 |" in text
    assert "| stuck | 75 | 25 |" in text
