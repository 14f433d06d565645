"""Sequences in every form become one container, and scores go back to where the user's steps stand."""

import datetime as dt
from pathlib import Path

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from upland.data.sequence.container import as_sequences
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table

START = dt.datetime(2026, 1, 1)
LONG = {
    "pump": ["b", "a", "b", "a", "b", "c"],
    "when": [START + dt.timedelta(hours=hour) for hour in (3, 2, 1, 1, 2, 9)],
    "flow": [3.0, 20.0, 1.0, 10.0, 2.0, 7.0],
    "valve": ["x", "y", "x", "x", "y", "y"],
}
IN_ORDER = {"ids": ("b", "a", "c"), "lengths": [3, 2, 1], "rows": [2, 4, 0, 3, 1, 5]}


def values(sequences):
    return TableEncoder().fit(sequences.table).values(sequences.table)


def padded(parts, longest):
    X = np.full((len(parts), longest, parts[0].shape[1]), np.nan)
    for row, part in enumerate(parts):
        X[row, : len(part)] = part
    return X


def parts_of(*lengths, width=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, width)) for length in lengths]


# -- arrays and lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, bool, object])
def test_an_array_of_sequences_is_a_table_of_its_steps(dtype):
    X = np.arange(24).reshape(2, 4, 3).astype(dtype)
    sequences = as_sequences(X)
    np.testing.assert_array_equal(sequences.table.astype(float), X.reshape(8, 3).astype(float))
    assert sequences.lengths.tolist() == [4, 4]
    assert (sequences.layout, sequences.per, sequences.ids, sequences.stamps) == (
        "array",
        "sequence",
        None,
        None,
    )
    assert (sequences.n_sequences, sequences.n_steps, sequences.span) == (2, 8, 4)
    np.testing.assert_array_equal(sequences.arrange(np.arange(8)), np.arange(8).reshape(2, 4))


def test_an_array_without_padding_is_not_copied():
    X = np.zeros((3, 4, 2))
    assert np.shares_memory(as_sequences(X).table, X)
    assert np.shares_memory(as_sequences(X[0]).table, X)


def test_trailing_steps_that_are_all_missing_are_padding():
    X = padded(parts_of(4, 2, 3), 5)
    X[0, 1] = np.nan  # a missing step inside, and a missing value in the last step
    X[1, 1, 0] = np.nan
    sequences = as_sequences(X)
    assert sequences.lengths.tolist() == [4, 2, 3]
    np.testing.assert_array_equal(sequences.table[:4], X[0, :4])
    back = sequences.arrange(np.arange(9))
    assert back.shape == (3, 5)
    np.testing.assert_array_equal(np.isnan(back).sum(axis=1), [1, 3, 2])
    assert back[2, :3].tolist() == [6, 7, 8]
    assert sequences.row_numbers.tolist() == [0, 1, 2, 3, 5, 6, 10, 11, 12]


def test_ragged_lists_equal_the_padded_array():
    parts = parts_of(4, 2, 3)
    ragged, array = as_sequences(parts), as_sequences(padded(parts, 6))
    np.testing.assert_array_equal(ragged.table, array.table)
    np.testing.assert_array_equal(ragged.lengths, array.lengths)
    assert (ragged.layout, ragged.per) == ("ragged", "sequence")
    np.testing.assert_array_equal(ragged.arrange(np.arange(9)), np.arange(9))


def object_array(parts):
    X = np.empty(len(parts), dtype=object)
    X[:] = parts
    return X


LISTS = {
    "tuple": tuple,
    "nested lists": lambda parts: [part.tolist() for part in parts],
    "object array": object_array,
    "tensors": lambda parts: [torch.from_numpy(part) for part in parts],
    "objects": lambda parts: [part.astype(object) for part in parts],
    "masked": lambda parts: [np.ma.masked_array(part) for part in parts],
    "pandas": lambda parts: [pd.DataFrame(part, columns=["a", "b"]) for part in parts],
    "polars": lambda parts: [pl.DataFrame(part, schema=["a", "b"]) for part in parts],
    "reordered": lambda parts: [
        pd.DataFrame(part, columns=["a", "b"])[["a", "b"] if number else ["b", "a"]]
        for number, part in enumerate(parts)
    ],
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_every_kind_are_sequences(name):
    parts = parts_of(4, 2, 3)
    sequences = as_sequences(LISTS[name](parts))
    assert sequences.lengths.tolist() == [4, 2, 3]
    table = values(sequences)
    first, second = ("a", "b") if "a" in table else ("x0", "x1")
    np.testing.assert_array_equal(np.stack([table[first], table[second]], axis=1), np.concatenate(parts))


def test_lists_of_one_dimension_have_one_channel():
    sequences = as_sequences([np.arange(3.0), [7.0, 8.0]])
    assert sequences.table[:, 0].tolist() == [0, 1, 2, 7, 8]
    assert as_sequences([[1.0, 2.0], [3.0, 4.0]]).lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    "X",
    [
        np.arange(4.0),
        np.arange(4.0)[:, None],
        [0.0, 1.0, 2.0, 3.0],
        pd.Series(np.arange(4.0)),
        torch.arange(4.0),
    ],
)
def test_one_long_series(X):
    sequences = as_sequences(X)
    assert sequences.table[:, 0].tolist() == [0, 1, 2, 3]
    assert sequences.lengths.tolist() == [4]
    assert (sequences.layout, sequences.per) == ("series", "step")
    assert sequences.arrange(np.array([5, 6, 7, 8])).tolist() == [5, 6, 7, 8]


def test_sequences_are_themselves():
    sequences = as_sequences(np.zeros((2, 3, 1)))
    assert as_sequences(sequences) is sequences


# -- long frames ---------------------------------------------------------------------------------------------

FRAMES = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda data: pd.DataFrame(data).convert_dtypes(),
    "pandas on arrow": lambda data: pd.DataFrame(data).convert_dtypes(dtype_backend="pyarrow"),
    "pandas objects": lambda data: pd.DataFrame(data, dtype=object),
    "pandas category": lambda data: pd.DataFrame(data).astype({"pump": "category"}),
    "odd index": lambda data: pd.DataFrame(data, index=[7] * 6),
    "polars": pl.DataFrame,
    "polars lazy": pl.LazyFrame,
    "polars categorical": lambda data: pl.DataFrame(data).with_columns(pl.col("pump").cast(pl.Categorical)),
    "arrow": pa.table,
    "arrow batch": lambda data: pa.table(data).to_batches()[0],
    "arrow chunks": lambda data: pa.concat_tables([pa.table(data).slice(0, 2), pa.table(data).slice(2)]),
    "narwhals": lambda data: nw.from_native(pl.DataFrame(data)),
    "reordered": lambda data: pd.DataFrame(data)[list(data)[::-1]],
}


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_gives_the_same_sequences(name):
    sequences = as_sequences(FRAMES[name](LONG), id="pump", time="when")
    assert sequences.ids == IN_ORDER["ids"]
    assert sequences.lengths.tolist() == IN_ORDER["lengths"]
    assert sequences.row_numbers.tolist() == IN_ORDER["rows"]
    assert (sequences.layout, sequences.per) == ("frame", "step")
    table = values(sequences)
    assert sorted(table) == ["flow", "valve"]
    assert table["flow"].tolist() == [1, 2, 3, 10, 20, 7]
    assert table["valve"].tolist() == ["x", "y", "x", "x", "y", "y"]
    assert sequences.stamps.astype("M8[s]").tolist() == [LONG["when"][row] for row in IN_ORDER["rows"]]


WRITERS = {"rows.csv": csv.write_csv, "rows.parquet": parquet.write_table}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", [str, Path])
def test_files_are_read(name, kind, tmp_path):
    WRITERS[name](pa.table(LONG), tmp_path / name)
    sequences = as_sequences(kind(tmp_path / name), id="pump", time="when")
    assert sequences.ids == IN_ORDER["ids"]
    assert values(sequences)["flow"].tolist() == [1, 2, 3, 10, 20, 7]


def test_rows_in_order_are_not_copied():
    frame = pa.table({"pump": ["a", "a", "b"], "when": [1, 2, 1], "flow": [1.0, 2.0, 3.0]})
    sequences = as_sequences(frame, id="pump", time="when")
    assert sequences.order is None
    assert (
        sequences.table["flow"].chunk(0).buffers()[1].address == frame["flow"].chunk(0).buffers()[1].address
    )


DAY = dt.timedelta(days=1)
STAMPS = {
    "whole": [3, 1, 2],
    "unsigned": np.array([2**63 + 3, 2**63 + 1, 2**63 + 2], dtype=np.uint64),
    "float": [0.3, -0.1, 0.1],
    "date": [dt.date(2026, 1, 3), dt.date(2026, 1, 1), dt.date(2026, 1, 2)],
    "datetime": [START + 3 * DAY, START + DAY, START + 2 * DAY],
    "with zone": [(START + n * DAY).replace(tzinfo=dt.timezone(dt.timedelta(hours=2))) for n in (3, 1, 2)],
    "duration": [3 * DAY, DAY, 2 * DAY],
    "time of day": [dt.time(3), dt.time(1), dt.time(2)],
    "nanoseconds": np.array([3, 1, 2], dtype="M8[ns]"),
    "decimal": pa.array([3, 1, 2]).cast(pa.decimal128(25, 2)),
    "date64": pa.array([dt.date(2026, 1, n) for n in (3, 1, 2)], pa.date64()),
    "seconds": pa.array([3, 1, 2], pa.time32("s")),
}


@pytest.mark.parametrize("name", STAMPS)
@pytest.mark.parametrize("make", [pa.table, lambda data: pl.from_arrow(pa.table(data)), pd.DataFrame])
def test_steps_are_put_in_the_order_of_any_stamps(name, make):
    stamps = STAMPS[name]
    if make is pd.DataFrame and isinstance(stamps, pa.Array):
        stamps = pd.Series(stamps.to_pylist())
    sequences = as_sequences(make({"t": stamps, "v": [3.0, 1.0, 2.0]}), time="t")
    assert values(sequences)["v"].tolist() == [1, 2, 3]
    assert sequences.ids is None
    assert sequences.stamps.dtype.kind in "iufmM"


def test_without_a_time_column_rows_stand_in_their_order():
    frame = pd.DataFrame({"pump": [2, 1, 2], "flow": [5.0, 6.0, 4.0]})
    sequences = as_sequences(frame, id="pump")
    assert (sequences.ids, sequences.lengths.tolist(), sequences.stamps) == ((2, 1), [2, 1], None)
    assert values(sequences)["flow"].tolist() == [5, 4, 6]
    assert as_sequences(frame).lengths.tolist() == [3]
    assert as_sequences(frame).per == "step"


def test_numbered_columns_are_named_by_number():
    frame = pd.DataFrame(np.array([[1.0, 2, 5], [1, 1, 4]]))
    sequences = as_sequences(frame, id=0, time=1)
    assert view_table(sequences.table).names == ("2",)
    assert values(sequences)["2"].tolist() == [4, 5]


def test_frames_in_a_list_are_ordered_by_time():
    parts = [pd.DataFrame({"t": [2, 1], "v": [2, 1]}), pd.DataFrame({"v": [4.5, 3.5, 5.5], "t": [2, 1, 3]})]
    sequences = as_sequences(parts, time="t")
    assert values(sequences)["v"].tolist() == [1, 2, 3.5, 4.5, 5.5]
    assert (sequences.lengths.tolist(), sequences.layout) == ([2, 3], "ragged")
    assert sequences.arrange(np.array([10, 20, 30, 40, 50])).tolist() == [20, 10, 40, 30, 50]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_scores_come_back_whatever_the_order_of_the_rows(lengths, random):
    n = sum(lengths)
    frame = pa.table(
        {
            "id": np.repeat([f"m{row}" for row in range(len(lengths))], lengths),
            "t": np.concatenate([np.arange(length) for length in lengths]),
            "v": np.arange(n) * 1.5,
        }
    )
    order = list(range(n))
    random.shuffle(order)
    sequences = as_sequences(frame.take(pa.array(order)), id="id", time="t")
    ours = np.asarray(sequences.table["v"]) * 2 + 1
    np.testing.assert_array_equal(sequences.arrange(ours), np.array(order) * 3.0 + 1)
    np.testing.assert_array_equal(ours[np.argsort(sequences.row_numbers)], np.array(order) * 3.0 + 1)
    for row, name in enumerate(sequences.ids):
        start, length = int(sequences.starts[row]), int(sequences.lengths[row])
        assert length == lengths[int(name[1:])]
        assert np.all(np.diff(ours[start : start + length]) > 0)


# -- parts and names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[1], [0, 1], [2, 0], [0, 1, 2]])
@pytest.mark.parametrize("make", [parts_of, lambda *lengths: padded(parts_of(*lengths), 4)])
def test_some_sequences_are_those_sequences(rows, make):
    sequences = as_sequences(make(4, 2, 3))
    some = sequences.take(np.array(rows))
    parts = parts_of(4, 2, 3)
    np.testing.assert_array_equal(some.table, np.concatenate([parts[row] for row in rows]))
    assert some.lengths.tolist() == [len(parts[row]) for row in rows]
    assert some.layout == sequences.layout


def test_some_sequences_keep_ids_stamps_and_the_order_of_the_rows():
    some = as_sequences(pd.DataFrame(LONG), id="pump", time="when").take(np.array([1, 2]))
    assert some.ids == ("a", "c")
    assert some.row_numbers.tolist() == [3, 1, 5]
    assert some.arrange(np.array([1.0, 2.0, 3.0])).tolist() == [2, 1, 3]
    assert some.label(0, 1) == ("a", np.datetime64("2026-01-01T02:00:00"))


def test_labels_are_the_users_words():
    sequences = as_sequences(pd.DataFrame(LONG), id="pump", time="when")
    assert sequences.label(0, 2) == ("b", np.datetime64("2026-01-01T03:00:00"))
    assert as_sequences(np.zeros((2, 3, 1))).label(1, 2) == (1, 2)
    name, stamp = as_sequences(pd.DataFrame({"t": [1.5, 0.5], "v": [0, 1]}), time="t").label(0, 1)
    assert (name, stamp, type(stamp)) == (0, 1.5, float)


def test_values_that_are_not_one_a_step_are_refused():
    with pytest.raises(ValueError, match="there are 6 steps, but 5 values"):
        as_sequences(np.zeros((2, 3, 1))).arrange(np.zeros(5))


def test_several_values_a_step_are_arranged():
    sequences = as_sequences(padded(parts_of(4, 2), 4))
    back = sequences.arrange(np.arange(12).reshape(6, 2))
    assert back.shape == (2, 4, 2)
    assert back[1, 1].tolist() == [10, 11]
