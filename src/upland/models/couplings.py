r"""Couplings: one half of a row is mapped by parameters that depend on the other half (Dinh, Krueger, Bengio
2014; Dinh, Sohl-Dickstein, Bengio, ICLR 2017, arXiv 1605.08803).

With x = (a, b) and a net that reads a alone,

    z = (a, g(b; net(a))),   ladj = sum over the columns of b of log dg/db,

which is inverted without inverting the net. g is affine, z_b = b exp(s) + t with s within c, or
a rational-quadratic spline (`upland.models.splines`). Both nets are bounded, so far from the data |z|
grows with |x| and the density falls as a Gaussian's does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from upland.models.bijections import Bijection
from upland.models.nets import TanhNet
from upland.models.splines import Spline

BINS = 8
"""Pieces of a spline."""
STEEPEST = 2.0
"""Bound c of the logarithm of an affine coupling's scale."""


class AffineCoupling(Bijection):
    """A shift and a scale of one half, both given by a net of the other.

    Args:
        width: columns D; the first D // 2 stay as they are.
        hidden: units of the net's hidden layers.
        generator: source of its initial weights; None draws from torch's own.
    """

    def __init__(
        self, width: int, hidden: Sequence[int] = (64,), generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.kept = width // 2
        self.net = TanhNet(self.kept, hidden, 2 * (width - self.kept), generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> `z (N, D)`, `ladj (N,)`."""
        a, b = x[:, : self.kept], x[:, self.kept :]
        s, t = self._terms(a)
        return torch.cat([a, b * s.exp() + t], 1), s.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, D)` -> `x (N, D)`."""
        a, b = z[:, : self.kept], z[:, self.kept :]
        s, t = self._terms(a)
        return torch.cat([a, (b - t) * (-s).exp()], 1)

    def _terms(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Log scale and shift."""
        s, t = self.net(a).chunk(2, 1)
        return STEEPEST * torch.tanh(s / STEEPEST), t


class SplineCoupling(Bijection):
    """A monotonic spline of each column of one half, its knots given by a net of the other.

    Args:
        width: columns D; the first D // 2 stay as they are.
        hidden: units of the net's hidden layers.
        bins: pieces of a spline, K.
        bound: B; outside of [-B, B] the map is the identity.
        generator: source of the net's initial weights; None draws from torch's own.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] = (64,),
        bins: int = BINS,
        bound: float = 5.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.kept, self.bound = width // 2, bound
        self.shape = (width - self.kept, 3 * bins - 1)
        self.net = TanhNet(self.kept, hidden, self.shape[0] * self.shape[1], generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> `z (N, D)`, `ladj (N,)`."""
        a, b = x[:, : self.kept], x[:, self.kept :]
        z, log_slope = self._spline(a).forward(b)
        return torch.cat([a, z], 1), log_slope.sum(1)

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, D)` -> `x (N, D)`."""
        a, b = z[:, : self.kept], z[:, self.kept :]
        return torch.cat([a, self._spline(a).inverse(b)], 1)

    def _spline(self, a: Tensor) -> Spline:
        return Spline(self.net(a).unflatten(1, self.shape), self.bound)
