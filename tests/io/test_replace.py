"""A file is written whole or not at all."""

import pytest

from rowfiles import TABLE, written
from upland.io.formats import TableWriter, open_source


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
        FileExistsError, match="exists already: choose another name, or allow it to be overwritten"
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
