"""Numbers that the user says stand for a missing cell, blanked in every kind of table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upland.data.table.frames import TableView
from upland.data.table.values import Mixture, Values, from_objects
from upland.io.cells import CellOptions


def with_blanks(rows: TableView, cells: CellOptions) -> TableView:
    """A table whose cells are missing where they hold one of some numbers, or of some texts among numbers.

    Args:
        rows: The table.
        cells: What stands for a missing cell; in narrower floats also what numbers round to.
    """
    numbers = cells.missing_numbers
    if rows.matrix is None:
        return replace(rows, read=cache(lambda position: blanked(_read(rows, position, cells), numbers)))
    matrix = rows.matrix
    absent = _equal(matrix, numbers)
    if absent is None or not absent.any():
        return rows
    if matrix.dtype.kind != "f":
        columns = cache(lambda position: blanked(matrix[:, position], numbers))
        return replace(rows, matrix=None, read=columns)
    matrix = np.where(absent, np.array(np.nan, dtype=matrix.dtype), matrix)
    return replace(rows, matrix=matrix, read=lambda position: matrix[:, position])


def _read(rows: TableView, position: int, cells: CellOptions) -> Values:
    try:
        return rows.read(position)
    except Mixture as mixture:
        return from_objects(mixture.without(cells.missing_texts), rows.names[position])


def blanked(values: Values, numbers: Sequence[float]) -> Values:
    """A column with missing cells where it holds one of some numbers; whole numbers keep their type."""
    if not isinstance(values, np.ndarray):
        return _blanked_arrow(values, numbers)
    absent = _equal(values, numbers)
    if absent is None or not absent.any():
        return values
    if values.dtype.kind == "f":
        return np.where(absent, np.array(np.nan, dtype=values.dtype), values)
    return pa.array(values, mask=absent)


def _blanked_arrow(values: pa.Array, numbers: Sequence[float]) -> pa.Array:
    is_a = pa.types
    if is_a.is_decimal(values.type):
        x = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    elif is_a.is_integer(values.type) or is_a.is_floating(values.type):
        x = values.fill_null(0).to_numpy(zero_copy_only=False)
    else:
        return values
    absent = _equal(x, numbers)
    if absent is None or not absent.any():
        return values
    return pc.if_else(pa.array(absent), pa.scalar(None, values.type), values)


def _equal(x: NDArray[Any], numbers: Sequence[float]) -> NDArray[np.bool_] | None:
    """Where an array holds one of some numbers; None for an array of no numbers."""
    if x.dtype.kind not in "iuf":
        return None
    sought = np.asarray(numbers, dtype=np.float64)
    if x.dtype.kind == "f":
        narrow = {np.dtype(np.float32), x.dtype} - {np.dtype(np.float64), np.dtype(np.longdouble)}
        with np.errstate(over="ignore"):
            rounded = [sought.astype(type_).astype(np.float64) for type_ in narrow]
        sought = np.unique(np.concatenate([sought, *rounded]))
        sought = sought[np.isfinite(sought)]
        absent = np.zeros(x.shape, dtype=bool)
        for number in sought:
            absent |= x == number
        return absent
    bounds = np.iinfo(x.dtype)
    whole = [int(number) for number in sought if number.is_integer() and bounds.min <= number <= bounds.max]
    return np.isin(x, np.array(whole, dtype=x.dtype))
