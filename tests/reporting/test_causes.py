"""Causes: planted ones come back, whatever the order of the rows, by the reasons that `--why` names."""

import numpy as np
import pandas as pd
import pytest

import upland
from upland.explanation import Reason as Contribution
from upland.reporting.causes import MANY, Flagged, causes_of, reasons_of, sentence
from upland.reporting.standings import NormalLevels, NormalNumbers, Reason, normal_columns
from upland.scoring.columns import texts

NORMAL = {
    "temperature": NormalNumbers("temperature", "numeric", np.linspace(60, 71, 17), np.ones(16), 60.0, 71.0),
    "flow": NormalNumbers("flow", "numeric", np.linspace(2, 9, 17), np.ones(16), 2.0, 9.0),
    "load": NormalNumbers("load", "numeric", np.linspace(0, 1, 17), np.ones(16), 0.0, 1.0),
    "valve": NormalLevels("valve", {"open": 0.9, "shut": 0.1}, frozenset({"open", "shut", "half"})),
}


def row(number, p=0.001, time=None, **parts):
    some = sorted(parts.items(), key=lambda it: -it[1][0])
    return Flagged(
        number,
        -np.log(p),
        p,
        [Contribution(name, part, part, value, None) for name, (part, value) in some],
        time,
    )


def planted(seed=0):
    rows = [row(n, temperature=(0.6, 93.0 + n % 3), flow=(0.3, 1.0)) for n in range(16, 58)]
    rows += [row(n, flow=(0.5, 1.0), temperature=(0.45, 93.0)) for n in range(60, 70)]
    rows += [row(n, valve=(0.9, f"new {n % 2}")) for n in range(100, 107)]
    rows += [row(200, load=(0.8, float("nan"))), row(201, flow=(0.06, 3.0), load=(0.05, 0.5))]
    return [rows[number] for number in np.random.default_rng(seed).permutation(len(rows))]


def named(causes):
    return [(cause.reason, tuple(cause.others), [it.number for it in cause.rows]) for cause in causes]


def test_planted_causes_are_the_groups():
    high, low = Reason("temperature", "above"), Reason("flow", "below")
    found = named(causes_of(planted(), NORMAL, 0.05))
    assert found[0] == (high, (low,), [*range(16, 58), *range(60, 70)])
    assert found[1] == (Reason("valve", "unseen"), (), list(range(100, 107)))
    assert (Reason("load", "missing"), (), [200]) in found
    assert (MANY, (), [201]) in found
    assert len(found) == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_rows_changes_nothing(seed):
    first = causes_of(planted(), NORMAL, 0.05)
    again = causes_of(planted(seed), NORMAL, 0.05)
    assert named(first) == named(again)
    assert [sentence(it, NORMAL) for it in first] == [sentence(it, NORMAL) for it in again]


def test_a_cause_in_a_sentence():
    rows = [
        row(n, time=np.datetime64("2026-03-02T12:30:00"), temperature=(0.6, 93.0), flow=(0.3, 1.0))
        for n in range(16, 58)
    ]
    found = causes_of(rows, NORMAL, 0.05)
    assert sentence(found[0], NORMAL) == (
        "42 rows: “temperature” above what is normal (median 93, normal 60 to 71), mostly with low “flow”; "
        "first row 17, 2026-03-02 12:30:00."
    )
    one = causes_of([row(4, valve=(0.9, "half"))], NORMAL, 0.05)
    assert sentence(one[0], NORMAL) == "1 row: “valve” is “half” (normal open 90%, shut 10%); row 5."
    new = causes_of([row(4, valve=(0.9, "stuck"))], NORMAL, 0.05)
    assert sentence(new[0], NORMAL) == "1 row: “valve” is “stuck”, unseen among normal rows; row 5."


def test_a_usual_level_that_does_not_fit_is_called_so():
    cause = causes_of([row(4, valve=(0.9, "shut"))], NORMAL, 0.05)[0]
    words = "“valve” does not fit the other columns, though “shut” (10% of normal rows) is usual by itself"
    assert sentence(cause, NORMAL) == f"1 row: {words}; row 5."


@pytest.mark.parametrize("level", ["{}", "{0.__class__}", "{x!r:>9}", "%s %(a)d", "\\1 $&"])
def test_signs_of_formatting_in_names_and_levels_mean_nothing(level):
    normal = {level: NormalLevels(level, {level: 0.01}, frozenset()), "flow": NORMAL["flow"]}
    one = Flagged(
        0, 1.0, 0.001, [Contribution("flow", 0.6, 0.6, 1.0, None), Contribution(level, 0.3, 0.3, level, 1)]
    )
    found = causes_of([one], normal, 0.05)
    assert sentence(found[0], normal).startswith(
        f"1 row: “flow” below what is normal (median 1, normal 2 to 9), with “{level}” is “{level}”"
    )
    alone = causes_of([Flagged(0, 1.0, 0.001, [Contribution(level, 0.6, 0.6, level, 1)])], normal, 0.05)
    assert f"“{level}” is “{level}”" in sentence(alone[0], normal)


def test_rows_that_are_flagged_by_chance_weigh_little():
    chance = [row(n, p=0.04, flow=(0.5, 5.0)) for n in range(100)]
    real = [row(n, p=0.001, temperature=(0.5, 93.0)) for n in range(100, 115)]
    assert causes_of([*chance, *real], NORMAL, 0.05)[0].reason == Reason("temperature", "above")


def test_a_row_has_the_reasons_that_why_names():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(frame)
    new = frame.iloc[:20].copy()
    new.loc[3:8, "b"] = 30.0
    contributions = upland.explain(detector, new).top(3)
    normal = normal_columns(detector)
    for reasons, words in zip(contributions, texts(contributions), strict=True):
        of_row = [it.column for it in reasons_of(reasons, normal)]
        assert of_row == [part.split()[0] for part in words.split("; ")][: len(of_row)]
    assert Reason("b", "above") in reasons_of(contributions[3], normal)


def test_every_flagged_row_is_in_one_group():
    rows = planted()
    numbers = [it.number for cause in causes_of(rows, NORMAL, 0.05) for it in cause.rows]
    assert sorted(numbers) == sorted(it.number for it in rows)
    assert causes_of([], NORMAL, 0.05) == []
    at_level = [row(n, p=0.05, flow=(0.5, 1.0)) for n in range(3)]
    assert len(causes_of(at_level, NORMAL, 0.05)[0].rows) == 3
