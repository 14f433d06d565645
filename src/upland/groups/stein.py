r"""The finite-set Stein discrepancy of a group, for models without latents (Jitkrittum et al. 2017).

By Stein's identity xi(x, v) = s(x) k(x, v) + grad_x k(x, v) has mean 0 where s is the gradient of the rows'
own log p, whatever v. A model fits imperfectly, so means are compared with those of normal rows, in units of
their spread,

    T = mean over v and coordinates of ((mean xi - reference mean) / spread)^2,

at locations v among normal rows, with the inverse multiquadric k = (1 + |x - v|^2 / (2 h^2))^(-1/2). Of wide
rows xi is projected on a few orthogonal directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from upland.groups.base import Statistic, bounded
from upland.groups.coordinates import SEED, flat, gaussian_matrix, median_distance, product
from upland.groups.outputs import ModelOutputs

LEAST_SPREAD = 1e-12


@dataclass
class Stein(Statistic):
    """The finite-set Stein discrepancy from normal rows.

    Args:
        locations: number of them, J.
        widest: coordinates of xi from which it is projected on so many directions.
    """

    locations: int = 8
    widest: int = 64

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """Locations, bandwidth, directions, and the normal rows' mean and spread of xi.

        Args:
            outputs: of normal rows, with their scores.
        """
        x = flat(outputs, "points")
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))[: self.locations]
        chosen = {"locations": x[order], "bandwidth": median_distance(x)}
        if x.shape[1] > self.widest:
            chosen["directions"] = torch.linalg.qr(gaussian_matrix(x.shape[1], self.widest)).Q
        xi = _xi(outputs, chosen)
        spread = xi.std(0, correction=0).clamp(min=LEAST_SPREAD)
        return {**chosen, "mean": xi.mean(0), "spread": spread}

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Xi in units of normal rows: `(N, J M)`.

        Raises:
            ValueError: the outputs are without the gradient of log p.
        """
        return bounded((_xi(outputs, self.fitted) - self.fitted["mean"]) / self.fitted["spread"])

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean square of the means: `(G, J M)`, `(G,)` -> `(G,)`."""
        return means.square().mean(-1)


def _xi(outputs: ModelOutputs, chosen: dict[str, Tensor]) -> Tensor:
    """Xi at every location: `(N, J M)`."""
    if outputs.score is None:
        raise ValueError("the Stein discrepancy needs the gradient of log p at the rows")
    x, s = flat(outputs, "points"), bounded(outputs.score).flatten(1)
    v, h = chosen["locations"], chosen["bandwidth"].square()
    directions = chosen.get("directions", torch.eye(x.shape[1], dtype=x.dtype))
    away, s = product(x, directions), product(s, directions)
    base: Tensor = 1 + torch.cdist(x, v, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * h)
    xi = s[:, None] * base.pow(-0.5)[..., None]
    xi = xi - (away[:, None] - v @ directions) * (base.pow(-1.5) / (2 * h))[..., None]
    return xi.flatten(1)


def stein(outputs: ModelOutputs) -> Stein:
    """The statistic, which needs the gradient of log p.

    Args:
        outputs: of some rows.
    """
    return Stein()
