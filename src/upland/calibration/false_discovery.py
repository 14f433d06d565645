"""The false discovery rate among hypotheses that are tested together (Benjamini and Hochberg 1995).

On split conformal p-values, which depend positively on each other through the shared calibration rows, the
step-up procedure keeps the rate at alpha (Bates et al. 2023); on cross-conformal ones it does so in good
approximation, without a proof. Both are multiples of 1 / (n + 1), so the histogram of their ranks decides the
cut exactly, in constant memory.
"""

from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Control = Literal["false_alarm", "fdr"]


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


def discovery_cut(counts: NDArray[np.int64], alpha: float) -> float:
    """The largest p-value that is a discovery, 0 for none: Benjamini-Hochberg from the histogram of ranks.

    Args:
        counts: `(n + 2,)` how many of the rows tested together have rank r = (n + 1) p, r = 0 to n + 1, where
            n scores calibrate.
        alpha: false discovery rate.
    """
    below = np.cumsum(counts)
    p = np.arange(counts.size) / (counts.size - 1)
    passing = np.flatnonzero((counts > 0) & (p * below[-1] <= alpha * below))
    return float(p[passing[-1]]) if passing.size else 0.0


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
