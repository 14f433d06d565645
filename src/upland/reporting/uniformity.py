r"""Do new rows as a whole score like the calibration rows? The law of their p-values, which share these rows.

Conformal p-values of m new rows are compared with the same n calibration scores, so that they depend on each
other: a Kolmogorov-Smirnov test against the uniform distribution takes them for independent and rejects far
too often. Their joint law is known. If the n + m rows are exchangeable, with ties broken at random, the
numbers of new rows in the n + 1 gaps between the calibration scores are a Polya urn that starts with one ball
for each gap: the masses of the gaps are Dirichlet(1, ..., 1), and given these the counts are multinomial.

`NullCounts` draws from this law, at the edges of some bins of the p-value only: the mass up to k gaps is
Beta, and inside a gap a p-value is spread evenly, as (mass of the gaps above + U) with U uniform is. The
statistic of the test is that of Anderson and Darling at the edges, and p = (1 + #{draws as large}) / (draws +
1), which is valid for every n and m (Besag and Clifford 1989). Rows in segments have an urn a segment. With K
folds each fold has a test of its own, of the scores under its member; p is then twice the mean of the K
p-values, at most 1, which is valid however they depend (Ruschendorf 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upland.reporting.base import Floats, Indices

BINS = 20
"""Bars of the histogram of p-values."""

DRAWS = 999
"""Draws of a test."""

BAND = 0.95
"""Share of normal data whose bar lies in the band of that bar."""

EDGES: Floats = np.unique(
    np.concatenate([np.linspace(0, 1, BINS + 1), 2.0 ** -np.arange(5, 20), 1 - 2.0 ** -np.arange(5, 10)])
)
"""Edges of the bins that p-values are counted in, finer in the tails."""


class GapCounter:
    """Counts new rows by their randomised p-value against the calibration rows of one urn.

    Args:
        calibration: `(n,)` scores.
        seed: Of what breaks ties, and of what spreads p-values over their gap; batches change neither.
    """

    def __init__(self, calibration: Floats, seed: int | tuple[int, ...] = 0) -> None:
        self._ties, self._spread = np.random.default_rng(seed).spawn(2)
        self._values, where = np.unique(calibration, return_inverse=True)
        self._keys = np.sort(where + self._ties.random(calibration.size))
        self.n = int(calibration.size)
        self.m = 0
        self.counts: Indices = np.zeros(EDGES.size - 1, dtype=np.int64)

    def see(self, scores: Floats) -> None:
        """Take in new scores.

        Args:
            scores: `(N,)`.
        """
        where = np.searchsorted(self._values, scores, side="left")
        tied = where < self._values.size
        tied[tied] = self._values[where[tied]] == scores[tied]
        drawn = self._ties.random(scores.size)
        keys = np.where(tied, where + drawn, where.astype(np.float64))
        above = self.n - np.searchsorted(self._keys, keys)
        p = (above + self._spread.random(scores.size)) / (self.n + 1)
        self.counts += np.histogram(p, bins=EDGES)[0]
        self.m += scores.size


@dataclass(frozen=True)
class Urn:
    """How many rows share calibration rows.

    Args:
        n: Calibration rows.
        m: New rows.
    """

    n: int
    m: int


def null_counts(urns: list[Urn], generator: np.random.Generator, draws: int = DRAWS) -> Indices:
    """Counts of normal data in the bins of `EDGES`, `(draws, bins)`: the urns' together.

    Args:
        urns: Of segments; one where there are none.
        generator: Of the draws.
        draws: How many.
    """
    total = np.zeros((draws, EDGES.size - 1), dtype=np.int64)
    for urn in urns:
        if urn.m:
            total += generator.multinomial(urn.m, _masses(urn.n, generator, draws))
    return total


def _masses(n: int, generator: np.random.Generator, draws: int) -> Floats:
    """Masses of the bins, `(draws, bins)`: the gaps' are Dirichlet, drawn in sums between the edges."""
    at = EDGES * (n + 1)
    whole = np.unique(np.concatenate([np.floor(at), np.ceil(at)])).astype(np.int64)
    grown = np.cumsum(generator.standard_gamma(np.diff(whole), (draws, whole.size - 1)), axis=1)
    up_to = np.concatenate([np.zeros((draws, 1)), grown], axis=1) / grown[:, -1:]
    place = np.clip(np.searchsorted(whole, at, side="right") - 1, 0, whole.size - 2)
    part = (at - whole[place]) / (whole[place + 1] - whole[place])
    reached = up_to[:, place] * (1 - part) + up_to[:, place + 1] * part
    masses = np.clip(np.diff(reached, axis=1), 0, None)
    return np.asarray(masses / masses.sum(axis=1, keepdims=True))


def statistic(counts: NDArray[np.int64]) -> Floats:
    """Anderson and Darling's statistic of counts `(..., bins)` at the edges: `(...,)`."""
    total = counts.sum(axis=-1, keepdims=True)
    inner, width = EDGES[1:-1], (EDGES[2:] - EDGES[:-2]) / 2
    reached = np.cumsum(counts, axis=-1)[..., :-1] / total
    found: Floats = ((reached - inner) ** 2 / (inner * (1 - inner)) * width).sum(axis=-1)
    return found


@dataclass(frozen=True)
class Uniformity:
    """What the p-values of new rows as a whole say.

    Args:
        p_value: Of the test that they are exchangeable with the calibration rows.
        counts: `(BINS,)` rows with a p-value in each bar; the mean over the folds.
        low: `(BINS,)` the band of normal data begins here.
        high: `(BINS,)` it ends here.
        folds: Tests that p_value is of.
    """

    p_value: float
    counts: Floats
    low: Floats
    high: Floats
    folds: int


def uniformity(folds: list[list[GapCounter]], seed: int = 0, draws: int = DRAWS) -> Uniformity:
    """The test, and the histogram with its band.

    Args:
        folds: Of each fold the counters of its urns, which have seen at least one row.
        seed: Of the draws.
        draws: How many.
    """
    generator = np.random.default_rng(seed)
    p_values, counts = [], []
    bars = np.searchsorted(EDGES, np.linspace(0, 1, BINS + 1)[:-1] - 1e-12)
    null = np.empty((0, EDGES.size - 1), dtype=np.int64)
    for counters in folds:
        seen = np.sum([counter.counts for counter in counters], axis=0)
        null = null_counts([Urn(counter.n, counter.m) for counter in counters], generator, draws)
        larger = int((statistic(null) >= statistic(seen)).sum())
        p_values.append((1 + larger) / (draws + 1))
        counts.append(np.add.reduceat(seen, bars))
    p = p_values[0] if len(p_values) == 1 else min(2 * float(np.mean(p_values)), 1.0)
    band = np.quantile(np.add.reduceat(null, bars, axis=1), [(1 - BAND) / 2, (1 + BAND) / 2], axis=0)
    return Uniformity(p, np.mean(counts, axis=0), band[0], band[1], len(folds))
