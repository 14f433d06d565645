"""What to do: a planted drift of a sensor, a planted site, a change of everything, and nothing."""

import numpy as np
import pytest

import upland
from upland.watch.columns import Moved
from upland.watch.evidence import Findings, SiteEvidence, advised
from upland.watch.scored import Share
from watched import numbers, plain_detector

SITES = np.array(["north", "south", "west"])
BEGINS = 8


def watched(tmp_path, change, seed, count=12, **options):
    """Decisions on batches of 150 rows, which `change(rows, site)` changes from the ninth on."""
    rng = np.random.default_rng(seed)
    with upland.Watch(plain_detector(), tmp_path / f"{seed}.db", **options) as watch:
        for number in range(count):
            rows, site = numbers(150, (seed, number)), SITES[rng.integers(0, 3, 150)]
            if number >= BEGINS:
                change(rows, site)
            yield watch.update(rows | {"site": site})


def first_alarm(decisions):
    found = next(one for one in decisions if any(alarm.kind == "changed" for alarm in one.alarms))
    return found, next(alarm for alarm in found.alarms if alarm.kind == "changed")


@pytest.mark.parametrize("seed", range(2))
def test_a_sensor_that_drifts_is_named(tmp_path, seed):
    def change(rows, site):
        rows["x2"] += 1.5

    found, alarm = first_alarm(watched(tmp_path, change, seed))
    assert found.action == alarm.action == "check columns"
    assert BEGINS <= alarm.since <= BEGINS + 2
    (sentence,) = [text for text in found.why if "moved" in text]
    assert sentence.startswith("x2 has moved by +1.")
    assert "of the other columns" in sentence


@pytest.mark.parametrize("seed", range(2))
def test_a_site_that_changes_is_named(tmp_path, seed):
    def change(rows, site):
        for name in rows:
            rows[name][site == "west"] += 1.0

    decisions = list(watched(tmp_path, change, seed, by="site"))
    alarms = [alarm for one in decisions for alarm in one.alarms]
    assert {alarm.subject for alarm in alarms if alarm.kind in ("site", "group")} == {"west"}
    assert decisions[-1].action == "check site"
    of_site = next(alarm for alarm in alarms if alarm.kind == "site")
    assert "The change shows at west alone" in of_site.text
    assert "of 2 other sites" in of_site.text


@pytest.mark.parametrize("options", [{}, {"by": "site"}])
def test_a_change_of_everything_says_retrain(tmp_path, options):
    def change(rows, site):
        for name in rows:
            rows[name] += 1.0

    _, alarm = first_alarm(watched(tmp_path, change, 3, **options))
    assert alarm.action == "retrain"
    assert "4 of 4 columns have moved" in alarm.text


@pytest.mark.parametrize("seed", range(2))
def test_nothing_says_nothing(tmp_path, seed):
    decisions = list(watched(tmp_path, lambda rows, site: None, seed, count=15, by="site"))
    assert [alarm for one in decisions for alarm in one.alarms] == []
    assert {(one.action, one.why) for one in decisions} == {("nothing", ())}


SHARES = [Share("a", 0.6), Share("b", 0.2), Share("c", 0.1), Share("d", 0.1)]
STILL = [Moved(name, 0.01, 0.3) for name in "bcd"]


def findings(moved=(), sites=None):
    return Findings(4.6, moved, 4.0, SHARES, sites)


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (findings([Moved("a", 1.0, 20.0), *STILL]), "check columns"),
        (findings([Moved("a", -1.0, -20.0), *STILL]), "check columns"),
        (findings([Moved("a", 0.1, 3.9), *STILL]), "retrain"),
        (findings([Moved(name, 1.0, 20.0) for name in "abcd"]), "retrain"),
        (findings([Moved("a", 1.0, 20.0)]), "retrain"),  # nothing to compare it with
        (findings(), "retrain"),
        (findings(STILL, SiteEvidence("n", 9.0, 100, 2, 0.1, 500)), "check site"),
        (findings(STILL, SiteEvidence("n", 9.0, 100, 2, 3.1, 500)), "retrain"),  # another one may have too
        (findings(STILL, SiteEvidence("n", 9.0, 100, 40, 3.1, 500)), "check site"),  # as any of 40 may
        (findings(STILL, SiteEvidence("n", 5.0, 100, 40, 3.1, 500)), "retrain"),  # hardly more than another
        (findings(STILL, SiteEvidence("n", 4.5, 100, 2, 0.1, 500)), "retrain"),  # too little evidence
        (findings(STILL, SiteEvidence("n", 9.0, 100, 2, 0.1, 20)), "retrain"),  # the others are hardly seen
    ],
)
def test_the_action_needs_a_figure_and_a_comparison(given, action):
    found, why = advised(given)
    assert found == action
    assert all(sentence.endswith(".") for sentence in why)


def test_the_parts_of_scores_stand_beside_the_figures():
    _, why = advised(findings([Moved("a", 1.0, 20.0), *STILL]))
    assert why == (
        "a has moved by +1 standard deviations (z = 20.0) and makes up 60% of the most anomalous scores, "
        "where an even part is 25%; of the other columns b has moved most, by +0.01 (z = 0.3).",
    )
