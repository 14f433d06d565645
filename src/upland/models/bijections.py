r"""Invertible maps whose log-determinant is cheap: what flows are made of.

A bijection z = f(x) carries a density over, log p(x) = log p(z) + log |det df/dx|; the last term is called
*ladj*, the log of the absolute determinant of the Jacobian.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Bijection(nn.Module, ABC):
    """An invertible map: abstract, two methods to write."""

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent: `x (N, ...)` -> `z (N, ...)`, `ladj (N,)` in nats."""

    @abstractmethod
    def inverse(self, z: Tensor) -> Tensor:
        """Back to the data: `z (N, ...)` -> `x (N, ...)`."""
