"""Rows in memory with the interface of a file: by number, and each once in a new order."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from normals import CONTAINERS, as_csv, as_parquet, mixed
from upland.data import rows as memory
from upland.data.rows import FileRows, MemoryRows, normal_rows, take_rows
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table

COUNT = 23
ROWS = np.array([0, 3, 4, 22])


def frame():
    return mixed(COUNT).assign(number=np.arange(COUNT) * 10)


TABLES = CONTAINERS | {
    "array": lambda rows, folder: rows[["flow", "number"]].to_numpy(),
    "list": lambda rows, folder: rows[["flow", "number"]].to_numpy().tolist(),
    "list with text": lambda rows, folder: rows[["number", "valve"]].to_numpy().tolist(),
    "odd index": lambda rows, folder: rows.set_index(pd.Index([7] * COUNT)),
    "numbered columns": lambda rows, folder: pd.DataFrame(rows[["flow", "number"]].to_numpy()),
}


def number_of(table):
    """The column that counts, from whatever kind of table: the second of two without names, but of text."""
    view = view_table(table)
    if "number" in view.names:
        return view.read(view.names.index("number")).tolist()
    second = view.read(1)
    return (second if isinstance(second, np.ndarray) else view.read(0)).tolist()


@pytest.fixture(params=TABLES)
def rows(request, tmp_path):
    return normal_rows(TABLES[request.param](frame(), tmp_path))


def test_counts_and_takes_rows_by_number(rows):
    assert rows.n_rows == COUNT
    assert [int(n) for n in number_of(rows.take(ROWS))] == (ROWS * 10).tolist()


@pytest.mark.parametrize("size", [1, 5, COUNT, 100])
def test_a_pass_has_each_row_once(rows, size):
    skip = np.array([2, 5, 6])
    tables = list(rows.shuffled(np.random.default_rng(0), skip, size))
    seen = [int(n) for table in tables for n in number_of(table)]
    assert sorted(seen) == [n * 10 for n in range(COUNT) if n not in skip]
    assert seen != sorted(seen)
    assert all(len(number_of(table)) <= size for table in tables)


def test_passes_differ_and_follow_the_generator(rows):
    def order(seed):
        tables = rows.shuffled(np.random.default_rng(seed), np.array([], dtype=np.int64), COUNT)
        return [int(n) for table in tables for n in number_of(table)]

    assert order(1) == order(1) != order(2)


def test_parts_are_encoded_as_the_whole(rows):
    everything = rows.take(np.arange(COUNT))
    encoder = TableEncoder(ignore=["number"] if "number" in rows.names else []).fit(everything)
    np.testing.assert_array_equal(encoder.transform(rows.take(ROWS)), encoder.transform(everything)[ROWS])


def test_numbers_beside_text_stay_numbers():
    rows = MemoryRows([[1.5, "a"], [2.5, "b"], [3.5, "a"]])
    assert rows.take(np.array([1])).read(0).tolist() == [2.5]


def test_lazy_frames_are_collected_once_and_kept():
    calls = []
    lazy = pl.LazyFrame({"a": [1.0, 2.0, 3.0]}).map_batches(lambda part: calls.append(1) or part)
    rows = MemoryRows(lazy)
    assert rows.take(np.array([0, 2])).read(0).tolist() == rows.take(np.array([0, 2])).read(0).tolist()
    assert len(calls) == 1


def test_narwhals_frames_are_taken():
    import narwhals as nw

    rows = MemoryRows(nw.from_native(frame()))
    assert number_of(rows.take(ROWS)) == (ROWS * 10).tolist()


def test_take_rows_keeps_the_kind_of_table():
    for table in (frame(), pl.from_pandas(frame()), pa.Table.from_pandas(frame()), frame().to_numpy()):
        assert type(take_rows(table, ROWS)) is type(table)
        assert len(take_rows(table, ROWS)) == 4


def test_only_large_columnar_files_are_left_on_the_disk(tmp_path, monkeypatch):
    assert isinstance(normal_rows(as_parquet(frame(), tmp_path)), MemoryRows)
    monkeypatch.setattr(memory, "CELLS_IN_MEMORY", 50)
    left = normal_rows(as_parquet(frame(), tmp_path, row_group_size=5))
    assert isinstance(left, FileRows)
    assert isinstance(normal_rows(as_csv(frame(), tmp_path)), MemoryRows)
    assert left.n_rows == COUNT
    assert left.names == list(frame().columns)
    assert number_of(left.take(ROWS)) == (ROWS * 10).tolist()
    skip = np.array([2, 5, 6])
    seen = [n for table in left.shuffled(np.random.default_rng(0), skip, 4) for n in number_of(table)]
    assert sorted(seen) == [n * 10 for n in range(COUNT) if n not in skip]


@pytest.mark.parametrize("X", [np.ones((1, 3)), pd.DataFrame({"a": [1.0]}), [[1.0]]])
def test_one_row_is_too_few(X):
    with pytest.raises(ValueError, match="minimum of 2"):
        MemoryRows(X)
