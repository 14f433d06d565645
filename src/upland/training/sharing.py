"""What the processes of one training share, where a batch is divided among several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn


class Sharing(Protocol):
    """One of several processes that train the same model, each on a part of every batch."""

    def part(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process has."""

    def noise(self, generator: torch.Generator) -> torch.Generator:
        """The source of the noise of this process, by that of all."""

    def average(self, weights: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their means over all processes."""

    def agreed(self, loss: float) -> float:
        """The loss of the first process, which all go by."""
