"""Which files of a folder, of a pattern of names, or which single file are to be taken, and when each is
complete.

Files come in the order of the time of their last change, of equals by name. Sub-folders are searched too.
Left out are hidden names (`.x`, `_x`), those of unfinished copies (`~`, `.tmp`, `.part`, `.crdownload`, ...),
everything of another format, links to folders, and links that lead out of the place.

A file that another program still writes must not be read. Its size and time of change are therefore compared
with those of an earlier check, at least `stable` seconds before; by the first check alone a file counts as
complete whose last change is older than that, where this is allowed.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from upland.io.places import is_pattern

STABLE = 2.0
"""Seconds for which a file must not change before it is read."""

UNFINISHED = re.compile(
    r"^[._]|^~\$|~$|\.(tmp|temp|part|partial|filepart|crdownload|download|upload|swp|lock|\d*~)$",
    re.IGNORECASE,
)
"""Names that are hidden, or that programs give to files which they have not finished."""

_HALF = re.compile(r"\\udc([89a-f][0-9a-f])")


class Entry(NamedTuple):
    """A file as a scan found it.

    Args:
        path: The absolute path as text, see `as_text`.
        name: What messages call it: its path inside the place.
        size: Bytes.
        modified: Time of the last change, in nanoseconds.
    """

    path: str
    name: str
    size: int
    modified: int

    @property
    def file(self) -> Path:
        """The file itself."""
        return path_of(self.path)

    @property
    def mark(self) -> tuple[int, int]:
        """What changes when the content does."""
        return self.size, self.modified


class Changing(OSError):
    """A file that changed while it was read, or that is no longer there."""


def as_text(path: str | os.PathLike[str]) -> str:
    r"""A path as text that any database keeps; bytes that are no UTF-8 are written as `\udcff`."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")


def path_of(text: str) -> Path:
    """The path that `as_text` wrote."""
    plain = Path(text)
    if not _HALF.search(text) or os.path.lexists(plain):
        return plain
    return Path(_HALF.sub(lambda found: chr(int(f"dc{found[1]}", 16)), text))


def suffix_of(name: str) -> str:
    """The end of a name that says its format: `.csv.gz`."""
    found = re.search(r"((\.[a-z]{3})?\.[a-z0-9]+)$", name, re.IGNORECASE | re.ASCII)
    return found[1] if found else ""


@contextmanager
def readable(file: Path) -> Iterator[Path]:
    """A file under a name that every library opens; of one that is no UTF-8 a link to it, for a while.

    Args:
        file: That exists.
    """
    try:
        os.fspath(file).encode("utf-8")
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="upland-") as folder:
            link = Path(folder) / f"file{suffix_of(file.name)}"
            link.symlink_to(file)
            yield link
    else:
        yield file


class Incoming:
    """The files at a place.

    Args:
        place: A folder, a pattern of names, or one file.
        wanted: Whether a name is of a format that is read.
        stable: Seconds for which a file must not change before it is read.
        now: The time of the system in seconds, as times of change are given.
        clock: Seconds that never go back.

    Attributes:
        left: Files that the last scan left out, by the reason: `format`, `link`, or `unreadable`.

    Raises:
        FileNotFoundError: There is nothing at the place.
    """

    def __init__(
        self,
        place: Path,
        wanted: Callable[[str], bool],
        stable: float = STABLE,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place, self.wanted, self.stable = place, wanted, stable
        self._now, self._clock = now, clock
        pattern = is_pattern(place)
        text = re.split(r"[^/\\]*[*?\[]", os.fspath(place))[0] or "." if pattern else os.fspath(place)
        root = Path(text)
        if not root.exists():
            raise FileNotFoundError(f"{root} does not exist")
        self._pattern = os.fspath(place)[len(text) if text != "." else 0 :] if pattern else None
        self.root = Path(os.path.abspath(root))  # as it is named: a link that is exchanged is followed anew
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        self.left: dict[str, list[str]] = {}

    def scan(self) -> list[Entry]:
        """All files that are wanted now, complete or not, oldest change first.

        Raises:
            OSError: The place cannot be read.
        """
        self.left = {"format": [], "link": [], "unreadable": []}
        if self.root.is_file():
            found = [self._entry(self.root, self.root.name)]
        else:
            inside = os.path.realpath(self.root)
            paths = self._matching() if self._pattern else self._walk(self.root)
            found = [self._checked(path, inside) for path in paths]
        entries = sorted(
            (entry for entry in found if entry is not None), key=lambda entry: (entry.modified, entry.name)
        )
        there = {entry.path for entry in entries}
        self._seen = {path: seen for path, seen in self._seen.items() if path in there}
        return entries

    def complete(self, entry: Entry, at_once: bool = True) -> bool:
        """Whether nothing writes the file any more, as far as can be seen.

        Args:
            entry: As the last scan found it.
            at_once: Whether an old time of change is enough; else two checks are needed.
        """
        if at_once and self._now() - entry.modified / 1e9 >= self.stable:
            return True
        mark, since = self._seen.get(entry.path, (None, 0.0))
        if mark != entry.mark:
            self._seen[entry.path] = (entry.mark, self._clock())
            return self.stable == 0
        return self._clock() - since >= self.stable

    def _walk(self, folder: Path) -> Iterator[Path]:
        """The files below a folder; links to folders are not followed."""
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            if folder == self.root:
                raise
            if not isinstance(error, FileNotFoundError):
                self.left["unreadable"].append(self._name(folder))
            return
        for entry in entries:
            if UNFINISHED.search(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path))
            else:
                yield Path(entry.path)

    def _matching(self) -> Iterator[Path]:
        """The files that the pattern stands for, and those below folders that it stands for."""
        assert self._pattern is not None
        for path in self.root.glob(self._pattern):
            if any(UNFINISHED.search(part) for part in path.relative_to(self.root).parts):
                continue
            if path.is_dir() and not path.is_symlink():
                yield from self._walk(path)
            else:
                yield path

    def _checked(self, path: Path, inside: str) -> Entry | None:
        """A file that is wanted; None for others, which are noted."""
        name = self._name(path)
        if not self.wanted(path.name):
            if path.is_file():
                self.left["format"].append(name)
            return None
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
            self.left["link"].append(name)
            return None
        return self._entry(path, name)

    def _entry(self, path: Path, name: str) -> Entry | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None  # vanished since it was listed, or a link to nothing
        except OSError:
            self.left["unreadable"].append(name)
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Entry(as_text(path), name, *_mark(status))

    def _name(self, path: Path) -> str:
        return as_text(path.relative_to(self.root).as_posix())


def digest_of(entry: Entry) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    Args:
        entry: As a scan found it.

    Raises:
        Changing: It is another file now than the scan found, or vanished.
        OSError: It cannot be read.
    """
    try:
        with entry.file.open("rb") as file:
            check_unchanged(entry, file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            check_unchanged(entry, file.fileno())
    except FileNotFoundError as error:
        raise Changing(f"{entry.name} is no longer there") from error
    return digest


def check_unchanged(entry: Entry, descriptor: int | None = None) -> None:
    """Refuse a file whose size or time of change is no longer that of the scan; raises Changing.

    Args:
        entry: As a scan found it.
        descriptor: Of the open file; None looks at its name.
    """
    status = None
    with suppress(FileNotFoundError):
        status = os.stat(entry.file if descriptor is None else descriptor)
    if status is None:
        raise Changing(f"{entry.name} is no longer there")
    if _mark(status) != entry.mark:
        raise Changing(f"{entry.name} is still being written")


def _mark(status: os.stat_result) -> tuple[int, int]:
    """Size and time of change, which databases keep in 64 bits."""
    return status.st_size, max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))


def whole(entry: Entry, pieces: Iterable[object]) -> Iterator[object]:
    """Pieces of a file; after the last one the file must be as it was before the first.

    Args:
        entry: As a scan found it.
        pieces: Of what it holds.

    Raises:
        Changing: It changed meanwhile.
    """
    yield from pieces
    check_unchanged(entry)
