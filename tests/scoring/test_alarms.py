"""Alarms of every level: counted at once as they would be one level after another, in any order and batch."""

import math

import numpy as np
import pytest

from upland.calibration.conformal import conformal_p_values
from upland.calibration.false_discovery import benjamini_hochberg
from upland.scoring import alarms
from upland.scoring.alarms import AlarmCounter, levels_for, poisson_interval, rates_of
from upland.scoring.budget import budget_of, largest
from upland.scoring.episodes import episodes_of
from upland.scoring.merging import merging_of

N = 99
LEVELS = [step / (N + 1) for step in range(N + 2)]


def stream(seed, rows=400, series=3):
    """p-values with ties, times with ties, and series, in the order of time in each series."""
    rng = np.random.default_rng(seed)
    p = rng.integers(1, N + 2, rows) / (N + 1)
    return p, np.sort(rng.integers(0, rows, rows)).astype(float), rng.integers(0, series, rows)


def alarms_at(p, times, series, cut, merging):
    """Alarms by the rule, one flagged row after another."""
    count, last = 0, {}
    numbers = {}
    for row in np.lexsort((p, times)):
        name = series[row]
        place = numbers[name] = numbers.get(name, -1) + 1
        place = times[row] if merging.timed else place
        if p[row] <= cut:
            count += name not in last or place - last[name] > merging.most
            last[name] = place
    return count


def counter_of(merge, *batches, seconds=1.0):
    counter = AlarmCounter(merging_of(merge, seconds), seconds)
    for batch in batches:
        counter.see(*batch)
    return counter


def counts(tally):
    return [tally.at(cut) for cut in LEVELS]


@pytest.mark.parametrize("merge", [0, 1, 3, 50, "0.5s", "1s", "7s", "10min"])
@pytest.mark.parametrize("seed", range(3))
def test_all_levels_are_counted_as_each_would_be_by_the_rule(merge, seed):
    p, times, series = stream(seed)
    found = counter_of(merge, (p, times, series)).whole
    rule = merging_of(merge, 1.0)
    assert counts(found) == [
        (int((p <= cut).sum()), alarms_at(p, times, series, cut, rule)) for cut in LEVELS
    ]


def test_the_rule_is_that_of_episodes_of_steps():
    p, _, series = stream(5)
    order = np.argsort(series, kind="stable")
    p, series = p[order], series[order]
    found = counter_of(3, (p, np.arange(p.size, dtype=float), series)).whole
    for cut in LEVELS:
        assert found.at(cut)[1] == episodes_of(p <= cut, series, -p).peaks.size


@pytest.mark.parametrize("merge", [3, "5s"])
def test_batches_come_to_what_the_whole_does(merge, monkeypatch):
    monkeypatch.setattr(alarms, "HELD", 1)  # every batch is counted by itself
    p, times, series = stream(7)
    times = np.arange(p.size, dtype=float)
    for size in (1, 17, 150, p.size):
        parts = [
            tuple(part[start : start + size] for part in (p, times, series))
            for start in range(0, p.size, size)
        ]
        found = counter_of(merge, *parts)
        assert counts(found.whole) == counts(counter_of(merge, (p, times, series)).whole)
        assert found.late == 0


@pytest.mark.parametrize("merge", [3, "5s"])
def test_the_order_of_rows_does_not_matter_within_what_is_held(merge):
    p, times, series = stream(8)
    order = np.random.default_rng(0).permutation(p.size)
    shuffled = counter_of(merge, (p[order], times[order], series[order]))
    assert counts(shuffled.whole) == counts(counter_of(merge, (p, times, series)).whole)
    assert [counts(half) for half in shuffled.halves] == [
        counts(half) for half in counter_of(merge, (p, times, series)).halves
    ]


def test_what_is_kept_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(alarms, "HELD", 1_000)
    counter = AlarmCounter(merging_of("30s", 1.0), 1.0)
    rng, sizes = np.random.default_rng(0), []
    for turn in range(300):
        counter.see(rng.integers(1, N + 2, 1_000) / (N + 1), np.arange(1_000.0) + 1_000 * turn)
        tallies = sum(part.values.size for part in counter._parts)
        sizes.append((len(counter._parts), tallies, counter._tails.rows[0].size))
    assert max(sizes)[0] <= alarms.PARTS + 2
    assert max(tail for _, _, tail in sizes) <= 31
    assert max(size for _, size, _ in sizes) <= (alarms.PARTS + 2) * (N + 1)
    assert counter.whole.rows == 300_000


def test_rows_that_come_too_late_are_counted(monkeypatch):
    monkeypatch.setattr(alarms, "HELD", 1)
    counter = counter_of(3, (np.full(4, 0.1), np.arange(4.0)), (np.full(2, 0.1), np.array([1.0, 9.0])))
    assert counter.whole.rows == 6
    assert counter.late == 1


def test_a_row_without_time_is_an_alarm_of_its_own():
    counter = counter_of("10s", (np.full(4, 0.1), np.array([0.0, np.nan, 1.0, np.nan])))
    assert counter.whole.at(0.1) == (4, 3)
    assert counter.untimed == 2
    assert (counter.whole.first, counter.whole.last) == (0, 1)


def test_what_stands_for_no_row_is_left_out():
    assert counter_of(0, (np.array([0.1, np.nan, 0.2]),)).whole.at(1) == (2, 2)


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
def test_flagged_rows_are_those_of_the_control(control):
    p, times, series = stream(9)
    p = np.where(np.random.default_rng(1).random(p.size) < 0.1, 1 / (N + 1), p)
    rates = rates_of(counter_of(3, (p, times, series)).whole, 1.0)
    for alpha in levels_for(N):
        level = rates.at(alpha, control)
        flags = p <= alpha if control == "false_alarm" else benjamini_hochberg(p, alpha)
        assert level.flagged == flags.sum()
        assert level.false == (alpha * p.size if control == "false_alarm" else None)
        assert level.low <= level.rate <= level.high


@pytest.mark.parametrize("n", [1, 2, 10, 99, 10_000])
def test_levels_are_those_that_the_calibration_resolves(n):
    found = np.array(levels_for(n))
    assert found[0] == 1 / (n + 1)
    assert np.allclose(found * (n + 1), np.rint(found * (n + 1)))
    assert (np.diff(found) > 0).all()
    assert found[-1] <= 0.5
    assert found.size <= 40


def test_halves_are_parted_in_time():
    p, times, series = stream(3)
    first, second = counter_of(3, (p, times, series)).halves
    assert first.last < second.first
    assert first.rows + second.rows == p.size
    assert abs(first.rows - second.rows) <= 10


def test_the_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for mean in (0.5, 3, 40):
        ends = {count: poisson_interval(count) for count in range(200)}
        held = [ends[count][0] <= mean <= ends[count][1] for count in rng.poisson(mean, 20_000).tolist()]
        assert np.mean(held) >= 0.95 - 0.005


def test_normal_rows_alarm_no_more_than_the_guarantee_says():
    rng = np.random.default_rng(4)
    alpha, flagged = 0.05, []
    for _ in range(300):
        calibration, new = rng.normal(size=N), rng.normal(size=200)
        p = (1 + (calibration[None] >= new[:, None]).sum(axis=1)) / (N + 1)
        level = rates_of(counter_of(0, (p,)).whole, None).at(alpha)
        flagged.append(level.flagged)
    spread = np.std(flagged) / np.sqrt(len(flagged))
    assert np.mean(flagged) <= alpha * 200 + 3 * spread


@pytest.mark.parametrize(
    ("text", "most", "seconds", "rows"),
    [
        ("3 per day", 3, 86_400, None),
        ("1 per week", 1, 604_800, None),
        ("2 per 1000", 2, None, 1000),
        ("2 per 1,000 rows", 2, None, 1000),
        ("0.5/h", 0.5, 3_600, None),
        ("3 a day", 3, 86_400, None),
        ("1/12h", 1, 43_200, None),
        ("0 per day", 0, 86_400, None),
    ],
)
def test_budgets_are_read(text, most, seconds, rows):
    found = budget_of(text)
    assert (found.most, found.seconds, found.rows) == (most, seconds, rows)


@pytest.mark.parametrize(
    "text", ["", "3", "per day", "3 per", "3 per 0 rows", "x per day", "3 per fortnight", "-1/d"]
)
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValueError, match="a budget is a number of alarms"):
        budget_of(text)


@pytest.mark.parametrize("given", ["", "x", "10", -1, True, "3 parsecs", "10 min ago", 1.5])
def test_what_is_no_rule_of_merging_is_refused(given):
    if given == "10":
        assert merging_of(given, None).most == 10
        return
    with pytest.raises(ValueError, match="merge is a number of rows, or a duration"):
        merging_of(given, 1.0)


def test_a_budget_is_kept_at_the_level_and_at_all_below():
    p, times, series = stream(11, rows=4_000, series=1)
    rates = rates_of(counter_of(3, (p, times, series)).whole, 3_600.0)
    levels = levels_for(N, 400)
    for text in ("1 per day", "2 per day", "20 per 1000"):
        budget = budget_of(text)
        found = largest(rates, levels, budget)
        kept = [rates.at(alpha).alarms <= budget.on(rates) for alpha in levels]
        assert all(kept[: levels.index(found.alpha) + 1])
        assert not kept[levels.index(found.alpha) + 1]
    assert largest(rates, levels, budget_of("0 per day")) is None


def test_rows_that_merge_into_one_alarm_do_not_make_a_large_level_keep_a_budget():
    p, times, series = stream(12, rows=4_000, series=1)
    rates = rates_of(counter_of(3, (p, times, series)).whole, 3_600.0)
    assert rates.at(0.99).alarms < rates.at(0.1).alarms
    found = largest(rates, [*levels_for(N, 400), 0.99], budget_of("10 per 1000"))
    assert found.alpha < 0.1


def test_a_budget_by_time_needs_a_time():
    rates = rates_of(counter_of(3, stream(1), seconds=None).whole, None)
    with pytest.raises(ValueError, match="is by time, and nothing says how long the history is"):
        largest(rates, levels_for(N), budget_of("3 per day"))


def test_no_number_of_false_discoveries_is_promised():
    """Where all rows are normal every discovery is false: alpha times the flagged would be exceeded."""
    rng, flagged = np.random.default_rng(0), 0
    for _ in range(300):
        p = conformal_p_values(rng.normal(size=N), rng.normal(size=60))
        rows = (p, np.arange(60.0), np.zeros(60, dtype=int))
        level = rates_of(counter_of(0, rows).whole, 1.0).at(0.3, "fdr")
        flagged += level.flagged
        assert level.false is None
    assert flagged > 0


@pytest.mark.parametrize("unit", ["", " rows", " steps", " images", " sequences", " row"])
def test_a_budget_may_be_by_the_units_of_any_history(unit):
    assert budget_of(f"2 per 1,000{unit}").rows == 1000


@pytest.mark.parametrize("alpha", [2.0, -1, 0, 1, math.nan, "0.1", None])
def test_what_is_no_rate_has_no_level(alpha):
    rates = rates_of(counter_of(3, stream(1)).whole, 1.0)
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        rates.at(alpha)
    with pytest.raises(ValueError, match="control must be"):
        rates.at(0.1, "x")


def test_the_rows_that_are_kept_are_bounded_by_the_series():
    counter = AlarmCounter(merging_of(0, None), None)
    for batch in range(20):
        series = np.arange(500) + 500 * batch
        counter.see(np.full(500, 0.5), None, series.tolist())
        assert counter._tails.rows[2].size <= 500 * (batch + 1)
