"""What is no sequences is refused by name, gaps are warned of, tables and images are no sequences."""

import datetime as dt
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from upland.data.sequence.container import Sequences, as_sequences, is_sequence_input
from upland.data.sequence.sampling import warn_of_gaps
from upland.data.table.encoder import TableEncoder

START = dt.datetime(2026, 1, 1)


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


def object_array(parts):
    X = np.empty(len(parts), dtype=object)
    X[:] = parts
    return X


# -- gaps ----------------------------------------------------------------------------------------------------


def gappy(stamps, ids=None):
    frame = {"t": stamps, "v": np.arange(float(len(stamps)))}
    return pd.DataFrame(frame if ids is None else frame | {"id": ids})


def test_the_largest_gap_is_warned_of_once():
    ids = ["a"] * 5 + ["b"] * 5 + ["c"] * 3
    frame = gappy([0, 1, 2, 3, 13, 0, 2, 4, 6, 46, 0, 1, 2], ids)
    with pytest.warns(UserWarning, match="id 'b': its largest gap is 20 times its median step") as caught:
        warn_of_gaps(as_sequences(frame, id="id", time="t"))
    assert len(caught) == 1
    assert "1 more sequence(s) have gaps" in str(caught[0].message)
    with pytest.warns(UserWarning, match="the series: its largest gap is 10 times"):
        warn_of_gaps(as_sequences(gappy([0, 1, 2, 12]), time="t"))
    with pytest.warns(UserWarning, match=r"X\[1\]: its largest gap"):
        warn_of_gaps(as_sequences([gappy([1, 2]), gappy([0, 1, 2, 12])], time="t"))


def test_small_gaps_and_different_rates_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_gaps(as_sequences(gappy([0, 1, 2, 7]), time="t"))
        rates = gappy([0, 10, 20, 21, 31, 0, 1, 2], ["a"] * 5 + ["b"] * 3)
        warn_of_gaps(as_sequences(rates, id="id", time="t"))
        warn_of_gaps(as_sequences(gappy([3]), time="t"))
        warn_of_gaps(as_sequences(gappy(np.array([-100, 0, 100], dtype=np.int8)), time="t"))
        warn_of_gaps(as_sequences(gappy([-(2**63), 0, 2**63 - 1]), time="t"))
        warn_of_gaps(as_sequences(gappy([-1.7e308, 0.0, 1.7e308]), time="t"))
        warn_of_gaps(as_sequences(gappy([3, 3, 4], ["a", "b", "c"]), id="id", time="t"))


# -- refusals ------------------------------------------------------------------------------------------------

ARRAYS = [
    (np.zeros((2, 2, 2, 2)), ValueError, "reads sequences as an array.*got an array of 4 dimensions"),
    (np.float64(3), ValueError, "got an array of 0 dimensions"),
    (None, ValueError, "got an array of 0 dimensions"),
    ({"a": 1}, TypeError, "column 'a' is one value, 1"),
    (np.zeros((0, 3, 2)), ValueError, r"must not be empty, got the shape \(0, 3, 2\)"),
    (np.zeros((3, 0, 2)), ValueError, r"must not be empty, got the shape \(3, 0, 2\)"),
    (np.zeros((3, 2, 0)), ValueError, r"must not be empty, got the shape \(3, 2, 0\)"),
    (np.zeros((0, 2)), ValueError, r"0 sample\(s\)"),
    (np.zeros(0), ValueError, r"0 sample\(s\)"),
    (padded(parts_of(2, 0, 1, 0), 3), ValueError, r"X\[1\], X\[3\]: no step is left"),
    (np.ones((1, 2, 1), dtype=complex), ValueError, "Complex data not supported: X"),
    (np.array([[["a"], ["b"]]]), TypeError, "X has the dtype <U1, which is no number.*come in frames"),
    (np.array([[[1.0], ["b"]]], dtype=object), TypeError, r"X\[0, 1, 0\] holds 'b', which is no number"),
    (np.zeros((1, 2, 1), dtype="M8[s]"), TypeError, "X has the dtype datetime64"),
    ([], ValueError, "the list is empty"),
    ([np.zeros((2, 2)), np.zeros((0, 2))], ValueError, r"X\[1\] has no step: shape \(0, 2\)"),
    ([np.zeros((2, 0))], ValueError, r"X\[0\] has no channel"),
    ([np.zeros((2, 2)), np.zeros((2, 3))], ValueError, r"X\[1\] has 3 channel\(s\), but X\[0\] has 2"),
    ([np.zeros((2, 2)), np.zeros(2)], ValueError, r"X\[1\] has 1 channel\(s\), but X\[0\] has 2"),
    ([np.zeros((2, 2)), np.zeros((2, 2, 2))], ValueError, r"X\[1\] must be an array.*got 3 dimension"),
    ([np.zeros(2), 3.0], ValueError, r"X\[1\] must be an array.*got 0 dimension"),
    ([[[1.0, 2.0], [3.0]]], ValueError, r"X\[0\] is no array \(T, D\)"),
    ([["a", "b"], ["c"]], TypeError, r"X\[0\] has the dtype <U1, which is no number"),
    ([np.zeros((2, 1)), pd.DataFrame({"a": ["x"]})], TypeError, r"X\[1\]\[0, 0\] holds 'x'"),
]


@pytest.mark.parametrize(("X", "error", "message"), ARRAYS, ids=range(len(ARRAYS)))
def test_what_is_no_sequences_is_refused(X, error, message):
    with pytest.raises(error, match=message):
        as_sequences(X)


def table(**changes):
    data = {"id": ["a", "a", "b"], "t": [1, 2, 1], "v": [1.0, 2.0, 3.0]} | changes
    return pa.table({name: column for name, column in data.items() if column is not None})


LONGS = [
    (
        table(),
        {"time": "hour"},
        ValueError,
        "time='hour' names a column that is not in the table; it has 'id', 't'",
    ),
    (table(), {"id": "pump"}, ValueError, "id='pump' names a column that is not in the table"),
    (pd.DataFrame({"v": [1, 2]}, index=pd.Index([1, 2], name="t")), {"time": "t"}, ValueError, "reset_index"),
    (table(), {"id": "t", "time": "t"}, ValueError, "id and time name the same column: 't'"),
    (table(v=None), {"id": "id", "time": "t"}, ValueError, "no column of values is left.*'id', 't'"),
    (
        table(id=["a", None, "b"]),
        {"id": "id"},
        ValueError,
        r"'id' has no value in 1 row\(s\), first in row 2",
    ),
    (
        table(id=[1.0, np.nan, 2.0]),
        {"id": "id"},
        ValueError,
        r"'id' has no value in 1 row\(s\), first in row 2",
    ),
    (table(id=pa.nulls(3)), {"id": "id"}, ValueError, r"'id' has no value in 3 row\(s\)"),
    (
        table(id=[["a"], ["b"], ["c"]]),
        {"id": "id"},
        TypeError,
        "id column 'id' cannot be used.*list.*turn it into text",
    ),
    (
        pd.DataFrame({"i": [1, "a"], "v": 1}),
        {"id": "i"},
        ValueError,
        "'i' cannot be used: .*numbers, but row 2 holds 'a'",
    ),
    (
        pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"]),
        {"time": "b"},
        ValueError,
        "duplicate column names: 'a'",
    ),
    (table(t=[1, None, 2]), {"time": "t"}, ValueError, r"'t' has no value in 1 row\(s\), first in row 2"),
    (table(t=[1, np.nan, 2]), {"time": "t"}, ValueError, r"'t' has no value in 1 row\(s\), first in row 2"),
    (table(t=[START, None, None]), {"time": "t"}, ValueError, r"'t' has no value in 2 row\(s\)"),
    *(
        (no_time, {"time": "t"}, ValueError, r"'t' has no value in 3 row\(s\), first in row 1: every step")
        for no_time in (
            table(t=pa.nulls(3)),
            table(t=pa.nulls(3, pa.string())),
            table(t=pa.nulls(3, pa.string()).dictionary_encode()),
            pd.DataFrame({"t": pd.array([None] * 3, dtype="string"), "v": 1}),
            pd.DataFrame({"t": pd.Categorical([None] * 3, categories=["a"]), "v": 1}),
            pd.DataFrame({"t": [None] * 3, "v": 1}),
            pl.DataFrame({"t": [None] * 3, "v": 1}, schema={"t": pl.String, "v": pl.Int64}),
        )
    ),
    (pd.DataFrame({"t": [1, np.nan], "v": [1, 2]}), {"time": "t"}, ValueError, "'t' has no value in 1"),
    (table(t=[1, np.inf, 2]), {"time": "t"}, ValueError, "'t' holds infinity, first in row 2"),
    (table(t=[True, False, True]), {"time": "t"}, ValueError, "'t' holds true and false"),
    (
        table(t=["Monday"] * 3),
        {"time": "t"},
        ValueError,
        "'t' holds text, for example 'Monday.*to_datetime",
    ),
    (table(t=pa.array(["1", "2", "3"]).dictionary_encode()), {"time": "t"}, ValueError, "'t' holds text"),
    (
        table(t=[[1], [2], [3]]),
        {"time": "t"},
        TypeError,
        "time column 't' cannot be used.*type list.*into dates",
    ),
    (
        table(),
        {"time": "t"},
        ValueError,
        r"the series: 2 rows have the time stamp 1 \(rows \d and \d\); .*identifies sequences",
    ),
    (
        table(t=[START, START, START]),
        {"id": "id", "time": "t"},
        ValueError,
        "id 'a': 2 rows have the time stamp 2026-01-01T00:00",
    ),
    (
        table(id=[7] * 7, t=[1, 1, 1, 2, 3, 3, 4], v=[0.0] * 7),
        {"id": "id", "time": "t"},
        ValueError,
        r"id 7: 3 rows have the time stamp 1, and 1 more time stamp\(s\) occur more than once",
    ),
    (pl.DataFrame({"t": [], "v": []}), {"time": "t"}, ValueError, r"0 sample\(s\)"),
    ([table(), table(v=None)], {}, ValueError, r"X\[1\] has other columns than X\[0\]: it lacks 'v'"),
    ([table(v=None), table()], {}, ValueError, r"X\[1\] has other columns than X\[0\]: it has 'v' beside"),
    ([table(), table().slice(0, 0)], {}, ValueError, r"X\[1\] has no step: it has no rows"),
    ([table(), table(v=["x", "y", "z"])], {}, ValueError, "differ in the types of their columns"),
    ([table()], {"time": "t"}, ValueError, r"X\[0\]: 2 rows have the time stamp 1"),
    ([table()], {"time": "hour"}, ValueError, "time='hour' names a column that is not in the table"),
]


@pytest.mark.parametrize(("X", "names", "error", "message"), LONGS, ids=range(len(LONGS)))
def test_what_is_no_long_frame_is_refused_by_name(X, names, error, message):
    with pytest.raises(error, match=message):
        as_sequences(X, **names)


def test_files_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        as_sequences(tmp_path / "none.csv", time="t")


# -- which modality ------------------------------------------------------------------------------------------

IMAGE = np.zeros((2, 8, 8))
KINDS = [
    (IMAGE, True),
    (IMAGE.astype(np.float32), True),
    (IMAGE.astype(int), True),
    (IMAGE.astype(np.int16), True),
    (IMAGE.astype(np.uint32), True),
    (IMAGE.astype(object), True),
    (IMAGE.astype(np.uint8), False),
    (IMAGE.astype(np.uint16), False),
    (IMAGE.astype(bool), False),
    (torch.zeros(2, 3, 4), True),
    (torch.zeros(2, 3, 4, dtype=torch.uint8), False),
    (torch.zeros(2, 3), False),
    (np.zeros((3, 2)), False),
    (np.zeros((3, 2, 4, 4)), False),
    ([np.zeros((3, 2)), np.zeros((4, 2))], True),
    ((np.zeros((3, 2)), np.zeros((3, 2))), True),
    ([np.zeros((3, 2), np.uint8)] * 2, False),
    ([np.zeros((3, 2, 3))] * 2, False),
    ([np.zeros(3), np.zeros(4)], True),
    ([np.zeros(3), np.zeros(3)], False),
    ([torch.zeros(3), torch.zeros(4)], True),
    (object_array(parts_of(2, 3)), True),
    ([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]], True),
    ([[1.0, 2.0], [3.0, 4.0]], False),
    ([[1.0, 2.0], [3.0]], False),
    ([1.0, 2.0], False),
    ([], False),
    ([[]], False),
    (["a.png", "b.png"], False),
    ("rows.csv", False),
    (None, False),
    (pd.DataFrame({"a": [1]}), False),
    ([pd.DataFrame({"a": [1]})], True),
    (Sequences(np.zeros((2, 1)), np.array([2]), "series"), True),
]


@pytest.mark.parametrize(("X", "expected"), KINDS, ids=range(len(KINDS)))
def test_sequences_are_distinguished_from_tables_and_images(X, expected):
    assert is_sequence_input(X) is expected
    assert is_sequence_input(X, time="t")
    assert is_sequence_input(X, id=0)
