"""Addresses of file systems that pyarrow reads, `s3://`, `gs://`, `abfs://`, `hdfs://`: files are copied to a
temporary folder before they are read, so that every check of a file on the disk holds for them too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "file")
"""Schemes of addresses that are read."""

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,3}", re.IGNORECASE)
_AT_ONCE = 1 << 22


def address_of(place: object) -> str | None:
    """The address that a text, or a path made of it, stands for, None where it is a path.

    Examples:
        >>> address_of("s3://bucket/a.csv"), address_of(Path("s3://bucket/a.csv")), address_of("a.csv")
        ('s3://bucket/a.csv', 's3://bucket/a.csv', None)
    """
    if not isinstance(place, str | os.PathLike):
        return None
    text = os.fspath(place)
    found = _ADDRESS.match(text)
    if found is None:
        return None
    if not isinstance(place, str) or found[0].count("/") == 1:  # a path has lost a slash
        slashes = "///" if found[1].lower() == "file" else "//"
        text = f"{found[1]}:{slashes}{text[found.end() :]}"
    return text


def files_at(address: str) -> list[str]:
    """The paths of the files below an address, relative to it; one empty path where it is a file.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: An address of another scheme; one that cannot be reached.
    """
    from pyarrow import fs

    with _reaching(address):
        system, base = file_system(address)
        info = system.get_file_info(base)
        if info.type == fs.FileType.NotFound:
            raise FileNotFoundError(f"{address} does not exist")
        if info.type == fs.FileType.File:
            return [""]
        below = system.get_file_info(fs.FileSelector(base, recursive=True))
    return sorted(entry.path[len(base) :].strip("/") for entry in below if entry.is_file)


def fetch(address: str, folder: Path) -> Path:
    """Copy the file at an address into a folder; raises as `files_at`."""
    with _reaching(address):
        system, base = file_system(address)
        copy = folder / base.rstrip("/").rsplit("/", 1)[-1]
        with system.open_input_stream(base, compression=None) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, _AT_ONCE)
    return copy


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it; raises ValueError for a scheme that is not read."""
    from pyarrow import fs

    scheme = address.partition(":")[0].lower()
    if scheme in ("http", "https", "ftp"):
        raise ValueError(f"{address}: web addresses are not read: download it and give the path of the file")
    if scheme not in SCHEMES:
        raise ValueError(f"{address}: unknown scheme {scheme!r}; known are {', '.join(SCHEMES)}")
    found: tuple[Any, str] = fs.FileSystem.from_uri(address)
    return found


@contextmanager
def _reaching(address: str) -> Iterator[None]:
    """Errors that name the address."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{address} does not exist") from None
    except (pa.ArrowException, OSError, ImportError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{address} cannot be reached: {first}") from error
