r"""How far the directions of a group's latents are from uniform, whatever their lengths (Mardia and Jupp
2000).

Of unit vectors u = v / |v| it is the sum of Rayleigh's statistic, d |mean u|^2, and of Bingham's,
d (d + 2) / 2 (tr T^2 - 1/d) with T = mean u u'.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from upland.groups.gaussians import anisotropy
from upland.groups.joint import JointStatistic
from upland.groups.moments import MomentStatistic
from upland.groups.outputs import ModelOutputs
from upland.groups.splits import latent_splits


@dataclass
class Isotropy(MomentStatistic):
    """The sum of Rayleigh's and Bingham's statistics of one split.

    Args:
        split: how a level is cut.
        level: which level's latents.
        against: whose units vectors are in.
    """

    def vectors(self, outputs: ModelOutputs) -> tuple[Tensor, Tensor | None]:
        """Unit vectors `(N, P, K, d)`; one of length 0 stays. An encoder's variance has no direction."""
        v, _ = super().vectors(outputs)
        return torch.nn.functional.normalize(v, dim=-1), None

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The two statistics, summed over the K Gaussians: `(G, F)`, `(G,)` -> `(G,)`."""
        return anisotropy(*self.averages(means)).sum(-1)


def isotropy(outputs: ModelOutputs) -> JointStatistic:
    """The isotropies of all suitable splits of the latents.

    Args:
        outputs: of some rows, for their shapes.
    """
    return JointStatistic([Isotropy(split, level) for split, level in latent_splits(outputs)])
