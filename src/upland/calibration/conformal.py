r"""Conformal p-values of anomaly scores, and what they guarantee.

Split conformal (Vovk et al. 2005; Bates et al. 2023 for outliers): for calibration scores s_1..s_n that
nothing fitted has seen, and a new score s exchangeable with them, p = (1 + #{s_i >= s}) / (n + 1) satisfies
P(p <= alpha) <= alpha exactly.

Cross-conformal (Vovk 2015; Barber et al. 2021), for few rows: K folds, each with a detector fitted without
it. The new point's score under the detector of fold k is compared with the held-out scores of fold k:
p = (1 + sum_k #{i in k: s_i >= s_k(x)}) / (n + 1). Then P(p <= alpha) is at most 2 alpha (up to a term that
vanishes with the folds' size), and about alpha as measured.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from upland.catalogue import Unit

Floats = NDArray[np.float64]

GUARANTEES = {
    "split": "exact: a normal row's p-value is at most alpha with probability at most alpha",
    "cross": "at most 2 alpha guaranteed, about alpha measured",
}
OF_STEPS = (
    "approximate: a step of a new series like the held-out windows; steps of one series depend on each other"
)
"""What stands for a guarantee where the units are the steps of sequences."""
OF_CUT_SEQUENCES = "none: whole sequences are compared with held-out windows; fit with window=None"
"""What stands for a guarantee where the units are sequences of a fit that cut them into windows."""


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

    Examples:
        >>> conformal_p_values([1.0, 2.0, 3.0], [2.5, 9.0])
        array([0.5 , 0.25])
    """
    old, new = np.asarray(reference, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if old.ndim != 1 or old.size == 0:
        raise ValueError(f"p-values need reference scores of shape (n,), n >= 1, not {old.shape}")
    if np.isnan(old).any() or np.isnan(new).any():
        raise ValueError("a score is NaN: p-values of it would mean nothing")
    return (1 + _at_least(np.sort(old), new)) / (old.size + 1)


@dataclass(frozen=True)
class Calibration:
    """Held-out scores of normal rows, and the p-values that follow from them.

    Args:
        scores: `(n,)` each held-out row's score under the detector that has not seen it.
        folds: `(n,)` the fold of each row (cross), or None (split).
    """

    scores: Floats
    folds: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if np.isnan(self.scores).any():
            raise ValueError("a calibration score is NaN: p-values of it would mean nothing")

    @property
    def method(self) -> Literal["split", "cross"]:
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
        """Whether all held-out rows of each fold have one score, so that it ranks nothing."""
        folds = np.zeros(self.size) if self.folds is None else self.folds
        parts = [self.scores[folds == k] for k in np.unique(folds)]
        return self.size > len(parts) and all(np.ptp(part) == 0 for part in parts)

    def ranks(self, scores: Floats) -> NDArray[np.int64]:
        """(n + 1) p, a whole number from 1 to n + 1: `(N, K)` scores under each fold's detector -> `(N,)`; K
        = 1 for split.
        """
        total = np.ones(len(scores), dtype=np.int64)
        for reference, values in zip(self._sorted, scores.T, strict=False):  # the last folds may be empty
            total += _at_least(reference, values)
        return total

    @cached_property
    def _sorted(self) -> Sequence[Floats]:
        """The scores of each fold in ascending order; of a split, all of them."""
        folds = np.zeros(self.size, dtype=np.int64) if self.folds is None else self.folds
        return [np.sort(self.scores[folds == k]) for k in range(int(folds.max(initial=0)) + 1)]

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


def calibration_of_folds(scores: Sequence[Floats], cross: bool, most: int | None = None) -> Calibration:
    """The calibration from the held-out scores of each fold.

    Args:
        scores: of each fold.
        cross: whether a single fold is one of several.
        most: scores that are kept, evenly spread over each fold; None keeps all.
    """
    if most is not None:
        scores = [thinned(part, most // len(scores)) for part in scores]
    if len(scores) == 1 and not cross:
        return Calibration(scores[0])
    folds = np.repeat(np.arange(len(scores)), [len(part) for part in scores])
    return Calibration(np.concatenate(scores), folds)


def thinned(values: Floats, most: int) -> Floats:
    """At most so many of the values, evenly spread.

    Args:
        values: `(n,)`.
        most: how many; at least one stays.
    """
    kept = np.unique(np.linspace(0, values.size - 1, num=min(values.size, max(most, 1))).astype(np.int64))
    return values[kept]


def size_for(alpha: float) -> int:
    """The least number of calibration rows that can resolve alpha: 1 / (n + 1) <= alpha.

    Args:
        alpha: in (0, 1).
    """
    exact = 1 / Fraction(float(alpha))
    n = max(math.ceil(exact) - 1, 1)
    return n - (n > 1 and 1 / n <= alpha)  # as 1 / n is rounded


def counted(size: int, unit: str) -> str:
    """`1 calibration step`, `99 calibration steps`."""
    return f"{size} calibration {unit}{'' if size == 1 else 's'}"


def warn_of_resolution(calibration: Calibration, unit: Unit, alpha: float) -> None:
    """Warn the caller's caller's caller of a calibration that cannot resolve alpha.

    Args:
        calibration: of such units.
        unit: what each of its scores is of.
        alpha: the level.
    """
    if calibration.smallest_p > alpha:
        warnings.warn(
            f"{counted(calibration.size, unit)} cannot resolve alpha = {alpha:g}: "
            f"the smallest p-value is {calibration.smallest_p:.3g}, so nothing is flagged; "
            f"calibrate on at least {size_for(alpha):,} {unit}s",
            stacklevel=4,
        )


def warn_of_weak(calibrations: Mapping[Unit, Calibration], units: Sequence[Unit], alpha: float) -> None:
    """Warn the caller's caller of calibrations that rank nothing, or by which nothing can be flagged.

    Args:
        calibrations: by unit.
        units: those to check.
        alpha: the level that they should reach.
    """
    for unit in units:
        held_out = calibrations[unit]
        if held_out.constant and held_out.size > 1:
            warnings.warn(
                f"all {held_out.size} calibration {unit}s have the same anomaly score "
                f"({held_out.scores[0]:.6g}), which ranks nothing: are all columns constant?",
                stacklevel=3,
            )
        if held_out.smallest_p > alpha:
            warnings.warn(
                f"p-values are coarse: with {counted(held_out.size, unit)} there is none below "
                f"{held_out.smallest_p:.3g}, so that nothing can be flagged at alpha = {alpha}; "
                f"it takes at least {size_for(alpha):,}",
                stacklevel=3,
            )
