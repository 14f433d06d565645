"""Lines of long series: few points, no excursion lost, every flagged step marked."""

import json
from itertools import pairwise

import numpy as np
import pytest

from upland.reporting.traces import BINS, Line, Positions, line_chart, numeric, stretches, thinned

RNG = np.random.default_rng(0)
NONE = (np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def steps(count):
    return Positions("step", np.arange(count, dtype=np.float64), "step")


def drawn(*arguments, **more):
    """The data sets of a chart, as a page has them: JSON without NaN."""
    chart = line_chart("title", "words", *arguments, **more)
    json.dumps(chart.spec, allow_nan=False)
    return chart.spec["datasets"]


@pytest.mark.parametrize("count", [1, 2, 499, 500, 501, 999, 12_345, 200_000])
@pytest.mark.parametrize("missing", [0.0, 0.3, 0.999])
def test_few_points_stay_and_among_them_the_extremes_of_every_bin(count, missing):
    values = RNG.normal(size=count)
    values[RNG.random(count) < missing] = np.nan
    kept = thinned(values)
    assert (np.diff(kept) > 0).all()
    assert kept.size <= max(2 * BINS, 1)
    if np.isfinite(values).any():
        assert np.nanmax(values[kept]) == np.nanmax(values)
        assert np.nanmin(values[kept]) == np.nanmin(values)
    edges = np.linspace(0, count, BINS + 1).astype(int) if count > 2 * BINS else np.arange(count + 1)
    for low, high in pairwise(edges):
        inside, here = values[low:high], values[kept[(kept >= low) & (kept < high)]]
        if np.isfinite(inside).any():
            assert (np.nanmin(here), np.nanmax(here)) == (np.nanmin(inside), np.nanmax(inside))
        else:
            assert np.isnan(here).any()  # a gap stays a gap


@pytest.mark.parametrize("count", [1, 3, 249, 250, 251, 5_000])
def test_every_flagged_step_is_in_a_stretch_however_many_there_are(count):
    length = 10 * count + 7
    firsts = np.sort(RNG.choice(length - 3, size=count, replace=False))
    lasts = np.minimum(firsts + RNG.integers(0, 3, count), np.r_[firsts[1:] - 1, length - 1])
    begin, end = stretches(firsts, lasts, length)
    assert begin.size == end.size <= BINS
    covered = np.zeros(length, dtype=bool)
    for first, last in zip(begin, end, strict=True):
        covered[first : last + 1] = True
    for first, last in zip(firsts, lasts, strict=True):
        assert covered[first : last + 1].all()


def test_a_flagged_step_of_a_million_is_seen():
    values, length = np.zeros(1_000_000), 1_000_000
    values[700_000] = 9.0
    sets = drawn(steps(length), [Line(values)], (np.array([700_000]), np.array([700_000])), limit=1.0)
    assert {"x": 700_000.0, "v": 9.0} in sets["line0"]
    (stretch,) = sets["flagged"]
    assert stretch["x"] <= 700_000 <= stretch["x2"]
    assert sets["limit"] == [{"v": 1.0}]
    assert len(sets["line0"]) <= 2 * BINS


def test_values_of_a_chart_are_those_of_the_steps_at_their_own_positions():
    stamps = np.cumsum(RNG.integers(1, 9, 300)).astype(np.float64)
    values = RNG.normal(size=300)
    points = drawn(Positions("number", stamps, "hours"), [Line(values)], NONE)["line0"]
    np.testing.assert_array_equal([point["x"] for point in points], stamps)
    np.testing.assert_allclose([point["v"] for point in points], values, rtol=1e-5)


@pytest.mark.parametrize(
    "values",
    [
        np.array([1.0, np.nan, 3.0]),
        np.full(3, np.nan),
        np.array([np.inf, -np.inf, 0.0]),
        np.array([True, False, True]),
        np.array([1, None, 2.5], dtype=object),
        np.array([None, None, None], dtype=object),
        np.array(["a", None, "</script>"], dtype=object),
        np.array(["2026-01-01", "NaT", "2026-01-03"], dtype="M8[us]"),
        np.array([5, 7, 9], dtype="m8[s]"),
    ],
    ids=["gap", "missing", "infinite", "bool", "numbers", "nothing", "levels", "dates", "durations"],
)
def test_any_channel_is_drawn(values):
    sets = drawn(steps(3), [Line(values), Line(values, dashed=True)], (np.array([1]), np.array([1])))
    assert sets["flagged"] == [{"x": 0.5, "x2": 1.5}]
    if numeric(values) is None:
        assert [row["v"] for row in sets["levels"]] == ["a", "missing", "</script>"]
    else:
        assert len(sets["line0"]) == 3


def test_many_levels_are_few_lanes_and_none_is_lost():
    levels = np.array([f"level {number % 40}" for number in range(100_000)], dtype=object)
    rows = drawn(steps(100_000), [Line(levels)], NONE)["levels"]
    assert len({row["v"] for row in rows}) == 13
    assert "other levels" in {row["v"] for row in rows}
    assert len(rows) <= 13 * BINS


@pytest.mark.parametrize(("highest", "scale"), [(5.0, None), (500.0, "log")])
def test_scores_of_many_magnitudes_are_drawn_on_a_logarithmic_scale(highest, scale):
    scores = np.r_[np.linspace(0.5, 1.0, 50), highest]
    chart = line_chart("title", "words", steps(51), [Line(scores)], NONE, limit=1.0)
    assert chart.spec["layer"][0]["encoding"]["y"]["scale"].get("type") == scale


@pytest.mark.parametrize("scale", ["time", "number", "duration", "step"])
@pytest.mark.parametrize("at", [[0.0], [5.0, 5.0, 5.0], [-1e18, 1e18]])
def test_the_axis_of_any_positions_has_two_ends(scale, at):
    chart = line_chart("title", "words", Positions(scale, np.array(at), "t"), [Line(np.ones(len(at)))], NONE)
    low, high = chart.spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low <= min(at) <= max(at) <= high
    assert low < high
