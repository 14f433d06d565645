r"""Bijections with a cheap log-determinant, which flows are composed of.

A bijection z = f(x) transforms a density: log p(x) = log p(z) + log |det df/dx|; the last term is called
*ladj*, the log of the absolute determinant of the Jacobian.

* `ActNorm` (Kingma and Dhariwal, NeurIPS 2018): z_c = (x_c - m_c) exp(s_c), channel by channel. Its first
  values give the channels of some training rows mean 0 and standard deviation 1; they are weights like any
  other from then on, and only `init_from_data` sets them from data.
* `InvertibleLinear` (ibid., eq. 10): z = P L (U + diag(r)) x with a fixed permutation P and triangular L, U,
  so that ladj = sum log |r| costs nothing; the signs of r are fixed. It starts as a random rotation.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from upland.models.nets import affine
from upland.models.stored import StoredModule, require


class Bijection(nn.Module, ABC):
    """An invertible map: abstract, `forward` and `inverse` are to be written."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent: `x (N, ...)` -> `z (N, ...)`, `ladj (N,)` in nats."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Back to the data: `z (N, ...)` -> `x (N, ...)`."""

    def init_from_data(self, x: Tensor) -> None:
        """Initialise what starts from data, from some inputs `(N, ...)`; nothing by default."""


class ActNorm(Bijection):
    """A shift and a scale of each column or channel, initialised from data.

    Args:
        channels: columns of `(N, D)`, or channels of `(N, C, H, W)`.
        least: smallest standard deviation that is divided by, so that a constant channel stays finite.

    Examples:
        >>> import torch
        >>> x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 5 + 2
        >>> norm = ActNorm(3)
        >>> norm.init_from_data(x)
        >>> norm(x)[0].std(0, correction=0)
        tensor([1.0000, 1.0000, 1.0000], grad_fn=<StdBackward0>)
    """

    def __init__(self, channels: int, least: float = 0.1) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels, dtype=torch.float32))
        self.log_scale = nn.Parameter(torch.zeros(channels, dtype=torch.float32))
        self.least = least

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, C, ...)` -> `z (N, C, ...)`, `ladj (N,)`."""
        positions = x[0, 0].numel()
        z = (x - self._shaped(self.mean, x)) * self._shaped(self.log_scale.exp(), x)
        return z, (positions * self.log_scale.sum()).expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, C, ...)` -> `x (N, C, ...)`."""
        return z * self._shaped((-self.log_scale).exp(), z) + self._shaped(self.mean, z)

    @torch.no_grad()
    def init_from_data(self, x: Tensor) -> None:
        """Give the channels of `x (N, C, ...)` mean 0 and standard deviation 1."""
        columns = x.transpose(0, 1).flatten(1).double()
        self.mean.copy_(columns.mean(1))
        self.log_scale.copy_(-columns.std(1, correction=0).clamp_min(self.least).log())

    @staticmethod
    def _shaped(value: Tensor, x: Tensor) -> Tensor:
        return value.reshape(-1, *[1] * (x.ndim - 2))


class InvertibleLinear(Bijection, StoredModule):
    """A full invertible matrix in triangular factors, at first a random rotation.

    Args:
        width: columns D.
        generator: source of the rotation; None draws from torch's own.
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        draw = torch.randn(width, width, generator=generator, dtype=torch.float64)
        order, lower, upper = torch.linalg.lu(torch.linalg.qr(draw)[0])
        diagonal = upper.diagonal()
        dtype = torch.float32
        self.lower = nn.Parameter(lower.tril(-1).to(dtype))
        self.upper = nn.Parameter(upper.triu(1).to(dtype))
        self.log_diagonal = nn.Parameter(diagonal.abs().log().to(dtype))
        self.register_buffer("signs", diagonal.sign().to(dtype))
        self.register_buffer("permutation", order.argmax(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> `z (N, D)`, `ladj (N,)`."""
        lower, upper = self._factors()
        matrix = (lower @ upper)[self.permutation]
        z = affine(x, matrix.T, torch.zeros_like(self.log_diagonal), not self.training)
        return z, self.log_diagonal.sum().expand(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, D)` -> `x (N, D)`, by two triangular solutions."""
        lower, upper = self._factors()
        h = z[:, self.permutation.argsort()].T
        h = torch.linalg.solve_triangular(lower, h, upper=False, unitriangular=True)
        x: Tensor = torch.linalg.solve_triangular(upper, h, upper=True)
        return x.T

    def check_values(self) -> None:
        """Refuse a permutation that is none, and signs of another size than 1; raises ValueError."""
        _check_order(self.permutation)
        require(self.signs.abs() == 1, "signs must be 1 or -1")

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L with ones and U with r on the diagonal."""
        lower = self.lower.tril(-1) + torch.diag(torch.ones_like(self.signs))
        return lower, self.upper.triu(1) + torch.diag(self.signs * self.log_diagonal.exp())


class Permutation(Bijection, StoredModule):
    """The columns in another order, drawn once.

    Args:
        width: columns D.
        generator: source of the order; None draws from torch's own.
    """

    order: Tensor

    def __init__(self, width: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(width, generator=generator))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x (N, D)` -> `z (N, D)`, `ladj (N,)` of zeros."""
        return x[:, self.order], x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor) -> Tensor:
        """`z (N, D)` -> `x (N, D)`."""
        return z[:, self.order.argsort()]

    def check_values(self) -> None:
        """Refuse an order that is none; raises ValueError."""
        _check_order(self.order)


def _check_order(order: Tensor) -> None:
    """Refuse what is no permutation; raises ValueError."""
    require(
        order.sort()[0] == torch.arange(len(order), dtype=torch.int64, device=order.device),
        "a permutation must be one",
    )
