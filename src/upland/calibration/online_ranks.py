"""Online conformal p-values in constant memory: exactly independent and uniform while nothing changes.

The n calibration scores cut the line into n + 1 gaps. Given the gaps of all new scores so far, c_k of them in
gap k, the next exchangeable score falls into gap k with probability (w_k + c_k) / (n + 1 + t), w_k = 1: a
Polya urn. So for U uniform on (0, 1)

    p = (mass of the gaps above + U * mass of its own gap) / (n + 1 + t)

is the randomised probability integral transform of the gap given the past: independent of all p-values before
and uniform. It is the smoothed conformal p-value of the score among the calibration scores and all scores
before (Vovk, Gammerman and Shafer 2005, theorem 11.1), with ranks inside a gap drawn at random. Gaps are
merged by rank beforehand, w_k of them, which leaves the argument as it is: at most `GAPS` remain, finest in
both tails. Ties are broken at random: each calibration score has a number of its own for good, each new one
draws one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from upland.calibration.conformal import Floats

Integers = NDArray[np.int64]

GAPS = 1024
"""Gaps at most of an urn."""

TIE_BITS = 24
"""Of the number that orders equal scores."""

CHUNK = 128
"""Rows whose pairs are compared at once."""


class Ranks(NamedTuple):
    """Where new scores lie in the gaps of their urns: `(N, K)` each.

    Args:
        gaps: the number of each one's gap, over all urns.
        urns: the number of its urn.
        greater: scores before it in the same batch and urn, in gaps above.
        equal: those in the same gap.
        before: those in the same urn.
    """

    gaps: Integers
    urns: Integers
    greater: Integers
    equal: Integers
    before: Integers


@dataclass
class Urns:
    """The gaps of one or more calibrations, and how many new scores fell into each.

    Args:
        values: `(M,)` the scores that bound gaps, sorted, each once.
        codes: `(B,)` urn, position in `values` and order among ties of each bound, as one sortable number.
        sizes: `(S,)` gaps of each urn.
        weights: `(G,)` gaps between calibration scores that each gap holds.
        counts: `(G,)` new scores in each gap.
    """

    values: Floats
    codes: Integers
    sizes: Integers
    weights: Integers
    counts: Integers

    @classmethod
    def begin(cls, calibrations: Sequence[Floats], generator: np.random.Generator) -> Self:
        """Urns of calibration scores, one for each array, an empty one included.

        Args:
            calibrations: of each urn.
            generator: orders equal scores.

        Raises:
            ValueError: a score is not a number, or there is no urn.
        """
        if not calibrations or any(part.ndim != 1 or np.isnan(part).any() for part in calibrations):
            raise ValueError("online p-values need calibration scores: one array of numbers or more")
        bounds, ties, weights = [], [], []
        for part in calibrations:
            order, edges = generator.integers(0, 1 << TIE_BITS, part.size), _edges(part.size)
            ranked = np.lexsort((order, part))[edges[1:-1] - 1]
            bounds.append(part[ranked])
            ties.append(order[ranked])
            weights.append(np.diff(edges))
        values = np.unique(np.concatenate(bounds))
        sizes = np.array([part.size for part in weights], dtype=np.int64)
        urns = np.repeat(np.arange(sizes.size), sizes - 1)
        codes = _codes(values, np.concatenate(bounds), np.concatenate(ties), urns)
        joined = np.concatenate(weights).astype(np.int64)
        return cls(values, codes, sizes, joined, np.zeros_like(joined))

    def ranks(self, scores: Floats, urns: Integers, ties: Floats) -> Ranks:
        """Where new scores lie, in the order of time.

        Args:
            scores: `(N, K)`.
            urns: `(N, K)` the number of each one's urn; those of a column are one urn, or K is 1.
            ties: `(N, K)` uniform on (0, 1).
        """
        order = (ties * (1 << TIE_BITS)).astype(np.int64)
        gaps = np.searchsorted(self.codes, _codes(self.values, scores, order, urns)) + urns
        ends = np.cumsum(self.sizes)[urns]
        return Ranks(gaps, urns, *_before_in_batch(gaps, urns, ends))

    def p_values(self, ranks: Ranks, uniform: Floats, counted: bool = True) -> Floats:
        """p-values of a batch: `(N, K)`, small where a score is high.

        Args:
            ranks: of the batch.
            uniform: `(N, K)` uniform on (0, 1).
            counted: whether scores of earlier batches are compared with, beside those of the calibration and
                those before it in the batch.
        """
        mass = self.weights + self.counts if counted else self.weights
        below = np.concatenate([[0], np.cumsum(mass)])
        ends = np.cumsum(self.sizes)
        top, bottom = below[ends], below[ends - self.sizes]
        above = top[ranks.urns] - below[ranks.gaps + 1] + ranks.greater
        own = mass[ranks.gaps] + ranks.equal
        total = (top - bottom)[ranks.urns] + ranks.before
        found: Floats = (above + uniform * own) / total
        return found

    def add(self, ranks: Ranks) -> None:
        """Count the scores of a batch.

        Args:
            ranks: theirs.
        """
        self.counts = self.counts + np.bincount(ranks.gaps.ravel(), minlength=self.counts.size)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """The state as arrays by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Self:
        """The urns of which `to_arrays` gave the state.

        Args:
            arrays: by name.

        Raises:
            ValueError: they are not such a state.
        """
        whole = [np.array(arrays[name], dtype=np.int64) for name in ("codes", "sizes", "weights", "counts")]
        codes, sizes, weights, counts = whole
        values = np.array(arrays["values"], dtype=np.float64)
        if not (
            all(part.ndim == 1 for part in (values, *whole))
            and weights.size == counts.size == sizes.sum() == codes.size + sizes.size
            and (sizes > 0).all()
            and (weights > 0).all()
            and (counts >= 0).all()
        ):
            raise ValueError("the arrays of the online ranks do not belong together")
        return cls(values, codes, sizes, weights, counts)


def _edges(size: int) -> Integers:
    """The ranks between which calibration scores are one gap, from 0 to size + 1: all of them where they are
    few, evenly in the log odds of the rank where they are many.
    """
    if size < GAPS:
        return np.arange(size + 2)
    end = np.log(size)
    inner = np.rint((size + 1) * expit(np.linspace(-end, end, GAPS - 1))).astype(np.int64)
    return np.unique(np.concatenate([[0], np.clip(inner, 1, size), [size + 1]]))


def _codes(values: Floats, scores: Floats, ties: Integers, urns: Integers) -> Integers:
    """Urn, score and order among ties as one number: scores that equal a bound have an odd position."""
    place = np.searchsorted(values, scores)
    equal = np.zeros(scores.shape, dtype=bool)
    if values.size:
        equal = values[np.minimum(place, values.size - 1)] == scores
    code = urns * (2 * values.size + 2) + 2 * place + equal
    found: Integers = (code << TIE_BITS) + np.where(equal, ties, 0)
    return found


def _before_in_batch(gaps: Integers, urns: Integers, ends: Integers) -> tuple[Integers, Integers, Integers]:
    """Of each score of a batch those before it in gaps above, in the same gap, and in the urn: `(N, K)`."""
    present, dense = np.unique(gaps, return_inverse=True)
    dense = dense.reshape(gaps.shape)
    limits = np.searchsorted(present, ends)
    greater, equal = np.empty_like(gaps), np.empty_like(gaps)
    seen = np.zeros(present.size, dtype=np.int64)
    earlier = np.tri(CHUNK, k=-1, dtype=bool)
    for start in range(0, len(gaps), CHUNK):
        part, limit = dense[start : start + CHUNK].T, limits[start : start + CHUNK].T
        mask, own = earlier[: part.shape[1], : part.shape[1]], part[:, :, None]
        above = (part[:, None] > own) & (part[:, None] < limit[:, :, None]) & mask
        same = (part[:, None] == own) & mask
        below = np.concatenate([[0], np.cumsum(seen)])
        now = slice(start, start + part.shape[1])
        greater[now] = (below[limit] - below[part + 1] + np.count_nonzero(above, axis=2)).T
        equal[now] = (seen[part] + np.count_nonzero(same, axis=2)).T
        seen += np.bincount(part.ravel(), minlength=seen.size)
    return greater, equal, _numbers_within(urns)


def _numbers_within(urns: Integers) -> Integers:
    """How many of the same column and urn are before each: `(N, K)`."""
    order = np.argsort(urns, axis=0, kind="stable")
    ranked = np.take_along_axis(urns, order, axis=0)
    rows = np.broadcast_to(np.arange(len(urns))[:, None], urns.shape)
    fresh = np.ones(urns.shape, dtype=bool)
    fresh[1:] = ranked[1:] != ranked[:-1]
    starts = np.maximum.accumulate(np.where(fresh, rows, 0), axis=0)
    found = np.empty_like(urns)
    np.put_along_axis(found, order, rows - starts, axis=0)
    return found
