r"""The Kolmogorov-Smirnov distance between a group's and the normal rows' distribution along random
directions.

The mean over directions of max_q |F_group(q) - F(q)|, at the quantiles q of normal rows (GOD2KS; Jiang, Sun,
Yu, ICLR 2022).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.coordinates import Space, flat, gaussian_matrix, product, space_of
from upland.groups.outputs import ModelOutputs


@dataclass
class Projections(Statistic):
    """The mean Kolmogorov-Smirnov distance along random directions.

    Args:
        space: "latents" or "points".
        directions: number of them.
        quantiles: of normal rows, at which distributions are compared.
    """

    space: Space = "latents"
    directions: int = 32
    quantiles: int = 15

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """Directions, and the quantiles of normal rows along them.

        Args:
            outputs: of normal rows.
        """
        x = flat(outputs, self.space)
        directions = torch.nn.functional.normalize(gaussian_matrix(x.shape[1], self.directions), dim=0)
        x = product(x, directions)
        levels = torch.arange(1, self.quantiles + 1, dtype=torch.float64) / (self.quantiles + 1)
        positions = (levels * len(x)).ceil().long().sub(1).clamp(0, len(x) - 1)
        grid = x.sort(0).values[positions].T.contiguous()
        below = (x.T[:, None] <= grid[..., None]).double().mean(-1)
        return {"directions": directions, "grid": grid, "below": below}

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Which quantiles a row is not above, along each direction: `(N, M Q)` of 0 and 1."""
        x = product(flat(outputs, self.space), self.fitted["directions"])
        return (x[..., None] <= self.fitted["grid"]).double().flatten(1)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean distance: `(G, M Q)`, `(G,)` -> `(G,)`."""
        below = self.fitted["below"]
        return (means.reshape(-1, *below.shape) - below).abs().amax(-1).mean(-1)


def projections(outputs: ModelOutputs) -> Projections:
    """Of the latents where the model has them, otherwise of the encoded rows.

    Args:
        outputs: of some rows.
    """
    return Projections(space_of(outputs))
