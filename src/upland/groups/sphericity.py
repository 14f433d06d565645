r"""How thin the ellipsoid of a group's latents is, whatever its size (Mauchly 1940).

    -1/2 log(|S| / (tr S / d)^d),

with the covariance S of `upland.groups.moments`.
"""

from dataclasses import dataclass

from torch import Tensor

from upland.groups.gaussians import sphericity
from upland.groups.joint import JointStatistic
from upland.groups.moments import MomentStatistic
from upland.groups.outputs import ModelOutputs
from upland.groups.splits import latent_splits


@dataclass
class Sphericity(MomentStatistic):
    """The geometric statistic of one split, in nats.

    Args:
        split: how a level is cut.
        level: which level's latents.
        against: whose units vectors are in.
    """

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """-1/2 log(|S| / (tr S / d)^d), summed over the K Gaussians: `(G, F)`, `(G,)` -> `(G,)`."""
        return sphericity(self.moments(means, sizes).covariance).sum(-1).clamp(min=0)


def geometric(outputs: ModelOutputs) -> JointStatistic:
    """The sphericities of all suitable splits of the latents.

    Args:
        outputs: of some rows, for their shapes.
    """
    return JointStatistic([Sphericity(split, level) for split, level in latent_splits(outputs)])
