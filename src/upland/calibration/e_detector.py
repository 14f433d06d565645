r"""E-values of batches of p-values, and an e-detector: repeated monitoring with a bound on the run length.

Independent uniform p-values are independent standard normal z = Phi^-1(1 - p), so that the likelihood ratio
of another law against N(0, 1) is a betting function of mean 1, and a marginal likelihood over that of N(0, 1)
is an e-value.

The e-value of a batch takes N(mu, sigma^2) with a prior for both, mu ~ N(0, sigma^2 / 10) and sigma^2 inverse
gamma of shape and scale 20: it grows for scores that are higher, lower, more or less spread.

The e-detector (Shin, Ramdas and Rinaldo 2024) is of the kind of Shiryaev and Roberts, batch by batch for each
betting function b_j of a fixed mixture with weights w_j,

    R_j <- (R_j + 1) prod_i b_j(p_i),    R = sum_j w_j R_j:

likelihood ratios of `NORMALS`, and eps p^(eps - 1) for small p-values. While nothing changes R minus the
number of batches is a martingale. So an alarm at R >= A has an average run length of A batches at least, and
a false alarm within t batches has probability t / A at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import gammaln, ndtri

from upland.calibration.conformal import Floats

POWERS = np.array([0.25, 0.5, 0.75])
NORMALS = np.array(
    [(0.25, 1), (0.5, 1), (1, 1), (-0.25, 1), (-0.5, 1), (-1, 1), (0, 0.7), (0, 0.85), (0, 1.2), (0, 1.5)]
)
"""Means and deviations of the laws of z that are bet on."""
N_BETS = POWERS.size + len(NORMALS)
LOG_WEIGHTS = -np.log(np.repeat([2.0 * POWERS.size, 2.0 * len(NORMALS)], [POWERS.size, len(NORMALS)]))
"""A half for powers and a half for normal laws."""

PRECISION, SHAPE = 10.0, 20.0
"""Of the prior: values that its mean weighs as much as, and the shape and scale of its variance."""


def sums(p: Floats) -> Floats:
    """All that bets on a batch depend on, `(4, K)`: how many p-values, the sums of log p, z and z^2.

    Args:
        p: `(K, N)` p-values, in (0, 1].
    """
    z = -ndtri(np.clip(p, None, 1 - 2.0**-53))
    return np.stack([np.full(len(p), p.shape[1]), np.log(p).sum(1), z.sum(1), (z * z).sum(1)])


def log_products(of: Floats) -> Floats:
    """The log of the product of each betting function over a batch: `(K, B)`.

    Args:
        of: `sums` of the batch.
    """
    count, log_p, z, squares = of[..., None]
    mean, deviation = NORMALS.T
    powers = count * np.log(POWERS) + (POWERS - 1) * log_p
    distances = (squares - 2 * mean * z + count * mean**2) / (2 * deviation**2)
    return np.concatenate([powers, squares / 2 - distances - count * np.log(deviation)], axis=1)


def log_e_values(of: Floats) -> Floats:
    """The log e-value of a batch by each of K sequences of p-values: `(K,)`.

    Args:
        of: `sums` of the batch.
    """
    count, _, z, squares = of
    shape, precision = SHAPE + count / 2, PRECISION + count
    scale = SHAPE + (squares - z * z / precision) / 2
    priors = gammaln(shape) - gammaln(SHAPE) + (np.log(PRECISION) - np.log(precision)) / 2
    found: Floats = priors + SHAPE * np.log(SHAPE) - shape * np.log(scale) + squares / 2
    return found


def log_e_value(of: Floats) -> float:
    """The log e-value of a batch: the mean over K sequences of p-values, however they depend.

    Args:
        of: `sums` of the batch.
    """
    each = log_e_values(of)
    return float(np.logaddexp.reduce(each) - np.log(each.size))


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
    def log_values(self) -> Floats:
        """The log of R of each sequence: `(K,)`."""
        found: Floats = np.logaddexp.reduce(self.log_r + LOG_WEIGHTS, axis=1)
        return found

    @property
    def log_value(self) -> float:
        """The log of max_k R_k / K."""
        return float(self.log_values.max() - np.log(len(self.log_r)))
