r"""A Gaussian in closed form, as a flow of one linear map.

Rows x with mean m and covariance S, to which noise of variance sigma^2 is added, have C = S + sigma^2 I. With
the diagonal d of C and its correlations R = d^(-1/2) C d^(-1/2), correlations are shrunk towards none:

    C_rho = d^(1/2) ((1 - rho) R + rho I) d^(1/2),   0 <= rho <= 1.

z = (x - m) T with a lower triangular T and T T' = C_rho^(-1) is then N(0, I), and ladj = sum log T_jj.

rho is the one of a few with the best likelihood of training rows left out one by one (Hoffbeck and Landgrebe,
IEEE TPAMI 18(7), 1996). Without row i, with c_i = x_i - m, the mean is m - c_i / (n - 1) and the covariance
a S - a c_i c_i' / (n - 1) with a = n / (n - 1): a matrix of rank one less, so no refit is needed
(Sherman and Morrison). The scales d stay those of all rows, and sigma^2 is multiplied by a too.
"""

import math

import torch
from torch import Tensor, nn

from upland.models.bijections import Bijection
from upland.models.nets import affine
from upland.models.stored import StoredModule, require

SHRINKAGE = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Values of rho that are tried; at 1 columns are independent."""

LEAST_VARIANCE = 1e-6
"""Smallest variance of a column, so that a constant one without noise stays finite."""


class Whitening(Bijection, StoredModule):
    """The map by which a Gaussian with shrunk covariance becomes N(0, I); it is fitted, not trained.

    Args:
        width: columns D.

    Examples:
        >>> import torch
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
        >>> whitening = Whitening(3)
        >>> whitening.fit(x, sigma=0.1)
        >>> whitening(x)[0].detach().std(0).round(decimals=1)
        tensor([1., 1., 1.])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(width, dtype=torch.float32))
        self.triangle = nn.Parameter(torch.eye(width, dtype=torch.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> `z (N, D)`, `ladj (N,)`."""
        matrix = self.triangle.tril()
        z = affine(x - self.mean, matrix, torch.zeros_like(self.mean), not self.training)
        return z, matrix.diagonal().log().sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, D)` -> `x (N, D)`, by a triangular solution."""
        centred: Tensor = torch.linalg.solve_triangular(self.triangle.tril(), z, upper=False, left=False)
        return centred + self.mean

    @torch.no_grad()
    def fit(self, x: Tensor, sigma: float, independent: bool = False) -> None:
        """Take mean and covariance of some rows.

        Args:
            x: `(N, D)` encoded training rows.
            sigma: standard deviation of the noise that is added to them.
            independent: whether columns are taken to be independent, rho = 1.
        """
        rows = x.double()
        mean = rows.mean(0)
        centred = rows - mean
        scale = (centred.square().mean(0) + sigma**2).clamp_min(LEAST_VARIANCE).sqrt()
        correlations = (centred / scale).T @ (centred / scale) / len(rows)
        noise = (sigma / scale).square()
        values, vectors = torch.linalg.eigh(correlations + noise.diag())
        values = values.clamp_min(0)
        rho = 1.0 if independent else best_shrinkage(centred / scale, values, vectors, noise)
        precision = (vectors / ((1 - rho) * values + rho).clamp_min(LEAST_VARIANCE)) @ vectors.T
        triangle = torch.linalg.cholesky(precision / scale / scale[:, None])
        self.mean.copy_(mean)
        self.triangle.copy_(triangle)

    def check_values(self) -> None:
        """Refuse a matrix that has no inverse; raises ValueError."""
        require(self.triangle.diagonal() > 0, "the diagonal of a whitening must be positive")


def best_shrinkage(u: Tensor, values: Tensor, vectors: Tensor, noise: Tensor) -> float:
    """The rho of `SHRINKAGE` with the least mean energy of rows left out one by one; 1 of a single row.

    Args:
        u: `(N, D)` centred rows over the columns' scales.
        values: `(D,)` eigenvalues of their correlations, noise included.
        vectors: `(D, D)` its eigenvectors, in columns.
        noise: `(D,)` variances of the noise over the squared scales.
    """
    if len(u) < 2:
        return 1.0
    y = u @ vectors
    energies = [left_out_energy(y, values, vectors, noise, rho) for rho in SHRINKAGE]
    return SHRINKAGE[min(range(len(energies)), key=energies.__getitem__)]


def left_out_energy(y: Tensor, values: Tensor, vectors: Tensor, noise: Tensor, rho: float) -> float:
    """The mean of -log p(x_i + eps) under the Gaussian of all rows but i, but for a constant; infinite where
    that has no density.

    Args:
        y: `(N, D)` rows in the coordinates of the eigenvectors.
        values: as for `best_shrinkage`.
        vectors: likewise.
        noise: likewise.
        rho: the shrinkage.
    """
    n = len(y)
    a = n / (n - 1)
    variances = (1 - rho) * a * values + rho
    if float(variances.min()) <= LEAST_VARIANCE:
        return math.inf
    b, whitened = (1 - rho) * a / (n - 1), y / variances
    square = (y * whitened).sum(1)
    left = 1 - b * square
    if float(left.min()) <= 0:
        return math.inf
    of_noise = ((whitened @ vectors.T).square() * noise).sum(1)
    spread = (vectors.square() / variances).sum(1) @ noise
    energy = a**2 * square / left + spread + b * of_noise / left + variances.log().sum() + left.log()
    return 0.5 * float(energy.mean())
