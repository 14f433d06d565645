"""Which files are taken, in which order, and when they are complete."""

import os
import sys

import pytest

from upland.watch import incoming
from upland.watch.incoming import Changing, Incoming, as_text, check_unchanged, digest_of, path_of, whole

POSIX = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names of bytes are of Linux")


def csv(name):
    return name.casefold().endswith((".csv", ".csv.gz"))


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.time = 1_000_000.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


def put(path, text="a\n1\n", modified=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(0, int(modified * 1e9)))
    return path


def names(place, **options):
    return [entry.name for entry in Incoming(place, csv, **options).scan()]


# -- which ---------------------------------------------------------------------------------------------------


def test_files_come_by_their_time_of_change_and_then_by_name(tmp_path):
    for name, modified in {"b.csv": 5, "a.csv": 9, "d.csv": 7, "c.csv": 7, "sub/e.csv.gz": 6}.items():
        put(tmp_path / name, modified=modified)
    assert names(tmp_path) == ["b.csv", "sub/e.csv.gz", "c.csv", "d.csv", "a.csv"]


@pytest.mark.parametrize(
    "name",
    [
        *(".a.csv", "_a.csv", "a.csv~", "a.csv.tmp", "a.csv.part", "a.csv.crdownload", "a.csv.PARTIAL"),
        *(".hidden/a.csv", "_temporary/a.csv", "~$a.csv", "a.csv.filepart", "sub/.a.csv.x3Yz", "a.csv.1~"),
    ],
)
def test_hidden_and_unfinished_names_are_left_alone(name, tmp_path):
    put(tmp_path / name)
    put(tmp_path / "other.csv")
    assert names(tmp_path) == ["other.csv"]
    assert names(tmp_path / "**" / "*") == ["other.csv"]


def test_files_of_other_formats_are_named_and_left(tmp_path):
    put(tmp_path / "README.txt")
    put(tmp_path / "a.csv")
    (tmp_path / "folder.csv").mkdir()
    place = Incoming(tmp_path, csv)
    assert [entry.name for entry in place.scan()] == ["a.csv"]
    assert place.left["format"] == ["README.txt"]


def test_a_pattern_stands_for_its_files_and_those_below_its_folders(tmp_path):
    for name in ("x1/a.csv", "x2/a.csv", "y/a.csv", "x3.csv"):
        put(tmp_path / name)
    assert names(tmp_path / "x*") == ["x1/a.csv", "x2/a.csv", "x3.csv"]
    assert names(tmp_path / "*" / "a.csv") == ["x1/a.csv", "x2/a.csv", "y/a.csv"]
    assert names(tmp_path / "z*.csv") == []


def test_a_pattern_of_the_folder_one_is_in(tmp_path, monkeypatch):
    put(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)
    assert names("*.csv") == names("./*.csv") == names(".") == ["a.csv"]


def test_one_file_is_a_place_too(tmp_path):
    entry = Incoming(put(tmp_path / "a.csv", modified=3), csv).scan()[0]
    assert (entry.name, entry.path, entry.size, entry.modified) == (
        "a.csv",
        str(tmp_path / "a.csv"),
        4,
        3_000_000_000,
    )


@pytest.mark.parametrize("place", ["nothing", "nothing/*.csv"])
def test_a_place_that_is_not_there_is_refused(place, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing/? does not exist"):
        Incoming(tmp_path / place, csv)


def test_a_place_that_vanishes_later_is_an_error_of_the_scan(tmp_path):
    folder = tmp_path / "in"
    put(folder / "a.csv")
    place = Incoming(folder, csv)
    folder.rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError):
        place.scan()


def test_links_are_followed_inside_the_place_alone(tmp_path):
    folder = tmp_path / "in"
    put(folder / "a.csv")
    secret = put(tmp_path / "secret.csv")
    (folder / "inside.csv").symlink_to(folder / "a.csv")
    (folder / "outside.csv").symlink_to(secret)
    (folder / "dead.csv").symlink_to(folder / "nothing.csv")
    (folder / "circle.csv").symlink_to(folder / "circle.csv")
    (folder / "up").symlink_to(tmp_path)
    place = Incoming(folder, csv)
    assert [entry.name for entry in place.scan()] == ["a.csv", "inside.csv"]
    assert place.left["link"] == ["outside.csv"]


def test_a_place_that_is_a_link_itself_is_followed(tmp_path):
    put(tmp_path / "real" / "a.csv")
    (tmp_path / "in").symlink_to(tmp_path / "real")
    assert names(tmp_path / "in") == ["a.csv"]


@pytest.mark.skipif(os.name == "nt", reason="pipes with names are of POSIX")
def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_found(tmp_path, monkeypatch):
    put(tmp_path / "a.csv")
    put(tmp_path / "closed" / "b.csv")
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(incoming.os, "scandir", refusing)
    place = Incoming(tmp_path, csv)
    assert [entry.name for entry in place.scan()] == ["a.csv"]
    assert place.left["unreadable"] == ["closed"]


# -- names ---------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize(
    "name",
    [b"a b.csv", b"new\nline.csv", b"\xff\xfe.csv", "ümlaut.csv".encode(), b"'; DROP--.csv", b"$(x).csv"],
)
def test_every_name_has_a_text_that_leads_back_to_it(name, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), name)
    with open(path, "w") as file:
        file.write("a\n1\n")
    (entry,) = Incoming(tmp_path, csv).scan()
    entry.path.encode("utf-8")
    entry.name.encode("utf-8")
    assert os.fsencode(entry.file) == path
    assert digest_of(entry)


@POSIX
def test_a_name_that_looks_like_a_written_byte_is_itself(tmp_path):
    path = put(tmp_path / r"a\udcff.csv")
    assert path_of(as_text(path)) == path


# -- complete ------------------------------------------------------------------------------------------------


def test_an_old_file_is_complete_at_once_and_a_young_one_by_two_checks(tmp_path, clock):
    old = put(tmp_path / "old.csv", modified=clock() - 10)
    young = put(tmp_path / "young.csv", modified=clock() - 1)
    place = Incoming(tmp_path, csv, stable=2.0, now=clock, clock=clock)
    found = {entry.name: entry for entry in place.scan()}
    assert place.complete(found[old.name])
    assert not place.complete(found[old.name], at_once=False)
    assert not place.complete(found[young.name])
    clock.time += 1.5
    assert not place.complete(found[young.name], at_once=False)
    clock.time += 0.5
    assert place.complete(found[young.name], at_once=False)
    assert place.complete(found[old.name], at_once=False)


@pytest.mark.parametrize("modified", [-1.0, 3600.0, 1e6])
def test_a_file_that_changes_or_is_of_the_future_is_not_complete_by_one_check(modified, tmp_path, clock):
    path = put(tmp_path / "a.csv", modified=clock() + modified)
    place = Incoming(tmp_path, csv, stable=2.0, now=clock, clock=clock)
    for step in range(4):
        put(path, "a\n" + "1\n" * (step + 2), modified=clock() + modified)
        assert not place.complete(place.scan()[0])
        clock.time += 2.0
    place.complete(place.scan()[0])
    clock.time += 2.0
    assert place.complete(place.scan()[0], at_once=False)


def test_a_file_that_vanished_and_came_back_is_checked_anew(tmp_path, clock):
    path = put(tmp_path / "a.csv", modified=clock())
    place = Incoming(tmp_path, csv, stable=2.0, now=clock, clock=clock)
    assert not place.complete(place.scan()[0])
    path.unlink()
    assert place.scan() == []
    clock.time += 5
    put(path, modified=clock() - 5)
    assert not place.complete(place.scan()[0], at_once=False)


def test_what_changes_while_it_is_read_is_given_up(tmp_path):
    path = put(tmp_path / "a.csv")
    (entry,) = Incoming(tmp_path, csv).scan()
    assert digest_of(entry) == digest_of(entry)
    pieces = whole(entry, iter([1, 2]))
    assert next(pieces) == 1
    put(path, "a\n1\n2\n", modified=9)
    assert next(pieces) == 2
    with pytest.raises(Changing, match=r"a\.csv is still being written"):
        next(pieces)
    with pytest.raises(Changing, match="still being written"):
        digest_of(entry)
    path.unlink()
    for look in (digest_of, check_unchanged):
        with pytest.raises(Changing, match=r"a\.csv is no longer there"):
            look(entry)


def test_a_scan_opens_no_file(tmp_path, monkeypatch):
    for number in range(50):
        put(tmp_path / f"{number}.csv")
    monkeypatch.setattr("builtins.open", lambda *_, **__: pytest.fail("a file was opened"))
    monkeypatch.setattr(incoming.Path, "open", lambda *_, **__: pytest.fail("a file was opened"))
    place = Incoming(tmp_path, csv)
    assert len([entry for entry in place.scan() if place.complete(entry)]) == 50
