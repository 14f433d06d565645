r"""How far the mean of a group's rows is from the normal mean.

With v the principal directions of normal rows, of variance l each,

    T = |W' (mean x - m)|^2,   W = v (l + r)^(-1/2),   r = RIDGE times the mean variance,

over the first `MOST` directions, of the encoded rows: of images the mean picture. Without a ridge it is
Hotelling's T^2 up to the factor n; thousands of variances are estimated from as many rows, and the least of
them say least about other rows, so that the ridge is large. Divergences pool the vectors of all positions,
so that they see how an image is made and not what is where in it: this sees where.
"""

from dataclasses import dataclass

from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.coordinates import Space, flat, product
from upland.groups.gaussians import LEAST_EIGENVALUE
from upland.groups.outputs import ModelOutputs
from upland.models.principal import principal_axes

RIDGE = 10.0
"""Of the mean variance, that is added to each."""

MOST = 256
"""Directions."""

THIN = 1e-6
"""Of the mean variance, the least that a direction counts as having."""

NONE = 1e-12
"""Of the variance of all directions, one that is rounding."""

ROWS = 2_000
"""Normal rows that directions are found from, at most."""


@dataclass
class Shift(Statistic):
    """The distance of the mean from the normal one, in shrunk units of normal rows.

    Args:
        space: "latents" or "points".
        ridge: of the mean variance, that is added to each.
        most: directions.
    """

    space: Space = "points"
    ridge: float = RIDGE
    most: int = MOST

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """The mean of normal rows and their principal directions, in units of their spread.

        Args:
            outputs: of normal rows.
        """
        x = flat(outputs, self.space)[:ROWS]
        center = x.mean(0)
        away = x - center
        variance = away.square().mean().clamp(min=LEAST_EIGENVALUE)
        count = min(self.most, away.shape[1])
        values, directions = principal_axes(away, count, NONE * away.square().mean(0).sum())
        units = (values + self.ridge * variance).maximum(THIN * variance).rsqrt()
        directions = (directions * units).flip(1).contiguous()
        return {"center": center, "directions": directions}

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Coordinates along the directions: `(N, K)`."""
        return product(flat(outputs, self.space) - self.fitted["center"], self.fitted["directions"])

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """Squared distance of the mean: `(G, K)`, `(G,)` -> `(G,)`."""
        return means.square().sum(-1)


def shift(outputs: ModelOutputs) -> Shift:
    """Of the encoded rows, whatever the model.

    Args:
        outputs: not used.
    """
    return Shift()
