"""The normal batches of a history, as data to calibrate or fit on.

A batch is off where its verdict, or that on one of its groups, is flagged; with parts of time, which go
across batches, where its own e-value is at least 1 / fdr. Of the other batches all rows are taken, flagged
ones too: among normal rows a share of alpha is flagged, and a calibration without them would flag too many
ever after.

The rows are those of the files that were watched, whose digests must be as they were; or those that the
history keeps.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upland.io.arrays import is_array_file, read_array
from upland.watch.digest import digest_of
from upland.watch.history import History
from upland.watch.incoming import path_of, suffix_of

MAGIC = b"SQLite format 3\0"

_OFF = "EXISTS (SELECT 1 FROM group_verdict WHERE group_verdict.batch = batch.batch AND flag)"
_BATCHES = """
SELECT batch, name, path, digest, batch IN (SELECT batch FROM kept_rows), {off} FROM batch WHERE rows > 0
ORDER BY batch
"""


class Normal(NamedTuple):
    """What `normal_batches` found.

    Args:
        place: Where their rows are: a folder, or an array.
        used: How many batches.
        off: How many are left out since they are off.
        lost: Sentences on those whose rows are no longer there.
    """

    place: Path
    used: int
    off: int
    lost: list[str]


def is_history(path: Path) -> bool:
    """Whether a file is a database of SQLite."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(len(MAGIC)) == MAGIC
    return False


def normal_batches(path: Path, folder: Path) -> Normal:
    """Put the rows of the normal batches of a history into a folder, as links where files have them.

    Args:
        path: Of the history.
        folder: That is empty.

    Raises:
        HistoryError: The history cannot be read.
        ValueError: No batch is left; the message says why.
    """
    used, lost, off = 0, [], 0
    with History(path, create=False) as history:
        for batch, name, where, digest, kept, is_off in _batches(history):
            called = f"batch {batch} ({name})"
            if is_off:
                off += 1
            elif kept:
                used += 1
                (folder / f"{batch:09d}.arrow").write_bytes(_kept_rows(history, batch))
            elif where in (None, "-"):
                lost.append(f"{called} has no file, and its rows were not kept")
            elif (file := path_of(where)) and not file.is_file():
                lost.append(f"{called} has vanished: {where}")
            elif digest_of(file) != digest:
                lost.append(f"{called} has changed since it was taken: {where}")
            else:
                used += 1
                _link(file, folder / f"{batch:09d}{suffix_of(file.name)}")
    if not used:
        why = f": {off} are off" if off else ": it has none with rows"
        why = f"; {lost[0]}" if lost else why
        raise ValueError(f"{path} leaves no normal batch{why}; watch with --keep-rows to keep rows for this")
    return Normal(_as_one(folder), used, off, lost)


def _batches(history: History) -> Iterator[tuple[int, str | None, str | None, str, bool, bool]]:
    with history.read() as connection:
        settings = dict(connection.execute("SELECT name, value FROM setting").fetchall())
        off = _OFF
        if json.loads(settings.get("every", "null")) is not None:
            off = f"log_e_value >= {-math.log(json.loads(settings['fdr']))}"
        found = connection.execute(_BATCHES.format(off=off)).fetchall()
    return iter(found)


def _kept_rows(history: History, batch: int) -> bytes:
    with history.read() as connection:
        (rows,) = connection.execute("SELECT rows FROM kept_rows WHERE batch = ?", (batch,)).fetchone()
    return bytes(rows)


def _link(file: Path, target: Path) -> None:
    """A link to a file, or a copy where there are no links."""
    try:
        target.symlink_to(file)
    except OSError:
        shutil.copy(file, target)


def _as_one(folder: Path) -> Path:
    """The folder, or where it holds arrays one array of them all."""
    files = sorted(folder.iterdir())
    if not all(map(is_array_file, files)):
        return folder
    whole = np.concatenate([read_array(file) for file in files])
    np.save(folder / "all.npy", whole)
    return folder / "all.npy"
