"""The mean squared norm of the encoded rows of a group: a statistic in one file."""

from dataclasses import dataclass

from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.outputs import ModelOutputs


@dataclass
class Spread(Statistic):
    """The mean of |x|^2."""

    def features(self, outputs: ModelOutputs) -> Tensor:
        """The squared norm: `(N, 1)`."""
        return outputs.points.double().square().flatten(1).sum(1, keepdim=True)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


def spread(outputs: ModelOutputs) -> Spread:
    """The statistic, which suits every model."""
    return Spread()
