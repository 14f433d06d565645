"""Whole numbers to floating ones without the loss of a difference: an origin is subtracted first.

A float64 holds whole numbers up to 2^53 exactly. Larger ones, such as the 64-bit numbers of devices, are
written as differences from an origin near them, which is subtracted in whole numbers: with both cut into
halves, x = x1 2^32 + x0, the difference (x1 - o1) 2^32 + (x0 - o0) is rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.encodings import Floats
from upland.data.table.values import Values, dtype_of, floats

LARGE = 2.0**50
"""Whole numbers from here on get an origin."""

EPSILON = float(np.finfo(np.float64).eps)


def origin_of(values: Values, name: str) -> int:
    """The first of some whole numbers where they are so large that floats would lose differences, else 0.

    Args:
        values: A column; one that holds no whole numbers has the origin 0.
        name: Its name, for messages.
    """
    if dtype_of(values, name) != "integer":
        return 0
    present = values if isinstance(values, np.ndarray) else values.drop_null()
    if not len(present):
        return 0
    x = floats(present)
    return int(present[0] if isinstance(present, np.ndarray) else present[0].as_py()) * bool(
        max(x.max(), -x.min()) >= LARGE
    )


def shifted(values: Values, origin: int) -> Floats:
    """The numbers less the origin, NaN where missing: `(N,)`; exact for whole numbers.

    A floating number that cannot be distinguished from the origin equals it.
    """
    if not origin:
        return floats(values)
    high, low = divmod(origin, 2**32)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return _whole(values, high, low)
    if not isinstance(values, np.ndarray) and pa.types.is_integer(values.type):
        found = _whole(values.fill_null(0).to_numpy(zero_copy_only=False), high, low)
        found[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return found
    x = floats(values)
    difference = (x - float(high) * 2.0**32) - low
    difference[np.abs(difference) < EPSILON * np.abs(x)] = 0.0
    return difference


def resolution_of(values: Values) -> float:
    """The relative distance of neighbouring numbers in the type of a column: 0 for whole numbers."""
    if isinstance(values, np.ndarray):
        type_ = values.dtype
    elif pa.types.is_floating(values.type):
        type_ = np.dtype(values.type.to_pandas_dtype())
    else:
        return 0.0 if pa.types.is_integer(values.type) else EPSILON
    return max(float(np.finfo(type_).eps), EPSILON) if type_.kind == "f" else 0.0


def _whole(x: NDArray[Any], high: int, low: int) -> Floats:
    wide = x.astype(np.uint64 if x.dtype.kind == "u" else np.int64)
    upper = (wide >> 32).astype(np.int64) - high
    lower = (wide & 0xFFFFFFFF).astype(np.int64) - low
    return np.asarray(upper * 2.0**32 + lower, dtype=np.float64)
