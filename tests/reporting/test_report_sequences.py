"""The report of series and of whole sequences: the fault is on the page, whatever the data are like."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import upland
from htmlpages import check_page
from normals import waves
from plant import pump_series
from upland.reporting import assessed, html
from upland.reporting.assessed import FEWEST
from upland.reporting.base import Settings
from upland.reporting.page import Chart, Table
from upland.reporting.report import report, report_of
from upland.reporting.steps import DRAWN
from upland.reporting.traces import BINS
from upland.scoring.episodes import NEAR, episodes_of

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\u202e.[0] 'q\" & a.b"
FAULT = range(50, 54)


def small(**options):
    given = {"epochs": 25, "hidden": (16,), "calibration": "split", "random_state": 0, "progress": False}
    return upland.SequenceEnergyDetector(**given | options)


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
    """Pages without the scripts that draw, which take a second each; `test_screenshots` has them."""
    monkeypatch.setattr(html, "_vega", lambda: "")


@pytest.fixture(scope="module")
def pumps():
    """A detector of three pumps' minutes."""
    return small(id="pump", time="time", criterion="reconstruction").fit(pump_series(0, steps=200))


@pytest.fixture(scope="module")
def wholes():
    """A detector of whole sequences."""
    return small(epochs=10).fit(waves(200, 14, 3))


def tables(page, title):
    return next(part for part in section(page, title).parts if isinstance(part, Table))


def section(page, title):
    return next(part for part in page.sections if part.title == title)


def charts(page):
    return [part for one in page.sections for part in one.parts if isinstance(part, Chart)]


def lines(page):
    """The charts along steps."""
    return [chart for chart in charts(page) if "line0" in chart.spec.get("datasets", {})]


def flagged_in(page, title):
    """How many stretches the first chart of a section shades."""
    first = next(part for part in section(page, title).parts if isinstance(part, Chart))
    return len(first.spec["datasets"].get("flagged", []))


def checked(found):
    """The parsed page, whose JSON is whole and whose numbers are finite."""
    for chart in charts(found.page):
        json.dumps(chart.spec, allow_nan=False)
    return check_page(found.html)


def test_the_fault_of_a_pump_is_found_from_the_page_alone(pumps):
    found = report(pumps, pump_series(1, broken=("b", FAULT)))
    page = found.page
    assert "of 240 steps" in page.summary[0]
    assert "at a false-alarm rate of 0.05" in page.summary[0]
    assert page.summary[1].startswith("The worst: pump b, 2026-03-02 08:5")
    assert "pressure contributes most" in page.summary[1]
    table = tables(page, "Episodes")
    first = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert first["pump"] == "b"
    assert "2026-03-02 08:50" <= first["start"] <= "2026-03-02 08:53" <= first["end"]
    assert first["contributes most at the worst step"][0].startswith("pressure (")
    drawn = section(page, "pump b")
    score, *channels = (part for part in drawn.parts if isinstance(part, Chart))
    assert score.title == "Anomaly score"
    assert channels[0].title == "pressure"
    begin = np.datetime64("2026-03-02T08:00", "ms").astype(float)
    marks = score.spec["datasets"]["flagged"]
    flagged = np.flatnonzero(pumps.assess(pump_series(1, broken=("b", FAULT))).p_value[80:160] <= 0.05)
    assert set(FAULT) & set(flagged.tolist())
    for minute in flagged:
        at = begin + 60_000 * minute
        assert any(mark["x"] <= at <= mark["x2"] for mark in marks)
    checked(found)


def test_the_kind_is_of_the_channel_of_the_whole_episode():
    """As `upland.episodes` has it, though another channel is the first at the worst step."""
    rng = np.random.default_rng(3)
    options = {"criterion": "max_channel", "smoothing": 1, "epochs": 1, "frame": 1}
    detector = small(**options).fit(rng.normal(size=(800, 3)))
    rows = rng.normal(size=(600, 3))
    rows[400:430, 1] += 12
    rows[415, 2] += 40
    worst = upland.episodes(detector, rows).worst(1)[0]
    assert (worst.channels[0].column, worst.reasons[0].column, worst.kind) == ("x1", "x2", "level shift")
    table = tables(report(detector, rows).page, "Episodes")
    first = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert first["contributes most at the worst step"][0].startswith("x2 (")
    assert first["kind"] == "x1: level shift"


def test_groups_of_series_are_refused(pumps):
    with pytest.raises(ValueError, match=r"groups are of rows of a table, .*: ask for none"):
        report(pumps, pump_series(1), by="id")


def test_what_contributes_is_what_explain_says(pumps):
    data = pump_series(1, broken=("b", FAULT))
    page = report(pumps, data).page
    scores, p_values = pumps.assess(data)
    peak = int(scores.argmax())
    (reasons,) = upland.explain(pumps, data).top(3)[peak : peak + 1]
    said = tables(page, "Episodes").rows[0][3]
    most = reasons[0]
    band = f"{most.low:.4g} to {most.high:.4g}"
    assert said[0] == f"{most.column} ({most.part:.0%}): {most.value:.4g}, expected {band}"
    assert f"where {band} was expected" in page.summary[1]
    row = tables(page, "Episodes").rows[0]
    assert row[-3:] == pytest.approx([scores[peak], p_values[peak], pumps.blocks_.smallest_p])


def test_every_episode_is_on_the_page(pumps):
    data = pump_series(1, broken=("b", FAULT))
    scores, p_values = pumps.assess(data)
    found = report(pumps, data, alpha=0.3, top=3)
    owners = np.repeat(np.arange(3), 80)
    episodes = episodes_of(p_values <= 0.3, owners, scores)
    assert episodes.peaks.size > 3
    assert f"in {episodes.peaks.size} episodes" in found.page.summary[0]
    table = tables(found.page, "Episodes")
    assert len(table.rows) == 3
    assert table.note == f"The 3 worst of {episodes.peaks.size} episodes."
    counted = {name: row for name, *row in tables(found.page, "Series compared").rows}
    for number, pump in enumerate("abc"):
        inside = owners == number
        steps, flagged, _, hits, highest = counted[pump]
        assert (steps, flagged) == (80, int((p_values[inside] <= 0.3).sum()))
        assert hits == int((owners[episodes.peaks] == number).sum())
        assert highest == scores[inside].max()
    assert sum(flagged_in(found.page, f"pump {pump}") for pump in "abc") == episodes.peaks.size
    assert NEAR == 3


def series(count, **changes):
    """A series of one pump without id."""
    generator, minutes = np.random.default_rng(3), np.arange(count)
    flow = 10 + 3 * np.sin(minutes / 5) + generator.normal(0, 0.3, count)
    return {"flow": flow, "pressure": 2 * flow + generator.normal(0, 0.3, count)} | changes


def levels(count):
    return np.array([["open", "</script>", None][number % 3] for number in range(count)], dtype=object)


CASES = {
    "one step": lambda: series(1),
    "two steps": lambda: series(2),
    "a missing channel": lambda: series(90, pressure=np.full(90, np.nan)),
    "gaps": lambda: series(90) | {"flow": np.where(np.arange(90) % 4, series(90)["flow"], np.nan)},
    "all flagged": lambda: series(90, flow=np.full(90, 1e6)),
    "equal values": lambda: series(90, flow=np.full(90, 10.0), pressure=np.full(90, 20.0)),
}


@pytest.fixture(scope="module")
def one():
    return small().fit(pa.table(series(300)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings(
    "ignore:.*missing", "ignore:.*times the", "ignore:.*never seen", "ignore:.*outside"
)
def test_pages_of_any_series_are_whole(one, case):
    data = pa.table(CASES[case]())
    found = report(one, data)
    text = checked(found).text
    assert found.count == data.num_rows
    assert found.flagged == int((one.assess(data).p_value <= 0.05).sum())
    if case == "all flagged":
        assert "90 of 90 steps (100.0%) are flagged" in text
        assert "in 1 episode" in text
    if case == "one step":
        assert "1 step." in text
        assert "steps is" not in text


def test_where_nothing_is_flagged_the_page_says_so_and_shows_the_highest(one):
    found = report(one, pa.table(series(90)), alpha=1e-9)
    assert found.flagged == 0
    assert found.page.summary[0].startswith("None of the 90 steps is flagged")
    assert len(found.page.summary) == 1
    table = tables(found.page, "Episodes")
    assert len(table.rows) == FEWEST
    assert {row[-1] for row in table.rows} == {"no"}
    assert not any("flagged" in chart.spec["datasets"] for chart in lines(found.page))
    assert not any(part.title == "Contributing columns" for part in found.page.sections)
    checked(found)


@pytest.mark.parametrize("time", [None, "when"])
def test_hostile_names_are_text(time):
    count = 120
    data = series(count) | {HOSTILE: series(count)["flow"], "state": levels(count)}
    data["site"] = np.array([HOSTILE, "b\nc"], dtype=object)[np.arange(count) * 2 // count]
    more = {} if time is None else {time: np.arange(count) * 0.5}
    detector = small(id="site", time=time, epochs=2).fit(pa.table(data | more))
    data[HOSTILE][70] = 1e3
    found = report_of(detector, pa.table(data | more), Settings(data_name=HOSTILE))
    page = checked(found)
    assert "img" not in page.elements
    assert "onerror=alert(1)" in page.text
    assert not set("\x1b\u202e\n") & set("".join(section.title for section in found.page.sections))


def test_hundreds_of_channels_make_a_small_page():
    count, channels = 120, 300
    generator = np.random.default_rng(0)
    wide = {f"c{number}": generator.normal(size=count) for number in range(channels)}
    detector = small(epochs=1, hidden=(2,), window=20).fit(pa.table(wide))
    wide["c77"][100:104] += 60
    found = report(detector, pa.table(wide))
    checked(found)
    assert "Of 300 channels the 3 that contribute most are drawn." in found.html
    assert sum(len(json.dumps(chart.spec)) for chart in charts(found.page)) < 300_000


def test_a_page_does_not_grow_with_the_steps(one, monkeypatch):
    explained = []
    explain = assessed.Assessed.explain

    def counted(self, number, steps):
        explained.append((number, steps.size))
        return explain(self, number, steps)

    monkeypatch.setattr(assessed.Assessed, "explain", counted)
    data = series(10_000)
    data["pressure"][9_000:9_005] += 30
    found = report(one, pa.table(data))
    assert len(lines(found.page)) >= 4
    for chart in lines(found.page):
        for points in chart.spec["datasets"].values():
            assert len(points) <= 2 * BINS
    ((series_number, steps),) = explained
    assert series_number == 0
    assert steps < 1_500
    assert sum(len(json.dumps(chart.spec)) for chart in charts(found.page)) < 400_000


def test_of_many_series_a_few_are_drawn_and_only_the_listed_explained(pumps, monkeypatch):
    explained = []
    explain = assessed.Assessed.explain
    monkeypatch.setattr(
        assessed.Assessed, "explain", lambda self, n, steps: explained.append(n) or explain(self, n, steps)
    )
    one = pump_series(1, steps=10).filter(pa.compute.equal(pump_series(1, steps=10)["pump"], "a"))
    parts = [one.set_column(0, "pump", pa.array([f"p{number:04d}"] * 10)) for number in range(300)]
    found = report(pumps, pa.concat_tables(parts), top=7)
    assert len(explained) == len(set(explained)) <= 7
    assert len(tables(found.page, "Series compared").rows) == 200
    assert tables(found.page, "Series compared").note == "The 200 with most flagged steps of 300."
    assert sum(part.title.startswith("pump p") for part in found.page.sections) == DRAWN


def test_a_whole_sequence_that_is_anomalous_is_found(wholes):
    data = waves(20, 14, 3, seed=5)
    data[13, 6, 2] += 5
    found = report(wholes, data)
    page = found.page
    assert found.count == 20
    assert page.summary[1].startswith("The worst: sequence 13, where x2 at 6 contributes most")
    row = tables(page, "Sequences").rows[0]
    assert row[0] == "13"
    assert row[1][0].startswith("x2 at 6 (")
    closest = charts(replace(page, sections=[section(page, "The worst in detail")]))[0]
    assert closest.title == "sequence 13, x2"
    assert any(mark["x"] <= 6 <= mark["x2"] for mark in closest.spec["datasets"]["flagged"])
    values = [point["v"] for point in closest.spec["datasets"]["line0"]]
    np.testing.assert_allclose(values, data[13, :, 2], rtol=1e-4)
    checked(found)


@pytest.mark.parametrize("lengths", [(14,), (14, 3, 1), (1, 1, 1), (5,) * 12])
def test_sequences_of_any_lengths_make_a_whole_page(wholes, lengths):
    data = [waves(1, length, 3, seed=number)[0] + 3 for number, length in enumerate(lengths)]
    found = report(wholes, data)
    checked(found)
    assert found.count == len(lengths)
    counted = {row[0]: row[2] for row in tables(found.page, "Sequences").rows}
    assert counted.items() <= {str(number): length for number, length in enumerate(lengths)}.items()


def test_groups_and_other_times_are_of_tables(one, pumps):
    with pytest.raises(ValueError, match="groups are of rows of a table"):
        report(one, pa.table(series(20)), by="flow")
    with pytest.raises(ValueError, match="a column of times is of rows of a table"):
        report(one, pa.table(series(20)), time="flow")
    with pytest.raises(ValueError, match="its steps are ordered by time"):
        report(pumps, pump_series(1), time="flow")
    assert report(pumps, pump_series(1), time="time").count == 240
