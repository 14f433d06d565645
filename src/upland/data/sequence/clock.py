r"""What time stamps say beside the order of the steps: how far apart they are, the hour and the weekday.

A model is conditioned on these inputs, as on the user's own context columns, and they are no channels:

    distance    log(d_t / m), d_t the time since the step before and m its median in the fit, cut off at
                +-`FURTHEST`; 0 at the start of a sequence. Used where the steps of the fit are irregular.
    calendar    sine and cosine of the hour of the day and of the day of the week (in UTC, as everywhere)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from upland.data.table.dateparts import DAY, fractions
from upland.io.advice import Advice, Argument
from upland.io.records import check_types

Floats = NDArray[np.float64]
Codes = NDArray[np.float32]
Calendar = bool | Literal["auto"]

NEAR, FEW = 1.1, 0.05
"""Steps are irregular where more than `FEW` of them are off the median by more than a factor of `NEAR`."""

FURTHEST = 5.0
"""The logarithm of a distance in median ones is cut off here, at some 150 of them."""

PERIODS = 3
"""Periods that the fit must cover for a part of the calendar to be used by itself."""

PARTS = {"hour": DAY, "weekday": 7 * DAY}
"""The parts of the calendar, and their periods in seconds."""

Kind = Literal["", "dates", "durations", "numbers"]
KINDS = get_args(Kind)

_WHOLE = 1 << 32


@dataclass(frozen=True)
class Clock:
    """Which inputs are made of time stamps.

    Args:
        distance: whether the time since the step before is one.
        parts: of the calendar.
        kind: what the time stamps of the fit are, whose unit is another in each kind; empty where there is no
            input.

    Examples:
        >>> Clock(distance=True, parts=("hour",)).width
        3
    """

    distance: bool = False
    parts: tuple[str, ...] = ()
    kind: Kind = ""

    @property
    def width(self) -> int:
        """How many numbers of a step they are."""
        return int(self.distance) + 2 * len(self.parts)

    def check(self, stamps: NDArray[Any], name: str | int | None) -> None:
        """Refuse time stamps of another kind than those of the fit, whose unit is another.

        Args:
            stamps: `(S,)` as `read_stamps` gives them.
            name: of the time column.

        Raises:
            ValueError: with both kinds.
        """
        if self.width and (found := _kind_of(stamps)) != self.kind:
            raise ValueError(f"the time column {str(name)!r} holds {found}; the fit had {self.kind}")

    def codes(self, step: float | None, distances: Floats | None, stamps: Any) -> Codes:
        """The inputs of steps: `(S, width)`.

        Args:
            step: the median distance of the fit.
            distances: `(S,)` from the step before; NaN at the start of a sequence.
            stamps: `(S,)` as `read_stamps` gives them.
        """
        columns: list[Floats] = []
        if self.distance:
            assert distances is not None
            assert step
            with np.errstate(divide="ignore", over="ignore"):
                found = np.log(distances / step)
            columns.append(np.clip(np.nan_to_num(found, nan=0.0), -FURTHEST, FURTHEST))
        for part in self.parts:
            angle = 2 * np.pi * fractions(_seconds(stamps), part)
            columns += [np.sqrt(2) * np.sin(angle), np.sqrt(2) * np.cos(angle)]
        return np.stack(columns, axis=1).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` is the way back."""
        return {"distance": self.distance, "parts": list(self.parts), "kind": self.kind}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Clock:
        """Rebuild a clock; raises ValueError for what `to_json` did not give."""
        hints = {"distance": bool, "parts": tuple[str, ...], "kind": str}
        if not isinstance(record, Mapping) or record.keys() != hints.keys():
            raise ValueError("the clock of a sequence encoder has fields that are unknown or lacking")
        clock = cls(**check_types(hints, record, "the clock"))
        if clock.kind not in KINDS or (clock.kind == "") is (clock.width > 0):
            raise ValueError(f"the clock: there are no such time stamps: {clock.kind!r}")
        if list(clock.parts) != [part for part in PARTS if part in clock.parts]:
            raise ValueError(f"the clock: there are no such parts of the calendar: {list(clock.parts)}")
        return clock


def learned_clock(distances: Floats, stamps: NDArray[Any], calendar: Calendar) -> Clock:
    """The inputs that suit the time stamps of a fit.

    Args:
        distances: `(S,)` of all steps; NaN at the start of a sequence.
        stamps: `(S,)`.
        calendar: whether the parts of the calendar are used; "auto" where the fit covers three periods.

    Raises:
        ValueError: a calendar is asked for, and the time stamps are no dates.
    """
    step, there = typical(distances), distances[np.isfinite(distances)]
    irregular = bool(step) and _share_off(there, float(step or 1.0), NEAR) > FEW
    if calendar is True and stamps.dtype.kind != "M":
        raise no_dates()
    parts: list[str] = []
    if calendar and stamps.dtype.kind == "M" and stamps.size:
        seconds = _seconds(stamps)
        covered = float(seconds.max() - seconds.min())
        parts = [
            part
            for part, period in PARTS.items()
            if (calendar is True or covered >= PERIODS * period) and np.ptp(fractions(seconds, part)) > 0
        ]
    return Clock(irregular, tuple(parts), _kind_of(stamps)) if irregular or parts else Clock()


def _kind_of(stamps: NDArray[Any]) -> Kind:
    if stamps.dtype.kind == "M":
        return "dates"
    return "durations" if stamps.dtype.kind == "m" else "numbers"


def no_dates() -> ValueError:
    """What is said where a calendar is asked for and there are no dates."""
    text = " needs dates in a time column: name it with "
    return ValueError(Advice(Argument("calendar", True), text, Argument("time")))


def distances_of(stamps: NDArray[Any], lengths: NDArray[np.int64]) -> Floats:
    """The time from the step before to each step, `(S,)`, in seconds of dates and durations; NaN at the start
    of a sequence.

    Args:
        stamps: `(S,)` in time order within each sequence.
        lengths: `(N,)` steps of each sequence.
    """
    found = np.full(stamps.size, np.nan)
    found[1:] = _differences(stamps)
    found[np.cumsum(lengths)[:-1]] = np.nan
    if stamps.dtype.kind in "mM":
        unit: Any = np.datetime_data(stamps.dtype)[0]
        found = found * (np.timedelta64(1, unit) / np.timedelta64(1, "s"))
    return found


def typical(distances: Floats | None) -> float | None:
    """The median distance; None if there is none.

    Args:
        distances: `(S,)`, NaN at the start of a sequence; None without time stamps.
    """
    there = np.empty(0) if distances is None else distances[np.isfinite(distances)]
    return float(np.median(there)) if there.size else None


def checked_step(step: Any) -> float | None:
    """The median distance of a stored model; raises ValueError for what is no such number."""
    if step is None or (
        isinstance(step, int | float) and not isinstance(step, bool) and 0 <= step < math.inf
    ):
        return step
    raise ValueError(f"not the state of a SequenceEncoder: its step is {step!r}")


def checked_calendar(calendar: Any) -> Calendar:
    """Whether to use the calendar; raises ValueError for anything but True, False and "auto"."""
    if isinstance(calendar, bool) or (isinstance(calendar, str) and calendar == "auto"):
        return calendar  # type: ignore[return-value]
    raise ValueError(f"calendar must be True, False or 'auto', got {calendar!r}")


def _share_off(distances: Floats, step: float, factor: float) -> float:
    """The share of distances that are off a typical one by more than a factor."""
    return float(np.mean((distances > factor * step) | (distances * factor < step)))


def _seconds(stamps: Any) -> Floats:
    """Dates as seconds since 1970."""
    whole = np.asarray(stamps)
    days = whole.astype("M8[D]")
    rest = (whole - days) / np.timedelta64(1, "s")
    seconds: Floats = days.astype(np.int64) * DAY + rest
    return seconds


def _differences(stamps: NDArray[Any]) -> Floats:
    """From each time stamp to the next, not before it; whole numbers may be as far apart as can be."""
    if stamps.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return np.minimum(np.diff(stamps.astype(np.float64)), np.finfo(float).max)
    whole = stamps.astype(np.uint64 if stamps.dtype.kind == "u" else np.int64)
    differences: Floats = np.diff(whole).view(np.uint64).astype(np.float64)
    return differences


def reading_of(stamp: NDArray[Any]) -> Floats:
    """A time stamp `(1,)` as two numbers, without loss: a whole part and the rest, `(2,)`.

    Args:
        stamp: as `read_stamps` gives it; dates and durations are in days and nanoseconds.
    """
    if stamp.dtype.kind == "f":
        return np.array([0.0, float(stamp[0])])
    if stamp.dtype.kind not in "mM":
        return np.array([float(part) for part in divmod(int(stamp[0]), _WHOLE)])
    kind = stamp.dtype.kind
    day = stamp.astype(f"{kind}8[D]")  # of a negative duration towards zero
    rest = (stamp - day).astype("m8[ns]").astype(np.int64)
    return np.array([float(day.astype(np.int64)[0]), float(rest[0])])


def distance_between(before: Floats, after: Floats, stamp: NDArray[Any]) -> Floats:
    """From one reading of `reading_of` to another, as `distances_of` gives it: `(1,)`; NaN at the start.

    Args:
        before: the earlier; NaN at the start.
        after: the later.
        stamp: what it is of, for its type and for messages.

    Raises:
        ValueError: it is not the later.
    """
    if np.isnan(before).any():
        return np.array([np.nan])
    whole, rest = after - before
    dated = stamp.dtype.kind in "mM"
    distance = (whole * DAY * 1e9 + rest) * 1e-9 if dated else whole * _WHOLE + rest
    if not distance > 0:
        raise ValueError(f"the time stamp {stamp[0]} is not after that of the step before")
    return np.array([distance])
