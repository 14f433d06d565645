"""`upland.alarms`: the same alarms whatever holds the history; what is said of one that is not whole."""

import decimal
import warnings
from functools import cache, partialmethod

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import upland
from estimators import EXAMPLES
from scorers import NAMES, file_of, frame_of, modality
from upland.io.source import Source
from upland.scoring import alarms as levels
from upland.scoring.histories import HistoryReader

HOURS = 480


@cache
def detector():
    return upland.EnergyDetector(random_state=0, progress=False).fit(values(600, 0))


def values(count, seed):
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    return pd.DataFrame({"flow": flow, "pressure": 2 * flow + rng.normal(0, 0.3, count)})


def history(count=HOURS, zone=None, seed=1):
    """Hours of two pumps, with an event of five hours."""
    rows = values(count, seed)
    when = pd.date_range("2026-03-10", periods=count, freq="h", tz="UTC")
    rows.insert(0, "when", when if zone else when.tz_localize(None))
    if zone:
        rows["when"] = rows["when"].dt.tz_convert(zone)
    rows["pump"] = np.where(np.arange(count) % 2, "a", "b")
    rows.loc[100:104, "pressure"] += 9
    return rows


def numbers_of(found):
    return [level[:6] for level in [*found.levels(), *found.levels("fdr")]], found.rates.seconds


def found_in(data, **options):
    return upland.alarms(detector(), data, **{"time": "when"} | options)


CONTAINERS = {
    "polars": pl.from_pandas,
    "arrow": lambda rows: pa.Table.from_pandas(rows, preserve_index=False),
    "text": lambda rows: rows.assign(when=rows["when"].dt.strftime("%Y-%m-%d %H:%M")),
    "text of a day first": lambda rows: rows.assign(when=rows["when"].dt.strftime("%d.%m.%Y %H:%M")),
    "nanoseconds": lambda rows: rows.assign(when=rows["when"].astype("datetime64[ns]")),
    "seconds": lambda rows: rows.assign(when=rows["when"].astype("datetime64[s]")),
    "durations": lambda rows: rows.assign(when=rows["when"] - pd.Timestamp("2026-03-10")),
    "shuffled": lambda rows: rows.sample(frac=1, random_state=0),
    "categories": lambda rows: rows.assign(pump=rows["pump"].astype("category")),
}


@pytest.mark.parametrize("merge", [None, "90min"])
@pytest.mark.parametrize("kind", CONTAINERS)
def test_the_alarms_are_those_of_the_rows_whatever_holds_them(kind, merge):
    expected = numbers_of(found_in(history(), id="pump", merge=merge))
    assert numbers_of(found_in(CONTAINERS[kind](history()), id="pump", merge=merge)) == expected


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_gives_what_its_rows_do(suffix, tmp_path):
    path = tmp_path / f"history.{suffix}"
    rows = history()
    rows.to_csv(path, index=False) if suffix == "csv" else rows.to_parquet(path, index=False)
    assert numbers_of(found_in(path)) == numbers_of(found_in(rows))


def test_a_clock_that_is_set_back_makes_no_hour_twice():
    """27 hours around the end of summer time: of a zone they are 27, as its local texts an hour less."""
    rows = values(27, 3)
    when = pd.date_range("2026-10-24 12:00", periods=27, freq="h", tz="UTC")
    zoned = found_in(rows.assign(when=when.tz_convert("Europe/Berlin")))
    assert zoned.rates.seconds == 26 * 3_600
    assert numbers_of(zoned) == numbers_of(found_in(rows.assign(when=when)))
    said = rows.assign(when=when.tz_convert("Europe/Berlin").strftime("%Y-%m-%dT%H:%M:%S%z"))
    assert numbers_of(found_in(said)) == numbers_of(zoned)
    local = found_in(rows.assign(when=when.tz_convert("Europe/Berlin").tz_localize(None)))
    assert local.rates.seconds == 25 * 3_600


def test_the_event_is_one_alarm_and_is_named():
    found = found_in(history())
    worst, whole = found.episodes(found.at(0.01))
    assert whole
    assert (worst[0].first, worst[0].rows) == (100, 5)
    assert worst[0].start == np.datetime64("2026-03-14T04:00")
    assert worst[0].end == np.datetime64("2026-03-14T08:00")
    assert len(worst) == found.at(0.01).alarms
    apart, _ = found_in(history(), id="pump", merge=1).episodes(found.at(0.01))
    assert {(one.series, one.rows) for one in apart if 100 <= one.first <= 104} == {("b", 3), ("a", 2)}


@pytest.mark.parametrize("merge", [None, 1, "2h", "1d"])
@pytest.mark.parametrize("id", [None, "pump"])
def test_the_alarms_that_are_named_are_as_many_as_are_counted(merge, id):
    found = found_in(history(), merge=merge, id=id)
    for level in found.levels():
        episodes, whole = found.episodes(level)
        assert whole
        assert (len(episodes), sum(one.rows for one in episodes)) == (level.alarms, level.flagged)


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_has_alarms(name):
    model = upland.load(file_of(name))
    X = EXAMPLES[name].new if name in EXAMPLES else None
    if X is None:
        arrays = np.random.default_rng(3).normal(size=(20, 6, 2)).cumsum(axis=1)
        X = arrays if "array" in name else frame_of(name).drop(columns=["note", "lot"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = upland.alarms(model, X)
        p = model.p_values(X)
    assert found.rows == np.isfinite(p).sum()
    for level in found.levels():
        assert level.flagged == (p <= level.alpha).sum()
        assert 0 <= level.alarms <= level.flagged
    steps = found.unit == "step"
    assert ("3 rows" in found.rule) == steps
    assert found.alpha == model.alpha_
    assert modality(name) == "sequence" or found.per.startswith("1,000")


def test_the_rows_of_a_series_are_those_of_the_user():
    model, rows = upland.load(file_of("SequenceEnergyDetector")), EXAMPLES["SequenceEnergyDetector"].new
    rows = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    p = model.p_values(rows)
    found = upland.alarms(model, rows, merge=0)
    episodes, whole = found.episodes(found.at(0.3))
    assert whole
    assert sorted(one.first for one in episodes) == np.flatnonzero(p <= 0.3).tolist()
    assert [one.p_value for one in episodes] == [p[one.peak] for one in episodes]
    assert [one.series for one in episodes] == rows["machine"].iloc[[one.first for one in episodes]].tolist()
    assert [one.start for one in episodes] == rows["time"].iloc[[one.first for one in episodes]].tolist()


def test_series_do_not_merge_with_each_other():
    rows = history()
    apart = found_in(rows, id="pump", merge="1d")
    parts = [found_in(part, merge="1d") for _, part in rows.groupby("pump")]
    for level in apart.levels():
        assert level.alarms == sum(part.at(level.alpha).alarms for part in parts)


def test_rows_without_a_time_are_counted_and_said():
    rows = history()
    rows.loc[[3, 9], "when"] = pd.NaT
    with pytest.warns(UserWarning, match="2 rows of the history have no time: each is an alarm of its own"):
        found = found_in(rows)
    assert found.rows == HOURS
    blank = rows.assign(when=rows["when"].astype(str).replace("NaT", ""))
    with pytest.warns(UserWarning, match="2 rows"):
        assert numbers_of(found_in(blank)) == numbers_of(found)


def test_a_history_of_one_row_or_of_one_time_has_no_days():
    for rows in (history(1), history(9).assign(when=pd.Timestamp("2026-01-01"))):
        found = found_in(rows)
        assert found.per == "1,000 rows"
        assert found.held_out("1 per day") is None
        with pytest.raises(ValueError, match="is by time, and nothing says how long the history is"):
            found.within("1 per day")
    assert found.within("1 per 1000") is not None or found.at(0.01).flagged


def test_numbers_order_rows_and_measure_no_time():
    rows = history().assign(when=np.arange(HOURS)[::-1])
    found = found_in(rows)
    assert found.per == "1,000 rows"
    assert found.episodes(found.at(0.01))[0][0].start == HOURS - 1 - 104
    with pytest.raises(ValueError, match="merge is a duration, '10min', and the history has no dates"):
        found_in(rows, merge="10min")


@pytest.mark.filterwarnings("ignore:.* of the history have no time")
@pytest.mark.parametrize("kind", ["float", "float with a gap", "integer", "text", "decimal", "nothing"])
def test_numbers_of_any_type_order_rows(kind):
    numbers = np.arange(HOURS, dtype=float)
    made = {
        "float": numbers + 0.5,
        "float with a gap": np.where(numbers == 3, np.nan, numbers),
        "integer": numbers.astype(int),
        "text": numbers.astype(int).astype(str),
        "decimal": [decimal.Decimal(int(number)) for number in numbers],
        "nothing": np.full(HOURS, np.nan),
    }
    found = found_in(history().assign(when=made[kind]), merge=3)
    gaps = {"float with a gap": 1, "nothing": HOURS}
    assert (found.per, found.untimed, found.late) == ("1,000 rows", gaps.get(kind, 0), 0)
    if kind not in gaps:
        assert found.at(0.05) == found_in(history().assign(when=numbers.astype(int)), merge=3).at(0.05)


def test_a_text_among_numbers_is_named():
    when = [str(number) for number in range(HOURS)]
    when[3] = "soon"
    with pytest.raises(ValueError, match=r"'when', row 4 holds 'soon'|holds no times"):
        found_in(history().assign(when=when))


def test_times_of_day_are_refused():
    """By these alone the hours of all days would be those of one."""
    rows = history()
    with pytest.raises(ValueError, match="times of day, which name no day: join them with their dates"):
        found_in(rows.assign(when=rows["when"].dt.time))
    with pytest.raises(ValueError, match="times of day, which name no day"):
        found_in(rows.assign(when=rows["when"].dt.strftime("%H:%M:%S")))


def test_rows_that_are_all_alike_are_all_flagged_or_none():
    rows = history()
    rows[["flow", "pressure"]] = 10.0, 90.0
    found = found_in(rows)
    for level in found.levels():
        assert (level.flagged, level.alarms) == (HOURS, 1)
        assert found.at(level.alpha, "fdr").flagged == HOURS
    rows[["flow", "pressure"]] = 10.0, 20.0
    quiet = found_in(rows)
    assert quiet.at(0.05)[3:7] == (0, 0, 0.05 * HOURS, 0.0)
    assert quiet.at(0.05).high > 0


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"time": "whenn"}, "time='whenn' names a column that is not in the table"),
        ({}, {"id": "pumpp"}, "id='pumpp' names a column that is not in the table"),
        ({"when": "soon"}, {}, "the time column 'when' holds no times, for example 'soon'"),
        ({"when": ["soon"] * 5 + ["7"] * (HOURS - 5)}, {}, "the time column 'when' holds no times"),
        ({"when": True}, {}, "the time column 'when' holds no times"),
        ({}, {"merge": "soon"}, "merge is a number of rows, or a duration"),
        ({}, {"time": None, "merge": "10min"}, "the history has no dates to measure it by"),
    ],
)
def test_what_cannot_be_read_is_named(change, options, message):
    with pytest.raises(ValueError, match=message):
        found_in(history().assign(**change), **options)


def test_a_cell_that_is_no_time_is_named_by_its_row_in_any_batch(tmp_path, monkeypatch):
    rows = history(300).assign(when=history(300)["when"].astype(str))
    rows.loc[270, "when"] = "soon"
    with pytest.raises(ValueError, match=r"column 'when'.* row 271 holds 'soon'"):
        found_in(rows)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match=r"no rows|at least"):
        found_in(history().iloc[:0])


def test_columns_of_a_table_are_refused_for_what_is_none():
    model = upland.load(file_of("ImageEnergyDetector"))
    with pytest.raises(ValueError, match="time='when' is a column of a table: the model is of images"):
        upland.alarms(model, EXAMPLES["ImageEnergyDetector"].new, time="when")
    series = upland.load(file_of("SequenceEnergyDetector"))
    with pytest.raises(ValueError, match="whose own is 'machine'"):
        upland.alarms(series, EXAMPLES["SequenceEnergyDetector"].new, id="pump")
    with pytest.raises(TypeError, match="alarms takes a detector of upland, not a DataFrame"):
        upland.alarms(history(), history())


def test_a_choice_on_the_earlier_half_is_tried_on_the_later_one():
    found = found_in(history(), merge=0)
    chosen, later = found.held_out("2 per day")
    halves = [found_in(part, merge=0) for part in (history().iloc[:240], history().iloc[240:])]
    assert halves[0].within("2 per day").alpha == chosen.alpha
    assert halves[1].at(chosen.alpha)[:6] == later[:6]


def test_a_long_history_is_read_in_pieces_and_gives_the_same(tmp_path, monkeypatch):
    path = tmp_path / "long.csv"
    history(3_000).to_csv(path, index=False)
    expected = numbers_of(found_in(path, id="pump"))
    monkeypatch.setattr(levels, "HELD", 500)
    monkeypatch.setattr(Source, "batches", partialmethod(Source.batches, size=700))
    sizes = [len(batch.p_values) for batch in HistoryReader(detector(), "when", "pump").batches(path)]
    assert max(sizes) <= 700 < sum(sizes)
    assert numbers_of(found_in(path, id="pump")) == expected


def test_a_long_file_that_is_not_in_order_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "HELD", 200)
    monkeypatch.setattr(Source, "batches", partialmethod(Source.batches, size=200))
    path = tmp_path / "backwards.csv"
    history().iloc[::-1].to_csv(path, index=False)
    with pytest.warns(
        UserWarning, match="280 rows of the history come after later ones .* sort the file by time"
    ):
        found = found_in(path)
    assert found.late == 280
    history().to_csv(path, index=False)
    assert found_in(path).late == 0


def test_the_levels_as_a_table():
    found = found_in(history())
    table = found.to_arrow()
    assert table["control"].unique().to_pylist() == ["false_alarm", "fdr"]
    assert table["alpha"].to_pylist()[: len(found.levels())] == [level.alpha for level in found.levels()]
    assert 0.05 in table["alpha"].to_pylist()
    assert table["per"].unique().to_pylist() == ["day"]


def test_segments_have_no_level_at_which_none_of_them_can_be_flagged():
    rng = np.random.default_rng(0)
    sizes = {"a": 150, "b": 150, "c": 700}
    rows = pd.concat(
        [values(size, seed).assign(pump=name) for seed, (name, size) in enumerate(sizes.items())]
    )
    inner = upland.EnergyDetector(random_state=0, progress=False)
    model = upland.SegmentedDetector(inner, by="pump").fit(rows)
    found = upland.alarms(model, rows.sample(400, random_state=1), merge=0)
    held_out = model.segment_calibration_
    assert found.smallest_p == held_out.smallest_p > model.calibration_.smallest_p
    assert held_out.n_below(found.levels()[0].alpha) > 0
    assert held_out.n_below(found.smallest_p * 0.999) == 0
    odd = rows.tail(60).assign(flow=rng.normal(90, 1, 60))
    assert upland.alarms(model, odd).within("0 per 1000") is None
