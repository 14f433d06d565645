"""The interface of every model of sequences: a density that is a product of conditional ones over the steps.

    p(x) = product over t of p(x_t | x_<t)

A model reads a sequence step by step. For each step it gives a *point* (the step, or a frame that ends with
it) and a *context* (what conditions it), and `given` the energy of points given their contexts. What it
carries from step to step is a state of fixed size, so that the cost of one more step does not depend on how
many came before.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from upland.models.base import EnergyModel


class SequenceModel(EnergyModel):
    """A model of sequences `(N, T, D + C)`, with NaN behind the end of a shorter one: abstract.

    `start`, `advance` and `given` are to be written.

    A state is a named tuple of tensors, the sequences first, and is never changed in place.

    Attributes:
        width: values of a time step that have a density, D.
        context_width: values behind them that it is conditioned on, C, known at the step.
        frame: steps of a point, P.
        points_per_batch: points of a training batch that the loss is computed on.
    """

    points_per_batch: int = 512

    width: int
    context_width: int
    frame: int

    @abstractmethod
    def start(self, n: int) -> Any:
        """The state before the first step of n sequences."""

    @abstractmethod
    def advance(self, state: Any, x: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Read L more steps.

        Args:
            state: after the steps read so far.
            x: `(n, L, D + C)` the steps that follow.

        Returns:
            The points `(n, L, P D)`, one for each step; their contexts `(n, L, S)`; the state after them.
        """

    @abstractmethod
    def given(self, context: Tensor) -> EnergyModel:
        """The conditional energy of points, given the context of each, `(M, S)`."""

    def factors(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, EnergyModel]:
        """A point for each existing step, and their energy given the steps before:
        `(N, T, D + C) -> (M, P D)`.

        In training, and with a generator, at most `points_per_batch` of them, drawn at random.

        The points hold no gradient of x; the contexts do not depend on noise that is put on the points.
        """
        there = ~torch.isnan(x).any(2)
        points, context, _ = self.advance(self.start(x.shape[0]), torch.where(there[..., None], x, 0.0))
        if self.training and generator is not None and int(there.sum()) > self.points_per_batch:
            positions = there.nonzero()
            order = torch.randperm(positions.shape[0], generator=generator, device=positions.device)
            row, step = positions[order[: self.points_per_batch]].unbind(1)
            return points[row, step], self.given(context[row, step])
        return points[there], self.given(context[there])

    def energy(self, x: Tensor) -> Tensor:
        """The sum over a sequence's factors: `(N, T, D + C) -> (N,)`, in float64."""
        there = ~torch.isnan(x).any(2)
        points, conditional = self.factors(x)
        owner = there.nonzero()[:, 0]
        each = conditional.energy(points)
        total: Tensor = each.new_zeros(x.shape[0]).index_add(0, owner, each)
        return total
