"""The rule by which flagged rows are of one alarm, and which rows it links.

Flagged rows of one series, in the order of time, are of one alarm while each is at most so many rows, or
such a duration, after the flagged one before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.io.advice import Advice, Argument

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

UNITS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0, "month": 2_592_000.0}
"""Seconds of the units of time, by their signs; a month is 30 days."""
NAMES = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("min", "minute", "minutes"), "min"),
    **dict.fromkeys(("h", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("w", "week", "weeks"), "w"),
    **dict.fromkeys(("month", "months"), "month"),
}
"""The signs of units, by what they are called."""

_DURATION = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*([a-z]+)")


@dataclass(frozen=True)
class Merging:
    """How far flagged rows of one alarm are apart at most.

    Args:
        most: rows, or units of time; 0 rows merges none.
        timed: whether it is a time.
        said: the rule in words.
    """

    most: float
    timed: bool
    said: str


def merging_of(given: int | str, seconds: float | None) -> Merging:
    """The rule that a number of rows or a duration says.

    Args:
        given: rows, as a number or as text; or a duration such as `10min`, `1.5h`.
        seconds: how many seconds one unit of the times is; None where these measure no time.

    Raises:
        ValueError: it is neither; or a duration where there are no times to measure it by.

    Examples:
        >>> merging_of("10min", 1e-6).said
        'flagged rows of one series at most 10min after the one before are one alarm'
    """
    text = str(given).strip().casefold()
    if not isinstance(given, bool) and text.isdecimal() and len(text) <= 15:
        most = int(text)
        rows = f"{most} row" if most == 1 else f"{most} rows"
        said = f"flagged rows of one series at most {rows} after the one before are one alarm"
        return Merging(float(most), False, said if most else "every flagged row is an alarm")
    found = _DURATION.fullmatch(text)
    if found is None or found[2] not in NAMES:
        text = f" is a number of rows, or a duration such as 10min, 2h or 1d, not {given!r}"
        raise ValueError(Advice(Argument("merge"), text))
    if seconds is None:
        text = f" is a duration, {given!r}, and the history has no dates to measure it by: name their "
        more = ("column with ", Argument("time"), ", or say a number of rows")
        raise ValueError(Advice(Argument("merge"), text, *more))
    shown = f"{found[1]}{NAMES[found[2]]}"
    most_units = float(found[1]) * UNITS[NAMES[found[2]]] / seconds
    return Merging(
        most_units, True, f"flagged rows of one series at most {shown} after the one before are one alarm"
    )


class Links(NamedTuple):
    """Pairs of rows of one alarm, at cuts from `low` on and below `high`.

    Args:
        low: `(L,)`.
        high: `(L,)`, infinite where nothing ends it.
        later: `(L,)` the number of the later row, which is new.
        tail: p-values, places and series of rows that later ones may be linked with.
    """

    low: Floats
    high: Floats
    later: Indices
    tail: tuple[Floats, Floats, Indices]


def links_of(
    p: Floats, places: Floats, of: Indices, most: float, before: tuple[Floats, Floats, Indices]
) -> Links:
    """Which rows are linked, and at which cuts.

    Args:
        p: `(N,)` p-values, series after series, in the order of time.
        places: `(N,)` numbers or times in the series.
        of: `(N,)` the series of each.
        most: how far linked rows are apart at most.
        before: p-values, places and series of rows that came before, as `Links.tail` has them.
    """
    old = before[0].size
    together = [np.concatenate(pair) for pair in zip(before, (p, places, of), strict=True)]
    order = np.argsort(together[2], kind="stable")  # rows before stand before
    new = order >= old
    p, places, of = (part[order] for part in together)
    of = of.astype(np.int64)
    lows, highs, laters, tails = [np.empty(0)], [np.empty(0)], [np.empty(0, dtype=np.int64)], []
    here = np.arange(p.size)
    high = np.full(p.size, np.inf)  # the least p-value between a row and the one that it is compared with
    distance = 0
    while here.size:
        distance += 1
        there = here + distance
        ended = there >= p.size
        ended[~ended] = of[there[~ended]] != of[here[~ended]]
        tails.append(here[ended])
        here, there, high = here[~ended], there[~ended], high[~ended]
        near = places[there] - places[here] <= most
        here, there, high = here[near], there[near], high[near]
        low = np.maximum(p[here], p[there])
        linked = (low < high) & new[there]
        lows.append(low[linked])
        highs.append(high[linked])
        laters.append(there[linked])
        high = np.minimum(high, p[there])
        seen = p[here] < high
        here, high = here[seen], high[seen]
    tail = np.sort(np.concatenate(tails)) if tails else np.empty(0, dtype=np.int64)
    numbers = order[np.concatenate(laters)] - old
    return Links(np.concatenate(lows), np.concatenate(highs), numbers, (p[tail], places[tail], of[tail]))
