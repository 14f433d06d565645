"""NumPy's files of arrays: .npy is mapped, .npz is read; nothing is ever unpickled.

The size that the header of an array gives is checked against the file before anything is allocated.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

NAMES = ("images", "X", "x")
"""Names of the array that is taken from several, the first of these that is there."""

_DENSEST = 1 << 14  # bytes that one byte of an archive stands for at most; 1,032 with the usual compression


def is_array_file(path: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a path has the suffix of one of NumPy's files."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).casefold().endswith((".npy", ".npz"))


def read_array(path: Path) -> NDArray[Any]:
    """The array of an .npy or .npz file.

    Raises:
        ValueError: a damaged file, objects in it, or several arrays of which none is called as expected.
    """
    try:
        if path.suffix.casefold() == ".npy":
            return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(path) as archive:
            member = _member(archive, path)
            with archive.open(member) as file:
                _check_size(*_header(file), min(member.file_size, _DENSEST * path.stat().st_size))
            with archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, OSError) as error:
        if isinstance(error, _NoChoice | FileNotFoundError | PermissionError):
            raise
        raise _damaged(path, error) from error


def shape_in(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array in an .npy or .npz file, by its header; of objects if there is no choice.

    Raises:
        ValueError: a damaged file.
    """
    try:
        if path.suffix.casefold() == ".npy":
            with path.open("rb") as file:
                return _header(file)
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as file:
            return _header(file)
    except _NoChoice:
        return (), np.dtype(object)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, OSError) as error:
        raise _damaged(path, error) from error


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    return shape, dtype


class _NoChoice(ValueError):
    """Several arrays, none of them of an expected name."""


def _member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    """The array of an archive that is taken."""
    members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
    for name in members if len(members) == 1 else NAMES:
        if name in members:
            return members[name]
    held = ", ".join(members) or "none"
    raise _NoChoice(f"{path} must hold one array, or one called {', '.join(NAMES)}; it holds {held}")


def _check_size(shape: tuple[int, ...], dtype: np.dtype[Any], there: int) -> None:
    """Refuse a header of more bytes than are there; objects are refused when they are read."""
    size = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and size > there:
        raise ValueError(f"its header announces {size} bytes, which are not there")


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as arrays of numbers, it is damaged or holds objects: {error}")
