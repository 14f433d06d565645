"""Which modality a user's data are of, and refusal of those that an estimator does not read."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from upland.catalogue import DETECTORS, MODALITIES, Modality
from upland.data.image.arrays import is_array
from upland.data.image.container import is_image_input
from upland.data.sequence.container import is_sequence_input
from upland.data.table.containers import is_container
from upland.data.table.frames import TableView
from upland.io.arrays import is_array_file, shape_in
from upland.io.images import is_pillow
from upland.io.places import counts_in, exists, is_folder, is_place, is_place_of_rows, shown

_HELD = {"table": "a table", "sequence": "sequences", "image": "images"}


def modality_of(X: Any, time: Any = None, id: Any = None) -> Modality:
    """The modality of data: three dimensions of floats, a list of arrays, or a time or id column are
    sequences; three dimensions of uint8, four dimensions, or a folder of image files are images; all else is
    a table, batches of an iterator too. A file of NumPy's is what its array is.

    Args:
        X: the user's data.
        time: the column of a long frame that orders steps, where there is one.
        id: the column of a long frame that identifies sequences, where there is one.

    Raises:
        FileNotFoundError: X is a path, and nothing is there.
        ValueError: X is a folder of both rows and images, or of neither.
    """
    if is_container(X) or isinstance(X, TableView) or (is_place(X) and is_place_of_rows(X)):
        return "table" if time is None and id is None else "sequence"
    X = _as_in_memory(X)
    if is_sequence_input(X, time, id):
        return "sequence"
    return "image" if is_image_input(X) else "table"


def check_modality(X: Any, modality: Modality, family: str) -> None:
    """Refuse data that cannot be of an estimator's modality.

    What can be read either way passes: a table may be one long series, and three dimensions may be sequences
    or images, whatever their dtype.

    Args:
        X: the user's data.
        modality: of the estimator.
        family: of its model.

    Raises:
        FileNotFoundError: X is a path, and nothing is there.
        ValueError: the data are of another modality; the message names the estimator that reads them.
    """
    found = _in_folder(Path(X), modality) if is_folder(X) else modality_of(X)
    if found == modality or (modality == "sequence" and found == "table"):
        return
    if modality == "image" and is_pillow(X):
        return  # a single one is refused as it is read
    rank = _rank(_as_in_memory(X))
    if rank == 0 or (rank == 3 and "table" not in (found, modality)):
        return  # one number, or a file with several arrays, is refused as it is read
    home = DETECTORS.get((family, found)) or DETECTORS["energy", found]
    raise ValueError(
        f"{DETECTORS[family, modality].home.split(':')[1]} reads {MODALITIES[modality]}, "
        f"but X holds {_HELD[found]}: use {home.home.split(':')[1]}"
    )


def _in_folder(folder: Path, wanted: Modality) -> Modality:
    """What a folder is read as by an estimator that reads one modality."""
    rows, images = counts_in(folder)
    if wanted == "image":
        return "table" if rows and not images else "image"
    return "table" if rows or not images else "image"


def _as_in_memory(X: Any) -> Any:
    """The data themselves; for a file of NumPy's an array of its shape and dtype that takes no memory.

    Raises:
        FileNotFoundError: X is a path, and nothing is there.
    """
    if not isinstance(X, str | PathLike):
        return X
    path = Path(X)
    if is_place_of_rows(X):
        return path
    if not exists(path):
        raise FileNotFoundError(f"{shown(X)}: there is no such file or folder")
    if not (is_array_file(path) and path.is_file()):
        return path
    shape, dtype = shape_in(path)
    return np.broadcast_to(np.zeros((), dtype), shape)


def _rank(X: Any) -> int | None:
    """Dimensions of an array or tensor, of a list of them one more than its first has; None of all else."""
    if isinstance(X, list | tuple):
        rank = _rank(X[0]) if X else None
        return None if rank is None else 1 + rank
    return X.ndim if is_array(X) else None
