"""The mean energy of a group: -log p(x) or its bound where the model has a likelihood."""

from dataclasses import dataclass

import torch
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.outputs import ModelOutputs

LIMIT = 1e30  # nats; infinite energies and NaN are set to it


@dataclass
class Likelihood(Statistic):
    """The mean energy of a group, in nats."""

    positive = False

    def features(self, outputs: ModelOutputs) -> Tensor:
        """The energy: `(N, 1)`."""
        energy = torch.nan_to_num(outputs.energy.double(), nan=LIMIT, posinf=LIMIT, neginf=-LIMIT)
        return energy[:, None].clamp(-LIMIT, LIMIT)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """Mean E: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


def likelihood(outputs: ModelOutputs) -> Likelihood:
    """The statistic, which suits every model.

    Args:
        outputs: of some rows.
    """
    return Likelihood()
