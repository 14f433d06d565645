"""The rows of a history with the smallest p-values, and the alarms that they make up."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

KEPT = 10_000
"""Rows that are kept."""


class Rows(NamedTuple):
    """Rows, `(N,)` each.

    Args:
        p_values: of them.
        places: numbers in their series, or times: what the rule of merging goes by.
        series: numbers of them.
        times: NaN where a row has none.
        numbers: of the rows, from 0.
    """

    p_values: Floats
    places: Floats
    series: Indices
    times: Floats
    numbers: Indices

    def take(self, rows: Any) -> Rows:
        """Some of them."""
        return Rows(*(part[rows] for part in self))


def no_rows() -> Rows:
    """None yet."""
    return Rows(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))


def strongest(before: Rows, more: Rows) -> Rows:
    """The rows of both with the smallest p-values; of equals, those that come first.

    Args:
        before: kept so far.
        more: new ones.
    """
    if before.p_values.size == KEPT:
        more = more.take(more.p_values < before.p_values[-1])
    both = Rows(*(np.concatenate(pair) for pair in zip(before, more, strict=True)))
    return both.take(np.lexsort((both.numbers, both.p_values))[:KEPT])


class Episode(NamedTuple):
    """One alarm.

    Args:
        series: the name of the series; None where all rows are one.
        start: the time of its first row, or where there are none the row's number from 0.
        end: of its last.
        first: the number of its first row in the data, from 0.
        rows: flagged rows of it.
        peak: the number of the row with the smallest p-value.
        p_value: of that row.
    """

    series: Any
    start: Any
    end: Any
    first: int
    rows: int
    peak: int
    p_value: float


def parted(rows: Rows, most: float) -> list[Rows]:
    """The alarms that flagged rows make up, each as its rows in the order of time.

    Args:
        rows: all that are flagged.
        most: how far rows of one alarm are apart at most.
    """
    rows = rows.take(np.lexsort((rows.numbers, rows.places, rows.series)))
    with np.errstate(invalid="ignore"):
        apart = ~(np.diff(rows.places) <= most) | (np.diff(rows.series) != 0)  # NaN is apart from all
    return [rows.take(part) for part in np.split(np.arange(rows.places.size), np.flatnonzero(apart) + 1)]
