"""The score of an energy of several parts: the cubic mean of standard scores, and what each input adds."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.models.base import EnergyModel, JoinedEnergy
from upland.models.blocks import blocks_of, in_blocks


def _score(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    assert isinstance(model, JoinedEnergy)
    return model.joined_score(x)


def _shares(model: EnergyModel, x: Tensor, sigma: float) -> list[Tensor]:
    """Shares of the inputs, and what was expected."""
    assert isinstance(model, JoinedEnergy)
    return [model.shares(x), model.expected(x)]


class Joined(PointCriterion):
    """The anomaly over all parts, in standard deviations of normal rows; shares sum to it: abstract, a
    criterion says which model it takes.
    """

    requires: ClassVar[type] = JoinedEnergy

    def score(self, x: Tensor) -> Floats:
        """The cubic mean of standard scores: `(N, D) -> (N,)`, float64."""
        return in_blocks(_score, self.reference.model, x, self.reference.sigma).numpy()

    def of_block(self, x: Tensor) -> Tensor:
        """The cubic mean of some points: `(N, D) -> (N,)`, float64."""
        return _score(self.reference.model, x, self.reference.sigma)

    def shares(self, x: Tensor) -> Shares:
        """What each input adds to the score, and what the model expected: `(N, D)` twice."""
        model, sigma = self.reference.model, self.reference.sigma
        added, expected = (part.numpy() for part in blocks_of(_shares, model, x, sigma))
        return Shares(added, expected)
