"""NumPy's files of arrays: .npy is mapped, .npz is read; nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

NAMES = ("images", "X", "x")
"""Which array of several is taken, the first of these that is there."""


def is_array_file(path: Path) -> bool:
    """Whether a file is called like NumPy's."""
    return path.suffix.casefold() in (".npy", ".npz")


def read_array(path: Path) -> NDArray[Any]:
    """The array of an .npy or .npz file.

    Raises:
        ValueError: a damaged file, objects in it, or several arrays of which none is called as expected.
    """
    try:
        if path.suffix.casefold() == ".npy":
            return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
        with np.load(path, allow_pickle=False) as archive:
            return cast(NDArray[Any], archive[_chosen(archive.files, path)])
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
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
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            with archive.open(f"{_chosen(names, path)}.npy") as member:
                return _header(member)
    except _NoChoice:
        return (), np.dtype(object)
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, OSError) as error:
        raise _damaged(path, error) from error


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    return shape, dtype


class _NoChoice(ValueError):
    """Several arrays, none of them called as expected."""


def _chosen(names: Sequence[str], path: Path) -> str:
    if len(names) == 1:
        return names[0]
    for name in NAMES:
        if name in names:
            return name
    held = ", ".join(names) or "none"
    raise _NoChoice(f"{path} must hold one array, or one called {', '.join(NAMES)}; it holds {held}")


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as arrays of numbers, it is damaged or holds objects: {error}")
