"""The false discovery rate among hypotheses that are tested one after the other, for good.

e-LOND (Xu and Ramdas 2024): hypothesis t with e-value e_t is a discovery where

    e_t >= 1 / alpha_t,    alpha_t = alpha gamma_t (R_{t-1} + 1),

R_{t-1} the number of discoveries before, gamma_t >= 0 with sum 1. The rate is at most alpha at all times
however the e-values depend on each other, as those of batches do that are compared with one calibration: of
each it takes only that its mean is at most 1 if its hypothesis is true. Here gamma_t = 1 / log2(t + 1)
- 1 / log2(t + 2), about 1 / (t log(t)^2).

A p-value p becomes an e-value by the calibrator (1 - p + p log p) / (p log(p)^2), the mean over k in (0, 1)
of k p^(k - 1) (Vovk and Wang 2021). Means of e-values are e-values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from upland.calibration.conformal import Floats
from upland.calibration.false_discovery import check_rate


def gamma(t: ArrayLike) -> Floats:
    """The share of alpha for the t-th hypothesis; all sum to 1.

    Args:
        t: from 1.
    """
    number = np.asarray(t, dtype=np.float64)
    found: Floats = 1 / np.log2(number + 1) - 1 / np.log2(number + 2)
    return found


@dataclass
class ELond:
    """Online control of the false discovery rate by e-values, in constant memory.

    Args:
        alpha: the rate, in (0, 1).
        tested: hypotheses so far.
        discoveries: among them.
    """

    alpha: float
    tested: int = 0
    discoveries: int = 0

    def __post_init__(self) -> None:
        check_rate(self.alpha, "fdr")
        if not 0 <= self.discoveries <= self.tested:
            raise ValueError(f"{self.discoveries} discoveries among {self.tested} hypotheses cannot be")

    @property
    def level(self) -> float:
        """What the next e-value is compared with is 1 over this."""
        return float(self.alpha * gamma(self.tested + 1) * (self.discoveries + 1))

    def test(self, log_e: float) -> bool:
        """Whether the next hypothesis is a discovery; this is not revised.

        Args:
            log_e: the log of its e-value.

        Raises:
            ValueError: it is not a number.
        """
        if np.isnan(log_e):
            raise ValueError("an e-value is NaN: no rate can be kept with it")
        found = bool(log_e >= -np.log(self.level))
        self.tested, self.discoveries = self.tested + 1, self.discoveries + found
        return found


def log_e_values(p_values: ArrayLike) -> Floats:
    """The logs of the e-values of p-values.

    Args:
        p_values: in (0, 1].

    Raises:
        ValueError: one is not.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p > 0) & (p <= 1)).all():
        raise ValueError("p-values must be in (0, 1] to be made e-values")
    x = -np.log(p)
    small = x < 1e-2  # (e^x - 1 - x) / x^2, by its series where the difference is lost to rounding
    safe = np.where(small, 1.0, x)
    exact = safe + np.log1p(-(1 + safe) * np.exp(-safe)) - 2 * np.log(safe)
    found: Floats = np.where(small, np.log(0.5 + x / 6 + x**2 / 24 + x**3 / 120), exact)
    return found
