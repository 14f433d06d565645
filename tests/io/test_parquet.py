"""Parquet files of other writers, of large row groups, and damaged ones."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rowfiles import TABLE
from upland.io import bounds, parquet
from upland.io.formats import open_source
from upland.io.parquet_footer import dictionary_offsets


def test_files_of_other_writers(tmp_path):
    TABLE.to_pandas().set_index("count").to_parquet(tmp_path / "pandas.parquet")
    pl.from_arrow(TABLE).write_parquet(tmp_path / "polars.parquet", row_group_size=64)
    for name in ("pandas.parquet", "polars.parquet"):
        assert open_source(tmp_path / name).read()["load"].to_pylist() == TABLE["load"].to_pylist()


def test_the_index_of_a_pandas_frame_is_no_feature_but_is_carried(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=[17, 4])
    frame.to_parquet(tmp_path / "rows.parquet")
    source = open_source(tmp_path / "rows.parquet")
    assert source.names == source.read().column_names == ["a"]
    ((raw, typed),) = source.pairs()
    assert (raw.column_names, typed.column_names) == (["a", "__index_level_0__"], ["a"])


def test_memory_does_not_grow_with_a_row_group(tmp_path):
    """A Parquet file of one large group is still read in pieces."""
    pq.write_table(pa.table({"a": np.arange(300_000.0)}), tmp_path / "rows.parquet", row_group_size=300_000)
    source = open_source(tmp_path / "rows.parquet")
    assert max(batch.num_rows for batch in source.batches(size=10_000)) == 10_000
    assert sum(batch.num_rows for batch in source.shuffled(np.random.default_rng(0), size=4096)) == 300_000


# -- damaged and hostile files -------------------------------------------------------------------------------


def test_a_row_group_that_becomes_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 16)
    table = pa.table({"x": np.zeros(1 << 20)})
    pq.write_table(table, tmp_path / "rows.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(
        ValueError, match=r"rows.parquet holds .* decompression bomb do: .*compression='none'"
    ):
        open_source(tmp_path / "rows.parquet")
    pq.write_table(table, tmp_path / "rows.parquet", compression="none", use_dictionary=False)
    assert open_source(tmp_path / "rows.parquet").read().num_rows == 1 << 20


def test_a_long_text_that_is_there_many_times_is_refused(tmp_path, monkeypatch):
    """A dictionary stores it once; decoded whole it would take 2 GB."""
    monkeypatch.setattr(bounds, "ALLOWED", 1 << 22)
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000, "i4")), pa.array(["x" * 1_000_000]))
    pq.write_table(pa.table({"s": texts}), tmp_path / "rows.parquet", compression="zstd", store_schema=False)
    monkeypatch.setattr(parquet, "TEXTS", 1 << 22)
    monkeypatch.setattr(parquet, "HELD", 1 << 22)
    before = pa.default_memory_pool().max_memory()
    source = open_source(tmp_path / "rows.parquet")
    for read in (source.read, lambda: list(source.pairs())):
        with pytest.raises(ValueError, match=r"rows.parquet holds .* decompression bomb"):
            read()
    assert pa.default_memory_pool().max_memory() - before < 1 << 26


def test_texts_of_a_large_dictionary_come_back_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "TEXTS", 1 << 20)
    table = pa.table({"s": [f"text {row % 700}" for row in range(5000)], "x": np.arange(5000.0)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1700)
    source = open_source(tmp_path / "rows.parquet")
    assert source.read().equals(table)
    assert max(batch.num_rows for batch in source.batches(size=1000)) <= 1000


@pytest.mark.parametrize("size", range(1, 100, 7))
def test_a_file_cut_short_is_refused(tmp_path, size):
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    data = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) * size // 100])
    with pytest.raises(ValueError, match=r"cut.parquet cannot be read as Parquet"):
        open_source(tmp_path / "cut.parquet").read()


def test_texts_that_are_no_utf8_are_refused_with_the_column(tmp_path):
    table = pa.table({"s": ["qqqq1", "rrrr2"]})
    pq.write_table(table, tmp_path / "rows.parquet", compression="none")
    data = (tmp_path / "rows.parquet").read_bytes().replace(b"rrrr2", b"\xff\xfe\xfd\xfc2")
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(ValueError, match=r"rows.parquet: column 's' is damaged"):
        open_source(tmp_path / "rows.parquet").read()


def test_very_many_columns_come_in_pieces_of_few_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "CELLS", 100)
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    batches = list(open_source(tmp_path / "rows.parquet").batches())
    assert max(batch.num_rows for batch in batches) <= 14
    assert sum(batch.num_rows for batch in batches) == TABLE.num_rows


READ_EACH = """
import sys
from pathlib import Path
from upland.io.formats import open_source

for path in map(Path, sys.argv[1:]):
    try:
        open_source(path).read()
    except ValueError:
        print("refused")
    else:
        print("read")
"""


def test_the_footer_is_read_as_pyarrow_reads_it(tmp_path):
    nested = pa.array([{"a": ["x", None]}] * 300)
    table = pa.table({"n": np.arange(300.0), "t": ["a", "b", None] * 100, "deep": nested})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=64, use_dictionary=["t"])
    metadata = pq.ParquetFile(path).metadata
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    chunks = [[group.column(at) for at in range(group.num_columns)] for group in groups]
    expected = [[chunk.dictionary_page_offset for chunk in group] for group in chunks]
    assert dictionary_offsets(path) == expected
    assert len(expected) == 5
    assert [offset is not None for offset in expected[0]] == [False, True, False]


def test_no_forged_footer_ends_the_process(tmp_path):
    """PyArrow throws in C++ while it describes a column that lacks its description."""
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"n": np.arange(50.0), "t": ["a", "bc"] * 25}), whole)
    data = whole.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    paths = []
    for at in range(start, len(data) - 8):
        for change in (0x01, 0x10, 0x40):
            forged = bytearray(data)
            forged[at] ^= change
            paths.append(tmp_path / f"{at}-{change}.parquet")
            paths[-1].write_bytes(forged)
    command = [sys.executable, "-c", READ_EACH, whole, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = done.stdout.split()
    assert len(outcomes) == 1 + len(paths)
    assert outcomes[0] == "read"
    assert outcomes.count("refused") > 100
