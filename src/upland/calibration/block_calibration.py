r"""p-values of episodes: peaks of blocks of steps, which hold where steps depend on each other.

Held-out steps are cut into blocks of B consecutive steps, and the peak M_j of block j is its largest score.
B is so long that dependence dies within a block, so that the k peaks, and the peak of a block of a new
normal series, are exchangeable as far as it does. A step with the score s has the *block p-value*

    q(s) = (1 + #{j: M_j >= s}) / (k + 1),

and an episode the smallest one of its steps, which is that of its peak.

What is kept: cut a new normal series of L steps into blocks of B. The block p-value of a step is at least
that of its block's peak, and P(q(peak) <= alpha) <= alpha for each block (split conformal; the last block may
be shorter, and its peak is lower). Where flagged steps at most B apart are of one episode (runs declustering:
Leadbetter 1983; Coles 2001, ch. 5), steps of two episodes are more than B apart and so in different blocks.
Hence the episodes with a p-value of at most alpha are at most so many as blocks whose peak has one, and

    E #{false episodes with p <= alpha} <= alpha ceil(L / B).

Exact are the counting and, for exchangeable peaks, the bound. Approximate is that peaks are exchangeable: in
a stationary beta-mixing series blocks that are g steps apart are as good as independent but for k beta(g)
in all (Yu 1994), and blocks side by side share what dependence reaches over their seams.

B is twice the first lag l at which the autocorrelation of the ranks of the scores, and its root mean square
from l to 2 l, are at most 0.1, or two standard errors of it by Bartlett's formula (1946); each series counts
around its own mean. What is left over of stretches that B does not divide is put together: the peak of steps
that are farther apart is as a rule higher, which errs on the safe side.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.stats import rankdata

from upland.calibration.conformal import Calibration, Floats, calibration_of_folds, counted, size_for

Indices = NDArray[np.int64]

BOUND = 0.1
"""Autocorrelations of ranks of at most this size count as none."""
ERRORS = 2.0
"""And so do those of at most so many standard errors (Bartlett 1946)."""
WORST = 0.3
"""Larger ones tell nothing: the series are too short."""
FACTOR = 2
"""Blocks are so many times as long as the lag: in short series it comes out too small."""
LONGEST = 1 << 18
"""Steps of a stretch that autocorrelations are taken from at a time."""


class Memory(NamedTuple):
    """How far scores depend on each other.

    Args:
        lag: steps after which they do not, at least 1; a quarter of the longest series where none is seen.
        resolved: whether one was seen, by series long enough to tell.
    """

    lag: int
    resolved: bool


def memory_of(scores: Floats, lengths: Indices) -> Memory:
    """How far the scores of series depend on each other.

    Args:
        scores: `(S,)` series after series, in the order of time.
        lengths: `(N,)` steps of each series.
    """
    most = max(int(lengths.max()) // 4, 1)
    squares = autocorrelations(scores, lengths, 2 * most) ** 2
    sums = np.cumsum(squares)  # that of lag 0 is 1, or 0 where all scores are equal
    lags = np.arange(1, most + 1)
    bound = np.maximum(BOUND**2, ERRORS**2 * (2 * sums[lags - 1] - 1) / scores.size)
    after = (sums[2 * lags] - sums[lags - 1]) / (lags + 1)
    below = np.flatnonzero((squares[lags] <= bound) & (after <= bound))
    if not below.size:
        return Memory(most, False)
    return Memory(int(lags[below[0]]), bool(bound[below[0]] <= WORST**2))


def autocorrelations(scores: Floats, lengths: Indices, most: int) -> Floats:
    """Those of the ranks of the scores, around the mean of each series: `(most + 1,)` from lag 0 on, 0 where
    all are equal.

    Args:
        scores: `(S,)` series after series.
        lengths: `(N,)` steps of each.
        most: the longest lag.
    """
    ranks = rankdata(scores) / scores.size
    sums, counts = np.zeros(most + 1), np.zeros(most + 1)
    ends = np.cumsum(lengths)
    for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
        away = ranks[start:end] - ranks[start:end].mean()
        for first in range(0, away.size, LONGEST):
            part = away[first : first + LONGEST]
            size = next_fast_len(part.size + most, real=True)
            spectrum = np.abs(rfft(part, size)) ** 2
            lags = min(most + 1, part.size)
            sums[:lags] += irfft(spectrum, size)[:lags]
            counts[:lags] += part.size - np.arange(lags)
    means = sums / np.maximum(counts, 1)
    return means / means[0] if means[0] > 1e-12 else np.zeros(most + 1)


def block_peaks(scores: Floats, lengths: Indices, length: int) -> Floats:
    """The largest score of each block: whole blocks of each stretch, then what is left over, put together.

    Args:
        scores: `(S,)` stretch after stretch, in the order of time.
        lengths: `(N,)` steps of each stretch.
        length: steps of a block.
    """
    number = np.arange(scores.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    whole = number < np.repeat(lengths // length * length, lengths)
    ordered = np.concatenate([scores[whole], scores[~whole]])
    count = ordered.size // length
    peaks: Floats = ordered[: count * length].reshape(count, length).max(axis=1)
    return peaks


class Stretches(NamedTuple):
    """The scores of held-out steps, as they follow each other.

    Args:
        scores: `(S,)` stretch after stretch, in the order of time.
        lengths: `(N,)` steps of each stretch.
        memory: of the series that they are of.
    """

    scores: Floats
    lengths: Indices
    memory: Memory


@dataclass(frozen=True, eq=False)
class BlockCalibration:
    """Peaks of blocks of held-out steps, and the p-values of episodes that follow from them.

    Args:
        peaks: `(k,)` of the blocks, those of each fold under the detector that has not seen it.
        length: steps of a block, B.
        resolved: whether dependence was seen to die within a block.

    Examples:
        >>> steps = Stretches(np.arange(16.0), np.array([16]), Memory(2, True))
        >>> blocks = block_calibration([steps], cross=False)
        >>> blocks.peaks.scores, blocks.p_values(np.array([[7.0], [20.0]]))
        (array([ 3.,  7., 11., 15.]), array([0.8, 0.2]))
    """

    peaks: Calibration
    length: int
    resolved: bool = True

    @property
    def count(self) -> int:
        """How many blocks there are, k."""
        return self.peaks.size

    @property
    def smallest_p(self) -> float:
        """The least p-value that an episode can have, 1 / (k + 1)."""
        return self.peaks.smallest_p

    def p_values(self, values: Floats) -> Floats:
        """Block p-values of steps: `(S, K)` scores under each fold's detector -> `(S,)`."""
        return self.peaks.p_values(values)

    def blocks_in(self, lengths: Indices) -> int:
        """How many blocks there are in series of such lengths; what is left over of a series is one.

        Args:
            lengths: `(N,)` steps of each.
        """
        return int(np.ceil(np.asarray(lengths) / self.length).sum())

    def level(self, alpha: float, steps: Calibration) -> float:
        """The largest level of steps at which a normal block has a flagged step with a probability of at most
        alpha: exactly of a split calibration, about so of a cross one; 0 where none does.

        Args:
            alpha: false episodes a block.
            steps: the calibration of steps.
        """
        last = math.floor(alpha * (self.count + 1) + 1e-9)
        if last < 1:
            return 0.0
        ranks = np.sort(self._ranks(steps))
        return float(ranks[min(last, self.count) - 1]) / (steps.size + 1)

    def rate(self, alpha: float, steps: Calibration) -> float:
        """False episodes a block where steps are flagged at a level of theirs: the least alpha whose `level`
        it does not exceed.

        Args:
            alpha: of steps.
            steps: their calibration.
        """
        rank = math.floor(alpha * (steps.size + 1) + 1e-9)
        return float(1 + (self._ranks(steps) < rank).sum()) / (self.count + 1)

    def _ranks(self, steps: Calibration) -> Indices:
        """`(k,)` up to which rank (n + 1) p steps have to be above each peak to be flagged."""
        folds = [
            np.zeros(part.size, np.int64) if part.folds is None else part.folds
            for part in (self.peaks, steps)
        ]
        found = np.zeros(self.count, dtype=np.int64)
        for fold in np.unique(folds[0]):
            inside, held_out = folds[0] == fold, np.sort(steps.scores[folds[1] == fold])
            above = held_out.size - np.searchsorted(held_out, self.peaks.scores[inside], side="left")
            found[inside] = above * steps.size // max(held_out.size, 1)
        return found

    def described(self, lengths: Indices, alpha: float) -> dict[str, Any]:
        """The calibration and what was searched by it, as plain data.

        Args:
            lengths: `(N,)` steps of each series that was scored.
            alpha: the rate that is asked for.
        """
        return self.to_json() | {"searched": self.blocks_in(lengths), "doubts": self.doubts(alpha)}

    def to_json(self) -> dict[str, Any]:
        """How many blocks there are, of how many steps, as plain data."""
        sizes = {"length": self.length, "count": self.count, "smallest_p": self.smallest_p}
        return sizes | {"resolved": self.resolved}

    def warn(self, alpha: float, stacklevel: int = 2) -> None:
        """Warn of a calibration that cannot keep what it promises.

        Args:
            alpha: the rate that is asked for.
            stacklevel: of the warning, from here on.
        """
        for text in self.doubts(alpha):
            warnings.warn(text, stacklevel=stacklevel + 1)

    def doubts(self, alpha: float) -> list[str]:
        """What is to be said of a calibration that is too short; nothing where it is not.

        Args:
            alpha: the rate that is asked for.
        """
        found = []
        if self.smallest_p > alpha:
            steps, allow = size_for(alpha) * self.length, "allows" if self.count == 1 else "allow"
            found.append(
                f"{counted(self.count, 'block')} of {self.length} steps {allow} no p-value of an episode "
                f"below {self.smallest_p:.3g}, so that none reaches alpha = {alpha:g}: calibrate on at "
                f"least {steps:,} steps"
            )
        if not self.resolved:
            found.append(
                "the series of the calibration are too short to tell how far the scores of steps depend on "
                f"each other (blocks are of {self.length} steps), so that p-values of episodes are "
                "approximate: calibrate on longer series"
            )
        return found


def block_calibration(folds: Sequence[Stretches], cross: bool) -> BlockCalibration:
    """The calibration of episodes from the held-out steps of each fold.

    Args:
        folds: of each.
        cross: whether a single fold is one of several.
    """
    fewest = min(part.scores.size for part in folds)
    longest = max(folds, key=lambda part: part.memory.lag)
    wanted = FACTOR * longest.memory.lag
    length = min(wanted, fewest)
    resolved = all(part.memory.resolved for part in folds) and length == wanted
    peaks = [block_peaks(part.scores, part.lengths, length) for part in folds]
    return BlockCalibration(calibration_of_folds(peaks, cross), length, resolved)
