"""Dates by their time of day, weekday and month: what returns is near, what never was is far."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.dateparts import PartLearner, fractions
from upland.data.table.encoder import TableEncoder
from upland.io.cells import CellOptions
from upland.io.schema import PARTS, Column

PARTED = CellOptions(dates="parts")


def seconds(*stamps):
    return np.array(stamps, dtype="M8[us]").astype(np.int64) / 1e6


def stamps(days, step, seed=0, n=300, start="2026-01-01"):
    g = np.random.default_rng(seed)
    whole = g.integers(0, int(days * 86_400 / step), n) * step
    return np.datetime64(start) + whole.astype(int).astype("m8[s]")


@pytest.mark.parametrize(
    ("stamp", "hour", "weekday", "month"),
    [
        ("1970-01-01T00:00", 0, 3, 0),
        ("2026-03-03T14:00", 14, 1, 2),
        ("2026-02-08T03:30", 3.5, 6, 1),
        ("1969-12-31T18:00", 18, 2, 11),
        ("1900-01-01T12:00", 12, 0, 0),
        ("2024-02-29T23:59:59.5", 24 - 0.5 / 3600, 3, 1),
    ],
)
def test_fractions_of_the_cycles(stamp, hour, weekday, month):
    x = np.append(seconds(stamp), np.nan)
    expected = {"hour": hour / 24, "weekday": weekday / 7, "month": month / 12}
    for part in PARTS:
        np.testing.assert_allclose(fractions(x, part), [expected[part], np.nan], atol=1e-9)


COVERED = {
    "ten hours": ((0.4, 60), ()),
    "a day": ((1, 3600), ("hour",)),
    "three days": ((3, 60), ("hour",)),
    "a week of days": ((7, 86_400), ("weekday",)),
    "four weeks": ((28, 60), ("hour", "weekday")),
    "four weeks of days": ((28, 86_400), ("weekday",)),
    "eleven months": ((333, 60), ("hour", "weekday")),
    "two years": ((730, 60), ("hour", "weekday", "month")),
    "Mondays at noon": ((0.001, 60), ()),
}


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("batch", [7, 300])
def test_a_part_is_used_where_its_cycle_is_covered(name, batch):
    (days, step), parts = COVERED[name]
    x = seconds(*stamps(days, step))
    learner = PartLearner()
    for start in range(0, len(x), batch):
        learner.update(x[start : start + batch])
    found, scaling = learner.learned()
    assert found == parts
    assert len(scaling) == 3 * len(parts)


def fitted(days=400, n=900, **other):
    table = pa.table({"at": stamps(days, 60, n=n), **other})
    return TableEncoder(cells=PARTED).fit(table), table


def test_codes_have_mean_zero_and_unit_variance():
    encoder, table = fitted()
    codes = encoder.transform(table).astype(np.float64)
    assert encoder.schema_.columns[0].parts == PARTS
    assert encoder.width == 6
    assert encoder.slots.tolist() == [0] * 6
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(codes.reshape(-1, 3, 2).var(axis=0).sum(axis=1), 1, atol=0.01)


def test_midnight_and_december_have_no_seam():
    encoder, _ = fitted()
    around = np.array(["2026-12-31T23:59:59", "2027-01-01T00:00:00"], dtype="M8[us]")
    hour = encoder.transform(pa.table({"at": around}))[:, :2]
    np.testing.assert_allclose(hour[0], hour[1], atol=1e-3)


def test_the_same_moment_of_another_year_has_the_same_code():
    encoder, _ = fitted()
    days = np.array(["2026-03-03T14:00", "2037-03-03T14:00"], dtype="M8[us]")  # both are Tuesdays
    codes = encoder.transform(pa.table({"at": days}))
    np.testing.assert_allclose(codes[0], codes[1], atol=1e-6)


FRAMES = {
    "pandas": lambda x: pd.DataFrame({"at": x}),
    "pandas, UTC": lambda x: pd.DataFrame({"at": pd.Series(x).dt.tz_localize("UTC")}),
    "polars": lambda x: pl.DataFrame({"at": x.astype("M8[ms]")}),
    "arrow, seconds": lambda x: pa.table({"at": pa.array(x, pa.timestamp("s"))}),
    "Berlin": lambda x: pd.DataFrame(
        {"at": pd.Series(x).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")}
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_container_and_zone_gives_the_codes_of_utc(name):
    encoder, table = fitted()
    later = FRAMES[name](np.array(stamps(400, 60, n=20)))
    again = TableEncoder(cells=PARTED).fit(FRAMES[name](np.array(stamps(400, 60, n=900))))
    expected = encoder.transform(table.slice(0, 20)).shape
    assert again.transform(later).shape == expected
    np.testing.assert_array_equal(
        again.transform(later), encoder.transform(pa.table({"at": stamps(400, 60, n=20)}))
    )


def test_decode_gives_the_typical_moment_in_words():
    encoder, _ = fitted()
    days = np.array(["2026-03-03T14:00", "2026-02-08T03:20", "2026-12-31T23:50"], dtype="M8[us]")
    decoded = encoder.decode(encoder.transform(pa.table({"at": days})))["at"]
    assert decoded.tolist() == ["Tue 14 h, March", "Sun 3 h, February", "Thu 0 h, December"]
    short, _ = fitted(days=28)
    assert short.decode(short.transform(pa.table({"at": days})))["at"].tolist()[0] == "Tue 14 h"
    assert encoder.values(pa.table({"at": days}))["at"].tolist() == days.tolist()
    assert encoder.describe() == [{"name": "at", "kind": "date"}]


def test_a_missing_date_has_a_slot_of_its_own():
    x = stamps(28, 60, n=100).astype("M8[us]")
    x[3] = np.datetime64("NaT")
    table = pa.table({"at": pa.array(x, from_pandas=True), "x": np.sin(np.arange(100.0))})
    encoder = TableEncoder(cells=PARTED).fit(table)
    codes = encoder.transform(table)
    assert encoder.slots.tolist() == [0] * 5 + [1]
    assert codes[3, :4].tolist() == [0.0] * 4
    assert codes[3, 4] > 1 > np.delete(codes[:, 4], 3).max()


def test_a_date_that_is_missing_for_the_first_time_is_far():
    encoder, table = fitted(days=28, x=np.sin(np.arange(900.0)))
    holes = table.set_column(0, "at", pa.nulls(900, pa.timestamp("s")))
    with pytest.warns(UserWarning, match="missing values in 'at', where hardly any value"):
        codes = encoder.transform(holes)
    assert codes[:, :4].tolist() == [[5.0] * 4] * 900


def test_a_reloaded_encoder_gives_the_same_bits():
    encoder, table = fitted(x=np.sin(np.arange(900.0)))
    manifest, tensors = encoder.to_state()
    again = TableEncoder.from_state(json.loads(json.dumps(manifest)), tensors)
    assert again.schema_ == encoder.schema_
    np.testing.assert_array_equal(again.transform(table), encoder.transform(table))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ["hour", "hour"]}, "its parts must be of hour, weekday, month, each once"),
        ({"parts": ["year"]}, "its parts must be of"),
        ({"parts": True}, "only a date has parts"),
        ({"kind": "numeric"}, "only a date has parts"),
        ({"part_scaling": [0.0, 0.0]}, "each of its parts needs two means and a positive scale"),
        ({"part_scaling": [0.0, 0.0, 0.0]}, "each of its parts needs"),
        ({"part_scaling": [0.0, 0.0, float("nan")]}, "each of its parts needs"),
        ({"part_scaling": ["0", 0.0, 1.0]}, "each of its parts needs"),
    ],
)
def test_damaged_parts_are_refused(change, message):
    record = Column("at", "date", "datetime", parts=("hour",), part_scaling=(0.0, 0.0, 1.0)).to_json()
    assert Column.from_json(record).width == 2
    with pytest.raises(ValueError, match=message):
        Column.from_json({**record, **change})


@pytest.mark.filterwarnings("ignore:column 'at'. its dates cover no day")
def test_dates_that_say_nothing_about_a_moment_take_no_slot():
    x = np.sin(np.arange(60.0))
    table = pa.table({"at": stamps(0.2, 60, n=60), "x": x})
    encoder = TableEncoder(cells=PARTED).fit(table)
    assert encoder.slots.tolist() == [1]
    assert encoder.decode(encoder.transform(table))["at"].tolist() == ["any time"] * 60
    with pytest.raises(ValueError, match="nothing is left to fit on but dates: 'at'"):
        TableEncoder(cells=PARTED).fit(table.select(["at"]))


def test_dates_are_left_out_and_said_once():
    table = pa.table({"at": stamps(99, 60), "day": stamps(99, 86_400), "x": np.sin(np.arange(300.0))})
    text = r"columns 'at', 'day': dates are left out \(dates='drop'\); dates='parts' uses their parts"
    with pytest.warns(UserWarning, match=text) as caught:
        encoder = TableEncoder(cells=CellOptions(dates="drop")).fit(table)
    assert len(caught) == 1
    assert encoder.column_names == ("x",)
    np.testing.assert_array_equal(encoder.transform(table), encoder.transform(table.select(["x"])))
    with pytest.raises(ValueError, match="nothing is left to fit on but dates: 'at', 'day'"):
        TableEncoder(cells=CellOptions(dates="drop")).fit(table.select(["at", "day"]))


def test_channels_of_sequences_have_parts_too():
    start = dt.datetime(2026, 1, 1)
    long = pd.DataFrame(
        {
            "id": np.repeat(["a", "b"], 200),
            "at": [start + dt.timedelta(hours=int(hour)) for hour in np.tile(np.arange(200), 2)],
            "flow": np.random.default_rng(0).normal(size=400),
        }
    )
    encoder = SequenceEncoder(id="id", cells=PARTED).fit(long)
    assert encoder.slots.tolist() == [0] * 4 + [1]
