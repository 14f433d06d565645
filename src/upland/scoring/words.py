"""Cells, names and reasons in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from upland.scoring.escapes import escaped

if TYPE_CHECKING:
    from upland.explanation import Reason


def reason_text(reason: Reason) -> str:
    """One reason in words: column, part of the whole, value seen and value expected, or the band of it."""
    if not reason.has_expected:
        return f"{one_line(reason.column)} {reason.part:.0%} ({cell_text(reason.value)})"
    value, expected = cell_text(reason.value), cell_text(reason.expected)
    if reason.low is not None:
        expected = f"{cell_text(reason.low)} to {cell_text(reason.high)}"
    return f"{one_line(reason.column)} {reason.part:.0%} ({value}, expected {expected})"


def cell_text(value: object) -> str:
    """A cell in words: numbers to four digits, times to the second, a missing one by name."""
    value = plain_value(value)
    if value is None or value != value:  # NaN differs from itself
        return "missing"
    if isinstance(value, tuple):
        return f"({', '.join(map(cell_text, value))})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.4g}"
    return label_text(value)


def label_text(value: object) -> str:
    """A name, a time stamp or a number that stands for a place: whole numbers keep all their digits."""
    value = plain_value(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    return f"{value:.10g}" if isinstance(value, float) else one_line(str(value))


def one_line(name: str) -> str:
    """A name from the data that makes no line of its own, nor anything else of a terminal."""
    return escaped(name, lines=False)


def plain_value(value: Any) -> Any:
    """NumPy's numbers, dates and durations as Python's own; anything else as it is."""
    if isinstance(value, np.datetime64 | np.timedelta64) and np.datetime_data(value.dtype)[0] in ("ns", "ps"):
        value = value.astype("M8[us]" if isinstance(value, np.datetime64) else "m8[us]")
    return value.item() if isinstance(value, np.generic) else value
