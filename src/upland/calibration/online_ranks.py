"""Online conformal p-values in constant memory: exactly independent and uniform while nothing changes.

The n calibration scores cut the line into n + 1 gaps. Given the gaps of all new scores so far, c_k of them in
gap k, the next exchangeable score falls into gap k with probability (w_k + c_k) / (n + 1 + t), w_k = 1: a
Polya urn. So for U uniform on (0, 1)

    p = (mass of the gaps above + U * mass of its own gap) / (n + 1 + t)

is the randomised probability integral transform of the gap given the past: independent of all p-values before
and uniform. It is the smoothed conformal p-value of the score among the calibration scores and all scores
before (Vovk, Gammerman and Shafer 2005), with ranks inside a gap drawn at random. Gaps are
merged by rank beforehand, w_k of them, which leaves the argument as it is: at most `GAPS` remain, finest in
both tails. Ties are broken at random: each calibration score has a number of its own for good, each new one
draws one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from upland.calibration.conformal import Floats

Integers = NDArray[np.int64]

GAPS = 1024
"""Gaps at most of an urn."""

TIE_BITS = 24
"""Of the number that orders equal scores."""

MOST = 1 << 48
"""Scores in a gap, which no stream reaches."""

CHUNK = 127
"""Rows whose pairs are compared at once: counts of them fit into a byte."""


class Ranks(NamedTuple):
    """Where new scores lie in the gaps of their urns: `(K, N)` each, or `(N,)` of what is the same for all K.

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
            ValueError: a score is not a number, there is no urn, or they are too many to be numbered.
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
        if sizes.size * (2 * values.size + 2) >= 1 << (62 - TIE_BITS):
            raise ValueError(f"{sizes.size} urns with {values.size} different scores are too many")
        urns = np.repeat(np.arange(sizes.size), sizes - 1)
        codes = _codes(values, np.concatenate(bounds), np.concatenate(ties), urns)
        joined = np.concatenate(weights).astype(np.int64)
        return cls(values, codes, sizes, joined, np.zeros_like(joined))

    def ranks(self, scores: Floats, ties: Floats, segments: Integers | None = None) -> Ranks:
        """Where new scores lie.

        Args:
            scores: `(K, N)`, N in the order of time.
            ties: `(K, N)` uniform on (0, 1).
            segments: `(N,)` the urn of each, with K = 1; else row k is of urn k.
        """
        number = np.arange(len(scores))[:, None] if segments is None else segments[None]
        order = (ties * (1 << TIE_BITS)).astype(np.int64)
        gaps = np.searchsorted(self.codes, _codes(self.values, scores, order, number)) + number
        present: Integers = np.cumsum(np.bincount(gaps.ravel(), minlength=self.weights.size) > 0)
        ends = present[np.cumsum(self.sizes) - 1][number]
        greater, equal = _before_in_batch(present[gaps] - 1, int(present[-1]), ends)
        before = np.arange(scores.shape[1]) if segments is None else _numbers_within(segments)
        return Ranks(gaps, number, greater, equal, before)

    def p_values(self, ranks: Ranks, uniform: Floats, counted: bool = True) -> Floats:
        """p-values of a batch: `(K, N)`, small where a score is high.

        Args:
            ranks: of the batch.
            uniform: `(K, N)` uniform on (0, 1).
            counted: whether scores of earlier batches are compared with, beside those of the calibration and
                those before it in the batch.
        """
        mass = self.weights + self.counts if counted else self.weights
        below = np.concatenate([[0], np.cumsum(mass)])
        ends = np.cumsum(self.sizes)
        above = below[ends][ranks.urns] - below[ranks.gaps + 1] + ranks.greater
        total = (below[ends] - below[ends - self.sizes])[ranks.urns] + ranks.before
        found: Floats = (above + uniform * (mass[ranks.gaps] + ranks.equal)) / total
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
            and (weights < MOST).all()
            and (counts >= 0).all()
            and (counts < MOST).all()
            and not np.isnan(values).any()
            and (np.diff(values) > 0).all()
            and (np.diff(codes, prepend=0) >= 0).all()
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


def _before_in_batch(dense: Integers, count: int, ends: Integers) -> tuple[Integers, Integers]:
    """Of each score of a batch those before it in gaps above and in the same gap: `(K, N)`.

    Args:
        dense: `(K, N)` the number of its gap among those with scores of the batch.
        count: of these gaps.
        ends: `(K, 1)` or `(1, N)` the number behind the last such gap of its urn.
    """
    small: NDArray[Any] = dense.astype(np.int16 if count < 1 << 15 else np.int32)
    n = dense.shape[1]
    limits = None if ends.shape[1] != n else ends.astype(small.dtype)
    greater = np.empty_like(dense)
    seen = np.zeros(count, dtype=np.int64)
    earlier = np.tri(CHUNK, k=-1, dtype=bool).T.copy()  # [j, i]: j is before i
    for start in range(0, n, CHUNK):
        now = slice(start, start + CHUNK)
        part, whole = small[:, now], dense[:, now]
        mask, others = earlier[: part.shape[1], : part.shape[1]], part[:, :, None]
        above = (others > part[:, None]) & mask
        if limits is not None:
            above &= others < limits[:, None, now]
        below = np.concatenate([[0], np.cumsum(seen)])
        pairs = np.add.reduce(above.view(np.int8), axis=1, dtype=np.int8)
        greater[:, now] = below[ends if limits is None else ends[:, now]] - below[whole + 1] + pairs
        seen += np.bincount(whole.ravel(), minlength=count)
    return greater, _numbers_within(small.ravel()).reshape(dense.shape)


def _numbers_within(groups: NDArray[Any]) -> Integers:
    """How many of the same group are before each: `(N,)`."""
    order = np.argsort(groups, kind="stable")
    ranked, found = groups[order], np.empty(groups.size, dtype=np.int64)
    found[order] = np.arange(groups.size) - np.searchsorted(ranked, ranked)
    return found
