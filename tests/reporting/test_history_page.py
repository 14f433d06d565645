"""The page of a history: what changed is on it, with its bounds, whatever is in the history."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest

import upland
from htmlpages import check_page
from normals import numbers
from upland.reporting import html
from upland.reporting.history import Watched, history_page, power
from upland.reporting.html import page_html
from upland.reporting.page import Chart, Table
from upland.watch.history import History
from upland.watch.summary import Summary, summary
from upland.watch.watch import Watch

HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\u202e"
NAMES = ("load", "flow", "wear", "heat")


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
    """Pages without the scripts that draw, which take a second each; `test_screenshots` has them."""
    monkeypatch.setattr(html, "_vega", lambda: "")


def rows(seed, shift=0.0):
    values = numbers(120, 4, seed)
    values[:, 2] += shift
    columns = dict(zip(NAMES, values.T, strict=True))
    sites = np.array(["north", HOSTILE, "south"], dtype=object)[np.arange(120) % 3]
    return pa.table(columns | {"site": pa.array(sites.tolist())})


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A history of batches the column `wear` of which moves half-way, and of a refused file."""
    options = {"epochs": 5, "hidden": (8,), "calibration": "split", "random_state": 0, "progress": False}
    detector = upland.EnergyDetector(ignore=["site"], **options).fit(
        pa.concat_tables([rows(seed) for seed in range(100, 106)])
    )
    path = tmp_path_factory.mktemp("watch") / "watch.db"
    with History(path) as history:
        watch = Watch(detector, history, by="site", channels=["command"])
        for batch in range(24):
            watch.update(rows(batch, shift=0 if batch < 12 else 2.0), name=f"{batch}.csv")
        watch.update(pa.table({"load": [1.0]}), name=HOSTILE)
        return Watched(**vars(summary(history)))


def test_the_page_takes_what_a_summary_gives():
    assert [field.name for field in fields(Watched)] == [field.name for field in fields(Summary)]


def cut(found, count, **changes):
    """The same history with so many batches."""
    curves = {name: values[:count] for name, values in found.curves.items()}
    means = {name: values[:count] for name, values in found.means.items()}
    return replace(found, curves=curves, means=means, **changes)


def charts(page):
    return {part.title: part for one in page.sections for part in one.parts if isinstance(part, Chart)}


def table(page, title):
    (found,) = [one for one in page.sections if one.title == title]
    return next(part for part in found.parts if isinstance(part, Table))


def checked(page):
    for chart in charts(page).values():
        json.dumps(chart.spec, allow_nan=False)
    return check_page(page_html(page))


def test_a_change_its_beginning_and_its_column_are_found_from_the_page_alone(watched):
    page = history_page(watched, "watch.db")
    text = " ".join(page.summary)
    assert "24 batches with 2,880 rows were taken" in text
    assert "The data have changed, by estimate since batch 13" in text
    assert "wear has moved" in text
    assert "1 file was refused." in text
    (moved, *_) = [part for one in page.sections if one.title == "Columns that moved" for part in one.parts][
        1:
    ]
    assert moved.title == "wear"
    means = [point["v"] for point in moved.spec["datasets"]["line0"]]
    np.testing.assert_allclose(means, watched.means["wear"], rtol=1e-5)
    assert [row[0] for row in table(page, "Refused files").rows] == [HOSTILE]
    assert "img" not in checked(page).elements


def test_curves_are_powers_of_ten_with_the_line_of_the_alarm(watched):
    page = history_page(watched, "watch.db")
    martingale = next(chart for title, chart in charts(page).items() if title.startswith("Test martingale"))
    sets = martingale.spec["datasets"]
    assert sets["limit"] == [{"v": pytest.approx(2.0)}]
    drawn = [point["v"] for point in sets["line0"]]
    np.testing.assert_allclose(drawn, watched.curves["log_martingale"] / math.log(10), rtol=1e-4)
    marked = {mark["x"] for mark in sets["marked"]}
    assert marked == {alarm["batch"] for alarm in watched.alarms if alarm["kind"] == "changed"}
    detector = next(chart for title, chart in charts(page).items() if title.startswith("E-detector"))
    assert detector.spec["datasets"]["limit"] == [{"v": pytest.approx(3.0)}]
    assert "probability t / 1,000 at most" in detector.description


def test_alarms_say_how_they_were_delivered(watched):
    found = table(history_page(watched, "watch.db"), "Alarms")
    assert [column.name for column in found.columns][-1] == "delivered"
    assert found.rows[0][-1] == ("command: waiting",)
    delivered = [{"channel": "hook", "status": "failed", "attempts": 3, "error": HOSTILE}]
    other = replace(watched, alarms=[dict(watched.alarms[0]) | {"deliveries": delivered}])
    page = history_page(other, "watch.db")
    assert table(page, "Alarms").rows[0][-1] == (f"hook: failed after 3 attempts: {HOSTILE}",)
    checked(page)


def test_every_alarm_verdict_and_site_is_on_the_page(watched):
    page = history_page(watched, "watch.db")
    assert [row[0] for row in table(page, "Alarms").rows] == [alarm["batch"] for alarm in watched.alarms]
    assert {row[0] for row in table(page, "Sites").rows} == {"north", HOSTILE, "south"}
    if watched.verdicts:
        assert len(table(page, "Flagged groups and batches").rows) == len(watched.verdicts)
    assert len(table(page, "Flagged rows of the latest batches").rows) == len(watched.flagged)


def test_an_empty_history(tmp_path):
    with History(tmp_path / "watch.db") as history:
        page = history_page(Watched(**vars(summary(history))), "watch.db")
    assert page.summary == ["No batch has been taken yet."]
    checked(page)


def test_where_nothing_has_changed_the_page_says_how_sure_that_is(watched):
    page = history_page(cut(watched, 10, alarms=[], action="nothing", why=()), "watch.db")
    text = " ".join(page.summary)
    assert "There is no evidence that the data have changed" in text
    assert "with probability 0.01 at most" in text
    assert "Nothing is to be done." in text
    checked(page)


def test_an_alarm_under_an_earlier_model_is_no_change_of_now(watched):
    curves = dict(watched.curves) | {"model": np.full(24, 2)}
    page = history_page(replace(watched, curves=curves, action="nothing", why=()), "watch.db")
    assert "There is no evidence that the data have changed" in " ".join(page.summary)
    assert len(table(page, "Alarms").rows) == len(watched.alarms)


@pytest.mark.parametrize("value", [-math.inf, -1e6, 0.0, 1e6])
def test_evidence_beyond_any_number_is_drawn(watched, value):
    logs = {name: np.full(24, value) for name in watched.curves if name.startswith("log_")}
    page = history_page(replace(watched, curves=dict(watched.curves) | logs), "watch.db")
    checked(page)
    assert power(1e6) == "10^434294.5"
    assert power(-math.inf) == "0"


def test_a_history_of_one_batch(watched):
    counts = {"batches": 1, "rows": 1, "flagged": 1, "alarms": 0, "refused": 0}
    page = history_page(cut(watched, 1, counts=counts, alarms=[], refused=[]), "watch.db")
    assert page.summary[0] == "1 batch with 1 row was taken, of which 1 (100.0%) is flagged."
    checked(page)
