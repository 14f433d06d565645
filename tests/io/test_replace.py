"""A file is written whole or not at all, and nothing is overwritten unasked."""

import pytest

from rowfiles import TABLE, written
from upland.io.formats import TableWriter, open_source
from upland.io.replace import check_target, replacing


def test_a_file_appears_at_the_end(tmp_path):
    with replacing(tmp_path / "a") as file:
        file.write(b"all of it")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"all of it"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [None, b"the old one"])
def test_an_error_leaves_what_was_there(tmp_path, error, before):
    if before is not None:
        (tmp_path / "a").write_bytes(before)
    with pytest.raises(error), replacing(tmp_path / "a", overwrite=True) as file:
        file.write(b"a part")
        raise error
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("absent/a", FileNotFoundError, "there is no folder .*absent: make it first"),
        ("file/a", NotADirectoryError, "file is not a folder"),
        ("folder", IsADirectoryError, "folder is a directory: name a file in it"),
    ],
)
def test_targets_that_cannot_be_written(tmp_path, target, error, message, overwrite):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=message):
        check_target(tmp_path / target, overwrite)
    with pytest.raises(error, match=message), replacing(tmp_path / target, overwrite):
        pass


def test_an_existing_file_is_overwritten_only_if_asked(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError, match="a exists already"):
        check_target(tmp_path / "a", overwrite=False)
    check_target(tmp_path / "a", overwrite=True)
    with replacing(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


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
        path.write_text("another program")
    assert path.read_text() == "another program"
    assert len(list(tmp_path.iterdir())) == 1
