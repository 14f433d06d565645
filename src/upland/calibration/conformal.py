r"""From anomaly scores to p-values, and from p-values to flags, with what is guaranteed said.

Split conformal (Vovk et al. 2005; Bates et al. 2023 for outliers): for calibration scores s_1..s_n that
nothing fitted has seen, and a new score s exchangeable with them, p = (1 + #{s_i >= s}) / (n + 1) satisfies
P(p <= alpha) <= alpha exactly.

Cross-conformal (Vovk 2015; Barber et al. 2021), for few rows: K folds, each with a detector fitted without
it. The new point's score under the detector of fold k is compared with the held-out scores of fold k:
p = (1 + sum_k #{i in k: s_i >= s_k(x)}) / (n + 1). Then P(p <= alpha) is at most 2 alpha (up to a term that
vanishes with the folds' size), and about alpha as measured.

Benjamini-Hochberg (1995) on split conformal p-values, which depend positively on each other through the
shared calibration rows, keeps the false discovery rate at alpha (Bates et al. 2023); on cross-conformal ones
it does so in good approximation, without a proof. Both are multiples of 1 / (n +
1), so the histogram of their ranks decides the cut exactly, in constant memory.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Control = Literal["false_alarm", "fdr"]

GUARANTEES = {
    "split": "exact: a normal row's p-value is at most alpha with probability at most alpha",
    "cross": "at most 2 alpha guaranteed, about alpha measured",
}
OF_STEPS = (
    "approximate: a step of a new series like the held-out windows; steps of one series depend on each other"
)
"""What stands for a guarantee where the units are the steps of sequences."""


def _at_least(reference: Floats, values: Floats) -> NDArray[np.int64]:
    """#{reference >= value} for each value; `reference` sorted."""
    return reference.size - np.searchsorted(reference, values, side="left")


def conformal_p_values(reference: ArrayLike, scores: ArrayLike) -> Floats:
    """Split conformal p-values of any anomaly scores, upland's or not.

    Args:
        reference: `(n,)` scores of normal rows that the scoring function has not been fitted on.
        scores: `(N,)` scores of new rows, higher = more anomalous.

    Returns:
        `(N,)` p-values, multiples of 1 / (n + 1).

    Raises:
        ValueError: no reference scores, or a score that is not a number.

    Example:
        >>> conformal_p_values([1.0, 2.0, 3.0], [2.5, 9.0])
        array([0.5 , 0.25])
    """
    known, new = np.asarray(reference, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if known.ndim != 1 or known.size == 0:
        raise ValueError(f"p-values need reference scores of shape (n,), n >= 1, not {known.shape}")
    if np.isnan(known).any() or np.isnan(new).any():
        raise ValueError("a score is NaN: p-values of it would mean nothing")
    return (1 + _at_least(np.sort(known), new)) / (known.size + 1)


def benjamini_hochberg(p_values: ArrayLike, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at false discovery rate alpha (the step-up procedure).

    Args:
        p_values: `(N,)` p-values of all rows judged together.
        alpha: the rate, in (0, 1).

    Returns:
        `(N,)` True where the row is a discovery.

    Raises:
        ValueError: alpha is not in (0, 1), or a p-value is not a number.

    Example:
        >>> benjamini_hochberg([0.01, 0.5, 0.02], alpha=0.05)
        array([ True, False,  True])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    if np.isnan(p).any():
        raise ValueError("a p-value is NaN: no rate can be kept with it")
    ranked = np.sort(p)
    passing = np.flatnonzero(ranked * p.size <= alpha * np.arange(1, p.size + 1))
    return p <= ranked[passing[-1]] if passing.size else np.zeros(p.shape, dtype=bool)


@dataclass(frozen=True)
class Calibration:
    """Held-out scores of normal rows, and the p-values that follow from them.

    Args:
        scores: `(n,)` each held-out row's score under the detector that has not seen it.
        folds: `(n,)` the fold of each row (cross), or None (split).
    """

    scores: Floats
    folds: NDArray[np.int64] | None = None

    @property
    def kind(self) -> Literal["split", "cross"]:
        """Which of the two procedures of the module's page this is."""
        return "split" if self.folds is None else "cross"

    @property
    def size(self) -> int:
        """The number of calibration rows, n."""
        return int(self.scores.size)

    @property
    def smallest_p(self) -> float:
        """The least p-value that can be reached, 1 / (n + 1)."""
        return 1 / (self.size + 1)

    @property
    def constant(self) -> bool:
        """Whether every detector gave all of its held-out rows one score: it tells nothing apart."""
        folds = np.zeros(self.size) if self.folds is None else self.folds
        parts = [self.scores[folds == k] for k in np.unique(folds)]
        return self.size > len(parts) and all(np.ptp(part) == 0 for part in parts)

    def ranks(self, scores: Floats) -> NDArray[np.int64]:
        """(n + 1) p, a whole number from 1 to n + 1: `(N, K)` scores under each fold's detector -> `(N,)`; K
        = 1 for split.
        """
        if self.folds is None:
            return 1 + _at_least(np.sort(self.scores), scores[:, 0])
        counts = [
            _at_least(np.sort(self.scores[self.folds == k]), scores[:, k]) for k in range(scores.shape[1])
        ]
        total: NDArray[np.int64] = np.sum(counts, axis=0, dtype=np.int64)
        return 1 + total

    def p_values(self, scores: Floats) -> Floats:
        """p-values of new rows: `(N, K)` scores under each fold's detector -> `(N,)`."""
        return self.ranks(scores) / (self.size + 1)

    def threshold(self, alpha: float) -> float:
        """The least score that is not flagged at alpha: a row is flagged where its score is above it.

        Where n cannot resolve alpha it is the largest calibration score.
        """
        reachable = np.arange(1, self.size + 1) / (self.size + 1)
        spared = max(int(np.searchsorted(reachable, alpha, side="right")), 1)
        return float(np.sort(self.scores)[-spared])

    def discovery_cut(self, counts: NDArray[np.int64], alpha: float) -> float:
        """Benjamini-Hochberg from the histogram of ranks: the largest p-value that is a discovery, 0 for
        none.

        Args:
            counts: `(n + 2,)` how many of the rows judged have rank r = (n + 1) p.
            alpha: false discovery rate.
        """
        below = np.cumsum(counts)
        p = np.arange(self.size + 2) / (self.size + 1)
        passing = np.flatnonzero((counts > 0) & (p * below[-1] <= alpha * below))
        return float(p[passing[-1]]) if passing.size else 0.0
