"""Which group each row is in: labels, whatever holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def listed(labels: Any) -> list[Any]:
    """Labels as plain values, whatever holds them: a list, an array, a tensor, a column of a frame.

    Args:
        labels: `(N,)`.

    Raises:
        ValueError: they are not one for each row.
    """
    for way in ("to_pylist", "to_list", "tolist"):
        if callable(getattr(labels, way, None)):
            found = getattr(labels, way)()
            break
    else:
        found = list(labels)
    if not isinstance(found, list) or any(isinstance(label, list | dict | np.ndarray) for label in found[:1]):
        raise ValueError("groups must be one label for each row, (N,), or the name of a column")
    return found


def _is_missing(label: Any) -> bool:
    """None, NaN, NaT, or pandas' NA."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return bool(label != label)


def grouped(labels: Any, rows: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The groups in order of first appearance, and the number of each row's.

    Args:
        labels: `(N,)` of anything that can be told apart.
        rows: N.

    Raises:
        ValueError: the numbers differ, there is none, or a row has no group.
    """
    found = listed(labels)
    if len(found) != rows:
        raise ValueError(f"there are {rows} rows, but groups names {len(found)}")
    if not found:
        raise ValueError("there are no rows, and so no group to judge")
    lost = [place for place, label in enumerate(found) if _is_missing(label)]
    if lost:
        raise ValueError(f"{len(lost)} of {rows} rows have no group, the first is row {lost[0]}")
    places: dict[Any, int] = {}
    numbers = np.array([places.setdefault(label, len(places)) for label in found], dtype=np.int64)
    names = np.empty(len(places), dtype=object)
    names[:] = list(places)
    return names, numbers
