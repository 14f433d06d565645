r"""How many alarms every level gives on a history, in one pass and in bounded memory.

A row is flagged at the cut c where its p-value is at most c. Flagged rows of one series, in the order of
time, are of one alarm while each is at most g rows, or a duration, after the flagged one before: two rows i
< j that are not farther apart are linked at c where both are flagged and none between them is, which is

    max(p_i, p_j) <= c < min(p_k : i < k < j),

and the alarms are flagged rows less links. Both are sums over rows, so that two histograms over the p-values,
which conformal p-values keep small, give the alarms of every cut exactly. A later row is linked with rows
before it only where no p-value since is as small as theirs: few rows of a series are carried from one batch
to the next.

Rows may come in any order within `HELD` rows; beyond that in the order of time, and `late` counts those that
do not.

The intervals are of a Poisson rate (Garwood 1936): merged alarms are counts of rare events that are taken to
come independently of each other, and the interval is exact for small counts, zero among them. Where alarms
come in bursts that the merging leaves apart it is too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv

from upland.calibration.false_discovery import Control, check_rate, discovery_cut
from upland.scoring.merging import Merging, links_of
from upland.scoring.strongest import Rows, no_rows, strongest

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

HELD = 1 << 20
"""Rows that are held until they are put in the order of time."""
PARTS = 64
"""Stretches of time, of which two halves are made, at most."""
CONFIDENCE = 0.95
"""Of the intervals of rates."""
MOST, HIGHEST = 40, 0.5
"""Levels of a list, and the largest of them."""
DAY = 86_400.0
THOUSAND = 1_000


class Level(NamedTuple):
    """What one level comes to on a history.

    Args:
        alpha: the rate that is kept.
        control: whose rate: normal rows that are flagged, or flags that are false.
        cut: the largest p-value that is flagged.
        flagged: rows.
        alarms: episodes of flagged rows, by the rule of merging.
        false: flagged rows that are false, on average if all are normal: alpha times all rows, at most so
            many where p-values are exact, about so many elsewhere; None for "fdr", which bounds an expected
            share of flags and no number of them.
        rate: alarms a day, or per 1,000 rows where nothing says how long the history is.
        low: the lower end of the interval of the rate.
        high: the upper end.
    """

    alpha: float
    control: Control
    cut: float
    flagged: int
    alarms: int
    false: float | None
    rate: float
    low: float
    high: float


def levels_for(n: int, most: int = MOST, also: float | None = None, least: float = 0.0) -> list[float]:
    """The levels that n calibration rows can resolve, multiples of 1 / (n + 1), evenly on a log scale.

    Args:
        n: calibration rows.
        most: how many.
        also: a level that is among them in any case.
        least: levels below it flag nothing, and are left out.
    """
    highest = max(int(HIGHEST * (n + 1)), 1)
    lowest = min(max(math.ceil(least * (n + 1) - 1e-9), 1), highest)
    count = min(most, highest - lowest + 1)
    steps = np.unique(np.rint(np.geomspace(lowest, highest, num=count)).astype(np.int64))
    found = {float(step / (n + 1)) for step in steps}
    return sorted(found if also is None else found | {also})


@dataclass
class Tally:
    """Rows and links by p-value, and the time that they cover.

    Args:
        values: `(V,)` p-values, sorted.
        counts: `(V, 2)` rows with each, and links that begin less those that end there.
        first: the earliest time of a row; None where none has one.
        last: the latest.
    """

    values: Floats = field(default_factory=lambda: np.empty(0))
    counts: Indices = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    first: float | None = None
    last: float | None = None

    def add(self, values: Floats, counts: Indices) -> None:
        """Take in more of both."""
        both, at = np.unique(np.concatenate([self.values, values]), return_inverse=True)
        total = np.zeros((both.size, 2), dtype=np.int64)
        np.add.at(total, at, np.concatenate([self.counts, counts]))
        self.values, self.counts = both, total

    def cover(self, first: float | None, last: float | None) -> None:
        """Take in the time of more rows."""
        if first is not None and last is not None:
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.counts[:, 0].sum())

    def at(self, cut: float) -> tuple[int, int]:
        """Rows that are flagged at a cut, and alarms."""
        flagged, links = self.counts[: int(np.searchsorted(self.values, cut, side="right"))].sum(axis=0)
        return int(flagged), int(flagged - links)


def joined(tallies: Sequence[Tally]) -> Tally:
    """Several tallies as one."""
    whole = Tally()
    for tally in tallies:
        whole.add(tally.values, tally.counts)
        whole.cover(tally.first, tally.last)
    return whole


class AlarmCounter:
    """Counts the alarms of every level, batch by batch.

    Args:
        merging: the rule by which flagged rows are of one alarm.
        seconds: how many seconds one unit of the times is; None where they measure no time, as the numbers
            of rows do not.

    Attributes:
        late: rows that came later than rows of a later time that had been counted.
        untimed: rows without a time, of which each is an alarm of its own.
    """

    def __init__(self, merging: Merging, seconds: float | None = None) -> None:
        self.merging, self.seconds = merging, seconds
        self.late = self.untimed = self.rows = 0
        self._parts: list[Tally] = []
        self._held: list[tuple[Floats, Floats, Indices, Indices]] = []
        self._strongest = no_rows()
        self._n_held = 0
        self._series: dict[Hashable, int] = {}
        self._tails = _Tails()

    def see(
        self,
        p_values: Floats,
        times: Floats | None = None,
        series: Sequence[Hashable] | None = None,
        numbers: Indices | None = None,
    ) -> None:
        """Take in rows.

        Args:
            p_values: `(N,)`; NaN where there is no row, as behind the end of a sequence.
            times: `(N,)` when each was; NaN where that is not known. None is the order of the rows.
            series: `(N,)` the series, machine or segment of each; None where all are one.
            numbers: `(N,)` the number of each in the user's data; None is the order of the rows.
        """
        p = np.asarray(p_values, dtype=np.float64).ravel()
        order = np.arange(self.rows, self.rows + p.size)
        when = np.asarray(order if times is None else times, dtype=np.float64)
        of = np.zeros(p.size, dtype=np.int64) if series is None else self._numbered(series)
        there = ~np.isnan(p)
        self.rows += p.size
        self._held.append((p[there], when[there], of[there], (order if numbers is None else numbers)[there]))
        self._n_held += int(there.sum())
        if self._n_held >= HELD:
            self._count()

    def _numbered(self, series: Sequence[Hashable]) -> Indices:
        known = self._series
        return np.array([known.setdefault(name, len(known)) for name in series], dtype=np.int64)

    def _count(self) -> None:
        """Count the rows that are held."""
        if not self._n_held:
            return
        p, when, of, numbers = (np.concatenate(part) for part in zip(*self._held, strict=True))
        self._held, self._n_held = [], 0
        timed = ~np.isnan(when)
        early, rest = Tally(), Tally()
        if not timed.all():
            self.untimed += int((~timed).sum())
            early.add(p[~timed], _of_rows(int((~timed).sum())))
            self._keep(p[~timed], when[~timed], of[~timed], when[~timed], numbers[~timed])
            p, when, of, numbers = p[timed], when[timed], of[timed], numbers[timed]
        order = np.lexsort((p, when, of))  # of equal times the order of the rows does not matter
        p, when, of, numbers = p[order], when[order], of[order], numbers[order]
        self.late += self._tails.late(when, of)
        places = when if self.merging.timed else self._tails.numbered(of)
        self._keep(p, places, of, when, numbers)
        links = links_of(p, places, of, self.merging.most, self._tails.rows)
        self._tails.keep(links.tail, when, of)
        is_early = when <= (float(np.median(when)) if when.size else 0.0)
        for tally, inside in ((early, is_early), (rest, ~is_early)):
            linked = inside[links.later]
            ends = linked & np.isfinite(links.high)
            tally.add(p[inside], _of_rows(int(inside.sum())))
            tally.add(links.low[linked], _of_links(int(linked.sum()), 1))
            tally.add(links.high[ends], _of_links(int(ends.sum()), -1))
            if inside.any():
                tally.cover(float(when[inside].min()), float(when[inside].max()))
        self._parts += [tally for tally in (early, rest) if tally.values.size]
        if len(self._parts) > PARTS:
            pairs = [self._parts[start : start + 2] for start in range(0, len(self._parts), 2)]
            self._parts = [joined(pair) for pair in pairs]

    def _keep(self, *rows: NDArray[Any]) -> None:
        self._strongest = strongest(self._strongest, Rows(*rows))

    @property
    def names(self) -> list[Hashable]:
        """The names of the series, in the order of their numbers."""
        return list(self._series)

    @property
    def strongest(self) -> Rows:
        """The rows with the smallest p-values so far."""
        self._count()
        return self._strongest

    @property
    def whole(self) -> Tally:
        """All rows so far."""
        self._count()
        return joined(self._parts)

    @property
    def halves(self) -> tuple[Tally, Tally]:
        """The earlier and the later half of the rows so far, cut between two stretches of time."""
        self._count()
        below = np.cumsum([part.rows for part in self._parts])
        if not below.size:
            return Tally(), Tally()
        at = int(np.argmin(np.abs(below - below[-1] / 2))) + 1
        return joined(self._parts[:at]), joined(self._parts[at:])


class _Tails:
    """Of each series the last rows that later ones may be linked with."""

    def __init__(self) -> None:
        self.rows: tuple[Floats, Floats, Indices] = (np.empty(0), np.empty(0), np.empty(0, dtype=np.int64))
        self._counts = np.zeros(0, dtype=np.int64)
        self._last = np.zeros(0)

    def _grow(self, of: Indices) -> None:
        lacking = int(of.max(initial=-1)) + 1 - self._counts.size
        if lacking > 0:
            self._counts = np.concatenate([self._counts, np.zeros(lacking, dtype=np.int64)])
            self._last = np.concatenate([self._last, np.full(lacking, -np.inf)])

    def late(self, when: Floats, of: Indices) -> int:
        """How many rows are of a time before rows of their series that went before."""
        self._grow(of)
        return int((when < self._last[of]).sum())

    def numbered(self, of: Indices) -> Floats:
        """The number of each row in its series; rows of a series stand together."""
        starts = np.flatnonzero(np.r_[True, of[1:] != of[:-1]])[: of.size]
        lengths = np.diff(np.r_[starts, of.size])
        within = np.arange(of.size) - np.repeat(starts, lengths)
        found: Floats = (self._counts[of] + within).astype(np.float64)
        return found

    def keep(self, tail: tuple[Floats, Floats, Indices], when: Floats, of: Indices) -> None:
        """The rows that later ones may be linked with, after those of some times and series."""
        np.add.at(self._counts, of, 1)
        np.maximum.at(self._last, of, when)
        self.rows = tail


def _of_rows(count: int) -> Indices:
    return np.tile(np.array([1, 0], dtype=np.int64), (count, 1))


def _of_links(count: int, sign: Literal[1, -1]) -> Indices:
    return np.tile(np.array([0, sign], dtype=np.int64), (count, 1))


@dataclass(frozen=True)
class AlarmRates:
    """What every level comes to on some rows.

    Args:
        tally: of the rows.
        seconds: the time from the first to the last of them; None where nothing says how long it was.
    """

    tally: Tally
    seconds: float | None

    @property
    def per(self) -> str:
        """What rates are per."""
        return "day" if self.seconds else "1,000 rows"

    @property
    def exposure(self) -> float:
        """Days, or thousands of rows."""
        return self.seconds / DAY if self.seconds else self.tally.rows / THOUSAND

    def at(self, alpha: float, control: Control = "false_alarm") -> Level:
        """What a level comes to; raises ValueError for what is no rate.

        Args:
            alpha: the rate that is kept.
            control: whose.
        """
        check_rate(alpha, control)
        tally = self.tally
        cut = alpha if control == "false_alarm" else discovery_cut(tally.values, tally.counts[:, 0], alpha)
        flagged, alarms = tally.at(cut)
        false = alpha * tally.rows if control == "false_alarm" else None
        rate, low, high = (count / self.exposure for count in (alarms, *poisson_interval(alarms)))
        return Level(alpha, control, cut, flagged, alarms, false, rate, low, high)


def rates_of(tally: Tally, seconds: float | None) -> AlarmRates:
    """The rates of some rows.

    Args:
        tally: of the rows.
        seconds: of one unit of their times; None where these measure none.
    """
    if seconds is None or tally.first is None or tally.last is None:
        return AlarmRates(tally, None)
    return AlarmRates(tally, (tally.last - tally.first) * seconds or None)


def poisson_interval(count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of the mean of a Poisson count (Garwood 1936).

    Args:
        count: what was counted.
        confidence: with which the interval holds the mean, at least.

    Examples:
        >>> [round(end, 2) for end in poisson_interval(3)]
        [0.62, 8.77]
    """
    rest = (1 - confidence) / 2
    low = float(gammaincinv(count, rest)) if count else 0.0
    return low, float(gammainccinv(count + 1, rest))
