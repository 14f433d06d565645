"""What is normal in each column of a table, and where a value stands in it.

Normal values are those of the normal rows that the model keeps: of the reference and held-out rows of its
first member, decoded. Of a model that keeps none they are the mean and the standard deviation, and the shares
of the levels, that the fit has learned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.table.encoder import TableEncoder
from upland.detectors.scoring import ScoringDetector
from upland.io.schema import Column
from upland.reporting.base import Floats
from upland.reporting.page import Standing
from upland.scoring.words import cell_text, one_line, plain_value

BARS = 16
"""Parts of the range of a column in its picture; levels that it shows at most."""

UNITS = (0.001, 1, 60, 3600, 86_400)
"""Seconds that times are rounded to."""

LEVEL = "is "
"""What a reason that is a level begins with."""

OUTSIDE = 0.025
"""Share of the normal values below the normal range, and above it."""

SOME_ROWS = 4_000
"""Normal rows that are decoded at most."""

CELLS = 8_000_000
"""Cells of normal rows that are decoded at most."""


class Reason(NamedTuple):
    """A column and in what way its value is unusual.

    Args:
        column: Its name.
        way: "above" or "below" what is normal, "within" it, "missing", "unseen" among normal rows, or the
            level of a categorical column after "is ".
    """

    column: str
    way: str


@dataclass(frozen=True)
class Normal(ABC):
    """What is normal in a column: abstract.

    Args:
        name: Of the column.
    """

    name: str

    @abstractmethod
    def way(self, value: Any) -> str:
        """In what way a value is unusual, see `Reason`."""

    def standing(self, value: Any) -> Standing | None:
        """The small picture of a value; None where there is none."""
        return None

    def words(self) -> str:
        """What is normal, in words: `60 to 71`; "" where there is nothing short to say."""
        return ""


@dataclass(frozen=True)
class NormalNumbers(Normal):
    """What is normal in a column of numbers, dates or durations.

    Args:
        name: Of the column.
        kind: Of the column.
        edges: Of the bars.
        counts: Normal values between them.
        low: Where the normal range begins.
        high: Where it ends.
    """

    kind: str
    edges: Floats
    counts: Floats
    low: float
    high: float

    def way(self, value: Any) -> str:
        """Above, below or within the normal range; or missing."""
        number = number_of(value)
        if not np.isfinite(number):
            return "missing"
        if number > self.high + self._tiny:
            return "above"
        return "below" if number < self.low - self._tiny else "within"

    @property
    def _tiny(self) -> float:
        """What the encoding of normal values may add or take away."""
        return 1e-6 * max(float(self.edges[-1] - self.edges[0]), abs(self.low), abs(self.high))

    def standing(self, value: Any) -> Standing | None:
        """Bars over the range of the normal values, and a mark."""
        number, width = number_of(value), self.edges[-1] - self.edges[0]
        words = f"{one_line(self.name)}: {cell_text(value)}, normal is {self.words()}"
        if not np.isfinite(number):
            return Standing(self.counts.tolist(), None, words)
        from_left = number - self.edges[0]
        at = from_left / width if width else 0.5 + float(np.sign(from_left))
        return Standing(self.counts.tolist(), float(np.clip(at, -9, 9)), words)

    def words(self) -> str:
        """From where to where the middle 95 percent of normal values lie."""
        ends = [number if abs(number) > self._tiny else 0.0 for number in (self.low, self.high)]
        low, high = (cell_text(self.typed(number)) for number in ends)
        return low if low == high else f"{low} to {high}"

    def typed(self, number: float) -> Any:
        """A number as a value of the column; times to a part of their range, which is all that is known."""
        if self.kind in ("date", "duration"):
            step = max((unit for unit in UNITS if unit <= (self.high - self.low) / 500), default=1e-6)
            number = round(number / step) * step
        if self.kind == "date":
            return np.datetime64(int(np.clip(number * 1e6, -6e16, 2.5e17)), "us")
        return np.timedelta64(int(number * 1e6), "us") if self.kind == "duration" else number


@dataclass(frozen=True)
class NormalLevels(Normal):
    """What is normal in a categorical or boolean column.

    Args:
        name: Of the column.
        shares: Of each level among normal rows, most frequent first.
        known: All levels that the fit has seen, those without a share of their own among them.
    """

    shares: Mapping[str, float]
    known: frozenset[str]

    def way(self, value: Any) -> str:
        """The level; or missing, or unseen among normal rows."""
        level = level_of(value)
        if level is None:
            return "missing"
        return f"{LEVEL}{level}" if level in self.shares or level in self.known else "unseen"

    def standing(self, value: Any) -> Standing | None:
        """A bar for each level, and a mark; outside where the level has no bar."""
        shown = list(self.shares.items())[:BARS]
        level = level_of(value)
        share = self.shares.get(level or "", 0.0)
        words = f"{one_line(self.name)}: {cell_text(value)}, {share:.1%} of normal rows"
        names = [name for name, _ in shown]
        at = None if level is None else (names.index(level) + 0.5) / len(names) if level in names else 1.5
        return Standing([part for _, part in shown], at, words)

    def words(self) -> str:
        """The most frequent levels with their shares."""
        some = list(self.shares.items())[:3]
        return ", ".join(f"{one_line(name)[:60]} {share:.0%}" for name, share in some)

    def share(self, level: str) -> float:
        """Of a level among normal rows; 0 where it is too rare to be counted."""
        return self.shares.get(level, 0.0)


@dataclass(frozen=True)
class NormalText(Normal):
    """A column of which nothing is counted, such as a date of which hour and weekday are used."""

    def way(self, value: Any) -> str:
        """Missing, or within."""
        return "missing" if level_of(value) is None else "within"


def normal_columns(detector: ScoringDetector) -> dict[str, Normal]:
    """What is normal in each column, by its name.

    Args:
        detector: Fitted on a table.
    """
    encoder = detector.encoder_
    assert isinstance(encoder, TableEncoder)
    member = detector.members_[0]
    kept = [rows.numpy() for rows in (member.standard, member.held_out) if rows is not None]
    codes = np.concatenate(kept) if kept else np.empty((0, encoder.width))
    most = max(min(SOME_ROWS, CELLS // max(encoder.width, 1)), 1)
    codes = (
        codes[np.unique(np.linspace(0, max(len(codes) - 1, 0), most).astype(np.int64))]
        if len(codes)
        else codes
    )
    decoded = encoder.decode(codes)
    found: dict[str, Normal] = {}
    for number, column in enumerate(encoder.schema_.columns):
        of_column = codes[:, encoder.slots == number] if column.missing else codes[:, :0]
        found[column.name] = _normal(column, decoded[column.name], of_column)
    return found


def _normal(column: Column, values: NDArray[Any], codes: NDArray[Any]) -> Normal:
    if column.parts is not None:
        return NormalText(column.name)
    if column.kind == "categorical":
        shares = dict(zip(column.levels, column.shares, strict=True))
        return NormalLevels(column.name, shares, frozenset((*column.levels, *column.rare)))
    if column.kind == "boolean":
        shares = {"True": column.center, "False": 1 - column.center}
        levels = {name: share for name, share in shares.items() if share > 0}
        return NormalLevels(column.name, levels, frozenset(levels))
    numbers = values.astype(np.int64) / 1e6 if values.dtype.kind in "Mm" else values.astype(np.float64)
    if column.missing and codes.shape[1] > 1:
        numbers = numbers[codes[:, 1] <= 0]
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        spread = np.linspace(-2, 2, 401)
        weights = np.exp(-(spread**2) / 2)
        numbers = np.repeat(column.center + column.origin + column.scale * spread, (50 * weights).astype(int))
    low, high = np.quantile(numbers, [OUTSIDE, 1 - OUTSIDE])
    first, last = _range(numbers)
    edges = np.linspace(first, last, BARS + 1) if last > first else np.array([first, last])
    counts, _ = np.histogram(numbers, bins=edges)
    return NormalNumbers(column.name, column.kind, edges, counts.astype(np.float64), float(low), float(high))


def _range(numbers: Floats) -> tuple[float, float]:
    """The range of the picture: of all normal values, or of the middle ones where some are far away."""
    first, low, high, last = np.quantile(numbers, [0, 0.01, 0.99, 1])
    near = high - low
    return (
        float(max(first, low - near)) if near > 0 else float(first),
        float(min(last, high + near)) if near > 0 else float(last),
    )


def number_of(value: Any) -> float:
    """A value as a number, of a date seconds since 1970; NaN for a missing one."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        micro = value.astype("M8[us]" if isinstance(value, np.datetime64) else "m8[us]")
        return float("nan") if np.isnat(value) else float(micro.astype(np.int64)) / 1e6
    value = plain_value(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float("nan") if value is None or isinstance(value, str) else float(value)


def level_of(value: Any) -> str | None:
    """A value as the name of a level; None for a missing one."""
    value = plain_value(value)
    return None if value is None or value != value else str(value)
