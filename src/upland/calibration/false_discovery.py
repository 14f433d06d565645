"""The false discovery rate among hypotheses that are tested together (Benjamini and Hochberg 1995).

On split conformal p-values, which depend positively on each other through the shared calibration rows, the
step-up procedure keeps the rate at alpha (Bates et al. 2023); on cross-conformal ones it does so in good
approximation, without a proof. Both take as many values as there are calibration rows at most, so a histogram
of them decides the cut exactly, in constant memory.
"""

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Control = Literal["false_alarm", "fdr"]

ALPHA = 0.05
"""The rate that is kept where nobody says another."""


def benjamini_hochberg(p_values: ArrayLike, alpha: float = 0.05) -> NDArray[np.bool_]:
    """Which hypotheses are rejected at false discovery rate alpha (the step-up procedure).

    Args:
        p_values: `(N,)` p-values of all rows tested together.
        alpha: the rate, in (0, 1).

    Returns:
        `(N,)` True where the row is a discovery.

    Raises:
        ValueError: alpha is not in (0, 1), or a p-value is not a number.

    Examples:
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


def discovery_cut(values: NDArray[np.float64], counts: NDArray[np.int64], alpha: float) -> float:
    """The largest p-value that is a discovery, 0 for none: Benjamini-Hochberg from a histogram.

    Args:
        values: `(V,)` the p-values that occur among the rows tested together, each once, sorted.
        counts: `(V,)` how many rows have each.
        alpha: false discovery rate.
    """
    below = np.cumsum(counts)
    passing = np.flatnonzero((counts > 0) & (values * below[-1] <= alpha * below)) if counts.size else below
    return float(values[passing[-1]]) if passing.size else 0.0


def added_counts(
    values: NDArray[np.float64], counts: NDArray[np.int64], p_values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A histogram of p-values with more of them.

    Args:
        values: `(V,)` those that occurred, sorted.
        counts: `(V,)` how often.
        p_values: `(N,)` more of them.
    """
    new, often = np.unique(p_values, return_counts=True)
    both, places = np.unique(np.concatenate([values, new]), return_inverse=True)
    total = np.zeros(both.size, dtype=np.int64)
    np.add.at(total, places, np.concatenate([counts, often]))
    return both, total


def check_rate(alpha: Any, control: str) -> None:
    """Refuse what is no rate to flag at.

    Args:
        alpha: the rate.
        control: of what.

    Raises:
        ValueError: one of them makes no sense.
    """
    if not isinstance(alpha, Real) or not 0 < float(alpha) < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha!r}")
    if control not in ("false_alarm", "fdr"):
        raise ValueError(f"control must be 'false_alarm' or 'fdr', got {control!r}")
