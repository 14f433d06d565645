"""Time stamps of long frames that come as text."""

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.sequence.container import as_sequences
from upland.io.cells import CellOptions

HOURS = np.datetime64("2026-03-14T00", "us") + np.arange(48) * np.timedelta64(1, "h")
LAYOUTS = ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%d %b %Y %H:%M"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_stamps_of_text_order_the_steps_as_dates_do(layout):
    flow = np.arange(48.0)
    shuffled = np.random.default_rng(0).permutation(48)
    texts = pd.Series(HOURS).dt.strftime(layout)
    frame = pd.DataFrame({"when": texts, "flow": flow}).iloc[shuffled]
    sequences = as_sequences(frame, time="when")
    np.testing.assert_array_equal(sequences.stamps, HOURS)
    np.testing.assert_array_equal(sequences.table["flow"], flow)


def test_stamps_that_can_be_read_in_two_ways_are_the_users_to_decide():
    frame = pd.DataFrame({"when": ["3/4/2026", "5/4/2026", "4/4/2026"], "flow": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match="'when', row 1: '3/4/2026' can be read with the day first"):
        as_sequences(frame, time="when")
    read = as_sequences(frame, time="when", cells=CellOptions(dayfirst=True))
    assert read.table["flow"].tolist() == [1.0, 3.0, 2.0]
    assert str(read.stamps[0])[:10] == "2026-04-03"


BROKEN = {
    "among dates": [*map(str, HOURS[:20]), "oops", *map(str, HOURS[21:])],
    "among times of day": [f"{n // 6:02d}:{n % 6}0" for n in range(47)] + ["oops"],
    "among numbers": [*map(str, range(30)), "oops", "31.5", "-3", "1e3"],
    "in two ways": ["2026-03-14 10:00", "14 Mar 2026 11:00", "2026-03-14 12:00"],
    "in either order": ["3/4/2026", "5/4/2026", "4/4/2026"],
    "in both orders": ["3/24/2026", "25/4/2026", "4/4/2026"],
}


@pytest.mark.parametrize("texts", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, pa.table])
def test_no_broken_time_stamp_is_advised_to_be_empty_or_a_category(texts, made):
    with pytest.raises(ValueError, match=r"'when'") as refused:
        as_sequences(made({"when": texts, "flow": np.arange(float(len(texts)))}), time="when")
    said = str(refused.value)
    assert not any(word in said for word in ("empty", "missing", "categor"))
    if "oops" in texts:
        assert "'oops'" in said
        assert f"row {texts.index('oops') + 1}" in said


# -- time stamps that occur twice ----------------------------------------------------------------------------

AUTUMN = pd.date_range("2026-10-24 22:00", periods=60, freq="5min", tz="UTC").tz_convert("Europe/Berlin")
"""Five minutes each around the end of daylight saving in Berlin, at 01:00 in UTC."""


def autumn(stamps):
    return pd.DataFrame({"when": stamps, "flow": np.arange(60.0)})


AWARE = {
    "pandas": autumn,
    "polars": lambda stamps: pl.from_pandas(autumn(stamps)),
    "arrow": lambda stamps: pa.Table.from_pandas(autumn(stamps)),
    "text with offsets": lambda stamps: autumn([stamp.isoformat() for stamp in stamps]),
    "naive UTC": lambda stamps: autumn(stamps.tz_convert(None)),
}


@pytest.mark.parametrize("form", AWARE)
def test_the_hour_that_is_repeated_in_autumn_is_in_order_with_a_time_zone(form):
    shuffled = np.random.default_rng(0).permutation(60)
    sequences = as_sequences(AWARE[form](AUTUMN[shuffled]), time="when")
    np.testing.assert_array_equal(sequences.row_numbers, np.argsort(shuffled))
    np.testing.assert_allclose(sequences.distances[1:], 300)


def test_local_time_that_repeats_an_hour_is_refused_with_what_to_do():
    frame = autumn(AUTUMN.tz_localize(None))
    words = (
        "2 rows have the time stamp 2026-10-25T02:00:00.*, and 11 more .*within one hour.*in UTC or have a"
    )
    with pytest.raises(ValueError, match=words):
        as_sequences(frame, time="when")
    right = frame.assign(when=frame["when"].dt.tz_localize("Europe/Berlin", ambiguous="infer"))
    assert as_sequences(right, time="when").n_steps == 60


@pytest.mark.parametrize("form", AWARE)
@pytest.mark.parametrize("copied", [3, 12])
def test_of_copies_of_rows_within_an_hour_nothing_is_said_of_local_time(form, copied):
    twice = nw.from_native(AWARE[form](AUTUMN))
    twice = nw.concat([twice, twice.head(copied)]).to_native()
    with pytest.raises(ValueError, match="hold the same in every column") as refused:
        as_sequences(twice, time="when")
    assert "local time" not in str(refused.value)


def test_rows_that_occur_twice_are_named_by_their_numbers_and_what_they_hold():
    frame = pd.DataFrame({"when": [3, 1, 2, 1], "flow": [0.3, 0.1, 0.2, 0.1], "kind": list("xyxy")})
    with pytest.raises(ValueError, match=r"\(rows 2 and 4, which hold the same in every column\)"):
        as_sequences(frame, time="when")
    with pytest.raises(ValueError, match=r"time stamp 1 \(rows 2 and 4\); .*drop or average such rows$"):
        as_sequences(frame.assign(flow=[0.3, 0.1, 0.2, 0.4]), time="when")
    assert as_sequences(frame.drop_duplicates(), time="when").n_steps == 3
