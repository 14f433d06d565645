r"""Dates as what they say about a moment: its time of day, weekday and month, which return.

A part with the fraction f of its cycle passed is two numbers, sin(2 pi f) and cos(2 pi f), less their means
among the normal rows and divided by the root of their total variance, which is then 1, as that of a number;
beyond the knee they are squashed as a number is (`upland.data.table.encodings`). Dates with a time zone are
read in UTC, as everywhere.

    part       one cycle        its steps
    hour       a day            the time of day, to the second
    weekday    seven days       days
    month      twelve months    months

A part is used where the normal rows cover its whole cycle but for one step, and differ in it: of four weeks
the months that follow are no news, and stamps that are all at midnight have no hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upland.data.table.encodings import FAR, LEAST_SCALE, Floats, deviation_of_flag, encode_numeric, unsquash
from upland.io.schema import PARTS, Column

Codes = NDArray[np.float32]

DAY = 86_400.0
COVERED = {"hour": DAY * 23 / 24, "weekday": 6 * DAY, "month": 334 * DAY}
"""Seconds between the first and the last normal row from which on a part is used."""

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_THURSDAY = 3
"""The weekday of the first of January 1970."""


def fractions(seconds: Floats, part: str) -> Floats:
    """How much of a part's cycle has passed: seconds since 1970 `(N,)` to `(N,)` in [0, 1); NaN stays."""
    days = np.floor(seconds / DAY)
    if part == "hour":
        return np.asarray(seconds / DAY - days)
    if part == "weekday":
        return np.asarray(np.mod(days + _THURSDAY, 7) / 7)
    present = np.isfinite(days)
    months = np.where(present, days, 0).astype("M8[D]").astype("M8[M]").astype(np.int64)
    return np.where(present, np.mod(months, 12) / 12, np.nan)


class PartLearner:
    """Learns the parts of one column of dates from batches: `update` for each, then `learned`."""

    def __init__(self) -> None:
        self._count = 0
        self._low, self._high = np.inf, -np.inf
        self._sums = np.zeros((len(PARTS), 2))
        self._first: Floats | None = None
        self._varies = np.zeros(len(PARTS), dtype=bool)

    def update(self, seconds: Floats) -> None:
        """Add dates `(N,)` as seconds since 1970, none missing."""
        if not len(seconds):
            return
        self._count += len(seconds)
        self._low = min(self._low, float(seconds.min()))
        self._high = max(self._high, float(seconds.max()))
        passed = np.stack([fractions(seconds, part) for part in PARTS])
        if self._first is None:
            self._first = passed[:, 0]
        self._varies |= (passed != self._first[:, None]).any(axis=1)
        self._sums += np.stack([waves.sum(axis=0) for waves in map(_waves, passed)])

    def merge(self, other: PartLearner) -> None:
        """Add all dates that another learner has seen."""
        if other._first is None:
            return
        if self._first is None:
            self._first = other._first
        self._varies |= other._varies | (other._first != self._first)
        self._count += other._count
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)
        self._sums += other._sums

    def learned(self, known: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The parts that are used, and two means and a scale of each.

        Args:
            known: Those that are used, where that is decided already.
        """
        parts, scaling = [], []
        for part, varies, sums in zip(PARTS, self._varies, self._sums, strict=True):
            covered = varies and self._high - self._low >= COVERED[part]
            if covered if known is None else part in known:
                sine, cosine = (sums / self._count).tolist()
                variance = 1.0 - sine * sine - cosine * cosine
                parts.append(part)
                scaling += [sine, cosine, float(np.sqrt(max(variance, LEAST_SCALE**2)))]
        return tuple(parts), tuple(scaling)


@dataclass(frozen=True)
class DateParts:
    """A column of dates that is encoded by its parts: its position, its first slot, and its scaling."""

    position: int
    start: int
    column: Column

    def encode(self, seconds: Floats, codes: Codes) -> bool:
        """Fill the column's slots of the codes `(N, D)`; whether a cell is missing that never was.

        Args:
            seconds: Dates `(N,)` as seconds since 1970, NaN where missing.
            codes: What is filled.
        """
        absent = np.isnan(seconds)
        scaling = np.reshape(self.column.part_scaling, (-1, 3))
        slot = self.start
        unexpected = bool(absent.any()) and not self.column.missing
        for part, (sine, cosine, scale) in zip(self.column.parts or (), scaling, strict=True):
            z = encode_numeric(_waves(fractions(seconds, part)), np.array([sine, cosine]), scale)
            z[absent] = FAR if unexpected else 0.0
            codes[:, slot : slot + 2] = z
            slot += 2
        if self.column.missing:
            share = self.column.missing
            codes[:, slot] = encode_numeric(absent.astype(np.float64), share, deviation_of_flag(share))
        return unexpected

    def decode(self, z: Floats) -> NDArray[np.object_]:
        """Codes `(N, W)` of the column to the typical moment in words: `Tue 14 h, March`."""
        return np.array([_words(passed) for passed in self.passed(z)], dtype=object)

    def passed(self, z: Floats) -> NDArray[np.object_]:
        """How much of each part's cycle has passed: codes `(N, W)` of the column to `(N,)` dicts of fractions
        by part.
        """
        fractions_of = {}
        scaling = np.reshape(self.column.part_scaling, (-1, 3))
        for number, (part, (sine, cosine, scale)) in enumerate(
            zip(self.column.parts or (), scaling, strict=True)
        ):
            waves = unsquash(z[:, 2 * number : 2 * number + 2]) * scale + [sine, cosine]
            fractions_of[part] = np.mod(np.arctan2(waves[:, 0], waves[:, 1]) / (2 * np.pi), 1.0)
        found = np.empty(len(z), dtype=object)
        for row in range(len(z)):
            found[row] = {part: float(values[row]) for part, values in fractions_of.items()}
        return found


def moved(seconds: float, passed: Mapping[str, float]) -> float:
    """The moment with these parts that is nearest to another, to the minute where the hour is one of them.

    Args:
        seconds: The other, since 1970.
        passed: Fraction of its cycle by part.
    """
    day, clock = divmod(seconds, DAY)
    if "month" in passed:
        date = np.datetime64(int(day), "D")
        month = date.astype("M8[M]")
        ahead = (round(passed["month"] * 12) - month.astype(int) + 6) % 12 - 6
        first, last = ((month + ahead + more).astype("M8[D]").astype(int) for more in (0, 1))
        day = min(first + int((date - month.astype("M8[D]")).astype(int)), last - 1)
    if "weekday" in passed:
        day += (round(passed["weekday"] * 7) - (day + _THURSDAY) + 3) % 7 - 3
    if "hour" in passed:
        clock = np.rint(passed["hour"] * DAY / 60) % 1440 * 60
    return float(day * DAY + clock)


def _waves(passed: Floats) -> Floats:
    """Sine and cosine of fractions of a cycle: `(N,)` to `(N, 2)`."""
    return np.stack([np.sin(2 * np.pi * passed), np.cos(2 * np.pi * passed)], axis=1)


def _words(passed: Mapping[str, float]) -> str:
    words = []
    if "weekday" in passed:
        words.append(_WEEKDAYS[round(passed["weekday"] * 7) % 7])
    if "hour" in passed:
        words.append(f"{round(passed['hour'] * 24) % 24} h")
    moment = [" ".join(words)] if words else []
    if "month" in passed:
        moment.append(_MONTHS[round(passed["month"] * 12) % 12])
    return ", ".join(moment) or "any time"
