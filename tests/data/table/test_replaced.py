"""Cells of a table replaced: in its container, in its types, and nothing else."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.table.frames import view_table
from upland.data.table.replaced import Limits, NewCells, cell_in, cell_of, limits_of, replaced
from upland.io.schema import Column, TextForm

FRAME = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, np.nan, 1.5], "w": ["a", None, "b"]}, index=[7, 7, 9])
NEW = {0: NewCells([2], [30]), 1: NewCells([0, 1], [9.5, 8.5]), 2: NewCells([1], ["new"])}
WANTED = {"n": [1, 2, 30], "x": [9.5, 8.5, 1.5], "w": ["a", "new", "b"]}
CONTAINERS = {
    "pandas": FRAME,
    "pandas of Arrow": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas of nullable types": FRAME.convert_dtypes(),
    "pandas of objects": FRAME.astype(object),
    "pandas of categories": FRAME.astype({"w": "category"}),
    "polars": pl.from_pandas(FRAME),
    "polars of categories": pl.from_pandas(FRAME).with_columns(pl.col("w").cast(pl.Categorical)),
    "arrow": pa.Table.from_pandas(FRAME, preserve_index=False),
    "chunks": pa.concat_tables(
        [pa.Table.from_pandas(FRAME, preserve_index=False).slice(n, 1) for n in range(3)]
    ),
    "batch": pa.RecordBatch.from_pandas(FRAME, preserve_index=False),
    "dictionary": pa.table(
        {"n": [1, 2, 3], "x": [0.5, None, 1.5], "w": pa.array(["a", None, "b"]).dictionary_encode()}
    ),
    "dict": {name: FRAME[name].tolist() for name in FRAME},
}


def columns(table):
    if isinstance(table, pa.Table | pa.RecordBatch):
        return table.to_pydict()
    return {name: table[name].to_list() for name in table.columns}


@pytest.mark.parametrize("container", CONTAINERS)
def test_new_cells_in_any_container(container):
    X = CONTAINERS[container]
    before = repr(X)
    made = replaced(X, view_table(X), NEW)
    assert columns(made) == WANTED
    assert repr(X) == before, "the user's own is not changed"
    if isinstance(X, pd.DataFrame):
        assert made.index.tolist() == [7, 7, 9]
        assert [t.name for t in made.dtypes] == [t.name for t in X.dtypes]
    elif isinstance(X, pl.DataFrame):
        assert made.dtypes == X.dtypes
    else:
        assert isinstance(made, pa.Table)
        if not isinstance(X, dict):
            assert made.schema.types == X.schema.types


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool", "object", ">f8"])
def test_new_cells_in_an_array(dtype):
    X = np.zeros((3, 2)).astype(dtype)
    X.setflags(write=False)
    made = replaced(X, view_table(X), {1: NewCells([0, 2], [1, 1])})
    assert made.dtype == X.dtype
    np.testing.assert_array_equal(made.astype(float), [[0, 1], [0, 0], [0, 1]])
    lists = replaced(X.tolist(), view_table(X.tolist()), {1: NewCells([0, 2], [1, 1])})
    np.testing.assert_array_equal(np.asarray(lists).astype(float), made.astype(float))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_a_column_that_was_all_missing_is_filled(frame):
    X = frame({"x": [None, None], "y": [1.0, 2.0]})
    made = replaced(X, view_table(X), {0: NewCells([1], [2.5])})
    assert made["x"].to_list()[1] == 2.5
    assert pd.isna(made["x"].to_list()[0])


def column(kind, form=None, zoned=None):
    levels = {"levels": ("a",), "shares": (1.0,)} if kind == "categorical" else {}
    return Column("x", kind, "string", form=form, zoned=zoned, **levels)


MOMENT = 1_769_853_600.0  # 2026-01-31 10:00 in UTC


@pytest.mark.parametrize(
    ("value", "kind", "type_", "wanted"),
    [
        (3.0, "numeric", np.dtype("int16"), np.int16(3)),
        (0.25, "numeric", np.dtype("float32"), np.float32(0.25)),
        (3.0, "numeric", pa.int64(), 3),
        (2.5, "numeric", pa.float32(), 2.5),
        (2.5, "numeric", pa.decimal128(9, 2), Decimal("2.50")),
        (1.0, "boolean", pa.bool_(), True),
        (1.0, "boolean", pa.int8(), 1),
        (1.0, "boolean", np.dtype(bool), np.True_),
        (MOMENT, "date", pa.timestamp("ms"), dt.datetime(2026, 1, 31, 10)),
        (MOMENT, "date", pa.timestamp("ns"), pd.Timestamp("2026-01-31 10:00")),
        (MOMENT, "date", pa.timestamp("us", "UTC"), dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC)),
        (MOMENT, "date", pa.date32(), dt.date(2026, 1, 31)),
        (90.0, "duration", pa.duration("s"), dt.timedelta(seconds=90)),
        (90.0, "duration", pa.time64("us"), dt.time(0, 1, 30)),
        (90.0, "duration", pa.time32("ms"), dt.time(0, 1, 30)),
        ("7", "categorical", np.dtype("int64"), np.int64(7)),
        ("7", "categorical", pa.int32(), 7),
        ("True", "categorical", pa.bool_(), True),
        ("False", "categorical", np.dtype(bool), np.False_),
        ("a", "categorical", pa.large_string(), "a"),
        (None, "categorical", pa.string(), None),
        (np.nan, "numeric", pa.float64(), None),
    ],
)
def test_a_cell_of_a_type(value, kind, type_, wanted):
    found = cell_of(value, column(kind), type_)
    assert found == wanted or (found is None and wanted is None)
    assert type(found) is type(wanted)


def test_a_missing_cell_among_floats_is_nan():
    assert np.isnan(cell_of(np.nan, column("numeric"), np.dtype("float32")))


@pytest.mark.parametrize(
    ("value", "kind", "form", "zoned", "wanted"),
    [
        (1234.5, "numeric", TextForm("number", ",", ".", "", " kg"), None, "1234,5 kg"),
        (-3.0, "numeric", TextForm("number", prefix="$"), None, "$-3"),
        (1e-7, "numeric", None, None, "0.0000001"),
        (MOMENT, "date", TextForm("date", dayfirst=True), None, "2026-01-31T10:00:00"),
        (MOMENT - 36_000, "date", TextForm("date"), None, "2026-01-31"),
        (MOMENT, "date", TextForm("date"), True, "2026-01-31T10:00:00+00:00"),
        (90.0, "duration", TextForm("time"), None, "00:01:30"),
        (1.0, "boolean", TextForm("flag"), None, "true"),
    ],
)
def test_text_is_written_as_the_fit_reads_it(value, kind, form, zoned, wanted):
    from upland.data.table.texts import read_text
    from upland.data.table.values import floats
    from upland.io.cells import USUAL

    of = column(kind, form, zoned)
    text = cell_of(value, of, pa.string())
    assert text == wanted
    assert floats(read_text(pa.array([text]), of, USUAL)).tolist() == [value]


@pytest.mark.parametrize(
    ("type_", "wanted"),
    [
        (np.dtype("float32"), Limits()),
        (np.dtype("int8"), Limits(1.0, -128.0, 127.0)),
        (pa.uint8(), Limits(1.0, 0.0, 255.0)),
        (np.dtype(bool), Limits(1.0, 0.0, 1.0)),
        (pa.bool_(), Limits(1.0, 0.0, 1.0)),
        (pa.decimal128(9, 2), Limits(0.01)),
        (pa.date32(), Limits(86_400.0)),
        (pa.timestamp("s"), Limits(1.0)),
        (pa.timestamp("ns"), Limits(1e-6)),
        (pa.time32("s"), Limits(1.0, 0.0, 86_399.0)),
        (pa.string(), Limits()),
    ],
)
def test_limits_of_types(type_, wanted):
    assert limits_of(type_) == wanted


def test_what_a_cell_holds():
    rows = view_table(pd.DataFrame({"x": [1.5], "w": ["a"], "m": np.array([2], dtype=object)}))
    assert [cell_in(rows, position, 0) for position in range(3)] == [1.5, "a", 2]
    mixture = view_table(pd.DataFrame({"x": pd.Series([1.5, "?"], dtype=object)}))
    assert [cell_in(mixture, 0, row) for row in range(2)] == [1.5, "?"]
