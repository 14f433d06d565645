"""Writing a file whole or not at all: the one overwrite check, and the one atomic replacement.

A file is written under another name in the same folder, flushed to the disk and then moved to its place,
which is one step for the file system. Whatever fails leaves what was there before. Where no file may be
replaced, the other name is taken for one writer alone by a lock, which ends with its process, and the move
fails if a file has appeared. Devices and FIFOs are written directly; symbolic links are followed.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from upland.io.advice import Advice, Wording

_locks: Any = None  # Windows has no such locks; there the move at the end decides alone
with suppress(ImportError):
    import fcntl as _locks

PRIVATE, PUBLIC = 0o600, 0o666
"""Modes of new files, of which the umask takes its part."""

_OVERWRITE = Wording("allow it to be overwritten", "say --overwrite")
_DIRECT = (stat.S_ISCHR, stat.S_ISFIFO)


class WriteError(OSError):
    """What the system says when a file cannot be written, with the name of the file."""


def check_target(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a file that could not be written in the end, before any work is done.

    Args:
        path: The file to write, or a device or FIFO.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false, or a link to a file that does not.
        FileNotFoundError: Its folder does not exist.
        IsADirectoryError: It is a directory.
        NotADirectoryError: Its folder is no folder.
        PermissionError: Its folder cannot be written into.
        OSError: It is a socket or a block device.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it")
    if path.exists() and not path.is_file():
        if not _is_direct(path):
            raise OSError(f"{path} is no file, FIFO or character device: name a file")
        return
    if not overwrite and path.exists():
        raise FileExistsError(Advice(f"{path} exists already: choose another name, or ", _OVERWRITE))
    if not overwrite and path.is_symlink():
        start = f"{path} is a link to {os.readlink(path)}, which does not exist: name that file, or "
        raise FileExistsError(Advice(start, _OVERWRITE))
    folder = followed(path).parent
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder}: make it first")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"no permission to write into the folder {folder}")


class Claim(os.PathLike[str]):
    """The right to write one file, taken before the work and used once; a context manager.

    As a path it is that of the file, so that it can be given to what writes a file.

    Args:
        path: The file to write in the end.
        overwrite: Whether an existing file may be replaced, one that appears meanwhile included.
        private: Whether a new file is its owner's alone; a file that is replaced keeps owner and mode.

    Raises:
        OSError: As `check_target`; another program writes the file.
    """

    def __init__(self, path: str | os.PathLike[str], overwrite: bool = False, private: bool = False) -> None:
        self.path = Path(path)
        self._overwrite, self._mode = overwrite, PRIVATE if private else PUBLIC
        self._part: Path | None = None
        self._raw: _NamedFile | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __enter__(self) -> Self:
        check_target(self.path, self._overwrite)
        if _is_direct(self.path):
            self._raw = _NamedFile(_direct(self.path), self.path)
            return self
        self._target = followed(self.path)
        start = f".{self._target.name[:50]}."
        try:
            if self._overwrite:
                self._part = self._target.with_name(f"{start}{secrets.token_hex(4)}.part")
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                descriptor = os.open(self._part, flags, PRIVATE if self._target.exists() else self._mode)
            else:
                known = hashlib.sha256(os.fsencode(self._target.name)).hexdigest()[:8]
                part = self._target.with_name(f"{start}{known}.part")
                descriptor = alone(part, self._mode, self.path)
                self._part = part
            self._raw = _NamedFile(descriptor, self.path)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @contextmanager
    def filling(self) -> Iterator[IO[bytes]]:
        """Give the open binary file; at the end it takes its place, unless there was an error."""
        assert self._raw is not None
        file = io.BufferedWriter(self._raw)
        try:
            yield file
            file.flush()
            if self._part is not None:
                with _naming(self.path):
                    self._finish(self._raw.fileno(), self._part)
        finally:
            with suppress(OSError):
                self._raw.close()

    def _finish(self, descriptor: int, part: Path) -> None:
        """Bring what is written to the disk and to its place."""
        if self._overwrite and self._target.exists():
            _keep_owner(descriptor, self._target.stat())
        os.fsync(descriptor)
        check_target(self.path, self._overwrite)
        if self._overwrite:
            os.replace(part, self._target)
        else:
            self._move_unless_there(part)
        _sync_folder(self._target.parent)

    def _move_unless_there(self, part: Path) -> None:
        try:
            os.link(part, self._target)
        except FileExistsError:
            check_target(self.path, overwrite=False)
            raise
        except OSError:  # a file system without such links
            check_target(self.path, overwrite=False)
            os.replace(part, self._target)

    def _release(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.unlink(missing_ok=True)
        if self._raw is not None:
            with suppress(OSError):
                self._raw.close()


@contextmanager
def replacing(
    path: str | os.PathLike[str], overwrite: bool = False, private: bool = False
) -> Iterator[IO[bytes]]:
    """Give a new binary file that takes the place of `path` at the end, or is deleted after an error.

    Args:
        path: The file to write in the end, or a `Claim` of it that is entered.
        overwrite: Whether an existing file may be replaced, one that appears meanwhile included.
        private: Whether a new file is its owner's alone; a file that is replaced keeps owner and mode.

    Raises:
        OSError: As `check_target`; another program writes the file.
        WriteError: The disk is full.

    Examples:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
        >>> with replacing(path) as file:
        ...     _ = file.write(b"all of it")
        ...     path.exists()
        False
        >>> path.read_bytes()
        b'all of it'
    """
    if isinstance(path, Claim):
        with path.filling() as file:
            yield file
        return
    with Claim(path, overwrite, private) as claim, claim.filling() as file:
        yield file


class _NamedFile(io.FileIO):
    """An open file whose errors name it."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self._path = path

    def write(self, data: Any) -> int:
        with _naming(self._path):
            return super().write(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise WriteError(error.errno, error.strerror, str(path)) from error


def followed(path: Path) -> Path:
    """The file that a name leads to; raises OSError for a link that leads to itself."""
    if not path.is_symlink():
        return path
    try:
        return path.resolve()
    except (RuntimeError, OSError):
        raise OSError(f"{path} is a link that leads to itself: name a file") from None


def _is_direct(path: Path) -> bool:
    """Whether a path leads to what is written directly: a character device or a FIFO."""
    return path.exists() and any(kind(path.stat().st_mode) for kind in _DIRECT)


def _direct(path: Path) -> int:
    """An open device or FIFO; a FIFO that nobody reads would wait for ever."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if path.is_fifo():
            raise OSError(f"{path} is a FIFO that no program reads: start its reader first") from error
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def alone(part: Path, mode: int, path: Path) -> int:
    """A new file that no other program writes; one that a killed program has left is deleted first."""
    while True:
        fresh = True
        try:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        except FileExistsError:
            fresh = False
            try:
                descriptor = os.open(part, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            except FileNotFoundError:
                continue
        if not _locked(descriptor, fresh):
            os.close(descriptor)
            raise FileExistsError(f"{path} is being written by another program: choose another name")
        if _is_open_at(descriptor, part):
            if fresh:
                return descriptor
            os.unlink(part)
        os.close(descriptor)


def has_locks() -> bool:
    """Whether the system has locks that end with their process."""
    return _locks is not None


def _locked(descriptor: int, fresh: bool) -> bool:
    """Take the lock of a file; False where another program has it, or may have it."""
    if _locks is None:
        return fresh
    try:
        _locks.flock(descriptor, _locks.LOCK_EX | _locks.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return fresh
    return True


def _is_open_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _keep_owner(descriptor: int, old: os.stat_result) -> None:
    """Give a file the owner, where that is permitted, and the mode of another."""
    if os.name == "nt":
        return
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    """Bring the name of a new file to the disk too, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
