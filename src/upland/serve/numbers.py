"""Numbers that a client sends, checked in one place: none is too large, and no text or truth value is one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.serve.errors import Refusal

DIGITS = 18
"""Digits of a whole number at most, so that it has 64 bits."""

_NUMBERS = frozenset({int, float, type(None)})


def whole(value: Any) -> int | None:
    """A whole number, 0 or more, from JSON or from a text; None where the value is none.

    Args:
        value: as the client gives it.
    """
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= DIGITS:
        return int(value)
    return value if type(value) is int and 0 <= value < 10**DIGITS else None


def real(value: Any) -> float | None:
    """A finite number, from JSON or from a text; None where the value is none.

    Args:
        value: as the client gives it.
    """
    if type(value) not in (int, float, str) or (isinstance(value, str) and not value.isascii()):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def numbers_of(rows: Sequence[Any], dtype: str | None = None) -> NDArray[Any]:
    """Plain values, in lists of lists or not, as an array of numbers; null is a missing one.

    Args:
        rows: as JSON has them.
        dtype: of the array; None is the one that holds the values.

    Raises:
        Refusal: 422 where the lists differ in length, where a number is too large, and where a value is
            neither a number nor null; truth values alone are an array too.
    """
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(rows, dtype=dtype)
    except OverflowError:
        raise _too_large() from None
    except ValueError:
        raise Refusal(422, "the lists of the body differ in length, or are nested too deeply") from None
    leaves: Iterable[Any] = rows
    for _ in range(values.ndim - 1):
        leaves = chain.from_iterable(leaves)
    types = set(map(type, leaves))
    if not types:
        raise Refusal(422, "the array holds no values")
    if types != {bool} and not types <= _NUMBERS:
        raise Refusal(422, "an array holds numbers alone, and null for a missing one")
    if values.dtype == object:
        try:
            values = values.astype(np.float64)
        except OverflowError:
            raise _too_large() from None
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise _too_large()
    return values


def _too_large() -> Refusal:
    return Refusal(422, "the array holds a number that is too large")
