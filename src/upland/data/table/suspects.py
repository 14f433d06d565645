r"""Columns that ruin a model when they are left in: an index, a number of the row, a time.

A column *orders the rows* where its values only rise, or only fall, from row to row. It *identifies the
rows*, in whatever order they come, where

* whole numbers, or dates, are all distinct where chance would repeat some: of n numbers drawn evenly from R
  possible ones (multiples of their greatest common divisor), n^2 / (2 R) pairs are equal on average. Counted
  are the values whose hash falls into a part of its range that shrinks as they become many, so that all
  copies of a value are counted or none (Gibbons 2001);
* or its values are evenly spread: their mean and variance are those of n numbers at equal distances;
* or they are distinct dates with a time of day;
* or they are days, or whole numbers that read as seconds (milli-, micro-, nanoseconds) since 1970, that are
  distinct and distributed evenly over their range.

Reference: P. B. Gibbons, "Distinct sampling for highly-accurate answers to distinct values queries and event
reports", VLDB (2001).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.table.encodings import Floats
from upland.data.table.matching import listed
from upland.data.table.moments import RunningMoments, Sentinels
from upland.io.advice import Advice, Argument
from upland.io.schema import ColumnKind, is_index

LEAST_ROWS = 50
"""Rows from which on an order is no chance."""

LEAST_STEPS = 12
"""Rows at which a column that orders them takes another value, at least."""

SAMPLE = 2_048
"""Values whose copies are counted."""

CHANCE = 10.0
"""Equal pairs that chance would make, from which on their absence shows an identifier."""

COPIES = 0.02
"""Share of values that may occur twice in an identifier, as rows that were copied do."""

DAY = 86_400_000_000
"""Microseconds of a day."""

EVEN = 0.08
"""Largest distance of the distribution function of times from that of an even distribution."""

EPOCH = (1e9, 2e9)
"""Seconds since 1970 of times from September 2001 to May 2033."""


SHOWN = 5
"""Values that a warning shows."""


class Suspicion(NamedTuple):
    """Why a column may ruin a model.

    Args:
        why: It orders the rows, identifies them, or may be a label.
        name: The column.
        kind: Its kind.
    """

    why: Literal["rises", "falls", "identifies", "flag"]
    name: str
    kind: ColumnKind


class RowOrder:
    """Whether a column orders or identifies the rows, in constant memory.

    Args:
        unit: What a whole number is counted in; a microsecond for times.
    """

    def __init__(self, unit: float = 1.0) -> None:
        self.unit = unit
        self._count = self._steps = 0
        self._rises = self._falls = True
        self._last: float | None = None
        self._whole = True
        self._sample: NDArray[np.int64] | None = np.empty(0, dtype=np.int64)
        self._part, self._copies = 64, 0  # bits of the hash that may be set; values that were there before

    def update(self, x: Floats) -> None:
        """Add finite values `(N,)`, in the order of the rows."""
        if not len(x):
            return
        self._count += len(x)
        if self._rises or self._falls:
            self._follow(x)
        if self._sample is not None:
            self._collect(x)

    def _follow(self, x: Floats) -> None:
        """Steps from row to row, few at first, since most columns rise and fall soon."""
        before = x[:1] if self._last is None else np.array([self._last])
        for part in (np.concatenate([before, x[:50]]), x[49:]):
            self._rises = self._rises and bool(np.all(part[1:] >= part[:-1]))
            self._falls = self._falls and bool(np.all(part[1:] <= part[:-1]))
            if not (self._rises or self._falls):
                return
            self._steps += int(np.count_nonzero(part[1:] != part[:-1]))
        self._last = float(x[-1])

    def _collect(self, x: Floats) -> None:
        """The values whose hash is small, and how many of them were there before."""
        assert self._sample is not None
        for part in (x[:50], x[50:]):
            whole = np.rint(part * self.unit)
            if self.unit == 1.0 and not np.array_equal(whole, part):
                self._whole = False
            if not self._whole or np.abs(whole).max(initial=0.0) > 2.0**62:
                self._sample = None
                return
            values = whole.astype(np.int64)
            self._sample, copies = _joined(self._sample, values[_hash(values) >> (self._part - 1) < 2])
            self._copies += copies
            while len(self._sample) > SAMPLE:
                self._part -= 1
                self._sample = self._sample[_hash(self._sample) >> (self._part - 1) < 2]
                self._copies //= 2
            if self._copies > 3 + COPIES * len(self._sample):
                self._sample = None
                return

    def found(
        self, moments: RunningMoments, kind: ColumnKind, origin: float = 0.0
    ) -> Literal["rises", "falls", "identifies"] | None:
        """What the column does; None where it is like others.

        Args:
            moments: Of all its values.
            kind: Its kind.
            origin: What was subtracted from its values.
        """
        if self._count < LEAST_ROWS or moments.low == moments.high:
            return None
        if (self._rises or self._falls) and self._steps >= LEAST_STEPS:
            return "rises" if self._rises else "falls"
        if self._evenly_spread(moments) or self._distinct_against_chance(moments):
            return "identifies"
        return "identifies" if self._like_times(moments, kind, origin) else None

    def _evenly_spread(self, moments: RunningMoments) -> bool:
        """Whether mean and variance are those of numbers at equal distances."""
        n, spread = moments.count, moments.high - moments.low
        if not np.isfinite(spread):
            return False
        deviation = spread / (n - 1) * np.sqrt((n * n - 1) / 12)
        middle = moments.low + spread / 2
        alike = abs(moments.deviation - deviation) < 1e-9 * deviation
        return bool(alike and abs(moments.mean - middle) < 1e-9 * spread)

    def _distinct_against_chance(self, moments: RunningMoments) -> bool:
        if self._sample is None or len(self._sample) < 2:
            return False
        steps = np.diff(np.sort(self._sample))
        possible = (moments.high - moments.low) * self.unit / int(np.gcd.reduce(steps)) + 1
        equal = len(self._sample) * self._count / (2 * possible)
        return bool(equal > CHANCE + 3 * self._copies)

    def _like_times(self, moments: RunningMoments, kind: ColumnKind, origin: float) -> bool:
        if self._sample is None or len(self._sample) < LEAST_ROWS:
            return False
        low, high = moments.low + origin, moments.high + origin
        read = any(unit * EPOCH[0] <= low and high < unit * EPOCH[1] for unit in (1.0, 1e3, 1e6, 1e9))
        if kind == "date" and np.unique(self._sample % DAY).size > 1:
            return True
        if kind != "date" and not (kind == "numeric" and read):
            return False
        ordered = np.sort(self._sample)
        share = (ordered - ordered[0]) / (ordered[-1] - ordered[0])
        return bool(np.abs(share - np.linspace(0, 1, len(share))).max() < EVEN)


def _joined(sample: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """The distinct values of both, and how many there are more."""
    both = np.concatenate([sample, values])
    distinct = np.unique(both)
    return distinct, len(both) - len(distinct)


def _hash(values: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 mixed bits of each whole number (the finaliser of SplitMix64)."""
    x = values.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def index_names(names: Sequence[str]) -> list[str]:
    """The columns that hold the index of a pandas frame."""
    return [name for position, name in enumerate(names) if is_index(names, position)]


RESULTS = ("anomaly_score", "p_value", "is_anomaly", "reason")
"""Columns that scoring adds to a file."""


def result_names(names: Sequence[str]) -> list[str]:
    """The columns that an earlier scoring has added: these names, the first three of them at least."""
    return [name for name in RESULTS if name in names] if {*RESULTS[:3]} <= {*names} else []


def warn_of_results(names: Sequence[str]) -> None:
    """Say once that the results of an earlier scoring are left out."""
    if names:
        text = f"columns {listed(names)} hold the results of an earlier scoring, and are left out"
        warnings.warn(text, UserWarning, stacklevel=5)


def warn_of_index(names: Sequence[str]) -> None:
    """Warn that columns that hold an index are left out; once for all of them."""
    if names:
        several = len(names) > 1
        what = f"columns {listed(names)} hold" if several else f"column {names[0]!r} holds"
        warnings.warn(
            f"{what} the index of a pandas frame, and {'are' if several else 'is'} left out; "
            "to use it as a feature, give it a name of its own",
            UserWarning,
            stacklevel=5,
        )


_EVERY = "so that every later row would be anomalous"
_WHY = {
    "rises": ("only rises", "only rise", f"from row to row, {_EVERY}"),
    "falls": ("only falls", "only fall", f"from row to row, {_EVERY}"),
    "identifies": ("identifies", "identify", f"the rows, as a serial number or a time does, {_EVERY}"),
    "flag": ("holds", "hold", "the same in every normal row, and may say which rows are normal"),
}
"""What a column does, what some do, and what follows from it."""


def warn_of(suspicions: Iterable[Suspicion]) -> None:
    """Warn of columns by name, once for each reason."""
    by_why: dict[str, list[Suspicion]] = {}
    for suspicion in suspicions:
        by_why.setdefault(suspicion.why, []).append(suspicion)
    for why, found in by_why.items():
        warnings.warn(_advice(why, found), UserWarning, stacklevel=5)


def _advice(why: str, found: Sequence[Suspicion]) -> Advice:
    names = [suspicion.name for suspicion in found]
    single, several, follows = _WHY[why]
    what = f"column {names[0]!r} {single}" if len(names) == 1 else f"columns {listed(names)} {several}"
    leave = "leave it out" if len(names) == 1 else "leave them out"
    advice = Advice(f"{what} {follows}: {leave} (", Argument("ignore", names), ")")
    if any(suspicion.kind == "date" for suspicion in found):
        use = " or use the hour, weekday and month of dates ("
        advice = Advice(advice, use, Argument("dates", "parts"), ")")
    return advice


def warn_of_dates(names: Sequence[str]) -> None:
    """Say once that dates are left out."""
    if names:
        what = "columns" if len(names) > 1 else "column"
        drop, parts = Argument("dates", "drop"), Argument("dates", "parts")
        text = Advice(
            f"{what} {listed(names)}: dates are left out (", drop, "); ", parts, " uses their parts"
        )
        warnings.warn(text, UserWarning, stacklevel=5)


def warn_of_sentinels(name: str, kind: ColumnKind, found: Sentinels) -> None:
    """Warn of values far beyond all others of a column, which have no part in its scale."""
    values = [_plain(value, kind) for value in found.values]
    held = [
        f"{value} in {count:,} row{'' if count == 1 else 's'}"
        for value, count in zip(values, found.counts, strict=True)
    ]
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    text = (
        f"column {name!r} holds {', '.join(held[:SHOWN])}{more}, far beyond its other values "
        f"({_plain(found.low, kind)} to {_plain(found.high, kind)}): left out of its scale; "
        "where that stands for a missing cell, "
    )
    missing = Argument("missing", values)
    advice = (missing, " says so") if kind == "numeric" else ("leave the cell empty",)
    warnings.warn(Advice(text, *advice), UserWarning, stacklevel=5)


def _plain(value: float, kind: ColumnKind) -> Any:
    if kind == "date":
        return np.datetime64(round(value), "s")
    if kind == "duration":
        return np.timedelta64(round(value), "s")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
