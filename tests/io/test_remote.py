"""Addresses: read through pyarrow's file systems, copied for as long as they are read."""

import gc
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import fs

from rowfiles import PLAIN, written
from upland.io import remote
from upland.io.formats import open_source


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A folder that stands for a bucket, and an empty one for copies."""
    (tmp_path / "bucket" / "year=2026").mkdir(parents=True)
    (tmp_path / "copies").mkdir()
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(remote, "file_system", lambda address: (system, address.partition("://")[2]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    return tmp_path / "bucket"


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
@pytest.mark.parametrize("made", [str, Path])
def test_a_file_is_read_and_its_copy_removed(suffix, made, bucket):
    written(bucket / f"a{suffix}", pa.table(PLAIN))
    source = open_source(made(f"s3://bucket/a{suffix}"))
    assert source.read().to_pydict() == PLAIN
    del source
    until = time.monotonic() + 30  # a thread of pyarrow may hold the source a moment longer
    while list((bucket.parent / "copies").iterdir()) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert list((bucket.parent / "copies").iterdir()) == []


def test_a_folder_is_read_with_its_keys_one_copy_at_a_time(bucket):
    for name in ("a", "b"):
        written(bucket / "year=2026" / f"{name}.parquet", pa.table(PLAIN))
    source = open_source("gs://bucket")
    assert source.names == ["a", "b", "year"]
    for _ in source.batches(size=1):
        gc.collect()
        assert len(list((bucket.parent / "copies").iterdir())) <= 2
    assert source.read()["year"].to_pylist() == [2026] * 4


@pytest.mark.parametrize("address", ["s3://bucket/none.csv", "s3://none"])
def test_what_is_not_there_is_named(address, bucket):
    with pytest.raises(FileNotFoundError, match=f"{address} does not exist"):
        open_source(address)
    assert list((bucket.parent / "copies").iterdir()) == []


def test_a_damaged_file_leaves_no_copy(bucket):
    (bucket / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        open_source("s3://bucket/a.parquet")
    assert list((bucket.parent / "copies").iterdir()) == []


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://example.com/a.csv", "web addresses are not read: download it"),
        ("ftps://example.com/a.csv", "unknown scheme 'ftps'; known are s3, gs"),
        ("s3:///", "cannot be reached"),
    ],
)
def test_addresses_that_are_not_read(address, message):
    with pytest.raises(ValueError, match=message):
        open_source(address)


def test_an_address_of_a_file_is_a_file(tmp_path):
    written(tmp_path / "a.csv", pa.table(PLAIN))
    assert open_source((tmp_path / "a.csv").as_uri()).read().to_pydict() == PLAIN
