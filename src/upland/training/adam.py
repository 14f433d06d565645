"""Adam: Kingma and Ba, ICLR 2015, arXiv 1412.6980, algorithm 1.

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2,   w = w - rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t))
    + eps)

`torch.optim.Adam` imports PyTorch's compiler at its first step, which takes longer than a small fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """The optimiser of one model's weights.

    Args:
        parameters: those that require a gradient are updated.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._weights = [p for p in parameters if p.requires_grad]
        self._mean = [torch.zeros_like(w) for w in self._weights]
        self._square = [torch.zeros_like(w) for w in self._weights]
        self._count = 0

    def clear(self) -> None:
        """Delete the gradients."""
        for weight in self._weights:
            weight.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the weights once by their gradients, at a learning rate."""
        self._count += 1
        share, scale = 1 - FIRST**self._count, (1 - SECOND**self._count) ** 0.5
        for weight, mean, square in zip(self._weights, self._mean, self._square, strict=True):
            if weight.grad is None:
                continue
            mean.lerp_(weight.grad, 1 - FIRST)
            square.mul_(SECOND).addcmul_(weight.grad, weight.grad, value=1 - SECOND)
            weight.addcdiv_(mean, square.sqrt().div_(scale).add_(EPSILON), value=-rate / share)

    def state(self) -> dict[str, Tensor]:
        """The moments and the number of steps, as tensors by name."""
        moments = {f"mean/{k}": mean for k, mean in enumerate(self._mean)}
        moments |= {f"square/{k}": square for k, square in enumerate(self._square)}
        return moments | {"count": torch.tensor(self._count, dtype=torch.int64)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from what `state` returned."""
        for k, (mean, square) in enumerate(zip(self._mean, self._square, strict=True)):
            mean.copy_(state[f"mean/{k}"])
            square.copy_(state[f"square/{k}"])
        self._count = int(state["count"])
