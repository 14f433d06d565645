"""NumPy's files of arrays: .npy is mapped, .npz is read; nothing is ever unpickled.

The size that the header of an array gives is checked against the file before anything is allocated.
"""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from upland.io.bounds import TooLarge, check_expansion

NAMES = ("images", "X", "x")
"""Names of the array that is taken from several, the first of these that is there."""

_BROKEN = (
    *(ValueError, EOFError, OverflowError, TypeError, SyntaxError, RecursionError, tokenize.TokenError),
    *(zipfile.BadZipFile, zlib.error, LookupError, NotImplementedError, RuntimeError, OSError),
)


def is_array_file(path: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a path has the suffix of one of NumPy's files."""
    return isinstance(path, str | os.PathLike) and os.fspath(path).casefold().endswith((".npy", ".npz"))


def read_array(path: Path) -> NDArray[Any]:
    """The array of an .npy or .npz file.

    Raises:
        ValueError: a damaged file, objects in it, one that becomes too large, or several arrays of which
            none is called as expected.
    """
    _check_file(path)
    try:
        if path.suffix.casefold() == ".npy":
            with path.open("rb") as file:
                _check_size(*_header(file), path.stat().st_size)
            return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
        with zipfile.ZipFile(path) as archive:
            member = _member(archive, path)
            with archive.open(member) as file:
                _check_size(*_header(file), member.file_size)
            check_expansion(path, member.file_size, path.stat().st_size, "store it with numpy.savez")
            with archive.open(member) as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    except _BROKEN as error:
        if isinstance(error, _NoChoice | TooLarge | FileNotFoundError | PermissionError):
            raise
        raise _damaged(path, error) from error


def shape_in(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array in an .npy or .npz file, by its header; of objects if there is no choice.

    Raises:
        ValueError: a damaged file.
    """
    _check_file(path)
    try:
        if path.suffix.casefold() == ".npy":
            with path.open("rb") as file:
                shape, dtype = _header(file)
            there = path.stat().st_size
        else:
            with zipfile.ZipFile(path) as archive, archive.open(member := _member(archive, path)) as file:
                shape, dtype = _header(file)
            there = member.file_size
        _check_size(shape, dtype, there)
        return shape, dtype
    except _NoChoice:
        return (), np.dtype(object)
    except _BROKEN as error:
        raise _damaged(path, error) from error


def _check_file(path: Path) -> None:
    """Refuse what could be read for ever; raises ValueError."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file: a pipe, a device or a folder is not read as arrays")


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
    if min(shape, default=0) < 0:
        raise ValueError(f"its header announces the shape {shape}")
    size = math.prod(max(side, 1) for side in shape) * dtype.itemsize
    if not dtype.hasobject and size > max(there, 1 << 20 if 0 in shape else 0):
        raise ValueError(f"its header announces {size} bytes, which are not there")


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as arrays of numbers, it is damaged or holds objects: {error}")
