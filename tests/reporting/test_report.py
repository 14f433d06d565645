"""Reports of tables: what they say of planted faults, of odd data, of every detector of tables."""

import json
import re
import time
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import upland
from htmlpages import check_page, in_browser
from normals import mixed, small
from upland import report
from upland.cli.results import Request
from upland.cli.scoring import score_path
from upland.reporting.page import Chart, Standing, Table
from upland.reporting.standings import number_of
from upland.reporting.tables import Worst

DATA = Path(__file__).parents[2].parent / "shared" / "data"
QUIET = {"random_state": 0, "progress": False}


@pytest.fixture(autouse=True)
def no_vega(monkeypatch):
    """Pages without the script of Vega, which takes a second to put together."""
    monkeypatch.setattr("upland.reporting.html._vega", lambda: "0")


def pumps(count, seed):
    rng = np.random.default_rng(seed)
    load = rng.normal(50, 10, count)
    return pd.DataFrame(
        {
            "temperature": rng.normal(66, 2.5, count) + 0.1 * (load - 50),
            "flow": rng.normal(30, 4, count) + 0.2 * (load - 50),
            "load": load,
            "valve": rng.choice(["open", "shut"], count),
            "pump": rng.choice(list("abc"), count),
            "time": pd.Timestamp("2026-03-02") + pd.to_timedelta(np.arange(count) * 60, unit="s"),
        }
    )


@cache
def fitted():
    return upland.EnergyDetector(ignore=["pump", "time"], **QUIET).fit(pumps(1500, 1))


def planted():
    """New rows, of which 100 to 139 run hot with little flow on pump c, and 300 to 305 have a new valve."""
    new = pumps(800, 2)
    new.loc[100:139, "temperature"] = 93.0 + np.arange(40) % 4
    new.loc[100:129, "flow"] = 2.0
    new.loc[100:139, "pump"] = "c"
    new.loc[300:305, "valve"] = "stuck"
    return new


def tables(page):
    return {
        section.title: part for section in page.sections for part in section.parts if isinstance(part, Table)
    }


def facts(**options):
    return report(fitted(), planted(), **options)


def test_planted_faults_are_found_from_the_page_alone():
    found = check_page(facts(alpha=0.01, by="pump", time="time").html)
    words = re.sub(r"\s+", " ", found.text)
    first = next(iter(re.findall(r"\d+ rows?: “temperature” above what is normal[^.]*", words)))
    assert 40 <= int(first.split()[0]) <= 44
    assert "mostly with low “flow”" in words
    assert "first row 101, 2026-03-02 01:40:00" in words
    assert "6 rows: “valve” is “stuck”, unseen among normal rows; first row 301" in words
    assert "1 of 3 groups by pump are flagged at a false discovery rate of 0.01: c." in words
    assert "is flagged in the bin from 2026-03-02 01:" in words
    assert len(found.json) == 5, "scores, p-values, columns, and two over time"


def test_the_numbers_are_those_of_upland_score(tmp_path):
    path = tmp_path / "new.csv"
    planted().to_csv(path, index=False)
    scored = score_path(fitted(), path, Request(top=20, alpha=0.01))
    found = report(fitted(), path, alpha=0.01, top=20)
    assert (found.count, found.flagged) == (scored.count, scored.flagged)
    rows = tables(found.page)["The most anomalous rows"].rows
    assert [row[0] for row in rows] == [one.name for one in scored.findings]
    assert [row[1:3] for row in rows] == [(one.score, one.p_value) for one in scored.findings]
    for row, one in zip(rows, scored.findings, strict=True):
        assert list(row[4]) == [reason.column for reason in one.reasons][: len(row[4])]
        assert list(row[5]) == [reason.part for reason in one.reasons][: len(row[4])]


def test_files_frames_and_arrays_make_the_same_page(tmp_path):
    new = planted()
    new.to_parquet(tmp_path / "new.parquet")
    new.to_csv(tmp_path / "new.csv", index=False)
    pages = [
        report(fitted(), data, by="pump", time="time", name="new").page
        for data in (new, tmp_path / "new.parquet", tmp_path / "new.csv")
    ]
    assert pages[0] == pages[1] == pages[2]
    numbers = new[["temperature", "flow", "load"]]
    detector = upland.EnergyDetector(**QUIET).fit(pumps(300, 1)[list(numbers)].to_numpy())
    assert (
        report(detector, numbers.to_numpy()).flagged == report(detector, numbers.to_numpy().tolist()).flagged
    )


def test_batches_change_nothing(tmp_path, monkeypatch):
    whole = facts(by="pump", time="time", top=30).page
    monkeypatch.setattr("upland.reporting.rows.AT_ONCE", 37)
    assert facts(by="pump", time="time", top=30).page == whole


def test_what_is_kept_is_bounded(monkeypatch):
    kept = []
    see = Worst.see
    monkeypatch.setattr(Worst, "see", lambda self, *rest: (see(self, *rest), kept.append(self.scores.size)))
    monkeypatch.setattr("upland.reporting.rows.AT_ONCE", 100)
    monkeypatch.setattr("upland.reporting.tables.GROUPED", 50)
    found = report(fitted(), pd.concat([planted()] * 2, ignore_index=True), top=10, alpha=0.3)
    assert max(kept) <= 50
    assert found.flagged > 50
    assert "the 50 with the highest scores are grouped" in tables(found.page)["Anomalies by cause"].note


def test_reading_has_ended_where_scoring_fails(monkeypatch):
    """A reader that is left open ends the process with an abort, where Arrow still reads ahead."""
    closed = []

    def reading(*_):
        try:
            yield planted()
            yield planted()[["load"]]
            yield planted()
        finally:
            closed.append(True)

    monkeypatch.setattr("upland.reporting.tables.batches", reading)
    with pytest.raises(ValueError, match="missing column"):
        report(fitted(), planted())
    assert closed == [True]


def test_the_page_of_a_hundred_thousand_rows_is_small():
    new = pd.concat([planted()] * 125, ignore_index=True)
    found = report(fitted(), new, by="pump", time="time", alpha=0.1)
    assert found.count == 100_000
    assert len(found.html) + 900_000 < 3_000_000, "Vega has 900,000"
    assert len(tables(found.page)["The most anomalous rows"].rows) == 50


@pytest.mark.parametrize(
    "change",
    [
        lambda new: new.assign(temperature=np.nan, flow=np.nan, load=np.nan, valve=None),
        lambda new: new.iloc[:1],
        lambda new: new.assign(temperature=1e6),
        lambda new: new.iloc[200:201].loc[new.index[200:201].repeat(30)].reset_index(drop=True),
    ],
    ids=["missing", "one row", "all flagged", "all the same"],
)
def test_odd_data_make_a_whole_page(change):
    new = change(planted())
    with pytest.warns(UserWarning, match="missing values") if new["load"].isna().any() else _quiet():
        found = report(fitted(), new, time="time")
    check_page(found.html)
    assert found.count == len(new)
    assert len(found.page.summary) == 3
    assert sum(cause["rows"] for cause in found.facts["causes"]) <= found.flagged


class _quiet:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_nothing_flagged_is_said():
    calm = pumps(400, 1).iloc[:30]
    with pytest.warns(UserWarning, match="cannot resolve"):
        found = report(fitted(), calm, alpha=1e-6)
    assert found.flagged == 0
    words = check_page(found.html).text
    assert "No row is flagged" in words
    assert "none flagged" in words


@pytest.mark.parametrize("empty", [pumps(5, 0).iloc[:0], "file"])
def test_no_rows_are_refused(empty, tmp_path):
    if isinstance(empty, str):
        empty = tmp_path / "empty.csv"
        pumps(5, 0).iloc[:0].to_csv(empty, index=False)
    with pytest.raises(ValueError, match="no rows"):
        report(fitted(), empty)


def test_many_columns_make_no_longer_page():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 700))
    detector = small(upland.VAEDetector).fit(rows)
    new = rng.normal(size=(40, 700))
    new[3, 77] = 300.0
    found = report(detector, new, alpha=0.2)
    check_page(found.html)
    assert len(found.html) < 600_000
    assert "x77" in found.page.summary[2] + str(found.facts["causes"])


HOSTILE = [
    "</script><script>document.documentElement.dataset.owned=1</script>",
    "a.b[0]['c']",
    '" onload="document.documentElement.dataset.owned=1',
    "back\\slash\u2028\u202egnp",
    "long " * 300,
]


@pytest.fixture(scope="module")
def hostile():
    rng = np.random.default_rng(0)
    levels = ["<b>x</b>", "<!--", "y'\"", "\u2066z"]

    def frame(count):
        found = {name: rng.normal(size=count) for name in HOSTILE[:3]}
        found |= {name: rng.choice(levels, count) for name in HOSTILE[3:]}
        return pd.DataFrame(found | {"<i>lot</i>": rng.choice(["</td>", "<script>"], count)})

    detector = upland.EnergyDetector(ignore=["<i>lot</i>"], **QUIET).fit(frame(400))
    new = frame(60)
    new.loc[:5, HOSTILE[0]] = 50.0
    new.loc[6:9, HOSTILE[1]] = -50.0
    new.loc[10:14, HOSTILE[3]] = "</script>new<script>"
    return report(detector, new, by="<i>lot</i>", name="<u>data</u>", alpha=0.1)


def test_hostile_names_and_cells_are_only_text(hostile):
    found = check_page(hostile.html)
    assert {"b", "i", "u"}.isdisjoint(found.elements)
    for word in (
        "</script><script>document",
        "a.b[0]['c']",
        "</script>new<script>",
        "<i>lot</i>",
        "<u>data</u>",
    ):
        assert word in found.text
    specs = [
        part.spec for section in hostile.page.sections for part in section.parts if isinstance(part, Chart)
    ]
    assert len(specs) == len(found.json)
    assert "a.b[0]['c']" in [name for spec in found.json for name in names_in(spec)]


def names_in(spec):
    """The names of columns in the data of a chart."""
    if isinstance(spec, dict):
        own = [spec["name"]] if isinstance(spec.get("name"), str) else []
        return own + [name for part in spec.values() for name in names_in(part)]
    return [name for part in spec for name in names_in(part)] if isinstance(spec, list) else []


def test_a_browser_draws_a_hostile_report(hostile, tmp_path, monkeypatch):
    monkeypatch.undo()
    made = report_again(hostile)
    document, root = in_browser(made, tmp_path)
    assert "errors" not in root, root["errors"]
    assert root["drawn"] == root["charts"] == "3"
    assert "owned" not in root
    assert document.count('class="standing"') > 20


def report_again(found):
    from upland.reporting.html import page_html

    return page_html(found.page)


@cache
def segmented():
    detector = upland.SegmentedDetector(upland.EnergyDetector(ignore=["time"], **QUIET), by="pump")
    return detector.fit(pumps(600, 1)), planted()


def refined():
    detector = upland.EnergyDetector(ignore=["pump", "time"], **QUIET).fit(pumps(600, 1))
    labelled = planted().iloc[90:150].assign(label=[0] * 10 + [1] * 40 + [0] * 10)
    return detector.refine(labelled, "label"), planted()


def crossed():
    detector = upland.EnergyDetector(ignore=["pump", "time"], calibration="cross", **QUIET)
    return detector.fit(pumps(200, 1)), planted()


def of_family(made):
    return lambda: (small(made, ignore=["pump", "time"]).fit(pumps(300, 1)), planted())


@pytest.mark.parametrize(
    "make",
    [segmented, refined, crossed, of_family(upland.FlowDetector), of_family(upland.VAEDetector)],
    ids=["segmented", "refined", "cross-fitted", "flow", "vae"],
)
def test_every_detector_of_tables_has_a_report(make):
    detector, new = make()
    found = report(detector, new, time="time")
    page = check_page(found.html)
    assert found.flagged >= 30
    causes = [cause["cause"] for cause in found.facts["causes"]]
    assert any("temperature" in cause or "flow" in cause for cause in causes[:2]), causes
    assert "differ from" in page.text
    assert detector.info()["calibration"]["guarantee"] in page.text


def test_rows_of_new_segments_are_left_out_of_the_test():
    detector, new = segmented()
    found = report(detector, new.assign(pump=["new"] * 50 + ["a"] * 750))
    assert "50 rows of segments that the fit did not see are left out" in check_page(found.html).text


def test_a_notebook_shows_the_page_in_a_frame_of_its_own():
    found = report(fitted(), pumps(30, 3), name='"><script>alert(1)</script>')
    shown = found._repr_html_()
    frame = check_frame(shown)
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] == found.html


def check_frame(shown):
    from html.parser import HTMLParser

    found = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    Frames().feed(shown)
    assert [tag for tag, _ in found] == ["iframe", "script"]
    return found[0][1]


def test_the_page_is_written_whole_and_not_over_another(tmp_path):
    found = report(fitted(), pumps(30, 3))
    found.save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == found.html
    with pytest.raises(FileExistsError):
        found.save(tmp_path / "a.html")
    found.save(tmp_path / "a.html", overwrite=True)


def test_arguments_out_of_range_are_refused(tmp_path):
    for wrong, words in (({"alpha": 0}, "alpha"), ({"top": 0}, "top"), ({"top": True}, "top")):
        with pytest.raises(ValueError, match=words):
            report(fitted(), pumps(30, 3), **wrong)
    with pytest.raises(ValueError, match="'when' names a column that is not in the table"):
        report(fitted(), pumps(30, 3), time="when")
    with pytest.raises(ValueError, match="no column 'lot'"):
        report(fitted(), pumps(30, 3), by="lot")
    with pytest.raises(TypeError):
        report(object(), pumps(30, 3))


def test_pictures_say_in_words_where_the_value_stands():
    rows = tables(facts().page)["The most anomalous rows"].rows
    pictures = [picture for row in rows for picture in row[-1] if isinstance(picture, Standing)]
    assert len(pictures) > 50
    outside = [it for it in pictures if it.description.startswith("temperature: 9")]
    assert outside
    assert all(it.at is not None and it.at > 1 and "normal is 6" in it.description for it in outside)


def test_facts_are_plain_json():
    found = facts(by="pump")
    assert json.loads(json.dumps(found.facts)) == found.facts
    assert found.facts["flagged_groups"] == 1


@pytest.mark.parametrize("name", ["cancer", "diabetes"])
def test_a_fault_planted_into_real_data_is_found_from_the_page(name):
    from sklearn.datasets import load_breast_cancer, load_diabetes

    data = (load_breast_cancer if name == "cancer" else load_diabetes)(as_frame=True)
    rows = data.data[data.target == 1] if name == "cancer" else data.data
    rows = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    half = len(rows) // 2
    column = rows.columns[3]
    new = rows.iloc[half:].reset_index(drop=True)
    new.loc[20:34, column] = rows[column].max() + 6 * rows[column].std()
    found = report(upland.EnergyDetector(**QUIET).fit(rows.iloc[:half]), new, alpha=0.02)
    first = re.search(r"The first cause: (\d+) rows: “([^”]*)” above", check_page(found.html).text)
    assert first is not None, found.page.summary
    assert first[2] == column
    assert int(first[1]) >= 15


def test_a_mixed_table_with_all_kinds_of_columns():
    new = mixed(80, 3).assign(seen=pd.Timestamp("2026-03-02"), age=pd.Timedelta(5, "s"))
    normal = mixed(300, 1)
    normal["seen"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(300) % 7, unit="D")
    normal["age"] = pd.to_timedelta(np.arange(300) % 11, unit="s")
    detector = upland.EnergyDetector(dates="number", **QUIET).fit(normal)
    found = report(detector, new)
    assert (
        "“seen” above what is normal (median 2026-03-02 00:00:00, normal 2026-01-01" in found.page.summary[2]
    )


def test_times_of_day_are_refused_since_they_name_no_day():
    dates = planted()["time"]
    for times in (dates.dt.time, dates.dt.strftime("%H:%M:%S")):
        with pytest.raises(ValueError, match="times of day, which name no day: join them with their dates"):
            report(fitted(), planted().assign(time=times), time="time")
    assert report(fitted(), planted().assign(time=dates.astype(str)), time="time").count == len(dates)


def test_cells_and_names_of_any_length_make_no_larger_page():
    rows = planted().iloc[:60].copy()
    rows["valve"] = rows["valve"].astype(object)
    rows.iloc[:5, list(rows.columns).index("valve")] = "x" * 1_000_000
    rows["pump"] = "z" * 1_000_000
    assert len(report(fitted(), rows, by="pump").html) < 1_500_000


def test_what_is_no_guarantee_is_not_called_one():
    """With cross calibration the rate of false alarms is about alpha, and at most twice that is proved."""
    for calibration, bound in (("split", "at most"), ("cross", "about")):
        model = upland.EnergyDetector(ignore=["pump", "time"], calibration=calibration, **QUIET)
        page = report(model.fit(pumps(600, 1)), planted().iloc[:50]).page
        slider = next(one for one in page.sections if one.title == "Alarms at each level").parts[1]
        assert slider.shown[0]["Falsely flagged on average, if all are normal"].startswith(bound)
        assert ("each fold has a threshold" in str(page)) == (calibration == "cross")


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def test_the_zone_of_the_machine_changes_no_number(zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        text = "2026-01-02T07:00"
        for moment in (datetime(2026, 1, 2, 7), np.datetime64(text), pd.Timestamp(text)):
            assert number_of(moment) == 1_767_337_200.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_segment_of_a_fault_is_found_from_the_page_alone():
    """A value that is normal elsewhere: without the segment nobody could tell what is wrong."""
    rng = np.random.default_rng(0)
    machine = np.repeat(["m1", "m2", "m3"], 300)
    level = {"m1": 0.0, "m2": 10.0, "m3": 20.0}
    rows = pd.DataFrame({"machine": machine, "a": rng.normal(size=900) + pd.Series(machine).map(level)})
    rows["b"] = rng.normal(size=900)
    model = upland.SegmentedDetector(upland.EnergyDetector(**QUIET), by="machine").fit(rows)
    new = rows.sample(120, random_state=1).reset_index(drop=True)
    wrong = new.index[new["machine"] == "m1"][:5]
    new.loc[wrong, "a"] = 10.0
    page = report(model, new, alpha=0.01).page
    assert "of “m1”" in page.sections[0].parts[0].rows[0][0]
    table = next(one for one in page.sections if one.title == "The most anomalous rows").parts[0]
    at = [column.name for column in table.columns].index("segment")
    assert {(row[0], row[at]) for row in table.rows[:5]} == {(int(row) + 1, "m1") for row in wrong}


def test_the_summary_names_the_groups_that_are_flagged():
    said = facts(by="pump").page.summary
    assert said[1] == "1 of 3 groups by pump are flagged at a false discovery rate of 0.05: c."
