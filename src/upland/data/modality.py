"""Which modality a user's data are of, and refusal of those that an estimator does not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from upland.catalogue import DETECTORS, MODALITIES, Modality
from upland.data.image.container import is_image_input
from upland.data.sequence.container import is_sequence_input

_CALLED = {"table": "a table", "sequence": "sequences", "image": "images"}


def modality_of(X: Any, time: Any = None, id: Any = None) -> Modality:
    """The modality of data: three dimensions of floats, a list of arrays, or a time or id column are
    sequences; three dimensions of uint8, four dimensions, or a folder of image files are images; all else is
    a table.

    Args:
        X: the user's data.
        time: the column of a long frame that orders steps, where there is one.
        id: the column of a long frame that identifies sequences, where there is one.
    """
    if is_sequence_input(X, time, id):
        return "sequence"
    return "image" if is_image_input(X) else "table"


def check_modality(X: Any, modality: Modality, family: str) -> None:
    """Refuse data that cannot be of an estimator's modality.

    What can be read either way passes: two dimensions may be one long series, three may be images.

    Args:
        X: the user's data.
        modality: of the estimator.
        family: of its model.

    Raises:
        FileNotFoundError: there is no file or folder of this name.
        ValueError: the data are of another modality; the message names the estimator that reads them.
    """
    if modality == "image" and isinstance(X, str | Path) and not Path(X).exists():
        raise FileNotFoundError(f"{X} does not exist")
    found = modality_of(X)
    either_way = {"table": (), "sequence": ("table",), "image": ("sequence",)}[modality]
    if found == modality or found in either_way:
        return
    if modality == "sequence" and isinstance(X, np.ndarray) and X.ndim == 3:
        return  # whole numbers of one byte may be measurements
    home = DETECTORS.get((family, found)) or DETECTORS["energy", found]
    raise ValueError(
        f"{DETECTORS[family, modality].home.split(':')[1]} reads {MODALITIES[modality]}, "
        f"but X is {_CALLED[found]}: use {home.home.split(':')[1]}"
    )
