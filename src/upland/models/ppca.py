r"""Probabilistic principal components: a Gaussian with some axes of its own and one variance along all
others.

Tipping and Bishop, "Probabilistic principal component analysis", JRSS B 61 (1999). With the mean m, the K
axes v_k of largest variance l_k and a variance s for the rest,

    E(x) = 1/2 sum_k (v_k (x - m))^2 / (l_k + s) + 1/2 |r|^2 / s,     r = x - m - sum_k v_k (v_k (x - m)).

s is a share of the mean variance: of few wide rows the faint axes are not known. The value of the part is the
length sqrt(2 E), whose distribution among normal rows is near a Gaussian's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from upland.models.parts import Part
from upland.models.principal import principal_axes
from upland.models.stored import require

AXES = 256
FOLDS = 5
SHARE = 0.05
LEAST_VARIANCE = 1e-12


class PrincipalGaussian(Part):
    """The length of a row in units of the deviations of normal rows.

    Args:
        width: numbers of a row, D.

    Examples:
        >>> import torch
        >>> rows = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> part = PrincipalGaussian(3)
        >>> part.fit(rows, None).shape
        torch.Size([100])
        >>> bool(part.values(rows[:1] + 9) > part.values(rows[:1]))
        True
    """

    sized = ("axes", "variances")

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float32))
        self.register_buffer("axes", torch.zeros(width, 1, dtype=torch.float32))
        self.register_buffer("variances", torch.ones(1, dtype=torch.float32))
        self.register_buffer("rest", torch.ones(1, dtype=torch.float32))

    def fit(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Fit mean, axes and variances; returned are the lengths of the rows, each by those of other folds.

        Of two rows, the other alone has no axes and no variance: that of the rest is then the one of both.

        Args:
            x: `(N, D)` rows in random order.
            generator: not used.
        """
        found = x.new_zeros(len(x), dtype=torch.float64)
        folds = torch.arange(len(x), dtype=torch.int64, device=x.device) % FOLDS
        for fold in range(min(FOLDS, len(x)) if len(x) > 2 else 0):
            self._fit(x[folds != fold])
            found[folds == fold] = self.values(x[folds == fold])
        self._fit(x)
        if len(x) == 2:
            apart: Tensor = (x[0] - x[1]).double().norm() / self.rest.double().sqrt()
            return apart.expand(2)
        return found if len(x) > 1 else self.values(x)

    def _fit(self, x: Tensor) -> None:
        mean = x.double().mean(0)
        centred = x.double() - mean
        squares, axes = _principal(centred)
        total = centred.square().mean(0).sum()
        rest = (SHARE * total / x.shape[1]).clamp(min=LEAST_VARIANCE)
        self.mean, self.axes = mean.to(x), axes.to(x).contiguous()
        self.variances, self.rest = (squares + rest).to(x), rest.reshape(1).to(x)

    def values(self, x: Tensor) -> Tensor:
        """The length sqrt(2 E): `(N, D) -> (N,)`, float64."""
        centred, along = self._along(x)
        own = (along.square() / self.variances).sum(1, dtype=torch.float64)
        others = self._others(centred, along).square().sum(1, dtype=torch.float64)
        return (own + others / self.rest.double()).clamp(min=LEAST_VARIANCE).sqrt()

    def _along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Rows without the mean, and along the axes: `(N, D)`, `(N, K)`."""
        centred = x - self.mean
        # rows are the columns of the product: then their numbers do not depend on their places
        return centred, (self.axes.T @ centred.T).T

    def _others(self, centred: Tensor, along: Tensor) -> Tensor:
        """What the axes leave of rows: `(N, D)`, `(N, K)` -> `(N, D)`."""
        return centred - (self.axes @ along.T).T

    def shares(self, x: Tensor) -> Tensor:
        """The length divided by each number times its slope of E, where that is positive: `(N, D)`."""
        centred = x - self.mean
        slope = self.slope(x)
        parts = (centred * slope).double().clamp(min=0)
        total = parts.sum(1, keepdim=True)
        even = torch.full_like(parts, 1 / parts.shape[1])
        return self.values(x)[:, None] * torch.where(total > 0, parts / total.clamp(min=1e-300), even)

    def slope(self, x: Tensor) -> Tensor:
        """The gradient of E: `(N, D) -> (N, D)`."""
        centred, along = self._along(x)
        own: Tensor = (self.axes @ (along / self.variances).T).T
        others = self._others(centred, along)  # twice: rounding leaves axes that are not quite orthogonal
        return own + self._others(others, (self.axes.T @ others.T).T) / self.rest

    def expected(self, x: Tensor) -> Tensor:
        """The mean of normal rows: `(N, D) -> (N, D)`."""
        return self.mean.expand_as(x)

    def check_values(self) -> None:
        """Refuse variances that are not positive; raises ValueError."""
        require(self.variances > 0, "variances must be positive")
        require(self.rest > 0, "the variance of the rest must be positive")


def _principal(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Variances along the axes where rows vary most, and these: `(K,)`, `(D, K)`."""
    n, width = centred.shape
    count = min(AXES, n - 1, width) if n > 1 else 0
    if not count:
        return centred.new_zeros(1), centred.new_zeros(width, 1)
    return principal_axes(centred, count, LEAST_VARIANCE)
