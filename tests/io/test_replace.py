"""A file is written whole or not at all, and nothing is overwritten unasked."""

import errno
import io
import os
import socket
import stat
import threading

import pyarrow as pa
import pytest

from programs import run_python
from rowfiles import TABLE, written
from upland.io import replace
from upland.io.formats import TableWriter, open_source
from upland.io.modelfile import read_tensors, write_tensors
from upland.io.replace import Claim, WriteError, check_target, replacing


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


# -- what a name leads to ------------------------------------------------------------------------------------


def contents(folder):
    """The files of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_is_written_and_stays_one(tmp_path, overwrite):
    (tmp_path / "null").symlink_to("/dev/null")
    for path in (tmp_path / "null", "/dev/null"):
        with replacing(path, overwrite) as file:
            file.write(b"nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert (tmp_path / "null").is_symlink()
    assert [path.name for path in tmp_path.iterdir()] == ["null"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".arrow"])
def test_a_fifo_is_written_and_stays_one(tmp_path, suffix, overwrite):
    path = tmp_path / f"rows{suffix}"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is a FIFO that no program reads"), replacing(path, overwrite):
        pass
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with TableWriter(path, overwrite) as writer:
        writer.write(TABLE.slice(0, 100))
    (tmp_path / f"copy{suffix}").write_bytes(os.read(reader, 1 << 16))
    os.close(reader)
    assert path.is_fifo()
    assert open_source(tmp_path / f"copy{suffix}").read().num_rows == 100


def test_a_socket_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        for overwrite in (False, True):
            with pytest.raises(OSError, match="s is no file, FIFO or character device"):
                check_target(tmp_path / "s", overwrite)


def test_a_link_is_followed_and_stays_one(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("folder/file")
    with pytest.raises(FileExistsError, match="link exists already"):
        check_target(tmp_path / "link", overwrite=False)
    with replacing(tmp_path / "link", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "folder") == {"file": b"new"}


def test_a_dangling_link_is_followed_only_if_asked(tmp_path):
    (tmp_path / "link").symlink_to("absent")
    with pytest.raises(FileExistsError, match="is a link to absent, which does not exist"):
        check_target(tmp_path / "link", overwrite=False)
    with replacing(tmp_path / "link", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "absent").read_bytes() == b"new"


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(OSError, match="link"):
        check_target(tmp_path / "link", overwrite=True)


# -- modes ---------------------------------------------------------------------------------------------------


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_new_file_has_the_usual_mode_and_a_private_one_is_its_owner_s(tmp_path, overwrite):
    for name, private in {"a": False, "b": True}.items():
        with replacing(tmp_path / name, overwrite, private=private):
            pass
    assert (mode(tmp_path / "a"), mode(tmp_path / "b")) == (0o644, 0o600)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("before", [0o600, 0o640, 0o444, 0o666])
@pytest.mark.parametrize("private", [False, True])
def test_a_replaced_file_keeps_its_mode_and_owner(tmp_path, before, private):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(before)
    owner = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(tmp_path / "a", *owner)
    with replacing(tmp_path / "a", overwrite=True, private=private) as file:
        file.write(b"new")
        (part,) = (path for path in tmp_path.iterdir() if path.name != "a")
        assert mode(part) == 0o600
    found = (tmp_path / "a").stat()
    assert (mode(tmp_path / "a"), found.st_uid, found.st_gid) == (before, *owner)


@pytest.mark.usefixtures("umask")
def test_models_are_private(tmp_path):
    write_tensors(tmp_path / "m", {}, {})
    assert mode(tmp_path / "m") == 0o600
    written(tmp_path / "rows.csv")
    assert mode(tmp_path / "rows.csv") == 0o644


# -- two writers ---------------------------------------------------------------------------------------------


def test_the_second_of_two_writers_is_refused_at_its_start(tmp_path):
    with replacing(tmp_path / "a") as file:
        file.write(b"first")
        with pytest.raises(FileExistsError, match="a is being written by another program"):
            Claim(tmp_path / "a").__enter__()
        with replacing(tmp_path / "b") as other:
            other.write(b"another name")
    assert contents(tmp_path) == {"a": b"first", "b": b"another name"}


def test_what_a_killed_writer_has_left_stops_nobody(tmp_path):
    code = "import os, sys; from upland.io.replace import Claim; Claim(sys.argv[1]).__enter__(); os._exit(9)"
    assert run_python("-c", code, tmp_path / "a").returncode == 9
    assert list(contents(tmp_path).values()) == [b""]
    with replacing(tmp_path / "a") as file:
        file.write(b"whole")
    assert contents(tmp_path) == {"a": b"whole"}


def test_of_many_writers_at_once_one_succeeds(tmp_path):
    outcomes = []
    start = threading.Barrier(8)

    def write(number):
        start.wait()
        try:
            with replacing(tmp_path / "a") as file:
                file.write(bytes([number]))
            outcomes.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1
    assert contents(tmp_path) == {"a": bytes(outcomes)}


def test_writers_that_may_overwrite_do_not_hinder_each_other(tmp_path):
    with replacing(tmp_path / "a", overwrite=True) as one, replacing(tmp_path / "a", overwrite=True) as two:
        one.write(b"one")
        two.write(b"two")
    assert contents(tmp_path) == {"a": b"one"}


def test_a_claim_is_a_path_and_is_filled_once(tmp_path):
    with Claim(tmp_path / "a") as claim:
        write_tensors(claim, {}, {"by": "claim"})
    assert read_tensors(tmp_path / "a")[1] == {"by": "claim"}
    with pytest.raises(RuntimeError), Claim(tmp_path / "b"):
        raise RuntimeError
    assert list(contents(tmp_path)) == ["a"]


# -- the disk ------------------------------------------------------------------------------------------------


def test_a_full_disk_names_the_file(tmp_path):
    (tmp_path / "a").symlink_to("/dev/full")
    with pytest.raises(WriteError) as caught, replacing(tmp_path / "a") as file:
        file.write(b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "a"))


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet", ".arrow", ".feather"])
@pytest.mark.parametrize("limit", [0, 3_000])
def test_a_full_disk_leaves_nothing_whatever_the_format(tmp_path, suffix, limit, monkeypatch):
    def write(self, data):
        if self.tell() + len(data) > limit:
            raise WriteError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        return io.FileIO.write(self, data)

    monkeypatch.setattr(replace._NamedFile, "write", write)
    path = tmp_path / f"rows{suffix}"
    with pytest.raises(WriteError) as caught:
        written(path, pa.concat_tables([TABLE] * 9))
    assert caught.value.filename == str(path)
    assert contents(tmp_path) == {}


def test_the_file_and_its_name_are_on_the_disk_before_the_end(tmp_path, monkeypatch):
    done = []

    def recorded(name):
        real = getattr(os, name)

        def called(*arguments, **options):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else ""
            done.append(name + kind)
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, called)

    for name in ("fsync", "replace", "link"):
        recorded(name)
    with replacing(tmp_path / "a"):
        pass
    with replacing(tmp_path / "a", overwrite=True):
        pass
    assert done == ["fsync", "link", "fsyncfolder", "fsync", "replace", "fsyncfolder"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "-a", "a b", "🙂.csv"])
def test_names_as_long_as_the_file_system_has(tmp_path, name, overwrite):
    with replacing(tmp_path / name, overwrite) as file:
        file.write(b"x")
    assert contents(tmp_path) == {name: b"x"}


def test_a_file_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing("a") as file:
        file.write(b"x")
    assert contents(tmp_path) == {"a": b"x"}
