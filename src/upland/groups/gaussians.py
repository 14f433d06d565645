r"""The Kullback-Leibler divergence of Gaussians: the theory that group verdicts stand on, in closed form.

For N(m, S) and N(m0, S0) in d dimensions, in nats,

    KL = 1/2 (tr(S0^-1 S) + (m - m0)' S0^-1 (m - m0) - d - log |S| / |S0|).

A diffeomorphism leaves it unchanged (Csiszar 1963), so what a flow maps to N(0, I) is as far from it as the
data are from the model. Against N(0, I) it is a sum of two parts, exactly:

    KL = TC(S) + sum_i KL(N(m_i, S_ii) || N(0, 1)),   TC(S) = 1/2 (sum_i log S_ii - log |S|),

dependence (total correlation, Watanabe 1960) and marginals; and likewise with blocks of coordinates in place
of single ones. Of N independent normal vectors with moments by maximum likelihood it has the mean

    1/2 (-sum_{i=1..d} psi((N - i) / 2) - d log(2 / N) + d (N - 1) / N + d / N - d),

psi the digamma function, and 2 N KL is the likelihood-ratio statistic of z ~ N(0, I), asymptotically chi^2
with d (d + 3) / 2 degrees of freedom (Wilks 1938).

How far the divergence is from symmetric: over all pairs of Gaussians with KL(N2 || N1) = e the other
direction is extremal where they differ in the variance w of one coordinate alone, w - log w = 1 + 2 e, and is
then 1/2 (1 / w + log w - 1): the supremum with w < 1, the infimum with w > 1 (Zhang et al., NeurIPS 2023).
With Lambert's function, w = -W(-exp(-1 - 2 e)), its principal branch for the supremum.

All functions are exact in float64 and take batches: `(..., d)` means and `(..., d, d)` covariances.
"""

import math

import torch
from scipy.stats import chi2
from torch import Tensor

LEAST_EIGENVALUE = 1e-12
"""What stands for an eigenvalue that rounding has made zero or negative."""

ENOUGH = 5
"""Vectors a dimension from which a covariance is taken as it is."""


def log_determinant(covariance: Tensor) -> Tensor:
    """Log |S|, finite for every finite S: eigenvalues count as at least 1e-12: `(..., d, d) -> (...)`."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    diagonal = root.diagonal(dim1=-2, dim2=-1).square()
    bad = (failed != 0) | (diagonal < LEAST_EIGENVALUE).any(-1)
    values: Tensor = 2 * diagonal.clamp(min=LEAST_EIGENVALUE).sqrt().log().sum(-1)
    if bad.any():
        eigenvalues = torch.linalg.eigvalsh(covariance[bad]).clamp(min=LEAST_EIGENVALUE)
        values[bad] = eigenvalues.log().sum(-1)
    return values


def divergence(mean: Tensor, covariance: Tensor, mean0: Tensor, covariance0: Tensor) -> Tensor:
    """KL(N(mean, covariance) || N(mean0, covariance0)), in nats: `(...)`."""
    root = torch.linalg.cholesky(covariance0)
    away = torch.linalg.solve_triangular(root, (mean - mean0).unsqueeze(-1), upper=False).squeeze(-1)
    inner = torch.linalg.solve_triangular(root, covariance, upper=False)
    inner = torch.linalg.solve_triangular(root, inner.mT, upper=False)
    return divergence_from_standard(away, inner)


def divergence_from_standard(mean: Tensor, covariance: Tensor) -> Tensor:
    """KL(N(mean, covariance) || N(0, I)) in nats: `(..., d)`, `(..., d, d)` -> `(...)`."""
    trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
    return 0.5 * (trace + mean.square().sum(-1) - mean.shape[-1] - log_determinant(covariance))


def total_correlation(covariance: Tensor) -> Tensor:
    """The dependence among coordinates, 1/2 (sum_i log S_ii - log |S|) in nats: `(..., d, d) -> (...)`."""
    variances = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=LEAST_EIGENVALUE)
    return 0.5 * (variances.log().sum(-1) - log_determinant(covariance))


def marginals(mean: Tensor, covariance: Tensor) -> Tensor:
    """KL of each coordinate alone to N(0, 1) in nats: `(..., d)`, `(..., d, d)` -> `(..., d)`."""
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    logarithms = variances.clamp(min=LEAST_EIGENVALUE).log()
    return 0.5 * (variances + mean.square() - 1 - logarithms)


def block_correlation(covariance: Tensor, width: int) -> Tensor:
    """The dependence between blocks of neighbouring coordinates, in nats: `(..., d, d) -> (...)`.

    Args:
        covariance: S.
        width: coordinates of a block; the last block has what is left.
    """
    within = sum(log_determinant(part) for part in _diagonal_blocks(covariance, width))
    return 0.5 * (within - log_determinant(covariance))


def block_marginals(mean: Tensor, covariance: Tensor, width: int) -> Tensor:
    """KL of each block of coordinates to N(0, I) in nats: `(..., blocks)`; with `block_correlation` it adds
    up to the whole.

    Args:
        mean: m.
        covariance: S.
        width: coordinates of a block; the last block has what is left.
    """
    parts = zip(mean.split(width, -1), _diagonal_blocks(covariance, width), strict=True)
    return torch.stack([divergence_from_standard(m, part) for m, part in parts], dim=-1)


def _diagonal_blocks(covariance: Tensor, width: int) -> list[Tensor]:
    size = covariance.shape[-1]
    return [covariance[..., i : i + width, i : i + width] for i in range(0, size, width)]


# -- finite samples --------------------------------------------------------------------------------


def null_mean(count: Tensor | int, dimension: int) -> Tensor:
    """The mean KL of the moments of `count` independent draws of N(0, I) to it, in nats: the same shape.

    Args:
        count: N, vectors that the moments are taken from.
        dimension: d. With N <= d the covariance has no inverse and the mean is infinite.
    """
    n = torch.as_tensor(count, dtype=torch.float64)
    places = torch.arange(1, dimension + 1, dtype=torch.float64)
    half = (n[..., None] - places) / 2
    logarithms = torch.digamma(half.clamp(min=0.5)).sum(-1)
    mean = 0.5 * (-logarithms - dimension * torch.log(2 / n))
    return torch.where(n > dimension, mean, torch.inf)


def likelihood_ratio_p_value(value: float, count: int, dimension: int) -> float:
    """The asymptotic p-value of a KL as a likelihood-ratio statistic: P(chi^2 >= 2 N KL).

    It holds for independent vectors that are N(0, I) under the model, where N is large against d; vectors
    cut from one latent are not independent, and a model that fits imperfectly gives others. It decides
    nothing here.

    Args:
        value: KL of moments by maximum likelihood, in nats.
        count: N, vectors that the moments are taken from.
        dimension: d.

    Raises:
        ValueError: fewer than 5 vectors a dimension.
    """
    if count < ENOUGH * dimension:
        raise ValueError(
            f"the likelihood-ratio law needs {ENOUGH} vectors a dimension: {count} vectors of {dimension}"
        )
    return float(chi2.sf(2 * count * value, dimension * (dimension + 3) / 2))


# -- how far from symmetric, how far from a metric -------------------------------------------------


def reverse_supremum(forward: float) -> float:
    """The largest KL(N1 || N2) over Gaussians with KL(N2 || N1) at most `forward`, any dimension, in nats.

    Args:
        forward: e >= 0. For small e it is e + 4/3 e^1.5; from e = 1 on it is nearly exp(1 + 2 e) / 2, which
            bounds nothing in practice, and infinite from about 354.

    Raises:
        ValueError: `forward` is negative or not a number.
    """
    return _extreme(forward, below=True)


def reverse_infimum(forward: float) -> float:
    """The least KL(N1 || N2) over Gaussians with KL(N2 || N1) at least `forward`, any dimension, in nats.

    Args:
        forward: e >= 0; the infimum grows like its logarithm.

    Raises:
        ValueError: `forward` is negative or not a number.
    """
    return _extreme(forward, below=False)


def _extreme(forward: float, below: bool) -> float:
    """1/2 (1 / w + log w - 1) at w - log w = 1 + 2 e, in u = log w so that nothing overflows early."""
    if not forward >= 0:
        raise ValueError(f"a divergence is at least 0, not {forward!r}")
    if forward == 0:
        return 0.0
    if math.isinf(forward):
        return math.inf
    u = _log_variance(forward, below)
    return math.inf if -u > 709 else 0.5 * (math.expm1(-u) + u)


def _log_variance(forward: float, below: bool) -> float:
    """Newton's method on exp(u) - u - 1 = 2 e, convex: from where the left side is larger it is monotone."""
    u = -(1 + 2 * forward) if below else min(2 * math.sqrt(forward), math.log(4 * forward + 4))
    for _ in range(200):
        step = (math.expm1(u) - u - 2 * forward) / math.expm1(u)
        u -= step
        if abs(step) <= 1e-15 * abs(u):
            break
    return u


def triangle_leading_order(first: float, second: float, sharp: bool = True) -> float:
    """The leading order of the largest KL(N1 || N3) where KL(N1 || N2) and KL(N2 || N3) are small.

    A name for a term, not a bound: what is left out, o(first) + o(second), is unknown at any finite value.

    Args:
        first: e1, at least KL(N1 || N2).
        second: e2, at least KL(N2 || N3).
        sharp: (sqrt(e1) + sqrt(e2))^2 (Xiao et al. 2026, arXiv 2602.02577); otherwise 3 e1 + 3 e2 + 2 sqrt(e1
            e2) (Zhang et al. 2023).
    """
    if sharp:
        return (math.sqrt(first) + math.sqrt(second)) ** 2
    return 3 * first + 3 * second + 2 * math.sqrt(first * second)


# -- geometry --------------------------------------------------------------------------------------


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
