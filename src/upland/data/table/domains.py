"""The values that a column may be given: those of its kind, within what normal rows hold.

Cells are *plain values* here: numbers, booleans, dates (seconds since 1970) and durations (seconds) are
float64, NaN where missing; categories are text, None where missing. Of a date that is encoded by its parts a
code holds no moment, but how much of each cycle has passed; a moment is moved to have these parts.

Numbers lie on a grid, so that they are short, and whole where those of the normal rows are: its step is a
power of ten (of dates a day, an hour, a minute or a second) of at most a hundredth of the standard deviation,
and no less than the step of the normal rows' own values. Where these recur, a number that no normal row has
would be news by itself, so that only theirs are proposed: a column recurs if fewer than half of the normal
rows have a value that no other has, which estimates how likely a new value is (Good, "The population
frequencies of species and the estimation of population parameters", Biometrika 40, 1953).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.dateparts import DateParts, moved
from upland.data.table.encoder import TableEncoder
from upland.data.table.encodings import KNEE, Floats, encode_numeric
from upland.data.table.frames import TableView
from upland.data.table.replaced import Limits
from upland.io.schema import Column, Schema

Plain = NDArray[Any]

FINE = 100.0
"""Steps of the grid in a standard deviation, at least."""

SPREAD = 25
"""Numbers of a column that are tried where no normal rows are kept."""

CLOCK = (86_400.0, 3_600.0, 60.0, 1.0)
"""Steps of dates and durations."""

_STEPS = tuple(10.0**power for power in range(6, -13, -1))

ROUNDING = 1e-6
"""Error of a value that comes from a code, in standard deviations of its column: codes are float32."""


def plain_values(encoder: TableEncoder, X: Any) -> list[Plain]:
    """The cells of a table, column by column: `(N,)` each; raises as `TableEncoder.transform`.

    Args:
        encoder: Fitted.
        X: The table.
    """
    found = encoder.values(X).values()
    return [_plain(column, values) for column, values in zip(encoder.schema_.columns, found, strict=True)]


def plain_codes(encoder: TableEncoder, codes: Floats) -> list[Plain]:
    """What codes `(N, D)` stand for, column by column: `(N,)` each; of a date by its parts dicts of these.

    Args:
        encoder: Fitted.
        codes: Encoded rows.
    """
    found = []
    for position, (column, values) in enumerate(
        zip(encoder.schema_.columns, encoder.decode(codes).values(), strict=True)
    ):
        z = codes[:, encoder.slots == position]
        if column.parts is not None:
            found.append(DateParts(position, 0, column).passed(z))
            continue
        plain = _plain(column, values)
        if column.kind != "categorical" and column.missing:
            plain = np.where(z[:, -1] > 0, np.nan, plain)
        found.append(plain)
    return found


def _plain(column: Column, values: NDArray[Any]) -> Plain:
    if values.dtype.kind in "Mm":
        seconds = values.astype("M8[us]" if values.dtype.kind == "M" else "m8[us]")
        micro = seconds.astype(np.int64)
        return np.where(np.isnat(seconds), np.nan, micro / 1e6)
    return values if column.kind == "categorical" else values.astype(np.float64)  # None as NaN


def table_of(schema: Schema, columns: Sequence[Plain]) -> TableView:
    """Plain values as a table that the schema's encoder reads.

    Args:
        schema: Of the fit.
        columns: `(N,)` plain values of each of its columns.
    """
    places = {schema.inputs.index(column.name): number for number, column in enumerate(schema.columns)}

    def read(position: int) -> Any:
        number = places[position]
        return _typed(schema.columns[number], columns[number])

    return TableView(schema.inputs, schema.naming, len(columns[0]), read)


def _typed(column: Column, values: Plain) -> Any:
    if column.kind == "categorical":
        return pa.array(values, pa.large_string())
    if column.kind not in ("date", "duration"):
        return values
    absent = np.isnan(values)
    micro = pa.array(np.where(absent, 0, np.round(values * 1e6)).astype(np.int64), mask=absent)
    zone = "UTC" if column.zoned else None
    return micro.cast(pa.timestamp("us", zone) if column.kind == "date" else pa.duration("us"))


@dataclass(frozen=True)
class Domain:
    """The values of one column.

    Args:
        column: As the fit learned it.
        low: Least number; above `high` there is none.
        high: Largest number.
        step: Of the grid; 0 where there is one number only.
        refused: Numbers that stand for a missing cell.
        known: The only numbers there are, ascending, in place of a grid; none where they do not recur.
    """

    column: Column
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    refused: frozenset[float] = frozenset()
    known: tuple[float, ...] = ()

    @property
    def _by_size(self) -> bool:
        """Whether values are near or far, and not only equal or different."""
        column = self.column
        return column.kind not in ("categorical", "boolean") and column.parts is None and self.step > 0

    def typical(self, known: int) -> list[Any]:
        """The mean, the constant, or the most frequent levels; a missing cell where some are missing.

        Args:
            known: How many values of normal rows there are beside; where there are none, numbers spread
                evenly over the range take their place.
        """
        column = self.column
        if column.kind == "categorical":
            return [*column.levels, *column.rare, None]
        if column.parts is not None:
            return [np.nan]
        if column.kind == "boolean":
            return [self.low, self.high, np.nan]
        spread = [] if known else np.linspace(self.low, self.high, SPREAD).tolist()
        return [column.center + column.origin, np.nan, *spread]

    def allowed(self, base: Any, values: Iterable[Any]) -> list[Any]:
        """Those of some values that the column may be given, brought to the grid, each once and in their
        order, without the value that is there.

        Args:
            base: What is there.
            values: Plain values; of a date by its parts dicts of these.
        """
        found = [made for value in values for made in self._made(base, value)]
        return [value for value in dict.fromkeys(found) if not _same(value, base)]

    def _made(self, base: Any, value: Any) -> list[Any]:
        column = self.column
        if value is None or (isinstance(value, float) and np.isnan(value)):
            gone = None if column.kind == "categorical" else float("nan")
            return [gone] if column.missing and not _missing(base) else []
        if column.kind == "categorical":
            known = (*column.levels, *column.rare)
            if value not in known and value == "(rare)":
                return list(column.rare[:1])
            return [value] if value in known else []
        if column.parts is not None:
            return [] if _missing(base) else [moved(base, part) for part in _some(value)]
        made = self._snapped(float(value))
        return [] if made is None or made in self.refused else [made]

    def _snapped(self, value: float) -> float | None:
        if self.low > self.high:
            return None
        inside = min(max(value, self.low), self.high)
        if self.known:
            place = bisect_left(self.known, inside)
            near = self.known[max(place - 1, 0) : place + 1]
            return min(near, key=lambda number: abs(number - inside))
        return inside if self.step == 0 else float(_on_grid(np.array(inside), self.step))

    def path(self, base: Any, value: Any) -> Floats:
        """The numbers from a value back to the one that was there, or to where the normal rows end: `(P,)`; a
        single value where there is no way.

        Args:
            base: What was there.
            value: What was proposed.
        """
        if not self._by_size or _missing(base) or _missing(value):
            return np.array([value], dtype=object if self.column.kind == "categorical" else np.float64)
        end = self._snapped(base)
        assert end is not None
        if self.known:
            least, most = sorted((value, end))
            between = np.array(self.known[bisect_left(self.known, least) : bisect_right(self.known, most)])
            return between if value <= end else between[::-1]
        count = round(abs(end - value) / self.step)
        return _on_grid(value + np.sign(end - value) * self.step * np.arange(count + 1), self.step)

    def empties(self, base: Any, value: Any) -> bool:
        """Whether a cell becomes missing that mostly is not.

        Args:
            base: What was there.
            value: What was proposed.
        """
        return _missing(value) and not _missing(base) and self.column.missing <= 0.5

    def distance(self, base: Any, value: Any) -> float:
        """The size of a change: in standard deviations of a number, date or duration; 1 of all else, of a
        cell that was or becomes missing too.

        Args:
            base: What was there.
            value: What was proposed.
        """
        if _same(base, value):
            return 0.0
        if not self._by_size or _missing(base) or _missing(value):
            return 1.0
        return float(abs(value - base) / self.column.scale)


def domain_of(
    column: Column, seen: Plain, limits: Limits, refused: Iterable[float] = (), recurs: bool = False
) -> Domain:
    """The values that a column may be given.

    Args:
        column: As the fit learned it.
        seen: `(R,)` plain values of normal rows; where there are none, numbers lie within two standard
            deviations of the mean.
        limits: Of the type of the user's column.
        refused: Numbers that stand for a missing cell.
        recurs: Whether only values of normal rows are proposed.
    """
    if column.kind == "categorical" or column.parts is not None:
        return Domain(column)
    center = column.center + column.origin
    if column.scale == 0.0 or column.constant:
        inside = limits.low <= center <= limits.high
        return Domain(column, center, center if inside else -np.inf)
    if column.kind == "boolean":
        return Domain(column, 0.0, 1.0, 1.0)
    seen = seen[np.isfinite(seen)]
    step = _step(column, seen, limits.step)
    spread = KNEE * column.scale
    low, high = (seen.min(), seen.max()) if seen.size else (center - spread, center + spread)
    low, high = max(low, limits.low), min(high, limits.high)
    low, high = np.ceil(low / step - ROUNDING) * step, np.floor(high / step + ROUNDING) * step
    low, high = (float(_on_grid(np.array(end), step)) for end in (low, high))
    known = _known(column, seen, limits) if recurs else ()
    low, high = (known[0], known[-1]) if known else (low, high)
    return Domain(column, low, high, step, frozenset(refused), known)


def recurring(codes: NDArray[Any], slots: NDArray[np.intp]) -> list[bool]:
    """Which columns have values that recur.

    Args:
        codes: `(N, D)` encoded normal rows.
        slots: `(D,)` the column of each encoded dimension.
    """
    found = []
    for column in range(int(slots.max(initial=-1)) + 1):
        counts = np.unique(codes[:, slots == column], axis=0, return_counts=True)[1]
        found.append(bool((counts == 1).sum() < len(codes) / 2))
    return found


def _known(column: Column, seen: Floats, limits: Limits) -> tuple[float, ...]:
    """The distinct values of normal rows that a type holds, each as the shortest number with its code."""
    values = np.unique(seen)
    codes = _coded(column, values)
    found, open_ = values.copy(), np.ones(len(values), dtype=bool)
    for step in _STEPS if column.kind == "numeric" else CLOCK:
        short = _on_grid(values, step)
        hits = open_ & (_coded(column, short) == codes)
        found[hits], open_ = short[hits], open_ & ~hits
    fits = (found >= limits.low) & (found <= limits.high)
    if limits.step:
        fits &= np.abs(found - _on_grid(found, limits.step)) <= ROUNDING * limits.step
    return tuple(np.unique(found[fits]).tolist())


def _coded(column: Column, values: Floats) -> NDArray[np.float32]:
    codes = encode_numeric(values - float(column.origin), column.center, column.scale)
    return codes.astype(np.float32)


def _step(column: Column, seen: Floats, resolution: float) -> float:
    wanted = column.scale / FINE
    if column.kind == "numeric":
        steps = _STEPS
        fine = 10.0 ** np.floor(np.log10(wanted))
        whole = 1.0 if column.dtype == "integer" else 0.0
    else:
        steps = CLOCK
        least = max(10.0 ** np.floor(np.log10(wanted)), 1e-6)
        fine, whole = next((step for step in CLOCK if step <= wanted), least), 0.0
    error = ROUNDING * (column.scale + np.abs(seen - column.center - column.origin))
    own = 0.0
    if seen.size > 1:
        own = next((step for step in steps if step > fine and _on(seen, step, error)), 0.0)
    return float(max(fine, own, whole, resolution))


def _on(seen: Floats, step: float, error: Floats) -> bool:
    """Whether all values are multiples of a step that is larger than their errors."""
    off = np.abs(seen - np.rint(seen / step) * step)
    return bool(error.max() < step / 20 and (off <= error).all())


def _on_grid(values: Floats, step: float) -> Floats:
    digits = max(round(-np.log10(step)), 0) if step < 1 else 0
    return np.round(np.rint(values / step) * step, digits)


def _some(passed: dict[str, float]) -> list[dict[str, float]]:
    """Each part of a date by itself, then all of them."""
    return [{part: fraction} for part, fraction in passed.items()] + [passed] * (len(passed) > 1)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (_missing(one) and _missing(other))
