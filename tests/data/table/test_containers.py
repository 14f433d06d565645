"""Containers of tables: the same rows in each give the same bits; what holds no table is refused by what it
is.
"""

import io
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pytest
import torch

import upland
from normals import as_csv, as_parquet, mixed, quick, small
from upland.data.rows import MemoryRows
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table
from upland.io.formats import open_source

ROWS = mixed(120)
ARROW = pa.Table.from_pandas(ROWS, preserve_index=False)
PARTS = [ROWS[:50], ROWS[50:51], ROWS[51:]]


class Stream:
    """What gives itself as a stream of Arrow, as a DuckDB relation does."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


class Relation:
    """An older DuckDB relation."""

    def arrow(self):
        return ARROW


class Place:
    """A path of a library of its own."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return str(self._path)


def spread(folder):
    for number, part in enumerate(PARTS):
        (folder / f"{number}").mkdir()
        as_parquet(part, folder / f"{number}")
    return folder


CONTAINERS = {
    "dict of arrays": lambda folder: {name: ROWS[name].to_numpy() for name in ROWS},
    "dict of lists": lambda folder: {name: ROWS[name].tolist() for name in ROWS},
    "dict of series": lambda folder: dict(ROWS.items()),
    "dict of polars series": lambda folder: dict(zip(ROWS, pl.from_pandas(ROWS), strict=True)),
    "dict of Arrow columns": lambda folder: dict(zip(ARROW.column_names, ARROW.columns, strict=True)),
    "list of dicts": lambda folder: ROWS.to_dict("records"),
    "records": lambda folder: ROWS.to_records(index=False),
    "structured array": lambda folder: np.array(
        [tuple(row) for row in ROWS.to_numpy()],
        dtype=[(name, "U4" if name == "valve" else ROWS[name].dtype) for name in ROWS],
    ),
    "reader": lambda folder: ARROW.to_reader(7),
    "data set": lambda folder: ds.dataset(as_parquet(ROWS, folder)),
    "scanner": lambda folder: ds.dataset(ARROW).scanner(),
    "stream": lambda folder: Stream(ARROW),
    "relation": lambda folder: Relation(),
    "frames one by one": lambda folder: iter(PARTS),
    "batches one by one": lambda folder: (batch for batch in ARROW.to_batches(11)),
    "dicts of columns one by one": lambda folder: (part.to_dict("list") for part in PARTS),
    "rows one by one": lambda folder: iter(ROWS.to_dict("records")),
    "lazy": lambda folder: pl.from_pandas(ROWS).lazy(),
    "path": lambda folder: Place(as_csv(ROWS, folder)),
    "folder": spread,
    "folder by text": lambda folder: str(spread(folder)),
    "pattern": lambda folder: str(spread(folder) / "*" / "*.parquet"),
    "list of paths": lambda folder: [str(path) for path in sorted(spread(folder).rglob("*.parquet"))],
    "address": lambda folder: as_csv(ROWS, folder).as_uri(),
}


@pytest.fixture(scope="module")
def detector():
    return quick(epochs=1, ignore=["steps"], keep_rows=60).fit(ROWS)


@pytest.fixture(scope="module")
def expected(detector):
    groups = detector.score_groups(ROWS, "steps")
    return detector.anomaly_score(ROWS), upland.explain(detector, ROWS).shares, groups


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_rows_in_every_container_give_the_same_bits(name, detector, expected, tmp_path):
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()
    made = [CONTAINERS[name](folder) for folder in folders]
    scores, shares, groups = expected
    np.testing.assert_array_equal(detector.anomaly_score(made[0]), scores)
    np.testing.assert_array_equal(upland.explain(detector, made[1]).shares, shares)
    np.testing.assert_array_equal(detector.score_groups(made[2], "steps").p_value, groups.p_value)
    assert upland.detector_for(made[3]).modality == "table"
    again = quick(epochs=1, ignore=["steps"], keep_rows=60, contamination=0.1).fit(made[3]).calibrate(made[4])
    np.testing.assert_array_equal(again.anomaly_score(ROWS), scores)


@pytest.mark.parametrize("name", ["dict of lists", "reader", "list of dicts", "folder"])
def test_sequences_come_in_these_containers_too(name, tmp_path):
    made = small(upland.SequenceEnergyDetector, id="valve", window=8)
    (tmp_path / "a").mkdir()
    scores = made.fit(CONTAINERS[name](tmp_path)).anomaly_score(CONTAINERS[name](tmp_path / "a"))
    np.testing.assert_array_equal(scores, made.anomaly_score(ROWS))


ARRAYS = np.random.default_rng(0).normal(size=(30, 2))
NUMBERS = {
    "matrix": lambda: np.asmatrix(ARRAYS),
    "arrays one by one": lambda: iter([ARRAYS[:10], ARRAYS[10:]]),
    "batches of a data loader": lambda: ([part] for part in torch.from_numpy(ARRAYS).split(7)),
    "tensors one by one": lambda: iter(torch.from_numpy(ARRAYS).split(7)),
    "lists of rows one by one": lambda: iter([ARRAYS[:10].tolist(), ARRAYS[10:].tolist()]),
    "rows one by one": lambda: (row.tolist() for row in ARRAYS),
    "tuples one by one": lambda: map(tuple, ARRAYS.tolist()),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", NUMBERS)
def test_arrays_in_other_containers_are_arrays(name):
    encoder = TableEncoder().fit(ARRAYS)
    np.testing.assert_array_equal(encoder.transform(NUMBERS[name]()), encoder.transform(ARRAYS))
    assert MemoryRows(NUMBERS[name]()).names == ["x0", "x1"]


# -- what is no table, and what its message advises ----------------------------------------------------------


def opened(folder, mode):
    path = folder / "rows.csv"
    path.write_text("a,b\n1,2\n3,5\n")
    return path.open(mode)


REFUSED = {
    "None": (lambda folder: None, TypeError, "^None is no table", None),
    "number": (lambda folder: 3, TypeError, "^an int is no table", None),
    "set": (lambda folder: {(1.0, 2.0), (3.0, 4.0)}, TypeError, "^a set is no table.*list\\(X\\)", list),
    "bytes": (
        lambda folder: b"a,b\n1,2\n3,5\n",
        TypeError,
        r"^a bytes is no table: pyarrow.csv.read_csv\(io.BytesIO\(X\)\)",
        lambda X: pyarrow.csv.read_csv(io.BytesIO(X)),
    ),
    "text in memory": (
        lambda folder: io.StringIO("a,b\n1,2\n3,5\n"),
        TypeError,
        r"^a StringIO is no table.*pandas.read_csv\(X\)",
        pd.read_csv,
    ),
    "open file of text": (
        lambda folder: opened(folder, "r"),
        TypeError,
        "^an open file is no table: give the path",
        lambda X: open_source(X.name).read(),
    ),
    "open file": (
        lambda folder: opened(folder, "rb"),
        TypeError,
        r"^an open file is no table.*pyarrow.csv.read_csv\(X\)",
        pyarrow.csv.read_csv,
    ),
    "pandas series": (
        lambda folder: ROWS["flow"],
        ValueError,
        r"Expected 2D array, got 1D array instead.*X.to_frame\(\)",
        lambda X: X.to_frame(),
    ),
    "polars series": (
        lambda folder: pl.Series([1.0, 2.0]),
        ValueError,
        r"X.to_frame\(\)",
        lambda X: X.to_frame(),
    ),
    "Arrow array": (
        lambda folder: pa.array([1.0, 2.0]),
        ValueError,
        r"pyarrow.table\({'x': X}\)",
        lambda X: pa.table({"x": X}),
    ),
    "list of numbers": (lambda folder: [1.0, 2.0], ValueError, "Reshape your data", None),
    "object": (lambda folder: object(), TypeError, "^an object is no table", None),
    "class": (lambda folder: pd.DataFrame, TypeError, "^the type DataFrame is no table", None),
    "dict of values": (lambda folder: {"a": 1.0}, TypeError, "'a' is one value", None),
    "dict of columns of other lengths": (
        lambda folder: {"a": [1, 2], "b": [1]},
        ValueError,
        "'a' has 2 values, 'b' has 1",
        None,
    ),
    "empty iterator": (lambda folder: iter([]), ValueError, "gives no batch of rows", None),
    "batches of other columns": (
        lambda folder: iter([{"a": [1.0]}, {"b": [2.0]}]),
        ValueError,
        "batch 2 has the columns 'b', but the first has 'a'",
        None,
    ),
    "batches of other types": (
        lambda folder: iter([ARROW, ARROW.set_column(0, "flow", pa.array(["x"] * 120))]),
        ValueError,
        "column 'flow' has several types in the batches",
        None,
    ),
    "missing file": (lambda folder: folder / "x.csv", FileNotFoundError, "x.csv", None),
    "missing pattern": (
        lambda folder: str(folder / "*.csv"),
        FileNotFoundError,
        "no file has such a name",
        None,
    ),
    "web address": (lambda folder: "https://example.com/a.csv", ValueError, "download it", None),
    "unknown scheme": (lambda folder: "ftps://example.com/a.csv", ValueError, "unknown scheme 'ftps'", None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused_by_what_it_is_and_the_advice_works(name, tmp_path, detector):
    make, error, message, advice = REFUSED[name]
    made = [make(tmp_path) for _ in range(3)]
    with pytest.raises(error, match=message):
        quick().fit(made[0])
    with pytest.raises(error, match=message):
        detector.anomaly_score(made[1])
    if advice is not None:
        assert view_table(advice(made[2])).n_rows >= 2
    for X in made:
        if isinstance(X, io.IOBase):
            X.close()


def test_tuples_as_names_are_joined_as_advised():
    X = pd.DataFrame(ARRAYS, columns=pd.MultiIndex.from_tuples([("p1", "temp"), ("p1", "flow")]))
    with pytest.raises(
        TypeError, match=r"X.columns = \['_'.join\(map\(str, names\)\) for names in X.columns\]"
    ):
        TableEncoder().fit(X)
    X.columns = ["_".join(map(str, names)) for names in X.columns]
    assert TableEncoder().fit(X).column_names == ("p1_temp", "p1_flow")


def test_tuples_as_keys_are_joined_as_advised():
    X = {("p1", "temp"): ARRAYS[:, 0], ("p1", "flow"): ARRAYS[:, 1]}
    advice = "X = {'_'.join(map(str, names)): X[names] for names in X}"
    with pytest.raises(TypeError, match=re.escape(advice)):
        TableEncoder().fit(X)
    names = {"X": X}
    exec(advice, names)
    assert TableEncoder().fit(names["X"]).column_names == ("p1_temp", "p1_flow")


def test_iterators_are_read_once_and_at_a_fit_kept():
    calls = []

    def parts():
        for part in PARTS:
            calls.append(1)
            yield part

    quick(epochs=1, contamination=0.1).fit(parts())
    assert len(calls) == 3


DTYPES = {
    "nullable": pd.array([1, None, 3, 4], "Int64"),
    "nullable booleans": pd.array([True, None, False, True], "boolean"),
    "text of Arrow": pd.array(["a", None, "b", "a"], "string[pyarrow]"),
    "views of Arrow": pd.array(["a", None, "b", "a"], pd.ArrowDtype(pa.string_view())),
    "categories": pd.Categorical(["a", "b", None, "a"]),
    "cut": pd.cut(pd.Series([1.0, 2.0, 3.0, 2.5]), 2),
    "sparse": pd.arrays.SparseArray([0.0, 1.0, 0.0, 2.0]),
    "zoned": pd.date_range("2026", periods=4, tz="Europe/Vienna"),
    "durations": pd.to_timedelta([1, 2, 3, 5], "h"),
}


@pytest.mark.parametrize("name", DTYPES)
def test_pandas_dtypes(name):
    frame = pd.DataFrame({"c": DTYPES[name]})
    encoder = TableEncoder().fit(frame)
    rows = MemoryRows(frame).take(np.array([0, 3]))
    np.testing.assert_array_equal(encoder.transform(rows), encoder.transform(frame)[[0, 3]])


POLARS = {
    "Categorical": pl.Series(["a", "b", "a"], dtype=pl.Categorical),
    "Enum": pl.Series(["a", "b", "a"], dtype=pl.Enum(["a", "b"])),
    "Decimal": pl.Series(["1.5", "2.5", "3.0"]).cast(pl.Decimal(6, 1)),
    "Date": pl.Series([1, 2, 4]).cast(pl.Date),
    "Datetime": pl.Series([1, 2, 4]).cast(pl.Datetime("us", "UTC")),
    "Duration": pl.Series([1, 2, 4]).cast(pl.Duration("ms")),
    "Time": pl.Series([1, 2, 4]).cast(pl.Time),
    "Boolean": pl.Series([True, False, None]),
    "List": pl.Series([[1], [2], [3]]),
    "Struct": pl.Series([{"a": 1}, {"a": 2}, {"a": 3}]),
    "Binary": pl.Series([b"a", b"b", b"c"]),
    "Object": pl.Series([{1}, {2}, {3}], dtype=pl.Object),
}


@pytest.mark.parametrize("name", POLARS)
def test_polars_dtypes(name):
    frame = pl.DataFrame({"c": POLARS[name], "a": [1.0, 2.0, 4.0]})
    if name in ("List", "Struct", "Binary", "Object"):
        with pytest.raises(TypeError, match="column 'c'"):
            TableEncoder().fit(frame)
    encoder = TableEncoder(ignore=["c"] if name in ("List", "Struct", "Binary", "Object") else []).fit(frame)
    rows = MemoryRows(frame)
    assert rows.digest() == rows.digest()
    np.testing.assert_array_equal(
        encoder.transform(rows.take(np.array([0, 2]))), encoder.transform(frame)[[0, 2]]
    )
