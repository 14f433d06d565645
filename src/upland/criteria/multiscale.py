"""The score of a multi-scale energy: the cubic mean, over scales of noise and views of the prior, of how much
further a row is from where it is denoised to, and from training rows, than normal rows are, in their standard
deviations (`upland.models.multiscale`).
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.models.base import EnergyModel, NoiseConditional
from upland.models.blocks import blocks_of, in_blocks


def _score(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    assert isinstance(model, NoiseConditional)
    return model.multiscale_score(x)


def _shares(model: EnergyModel, x: Tensor, sigma: float) -> list[Tensor]:
    """Shares of the inputs, and what was expected."""
    assert isinstance(model, NoiseConditional)
    return [model.shares(x), model.expected(x)]


class Multiscale(PointCriterion):
    """The anomaly over all scales, in standard deviations of normal rows; shares sum to it."""

    requires: ClassVar[type] = NoiseConditional

    def score(self, x: Tensor) -> Floats:
        """The cubic mean of standard scores: `(N, D) -> (N,)`, float64."""
        return in_blocks(_score, self.reference.model, x, self.reference.sigma).numpy()

    def shares(self, x: Tensor) -> Shares:
        """What each input adds to the score, and where the row is denoised to: `(N, D)` twice."""
        model, sigma = self.reference.model, self.reference.sigma
        added, expected = (part.numpy() for part in blocks_of(_shares, model, x, sigma))
        return Shares(added, expected)
