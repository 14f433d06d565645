"""Where rows lie: a file, several files, a pattern of names, a folder, or an address of a file system."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeGuard
from urllib.parse import unquote

from upland.catalogue import FORMATS
from upland.io.arrays import is_array_file
from upland.io.images import is_image_file
from upland.io.remote import address_of, files_at

Place = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A path, a pattern, an address, or several of these."""

_PATTERN = re.compile(r"[*?\[]")
_NOTHING = "__HIVE_DEFAULT_PARTITION__"


class RowFile(NamedTuple):
    """A file of rows, and the columns that its folders give it: `{"year": "2026"}` for `year=2026/a.csv`.

    Args:
        path: The file.
        parts: Cells of text, None for a missing one.
    """

    path: Path
    parts: dict[str, str | None]


def is_place(X: object) -> TypeGuard[Place]:
    """Whether an object says where rows or images lie: a path, or a list of paths of files of rows."""
    if isinstance(X, str | os.PathLike):
        return True
    if not isinstance(X, list | tuple) or not X:
        return False
    paths = all(isinstance(x, str | os.PathLike) for x in X)
    return paths and any(has_rows(x) or not isinstance(x, str) for x in X) and not is_image_file(Path(X[0]))


def shown(place: Place) -> str:
    """What messages call a place: its path, or the first of several."""
    if isinstance(place, str | os.PathLike):
        return os.fspath(place)
    return os.fspath(place[0]) if len(place) == 1 else f"{os.fspath(place[0])} and {len(place) - 1} more"


def has_rows(path: str | os.PathLike[str]) -> bool:
    """Whether a name ends as that of a file of rows."""
    return os.fspath(path).casefold().endswith(tuple(FORMATS))


def is_pattern(place: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a path is no file but a pattern of names, such as `data/*.csv`."""
    if not isinstance(place, str | os.PathLike) or address_of(place):
        return False
    return bool(_PATTERN.search(os.fspath(place))) and not exists(Path(place))


def is_folder(place: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a place is a folder."""
    return isinstance(place, str | os.PathLike) and exists(Path(place)) and Path(place).is_dir()


def exists(path: Path) -> bool:
    """Whether there is something at a path; of a text that no path can be, nothing."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_place_of_rows(place: Place) -> bool:
    """Whether what lies at a place is rows: several files, a pattern, an address, or a folder of rows.

    Raises:
        ValueError: A folder holds both rows and images, or neither; the message says how many.
    """
    if not isinstance(place, str | os.PathLike):
        return True
    if not is_folder(place):
        return is_pattern(place) or (address_of(place) is not None and not is_array_file(place))
    rows, images = counts_in(Path(place))
    if rows and images:
        raise ValueError(
            f"{place} holds {_counted(rows, 'file')} of rows and {_counted(images, 'image')}: "
            "put them into folders of their own"
        )
    if not rows and not images:
        raise ValueError(
            f"{place} holds neither rows nor images: {_held(Path(place), _visible(Path(place)))}"
        )
    return rows > 0


def counts_in(folder: Path) -> tuple[int, int]:
    """How many files of rows and how many images a folder holds, those of its own folders among them."""
    files = _visible(folder)
    return sum(map(has_rows, files)), sum(map(is_image_file, files))


def row_files(place: Place) -> list[RowFile]:
    """The files of rows at a place, in the order of their names; those of a list in its order.

    A warning names the files of a folder that are left out: those of other formats, and hidden ones of rows.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: A folder holds no rows.
    """
    if not isinstance(place, str | os.PathLike):
        return [RowFile(Path(path), {}) for path in place]
    if (address := address_of(place)) is not None:
        return _at_address(address)
    path = Path(place)
    if is_pattern(place):
        root = Path(re.split(r"[^/\\]*[*?\[]", os.fspath(place))[0] or ".")
        found = sorted(root.glob(os.fspath(path.relative_to(root) if root != Path() else path)))
        if not found:
            raise FileNotFoundError(f"{path}: no file has such a name")
        return [file for entry in found for file in _at(entry, root)]
    return _in_folder(path) if path.is_dir() else [RowFile(path, {})]


def _at(entry: Path, root: Path) -> list[RowFile]:
    """A file that a pattern stands for, or those of a folder."""
    parts = _parts(entry.relative_to(root).parts[: None if entry.is_dir() else -1])
    files = _in_folder(entry) if entry.is_dir() else [RowFile(entry, {})]
    return [RowFile(file.path, parts | file.parts) for file in files]


def _in_folder(folder: Path) -> list[RowFile]:
    inside = sorted(entry for entry in folder.rglob("*") if not entry.is_dir())
    names = [entry.relative_to(folder).as_posix() for entry in inside]
    dead = {name for name, entry in zip(names, inside, strict=True) if not entry.is_file()}
    chosen = _chosen(str(folder), names, dead)
    if not chosen:
        held = _held(folder, _visible(folder))
        raise IsADirectoryError(f"{folder} is a directory, which holds no files of rows: {held}")
    return [RowFile(folder / name, _parts(PurePosixPath(name).parent.parts)) for name in chosen]


def _at_address(address: str) -> list[RowFile]:
    names = files_at(address)
    if names == [""]:
        return [RowFile(Path(address), {})]
    chosen = _chosen(address, names)
    if not chosen:
        raise ValueError(f"{address} holds no files of rows; these are {', '.join(FORMATS)}")
    base = address.rstrip("/")
    return [RowFile(Path(f"{base}/{name}"), _parts(PurePosixPath(name).parent.parts)) for name in chosen]


def _chosen(folder: str, names: Sequence[str], dead: Collection[str] = ()) -> list[str]:
    """The files of rows; a warning names those that are left out, but for hidden ones of no rows."""
    hidden = {name for name in names if any(part.startswith((".", "_")) for part in name.split("/"))}
    chosen = [name for name in names if has_rows(name) and name not in hidden and name not in dead]
    left = [name for name in names if name not in set(chosen) and (has_rows(name) or name not in hidden)]
    if chosen and left:
        more = f" and {len(left) - 5} more" if len(left) > 5 else ""
        warnings.warn(
            f"{folder}: left out {_counted(len(left), 'file')}, which hold no rows or are hidden: "
            f"{', '.join(map(repr, left[:5]))}{more}",
            UserWarning,
            stacklevel=2,
        )
    return chosen


def _parts(folders: Sequence[str]) -> dict[str, str | None]:
    pairs = [folder.partition("=") for folder in folders if "=" in folder]
    return {unquote(key): None if value == _NOTHING else unquote(value) for key, _, value in pairs if key}


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.rglob("*") if not entry.is_dir() and not _is_hidden(entry, folder)]


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _held(folder: Path, files: Sequence[Path]) -> str:
    if not any(folder.iterdir()):
        return "it is empty"
    kinds = Counter(file.suffix or "without suffix" for file in files)
    held = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5)) or "hidden files alone"
    return f"it holds {held}; rows are {', '.join(FORMATS)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
