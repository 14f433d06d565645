"""Arrow files of other writers; damaged and hostile ones, of which no offset leads outside the file."""

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest

from rowfiles import TABLE
from upland.io import arrow, bounds
from upland.io.arrow_sizes import messages_of
from upland.io.formats import open_source


def test_files_of_other_writers(tmp_path):
    pa.feather.write_feather(TABLE, str(tmp_path / "lz4.feather"), compression="lz4")
    with pa.ipc.new_stream(str(tmp_path / "stream.arrow"), TABLE.schema) as stream:
        stream.write_table(TABLE)
    for name in ("lz4.feather", "stream.arrow"):
        assert open_source(tmp_path / name).read().equals(TABLE)


MORE = pa.table(
    {
        "x": [1.0, 2.0, 3.0],
        "s": ["qqqq1", "rrrr2", "ssss3"],
        "l": pa.array(["tttt1", "uuuu2", "vvvv3"], pa.large_string()),
        "d": pa.array(["wwww1", "xxxx2", "wwww1"]).dictionary_encode(),
        "n": [1.5, None, 2.5],
    }
)


def stored(path, table=MORE, stream=False, **options):
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with (
        pa.OSFile(str(path), "wb") as file,
        make(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer,
    ):
        writer.write_table(table)
    return path


def changed(path, old, new):
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new))
    return path


def numbers(*values, dtype="i4"):
    return np.array(values, dtype).tobytes()


OFFSETS = [
    (old, numbers(*new, dtype=dtype), column)
    for dtype, column in (("i4", "s"), ("i8", "l"))
    for old in [numbers(0, 5, 10, 15, dtype=dtype)]
    for new in (
        (0, 5, 10, 3015),
        (0, 5, 10, 300_015),
        (0, 5, 2**30, 2**30 + 5),
        (0, 5, -70_000, 15),
        (0, 9, 3, 15),
    )
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "column"),
    [*OFFSETS, (b"rrrr2", b"\xff\xfe\xfd\xfc2", "s"), (numbers(0, 1, 0), numbers(0, 7, 0), "d")],
)
def test_buffers_that_are_not_as_they_must_be_are_refused_with_the_column(tmp_path, old, new, column, stream):
    source = open_source(changed(stored(tmp_path / "rows.arrow", stream=stream), old, new))
    for read in (source.read, lambda: list(source.pairs()), lambda: source.take(np.array([1]))):
        with pytest.raises(ValueError, match=rf"rows.arrow, record batch 1: column '{column}' is damaged"):
            read()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_sizes_are_read_from_the_metadata(tmp_path, compression, stream):
    path = stored(tmp_path / "rows.arrow", TABLE, stream, compression=compression)
    (found,) = messages_of(memoryview(path.read_bytes()))
    assert (found.rows, found.compressed) == (TABLE.num_rows, compression is not None)
    assert found.size >= TABLE.nbytes - 1000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_is_refused_before_anything_is_decompressed(tmp_path, monkeypatch, compression, stream):
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 16)
    path = stored(
        tmp_path / "rows.arrow", pa.table({"x": np.zeros(1 << 20)}), stream, compression=compression
    )
    before = pa.total_allocated_bytes()
    with pytest.raises(ValueError, match=r"rows.arrow holds .* decompression bomb do: .*write it without"):
        open_source(path)
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_more_rows_than_a_file_can_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "_ROWS", 1000)
    path = stored(tmp_path / "rows.arrow", pa.table({"nothing": pa.nulls(10_000_000)}))
    with pytest.raises(ValueError, match=r"it says that it has 10,000,000 rows in [\d,]+ bytes"):
        open_source(path)


def test_a_file_that_grows_shorter_while_it_is_read_is_named(tmp_path):
    path = stored(tmp_path / "rows.arrow", TABLE)
    source = open_source(path)
    with path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match=r"rows.arrow has changed while it was read: it had [\d,]+ bytes"):
        source.read()


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    data = stored(tmp_path / "rows.arrow").read_bytes()
    for size in range(1, len(data) - 1, 7):
        (tmp_path / "cut.arrow").write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"cut\.arrow"):
            open_source(tmp_path / "cut.arrow").read()


def test_very_many_columns_come_in_pieces_of_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "CELLS", 100)
    source = open_source(stored(tmp_path / "rows.arrow", TABLE))
    assert {batch.num_rows for batch in source.batches()} <= {14, 10}
