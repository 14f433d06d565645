r"""Mean and standard deviation of one column in a stream, in constant memory.

Moments are merged batch by batch (Chan, Golub, LeVeque 1983) and kept in units of a power of two near the
largest value, so that neither 1e300 nor 1e-300 overflows or vanishes when squared: rescaling by a power of
two is exact.

A sentinel such as -9999 or 1e9, which stands for a missing or a wrong reading, would widen the scale of its
column so far that nothing else in it is seen any more. So the `EXTREMES` smallest and the largest distinct
values are kept apart from the moments, each with its count. At the end those are left out of the moments that

* are at most `MOST_ROWS` of the values,
* are further from the rest than `GAP` times the range of the rest, which has `LEAST_DISTINCT` values,
* and are no tail of the rest: with u_1 >= u_2 >= ... >= u_k the distances of the rest's outermost values
  from its mean, and xi = mean log(u_i / u_k) the estimate of the tail's index (Hill 1975), the next value u
  of a tail lies log(u / u_1) / xi beyond, which is distributed exponentially; it must exceed `TAIL`.

All others are merged into the moments, which are then those of all values.

References: T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for computing the sample variance", The
American Statistician 37 (1983). B. M. Hill, "A simple general approach to inference about the tail of a
distribution", The Annals of Statistics 3 (1975).
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from upland.data.table.encodings import Floats

EXTREMES = 20
"""Distinct values at either end that are kept apart."""

FIRST, WAITING = 4_096, 1_024
"""Values that are sorted to find the first of those, and values that wait to be compared with them."""

MOST_VALUES, MOST_ROWS, LEAST_ROWS = 8, 0.05, 20
"""Distinct values at either end that may be sentinels, their share of the rows, and rows that it takes."""

LEAST_DISTINCT = 8
"""Distinct values that the rest must have."""

GAP, TAIL = 10.0, 10.0
"""Distance from the rest in units of its range; and in units of the tail's index, on the logarithm."""

TAIL_ROWS = 12
"""Values that a tail is estimated from."""


class RunningMoments:
    """Running count, mean, sum of squares and range of float64 values."""

    def __init__(self) -> None:
        self.count = 0
        self.low, self.high = np.inf, -np.inf
        self._exponent = -1000
        self._mean = 0.0
        self._squares = 0.0

    def update(self, x: Floats) -> None:
        """Add finite values `(N,)`."""
        if not len(x):
            return
        x = self._in_unit(x)
        mean = float(x.mean())
        x -= mean
        rest = float(x.mean())
        squares = float(x @ x) - len(x) * rest * rest
        self._merge(len(x), mean + rest, squares)

    def update_counted(self, x: Floats, counts: NDArray[np.int64]) -> None:
        """Add each of the finite values `(K,)` as often as its count says."""
        if not len(x):
            return
        x = self._in_unit(x)
        total = int(counts.sum())
        mean = float(x @ counts) / total
        x -= mean
        rest = float(x @ counts) / total
        self._merge(total, mean + rest, float((x * x) @ counts) - total * rest * rest)

    def merge(self, other: RunningMoments) -> None:
        """Add all values of other moments, which stay as they are."""
        if not other.count:
            return
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self._rescale(other._exponent)
        shrink = 2.0 ** max(other._exponent - self._exponent, -1000)
        self._merge(other.count, other._mean * shrink, other._squares * shrink * shrink)

    def _in_unit(self, x: Floats) -> Floats:
        """A copy of the values in the unit of the moments, after their range and the unit are updated."""
        low, high = float(x.min()), float(x.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._rescale(int(np.frexp(max(abs(low), abs(high)))[1]))
        return np.ldexp(x, -self._exponent)

    def _rescale(self, exponent: int) -> None:
        """Move to the larger of the two units; beyond 2^1000 or below 2^-1000 squares are safe as they
        are.
        """
        exponent = min(max(exponent, self._exponent), 1000)
        if exponent > self._exponent:
            shrink = 2.0 ** max(self._exponent - exponent, -1000)
            self._mean *= shrink
            self._squares *= shrink * shrink
            self._exponent = exponent

    def _merge(self, count: int, mean: float, squares: float) -> None:
        total = self.count + count
        step = mean - self._mean
        self._mean += step * (count / total)
        self._squares += max(squares, 0.0) + step * step * (self.count * count / total)
        self.count = total

    @property
    def mean(self) -> float:
        """Mean of all values so far."""
        return float(np.clip(np.ldexp(self._mean, self._exponent), self.low, self.high))

    @property
    def deviation(self) -> float:
        """Standard deviation of all values so far (that of the sample itself, divided by N)."""
        return float(np.ldexp(np.sqrt(self._squares / max(self.count, 1)), self._exponent))


@dataclass(frozen=True)
class Sentinels:
    """Values left out of the moments of their column.

    Args:
        values: The values, in rising order.
        counts: How often each occurs.
        low: The least of all other values.
        high: The largest of them.
    """

    values: tuple[float, ...]
    counts: tuple[int, ...]
    low: float
    high: float


class RobustMoments:
    """Running moments of one column in which single values far beyond all others have no part."""

    def __init__(self) -> None:
        self._inner = RunningMoments()
        self._values: Floats = np.empty(0)
        self._counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._waiting: list[Floats] = []

    def update(self, x: Floats) -> None:
        """Add finite values `(N,)`."""
        if len(self._values) < 2 * EXTREMES and len(x) > FIRST:
            self.update(x[:FIRST])
            x = x[FIRST:]
        if len(self._values) == 2 * EXTREMES:
            inner = (x > self._values[EXTREMES - 1]) & (x < self._values[EXTREMES])
            if inner.all():
                self._inner.update(x)
                return
            self._inner.update(x[inner])
            x = x[~inner]
        self._waiting.append(x)
        if sum(map(len, self._waiting)) > WAITING:
            self._keep_apart()

    def merge(self, other: RobustMoments) -> None:
        """Add all values of other moments.

        A value that is among the outermost of all is so in both, so that its count is exact.
        """
        other._keep_apart()
        self._keep_apart()
        self._inner.merge(other._inner)
        self._count(other._values, other._counts)

    def _keep_apart(self) -> None:
        """Count values among the outermost; those that are no longer are merged into the moments."""
        fresh, counts = np.unique(np.concatenate([*self._waiting, np.empty(0)]), return_counts=True)
        self._waiting = []
        self._count(fresh, counts)

    def _count(self, fresh: Floats, counts: NDArray[np.int64]) -> None:
        """Add each of the distinct values, in rising order, as often as its count says."""
        values = np.union1d(self._values, fresh)
        total = np.zeros(len(values), dtype=np.int64)
        total[np.searchsorted(values, self._values)] += self._counts
        total[np.searchsorted(values, fresh)] += counts
        if len(values) > 2 * EXTREMES:
            between = slice(EXTREMES, len(values) - EXTREMES)
            self._inner.update_counted(values[between], total[between])
            values, total = np.delete(values, between), np.delete(total, between)
        self._values, self._counts = values, total

    @property
    def few(self) -> Floats | None:
        """All distinct values where they are few, in rising order; None where they are many."""
        self._keep_apart()
        return None if self._inner.count else self._values

    def whole(self) -> RunningMoments:
        """The moments of all values."""
        self._keep_apart()
        return self._merged(slice(None))

    def robust(self) -> tuple[RunningMoments, Sentinels | None]:
        """The moments of the values without the sentinels, and those."""
        self._keep_apart()
        total = self._inner.count + int(self._counts.sum())
        first, last = self._cut(total)
        n = len(self._values)
        if (first, last) == (0, n):
            return self.whole(), None
        out = np.r_[0:first, last:n]
        low, high = float(self._values[first]), float(self._values[last - 1])
        values, counts = self._values[out].tolist(), self._counts[out].tolist()
        return self._merged(slice(first, last)), Sentinels(tuple(values), tuple(counts), low, high)

    def _merged(self, part: slice) -> RunningMoments:
        moments = copy(self._inner)
        moments.update_counted(self._values[part], self._counts[part])
        return moments

    def _cut(self, total: int) -> tuple[int, int]:
        """The range of the values kept apart that stays: as little of it as the conditions allow."""
        values, counts, n = self._values, self._counts, len(self._values)
        most = max(int(MOST_ROWS * total), 1) if total >= LEAST_ROWS else 0
        with np.errstate(over="ignore"):
            gaps = np.diff(values)
            inside = gaps[MOST_VALUES : n - 1 - MOST_VALUES].sum()  # the least range that can stay
            firsts = [0, *(np.flatnonzero(gaps[:MOST_VALUES] > GAP * inside) + 1).tolist()]
            lasts = [n, *(n - 1 - np.flatnonzero(gaps[::-1][:MOST_VALUES] > GAP * inside)).tolist()]
            for first, last in sorted(product(firsts, lasts), key=lambda ends: ends[1] - ends[0]):
                if last - first < LEAST_DISTINCT or counts[:first].sum() + counts[last:].sum() > most:
                    continue
                reach = GAP * (values[last - 1] - values[first])
                far_below = first == 0 or gaps[first - 1] > reach
                far_above = last == n or gaps[last - 1] > reach
                if far_below and far_above and self._beyond_tails(first, last):
                    return first, last
        return 0, n

    def _beyond_tails(self, first: int, last: int) -> bool:
        """Whether the values outside of a range are no tails of those in it."""
        mean = self._merged(slice(first, last)).mean
        inside, counts = self._values[first:last], self._counts[first:last]
        low = first == 0 or _beyond_tail(mean - self._values[first - 1], mean - inside, counts)
        if last == len(self._values):
            return low
        return low and _beyond_tail(self._values[last] - mean, (inside - mean)[::-1], counts[::-1])


def _beyond_tail(value: float, distances: Floats, counts: NDArray[np.int64]) -> bool:
    """Whether a distance from the mean is none that the tail of the others, in falling order, leads to."""
    number = int(np.searchsorted(np.cumsum(counts), TAIL_ROWS)) + 1
    tail, weights = distances[:number], counts[:number]
    weights = weights[tail > 0]
    tail = tail[tail > 0]
    if not len(tail):
        return True
    index = float(np.log(tail / tail[-1]) @ weights) / max(int(weights.sum()) - 1, 1)
    return bool(np.log(value / tail[0]) > TAIL * index)
