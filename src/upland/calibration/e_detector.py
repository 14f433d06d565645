"""E-values of batches of p-values, and an e-detector: repeated monitoring with a bound on the run length.

For a fixed mixture of betting functions b_j with weights w_j, the e-value of a batch is

    e = sum_j w_j prod_i b_j(p_i),

with mean at most 1 if the p-values of the batch are independent and uniform. The e-detector (Shin, Ramdas and
Rinaldo 2024) is of the kind of Shiryaev and Roberts, batch by batch for each betting function:

    R_j <- (R_j + 1) prod_i b_j(p_i),    R = sum_j w_j R_j.

While nothing changes R minus the number of batches is a martingale. So an alarm at R >= A has an average run
length of A batches at least, and a false alarm within t batches has probability t / A at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import logsumexp

from upland.calibration.conformal import Floats

POWERS = np.array([0.25, 0.5, 0.75])
SLOPES = np.array([-2.0, -1.0, -0.5, -0.25, -0.125, 0.125, 0.25, 0.5, 1.0, 2.0])
N_BETS = POWERS.size + 2 * SLOPES.size
LOG_WEIGHTS = -np.log(
    np.concatenate([np.full(POWERS.size, 3 * POWERS.size), np.full(2 * SLOPES.size, 3 * SLOPES.size)])
)
"""A third for eps p^(eps - 1), for 1 + eps (1/2 - p) and for 1 + eps (1/2 - |2 p - 1|) each."""
PIECE = 1 << 14
"""Rows at once."""


def log_products(p: Floats) -> Floats:
    """The log of the product of each betting function over a batch: `(K, N) -> (K, B)`.

    Args:
        p: p-values, in (0, 1].
    """
    total = np.zeros((len(p), N_BETS))
    for start in range(0, p.shape[1], PIECE):
        piece = p[:, start : start + PIECE]
        powers = piece.shape[1] * np.log(POWERS) + (POWERS - 1) * np.log(piece).sum(axis=1)[:, None]
        both = np.concatenate([piece, np.abs(2 * piece - 1)])
        with np.errstate(divide="ignore"):
            slopes = np.log1p(SLOPES[:, None] * (0.5 - both[:, None])).sum(axis=2)
        total += np.concatenate([powers, *np.split(slopes, 2)], axis=1)
    return total


def log_e_value(products: Floats) -> float:
    """The log e-value of a batch: the mean over K sequences of p-values, however they depend.

    Args:
        products: `(K, B)` of `log_products`.
    """
    return float(logsumexp(products + LOG_WEIGHTS) - np.log(len(products)))


@dataclass
class EDetector:
    """The state of an e-detector of K sequences of p-values.

    Args:
        log_r: `(K, B)` of each betting function; minus infinity at the start.
    """

    log_r: Floats

    @classmethod
    def begin(cls, count: int) -> Self:
        """An e-detector at 0.

        Args:
            count: of sequences, K.
        """
        return cls(np.full((count, N_BETS), -np.inf))

    def update(self, products: Floats) -> None:
        """Take in a batch.

        Args:
            products: `(K, B)` of `log_products`.
        """
        self.log_r = np.logaddexp(self.log_r, 0.0) + products

    @property
    def log_value(self) -> float:
        """The log of max_k R_k / K."""
        return float(logsumexp(self.log_r + LOG_WEIGHTS, axis=1).max() - np.log(len(self.log_r)))
