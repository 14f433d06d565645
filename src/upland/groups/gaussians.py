r"""Closed forms of Gaussians that statistics of groups are built from.

The Kullback-Leibler divergence of N(m, S) from N(0, I) in d dimensions is, in nats,

    KL = 1/2 (tr S + m'm - d - log |S|).

A diffeomorphism leaves a divergence unchanged (Csiszar 1963), so what a flow maps to N(0, I) is as far from
it as the data are from the model.

All functions are exact in float64 and take batches: `(..., d)` means and `(..., d, d)` covariances.
"""

import torch
from torch import Tensor

LEAST_EIGENVALUE = 1e-12
"""What stands for an eigenvalue that rounding has made zero or negative."""


def log_determinant(covariance: Tensor) -> Tensor:
    """Log |S|, finite for every finite S: eigenvalues count as at least 1e-12: `(..., d, d) -> (...)`."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = root.diagonal(dim1=-2, dim2=-1).square()
    bad = (failed != 0) | (diagonal < LEAST_EIGENVALUE).any(-1)
    values: Tensor = 2 * diagonal.clamp(min=LEAST_EIGENVALUE).sqrt().log().sum(-1)
    if not torch.compiler.is_compiling() and bad.any():  # an exported graph bounds each step instead
        eigenvalues = torch.linalg.eigvalsh(covariance[bad]).clamp(min=LEAST_EIGENVALUE)
        values[bad] = eigenvalues.log().sum(-1)
    return values


def divergence_from_standard(mean: Tensor, covariance: Tensor) -> Tensor:
    """KL(N(mean, covariance) || N(0, I)) in nats: `(..., d)`, `(..., d, d)` -> `(...)`."""
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 0.5 * (trace + mean.square().sum(-1) - mean.shape[-1] - log_determinant(covariance))


def sphericity(covariance: Tensor) -> Tensor:
    """-1/2 log(|S| / (tr S / d)^d): `(..., d, d) -> (...)`, in nats, 0 for a sphere (Mauchly 1940).

    It is the logarithm of how much larger a ball is than the ellipsoid of S with the same mean square radius:
    a thin ellipsoid may lie at high density and holds next to none of the probability.
    """
    d = covariance.shape[-1]
    radius = covariance.diagonal(dim1=-2, dim2=-1).sum(-1).clamp(min=LEAST_EIGENVALUE) / d
    return 0.5 * (d * radius.log() - log_determinant(covariance))


def anisotropy(mean: Tensor, second: Tensor) -> Tensor:
    """How far unit vectors are from uniform: `(..., d)`, `(..., d, d)` -> `(...)`, 0 if they are.

    The sum of the statistics of Rayleigh, d |mean u|^2, and of Bingham, d (d + 2) / 2 (tr T^2 - 1/d) with T
    = mean u u'; N times each is asymptotically chi^2 (Mardia and Jupp 2000).

    Args:
        mean: of unit vectors u.
        second: mean of u u'.
    """
    d = mean.shape[-1]
    spread = second - torch.eye(d, dtype=second.dtype) / d
    return d * mean.square().sum(-1) + d * (d + 2) / 2 * spread.square().sum((-2, -1))
