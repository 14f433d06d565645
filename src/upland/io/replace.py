"""Writing a file whole or not at all: the one overwrite check, and the one atomic replacement.

A file is written under another name in the same folder, flushed to the disk and then moved to its place,
which is one step for the file system. Whatever fails leaves what was there before.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def check_target(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse a file that could not be written in the end, before any work is done.

    Args:
        path: The file to write.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileExistsError: The file exists and `overwrite` is false.
        FileNotFoundError: Its folder does not exist.
        IsADirectoryError: It is a directory.
        NotADirectoryError: Its folder is no folder.
        PermissionError: Its folder cannot be written into.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory: name a file in it")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already: choose another name, or allow it to be overwritten")
    if not path.parent.exists():
        raise FileNotFoundError(f"there is no folder {path.parent}: make it first")
    if not path.parent.is_dir():
        raise NotADirectoryError(f"{path.parent} is not a folder")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"no permission to write into the folder {path.parent}")


@contextmanager
def replacing(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[IO[bytes]]:
    """Give a new binary file that takes the place of `path` at the end, or is deleted after an error.

    Args:
        path: The file to write in the end.
        overwrite: Whether an existing file may be replaced, one that appears meanwhile included.

    Raises:
        OSError: As `check_target`; the disk is full.

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
    path = Path(path)
    check_target(path, overwrite)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_target(path, overwrite)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
