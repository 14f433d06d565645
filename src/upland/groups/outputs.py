"""What a fitted model says of encoded rows, and what statistics and criteria are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.io.advice import Advice, Argument
from upland.models.base import EnergyModel, Latent, Level
from upland.models.blocks import blocks_of

LEAST_REFERENCE = 8
"""Normal rows that a statistic is fitted on, at least."""


class ModelOutputs(NamedTuple):
    """What a model says of N rows.

    Args:
        points: `(N, ...)` the encoded rows.
        energy: `(N,)` in nats, float64.
        levels: their latents, one or more levels; empty for a model without latents.
        score: `(N, ...)` the gradient of log p at the points, float64; None where it was not asked for.
    """

    points: Tensor
    energy: Tensor
    levels: list[Level]
    score: Tensor | None = None

    def take(self, index: Tensor | slice) -> ModelOutputs:
        """The outputs of some of the rows.

        Args:
            index: which rows.
        """
        levels = [
            Level(z.mean[index], None if z.variance is None else z.variance[index]) for z in self.levels
        ]
        score = None if self.score is None else self.score[index]
        return ModelOutputs(self.points[index], self.energy[index], levels, score)


@dataclass(frozen=True, eq=False)
class Reference:
    """A fitted model and its normal rows, encoded: what a criterion or a statistic is fitted on.

    Args:
        model: trained, in evaluation mode.
        sigma: scale of the noise that it was trained with.
        rows: `(S, ...)` normal rows that scores are standardised on. Where there are enough, the model has
            not been trained on them. None where none are kept.
        training_rows: `(L, ...)` normal rows that the model was trained on, or None.
        held_out: `(R, ...)` normal rows that groups are compared with, which neither training nor `rows`
            contains, or None.
        columns: `(D,)` the number of the user's column that each encoded input belongs to; None for images.
        column_names: the user's columns; empty for images.
        bin: the width of one step of the pixels in encoded units; None where inputs are no pixels.
        shape: of one encoded row.
    """

    model: EnergyModel
    sigma: float
    rows: Tensor | None = None
    training_rows: Tensor | None = None
    held_out: Tensor | None = None
    columns: NDArray[np.intp] | None = None
    column_names: tuple[str, ...] = ()
    bin: float | None = None
    shape: tuple[int, ...] = ()

    def reference_rows(self) -> Tensor:
        """The normal rows `(S, ...)` that scores are standardised on.

        Raises:
            ValueError: fewer than 8 are kept.
        """
        kept = 0 if self.rows is None else len(self.rows)
        if self.rows is None or kept < LEAST_REFERENCE:
            raise ValueError(
                Advice(
                    f"{kept} normal rows are kept with the model, and it takes {LEAST_REFERENCE}: fit with ",
                    Argument("keep_rows"),
                    " above that, and on more rows",
                )
            )
        return self.rows

    def outputs(self, x: Tensor, score: bool = False) -> ModelOutputs:
        """What the model says of encoded rows, on the CPU.

        Args:
            x: `(N, ...)`.
            score: whether the gradient of log p is wanted.
        """
        return model_outputs(self.model, self.sigma, x, score)

    def of_block(self, x: Tensor) -> ModelOutputs:
        """What the model says of some rows that are computed together, on its device; not checked.

        Args:
            x: `(N, ...)`.
        """
        return outputs_of_block(self.model.without_prior(), self.sigma, x)


def model_outputs(model: EnergyModel, sigma: float, x: Tensor, score: bool = False) -> ModelOutputs:
    """What a model says of encoded rows, on the CPU.

    Args:
        model: an energy in evaluation mode.
        sigma: scale of the noise that it was trained with.
        x: `(N, ...)` encoded rows.
        score: whether the gradient of log p is wanted.
    """
    shapes: list[Level] = []

    def evaluate(model: EnergyModel, block: Tensor, sigma: float) -> list[Tensor]:
        found = outputs_of_block(model, sigma, block, score)
        shapes[:] = found.levels
        of_score = [] if found.score is None else [found.score]
        levels = [part for level in found.levels for part in level if part is not None]
        return [found.energy, *of_score, *levels]

    parts = blocks_of(evaluate, model.without_prior(), x, sigma)
    lost = torch.stack([part.isnan().reshape(len(x), -1).any(1) for part in parts]).any(0)
    if count := int(lost.sum()):
        raise FloatingPointError(f"the model gives no number (NaN) for {count} of {len(x)} rows")
    energy, rest = parts[0], parts[1 + score :]
    levels = []
    for level in shapes:
        variance = rest[1] if level.variance is not None else None
        levels.append(Level(rest[0], variance))
        rest = rest[1 if variance is None else 2 :]
    return ModelOutputs(x, energy, levels, parts[1] if score else None)


def outputs_of_block(model: EnergyModel, sigma: float, block: Tensor, score: bool = False) -> ModelOutputs:
    """What a model says of some rows that are computed together, on its device.

    Args:
        model: an energy in evaluation mode.
        sigma: scale of the noise that it was trained with.
        block: `(N, ...)` encoded rows.
        score: whether the gradient of log p is wanted.
    """
    levels = model.latents(block) if isinstance(model, Latent) else []
    unit = 1.0 if levels else sigma**2
    energy = model.energy(block).double() / unit
    slope = (model.reconstruct(block) - block).double() / sigma**2 if score else None
    return ModelOutputs(block, energy, levels, slope)
