"""The reconstruction error and the energy of each time step given the steps before it.

The energy of a step is E(x_t | h) / sigma^2 + log Z(h) = -log p(x_t | x_<t), in nats; its partition function
is estimated for every history h (`upland.models.recurrent`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from upland.criteria.base import Floats, Shares
from upland.criteria.energy import scaled_energy
from upland.criteria.reading import step_values
from upland.criteria.residuals import squared_error
from upland.criteria.sequence import EncodedSequences, Memory, SequenceCriterion, folded_back, frame_parts
from upland.models.base import EnergyModel
from upland.models.recurrent import Conditional
from upland.models.sequential import SequenceModel


class StepReconstruction(SequenceCriterion):
    """The squared reconstruction error of the frame that ends with each step; shares sum to it."""

    @staticmethod
    def of_points(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
        """The number of each point given its context: `(M, P D) -> (M,)`, float64."""
        return squared_error(model, x, sigma)

    def step_scores(self, x: EncodedSequences) -> Floats:
        """A number for each step: `(S,)`, float64."""
        return step_values(self.of_points, self.model, x.codes, x.lengths, self.sigma).numpy()

    def shares(self, x: EncodedSequences) -> Shares:
        """Squared residuals of the channels, for whole sequences at the steps where they arise: `(S, D)`."""
        folded = self.unit == "sequence"
        squares, expected = frame_parts(self.model, x, self.sigma, folded)
        return Shares(folded_back(squares, x, self.model.frame) if folded else squares, expected)

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The numbers of the next steps; nothing is remembered; see `SequenceCriterion.score_next`."""
        values = self.of_points(model.given(context.flatten(0, 1)), points.flatten(0, 1), self.sigma)
        return values.reshape(points.shape[:2]), {}


class StepEnergy(StepReconstruction):
    """-log p(x_t | x_<t) of each step; a height has no parts, so that shares are those of its slope."""

    needs_beside_tensors: ClassVar[str] = (
        "eigenvectors of the curvature at each step, for its partition function"
    )

    @staticmethod
    def of_points(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
        """-log p(x_t | x_<t) of each point, in nats: `(M, P D) -> (M,)`, float64."""
        assert isinstance(model, Conditional)
        try:
            return scaled_energy(model, x, sigma) + model.log_partition(sigma)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise FloatingPointError(f"the model gives no number (NaN) for a step: {error}") from None
