"""Files that cannot be read are refused by name; files are written whole or not at all."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from upland.data.table.encoder import TableEncoder
from upland.io import csv as csvfile
from upland.io.formats import TableWriter, open_source

N = 500
RNG = np.random.default_rng(0)
TABLE = pa.table(
    {
        "load": RNG.normal(size=N),
        "count": RNG.integers(0, 9, N),
        "site": np.array(["north", "so,uth", 'ea"st', "w\nest"])[RNG.integers(0, 4, N)],
        "gap": [None if i % 7 == 0 else i % 5 * 0.5 for i in range(N)],
        "at": pa.array(RNG.integers(0, 10**9, N), pa.timestamp("s")),
        "open": RNG.random(N) < 0.5,
        "code": RNG.integers(1, 4, N),
    }
)
PLAIN = {"a": [1.5, 2.0], "b": ["x", "y"]}


def written(path, table=TABLE, step=90):
    with TableWriter(path) as writer:
        for start in range(0, table.num_rows, step):
            writer.write(table.slice(start, step))
    return path


def texted(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# -- what cannot be read ---------------------------------------------------------------------------

BROKEN = [
    ("a.csv", b"", "a.csv is empty"),
    ("a.csv", b"\n\n", "a.csv is empty"),
    ("a.csv", b"a,b\n", "has a header but no rows"),
    ("a.csv", b"a,b", "has a header but no rows"),
    ("a.csv", "a,b\n1,2\n".encode("utf-16"), "is UTF-16 text"),
    ("a.csv", "a,b\n1,é\n".encode("latin-1"), "is not UTF-8 text"),
    ("a.csv", b"a,b\n1,\x00\n", "contains zero bytes"),
    ("a.csv", b"a,b\n1,2\n1,2,3\n", "a.csv, line 3: the header has 2 cells, this line has 3"),
    ("a.csv", b"a,b\n1,2\n1\n", "a.csv, line 3: the header has 2 cells, this line has 1"),
    ("a.csv", b"1,2\n3,4\n", "has no header: its first line holds only numbers"),
    ("a.csv", b"a,b,a\n1,2,3\n", "duplicate column names in the header: 'a'"),
    ("a.csv.gz", b"a,b\n1,2\n", "a.csv.gz cannot be read as CSV"),
    ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 9999)[:-20], "a.csv.gz cannot be read"),
    ("a.parquet", b"PAR1 and then nothing", "a.parquet cannot be read as Parquet"),
    ("a.parquet", b"a,b\n1,2\n", "a.parquet cannot be read as Parquet"),
    ("a.arrow", b"a,b\n1,2\n", "a.arrow cannot be read as Arrow"),
    ("a.xlsx", b"PK", r"unknown kind of file; known are .csv, .csv.gz"),
    ("a", b"PK", "unknown kind of file"),
]


@pytest.mark.parametrize(("name", "data", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_refused_by_name(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message):
        open_source(texted(tmp_path / name, data)).read()


@pytest.mark.parametrize("line", ["1,2,3", "1"])
def test_a_ragged_line_is_named_while_streaming(tmp_path, line, monkeypatch):
    monkeypatch.setattr(csvfile, "_BLOCK", 4096)
    lines = ["a,b", *["1,2"] * 3000, line, *["1,2"] * 3000]
    source = open_source(texted(tmp_path / "rows.csv", "\n".join(lines)))
    schema = TableEncoder().fit(pa.table({"a": [1, 2], "b": [1, 2]})).schema_
    with pytest.raises(ValueError, match=r"rows.csv, line 3002: the header has 2 cells"):
        list(source.batches(schema))
    with pytest.raises(ValueError, match=r"rows.csv, line 3002: the header has 2 cells"):
        source.read()


def test_text_that_stops_being_utf8_far_into_the_file(tmp_path):
    data = b"a,b\n" + b"1,x\n" * 400_000 + "2,é\n".encode("latin-1")
    source = open_source(texted(tmp_path / "rows.csv", data))
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        source.read()
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        list(source.batches(TableEncoder().fit(pa.table(PLAIN)).schema_))


def test_numbered_headers_are_headers(tmp_path):
    pd.DataFrame(np.eye(3)).to_csv(tmp_path / "rows.csv", index=False)
    assert open_source(tmp_path / "rows.csv").names == ["0", "1", "2"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_damage_inside_a_file_is_named(tmp_path, suffix):
    path = written(tmp_path / f"rows{suffix}", pa.table({"a": pa.array([str(i) * 20 for i in range(5000)])}))
    data = bytearray(path.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"rows{suffix} cannot be read"):
        open_source(path).read()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
def test_files_that_are_not_there_or_not_files(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=f"rows{suffix} does not exist"):
        open_source(tmp_path / f"rows{suffix}")
    (tmp_path / f"rows{suffix}").mkdir()
    with pytest.raises(IsADirectoryError, match=f"rows{suffix} is a directory"):
        open_source(tmp_path / f"rows{suffix}")


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_without_rows(tmp_path, suffix):
    path = tmp_path / f"rows{suffix}"
    with TableWriter(path) as writer:
        writer.write(TABLE.slice(0, 0))
    with pytest.raises(ValueError, match="has columns but no rows"):
        open_source(path)


def test_permissions(tmp_path, monkeypatch):
    path = written(tmp_path / "rows.csv")

    def forbidden(*arguments):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.open", forbidden)  # root may read and write everything
    with pytest.raises(PermissionError, match=r"rows.csv: no permission to read it"):
        open_source(path)
    with (
        pytest.raises(PermissionError, match="no permission to write into this folder"),
        TableWriter(tmp_path / "b.csv"),
    ):
        pass


# -- writing ---------------------------------------------------------------------------------------


def test_a_written_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(RuntimeError), TableWriter(path) as writer:
        writer.write(TABLE)
        assert not path.exists()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
def test_nothing_is_overwritten_unasked(tmp_path, suffix):
    path = written(tmp_path / f"rows{suffix}")
    before = path.read_bytes()
    with pytest.raises(
        FileExistsError, match="already exists: choose another name, or allow it to be overwritten"
    ):
        TableWriter(path)
    with pytest.raises(RuntimeError), TableWriter(path, overwrite=True) as writer:
        writer.write(TABLE.slice(0, 3))
        raise RuntimeError
    assert path.read_bytes() == before
    with TableWriter(path, overwrite=True) as writer:
        writer.write(TABLE.slice(0, 3))
    assert open_source(path).read().num_rows == 3
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "rows.csv"
    with pytest.raises(FileExistsError), TableWriter(path) as writer:
        writer.write(TABLE)
        path.write_text("mine")
    assert path.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        ("no/rows.csv", FileNotFoundError, "folder .*no does not exist"),
        ("file/rows.csv", NotADirectoryError, "file is not a folder"),
        ("folder.csv", IsADirectoryError, "is a directory"),
        ("rows.txt", ValueError, "unknown kind of file"),
    ],
)
def test_targets_that_cannot_be(tmp_path, target, kind, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(kind, match=message):
        TableWriter(tmp_path / target)


def test_tables_of_one_file_share_their_columns(tmp_path):
    with (
        pytest.raises(ValueError, match="columns differ from the first"),
        TableWriter(tmp_path / "rows.csv") as writer,
    ):
        writer.write(TABLE)
        writer.write(TABLE.select(["load"]))
    with pytest.raises(ValueError, match="no rows to write"), TableWriter(tmp_path / "rows.csv"):
        pass
    with pytest.raises(ValueError, match="inside a with block"):
        TableWriter(tmp_path / "rows.csv").write(TABLE)


def test_equal_rows_give_equal_files(tmp_path):
    one, two = (written(tmp_path / f"{name}.csv.gz") for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_written_numbers_come_back_to_the_bit(tmp_path):
    x = np.r_[
        RNG.normal(size=200) * 10.0 ** RNG.integers(-300, 300, 200), 0.1 + 0.2, 5e-324, 1.7976931348623157e308
    ]
    source = open_source(written(tmp_path / "rows.csv", pa.table({"x": x, "y": x})))
    assert source.read()["x"].to_numpy().tolist() == x.tolist()


def test_memory_does_not_grow_with_a_row_group(tmp_path):
    """A Parquet file of one large group is still read in pieces."""
    pq.write_table(pa.table({"a": np.arange(300_000.0)}), tmp_path / "rows.parquet", row_group_size=300_000)
    source = open_source(tmp_path / "rows.parquet")
    assert max(batch.num_rows for batch in source.batches(size=10_000)) == 10_000
    assert sum(batch.num_rows for batch in source.shuffled(np.random.default_rng(0), size=4096)) == 300_000
