"""The partitions of a data set: its files of rows, each with the path that its scores have in the output."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from upland.io.folders import type_of_key
from upland.io.places import is_pattern, row_files
from upland.io.remote import address_of

SUFFIXES = (".parquet", ".pq")
"""Files that are read."""

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Partition:
    """One file of rows.

    Args:
        number: Its place in the order of the names.
        path: Where it is, from the root of the file system.
        name: Its path below the folder that all partitions lie in, with slashes.
        keys: The columns that its folders give it: `{"year": 2026}` for `year=2026/a.parquet`, numbers where
            those of all partitions are.
        size: Its bytes.
        changed: When it was last changed, in nanoseconds.
    """

    number: int
    path: str
    name: str
    keys: dict[str, str | int | None]
    size: int
    changed: int

    def stamp(self) -> dict[str, Any]:
        """What shows that the file is still the same."""
        return {"size": self.size, "changed": self.changed}


def partitions_at(place: str | os.PathLike[str]) -> list[Partition]:
    """The Parquet files at a place, in the order of their names.

    Args:
        place: A file, a folder or a pattern such as `data/**/*.parquet`.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: An address; files that are no Parquet; two files of one name.
    """
    if (address := address_of(place)) is not None:
        raise ValueError(
            f"{address}: the engine ray reads files that every machine finds under the same path: "
            "mount it, or score it without the engine"
        )
    root = root_of(place)
    files = row_files(place)
    if wrong := [str(file.path) for file in files if not str(file.path).casefold().endswith(SUFFIXES)]:
        raise ValueError(
            f"the engine ray reads Parquet files, and {listed(wrong)} {'is' if len(wrong) == 1 else 'are'} "
            "none: write Parquet, or score without the engine"
        )
    names = dict.fromkeys(name for file in files for name in file.parts)
    types = {name: type_of_key([file.parts.get(name) for file in files]) for name in names}
    found = []
    for number, file in enumerate(files):
        path = Path(os.path.abspath(file.path))
        if not path.is_file():
            raise FileNotFoundError(f"{file.path} does not exist")
        status = path.stat()
        name = path.relative_to(root).as_posix()
        keys = {key: pa.scalar(cell).cast(types[key]).as_py() for key, cell in file.parts.items()}
        found.append(Partition(number, str(path), name, keys, status.st_size, status.st_mtime_ns))
    return found


def root_of(place: str | os.PathLike[str]) -> Path:
    """The folder that names of partitions are relative to."""
    path = Path(place)
    if is_pattern(place):
        path = Path(re.split(r"[^/\\]*[*?\[]", os.fspath(place))[0] or ".")
    elif not path.is_dir():
        path = path.parent
    return Path(os.path.abspath(path))


def check_apart(partitions: list[Partition], place: str | os.PathLike[str], output: Path) -> None:
    """Refuse an output folder in which partitions lie, or which a later call would read as partitions.

    Raises:
        ValueError: It is one.
    """
    target = Path(os.path.realpath(output))
    inside = [part.path for part in partitions if Path(os.path.realpath(part.path)).is_relative_to(target)]
    if inside:
        raise ValueError(f"{output} holds the input itself, {listed(inside)}: name a folder of its own")
    root = Path(os.path.realpath(root_of(place)))
    if target.is_relative_to(root) and ("**" in os.fspath(place) or not is_pattern(place)):
        raise ValueError(
            f"{output} lies in {root}, so that its files would be input of the next call: "
            "name a folder outside of it"
        )


def listed(names: list[str]) -> str:
    """The first few of some names."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
