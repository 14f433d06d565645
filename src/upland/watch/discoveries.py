"""Online tests by e-values (provisional until the tests of `upland.calibration` are there)."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Discoveries:
    """e-LOND: the t-th test flags where e >= 1 / level, level = fdr gamma_t (flags before + 1)."""

    tests: int
    flags: int

    def level(self, fdr: float) -> float:
        """The level of the next test."""
        t = self.tests + 1
        return fdr * (self.flags + 1) / (t * (t + 1))


def calibrated(p: float) -> float:
    """The log of the e-value (1 - p + p ln p) / (p ln^2 p)."""
    log_p = math.log(p)
    if p > 0.999:
        return math.log(0.5)
    return math.log((1 - p + p * log_p) / p) - 2 * math.log(-log_p)
