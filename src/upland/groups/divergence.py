r"""How far a group's latents are from normal ones: the KL of Gaussians (KLOD and KLODS, arXiv 2002.03328).

    KL(N(m, S) || N(0, I)),

with the moments of `upland.groups.moments`: in the coordinates of normal vectors it is the KL between the
group's Gaussian and that of normal rows, the two-sample form; with `against="prior"` the comparison is with
the model's N(0, I).
"""

from dataclasses import dataclass

from torch import Tensor

from upland.groups.gaussians import divergence_from_standard
from upland.groups.joint import JointStatistic
from upland.groups.moments import MomentStatistic
from upland.groups.outputs import ModelOutputs
from upland.groups.splits import latent_splits


@dataclass
class Divergence(MomentStatistic):
    """The KL of a group from normal rows or from the prior, in nats a vector: sum over the K Gaussians.

    Args:
        split: how a level is cut; "whole" is KLOD, any other KLODS.
        level: which level's latents.
        against: "normal" for the two-sample form, "prior" for N(0, I).
    """

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """KL of moments: `(G, F)`, `(G,)` -> `(G,)`, at least 0."""
        moments = self.moments(means, sizes)
        return divergence_from_standard(moments.mean, moments.covariance).sum(-1).clamp(min=0)


def divergence(outputs: ModelOutputs) -> JointStatistic:
    """The divergences of all suitable splits of the latents.

    Args:
        outputs: of some rows, for their shapes.
    """
    return JointStatistic([Divergence(split, level) for split, level in latent_splits(outputs)])
