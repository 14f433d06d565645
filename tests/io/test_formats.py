"""Files by their suffix: a format is one module; what cannot be opened or written is named."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rowfiles import TABLE, texted, written
from upland.catalogue import FORMATS
from upland.data.table.encoder import TableEncoder
from upland.io.formats import TableWriter, open_source, suffix_of

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
    ("a.ods", b"PK", r"unknown format; known are .csv, .csv.gz"),
    ("a", b"PK", "unknown format"),
]


@pytest.mark.parametrize(("name", "data", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_refused_by_name(tmp_path, name, data, message):
    with pytest.raises(ValueError, match=message):
        open_source(texted(tmp_path / name, data)).read()


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

    monkeypatch.setattr("os.access", lambda *arguments: False)  # root may read and write everything
    with pytest.raises(PermissionError, match=f"no permission to write into the folder {tmp_path}"):
        TableWriter(tmp_path / "b.csv")
    monkeypatch.setattr("pathlib.Path.open", forbidden)
    with pytest.raises(PermissionError, match=r"rows.csv: no permission to read it"):
        open_source(path)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("no/rows.csv", FileNotFoundError, "there is no folder .*no: make it first"),
        ("file/rows.csv", NotADirectoryError, "file is not a folder"),
        ("folder.csv", IsADirectoryError, "is a directory"),
        ("rows.txt", ValueError, "unknown format"),
    ],
)
def test_targets_that_cannot_be(tmp_path, target, error, message):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(error, match=message):
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


# -- a format of one's own ---------------------------------------------------------------------------------

LINES = (Path(__file__).parents[1] / "toys" / "lines_format.py").read_text(encoding="utf-8")


@pytest.fixture
def lines(tmp_path_factory, monkeypatch):
    """A format of one file and one line of the catalogue, and one that is only read."""
    folder = tmp_path_factory.mktemp("formats")
    (folder / "upland_lines.py").write_text(LINES)
    (folder / "upland_only_read.py").write_text(LINES.replace("LinesSource, LinesSink", "LinesSource"))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(FORMATS, ".jsonl", "upland_lines")
    monkeypatch.setitem(FORMATS, ".old.jsonl", "upland_only_read")


NUMBERS = pa.table({"a": [1.5, 2.0, 0.1 + 0.2], "b": ["x", None, "z"]})


@pytest.mark.usefixtures("lines")
def test_a_format_is_one_file_and_one_line(tmp_path):
    path = written(tmp_path / "rows.jsonl", NUMBERS, step=2)
    source = open_source(path)
    assert source.read().equals(NUMBERS)
    assert source.take(np.array([2]))["b"].to_pylist() == ["z"]
    batches = list(source.shuffled(np.random.default_rng(0), np.array([1]), 1))
    assert sorted(batch["b"][0].as_py() for batch in batches) == ["x", "z"]
    assert TableEncoder().fit(source.read()).width == TableEncoder().fit(NUMBERS).width
    with pytest.raises(ValueError, match=r"known are .csv, .*, .jsonl"):
        open_source(tmp_path / "rows.ods")


@pytest.mark.usefixtures("lines")
def test_the_longest_suffix_says_the_format(tmp_path):
    assert suffix_of("a.OLD.JSONL") == ".old.jsonl"
    assert suffix_of(tmp_path / "a.jsonl") == ".jsonl"


@pytest.mark.usefixtures("lines")
def test_a_format_that_is_only_read_is_never_written(tmp_path):
    written(tmp_path / "rows.jsonl", NUMBERS).rename(tmp_path / "rows.old.jsonl")
    assert open_source(tmp_path / "rows.old.jsonl").read().equals(NUMBERS)
    with pytest.raises(
        ValueError, match=r"out.old.jsonl: .old.jsonl files can only be read; known for writing are .csv, "
    ) as caught:
        TableWriter(tmp_path / "out.old.jsonl")
    assert str(caught.value).endswith(".feather, .jsonl")
    assert not (tmp_path / "out.old.jsonl").exists()
