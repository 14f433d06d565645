r"""A Gaussian energy of vectors that may have many more numbers than there are normal ones.

With mean m, scales s and correlations C of the normal vectors, the latter shrunk towards a multiple of the
identity (Chen et al. 2010, OAS),

    T(v) = (v - m)' S^-1 C^-1 S^-1 (v - m) / K,   S = diag(s),   E = sqrt(T).

s_k^2 is the variance of a number and a part of the mean variance of all of them: a number that hardly varies
among few normal vectors may vary more among others (the constant of Tusher et al., PNAS 2001).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from upland.criteria.base import Floats

LEAST_SHRINKAGE = 0.1
PART_OF_MEAN = 0.3
"""Of the mean deviation: what is added, in squares, to the deviation of each number."""

MOST_AXES = 64
"""Principal axes that are kept; in other directions vectors are taken to vary by what shrinkage adds."""

LEAST_SCALE = 1e-6
"""Deviations below it are rounding errors."""


class ShrunkGaussian(NamedTuple):
    """The energy of vectors `(n, K)`.

    Args:
        center: `(K,)` m.
        scale: `(K,)` s.
        axes: `(R, K)` principal axes of the scaled vectors.
        gains: `(R,)` what the inverse has along them beyond `level`.
        level: `(1,)` what the inverse is in all other directions.
    """

    center: Floats
    scale: Floats
    axes: Floats
    gains: Floats
    level: Floats

    def energies(self, vectors: Floats) -> Floats:
        """E of vectors `(n, K)`: `(n,)`."""
        z = (vectors - self.center) / self.scale
        along = z @ self.axes.T
        total = self.level[0] * (z**2).sum(1) + (along**2) @ self.gains
        found: Floats = np.sqrt(np.maximum(total, 0.0) / z.shape[1])
        return found

    def pull(self, vector: Floats) -> Floats:
        """What `vector - center` is multiplied by, number by number, to sum to T: `(K,)`.

        Args:
            vector: `(K,)`.
        """
        z = (vector - self.center) / self.scale
        inner = self.level[0] * z + ((self.axes @ z) * self.gains) @ self.axes
        found: Floats = inner / (self.scale * z.size)
        return found


def shrunk_gaussian(vectors: Floats) -> ShrunkGaussian:
    """The energy that fits normal vectors.

    Args:
        vectors: `(n, K)`, one at least.
    """
    n, width = vectors.shape
    center = vectors.mean(0)
    variance = vectors.var(0)
    scale = np.sqrt(variance + PART_OF_MEAN**2 * variance.mean())
    scale = np.where(scale > LEAST_SCALE, scale, 1.0)
    z = (vectors - center) / scale
    sizes, inner = eigh(z @ z.T / n)
    kept = np.flatnonzero(sizes > max(float(sizes[-1]), 0.0) * 1e-10)
    shrunk = _oas(sizes[kept], width, n)
    least = shrunk * max(float(sizes[kept].sum()) / width, 1e-6)
    kept = kept[-MOST_AXES:]
    sizes, inner = sizes[kept], inner[:, kept]
    axes = (inner / np.sqrt(n * sizes)).T @ z
    gains = 1 / ((1 - shrunk) * sizes + least) - 1 / least
    return ShrunkGaussian(center, scale, axes, gains, np.array([1 / least]))


def _oas(sizes: Floats, width: int, n: int) -> float:
    """The share by which correlations are best shrunk, from their eigenvalues (Chen et al. 2010, eq. 23)."""
    alpha, mean = float((sizes**2).sum()) / width**2, (float(sizes.sum()) / width) ** 2
    below = (n + 1) * (alpha - mean / width)
    best = 1.0 if below <= 0 else min((alpha + mean) / below, 1.0)
    return max(best, LEAST_SHRINKAGE)
