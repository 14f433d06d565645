"""The mean of the divergence and of the squared complexity, in standard deviations of normal images.

Only a complexity that is too high counts: an image that the compressor explains worse than the model is one
that the model has seen. The rule was chosen on pairs of image sets (docs/decisions/0009-flow-defaults.md).
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.complexity import ComplexityStatistic, step_of_pixels, with_lengths
from upland.criteria.likelihood import likelihood_shares
from upland.groups.joint import JointStatistic
from upland.groups.outputs import Reference
from upland.groups.tester import fit_statistic
from upland.models.base import Latent


class DivergenceComplexity(PointCriterion):
    """1/2 (divergence + squared standardised complexity) of each image."""

    needs_beside_tensors: ClassVar[str] = "a compressor, DEFLATE"
    requires: ClassVar[type] = Latent
    needs_pixels: ClassVar[bool] = True
    needs_rows: ClassVar[bool] = True

    def fit(self, reference: Reference) -> Self:
        """Fit both parts on the reference rows.

        Args:
            reference: a trained model and encoded normal images.

        Raises:
            ValueError: there are too few reference rows, or they are not of whole numbers.
        """
        self.reference, self.bin = reference, step_of_pixels(reference)
        rows = reference.reference_rows()
        outputs = reference.outputs(rows)
        self.divergence = fit_statistic("divergence", reference, outputs, largest=1)
        self.complexity = JointStatistic([ComplexityStatistic()])
        self.complexity.fit(with_lengths(outputs, rows, self.bin), largest=1)
        return self

    def score(self, x: Tensor) -> Floats:
        """The mean of both: `(N, C, H, W) -> (N,)`, float64."""
        outputs = self.reference.outputs(x)
        beyond = self.complexity.features(with_lengths(outputs, x, self.bin))
        ones = torch.ones(len(beyond), dtype=torch.float64)
        too_high = self.complexity.standardised(beyond, ones)[:, 0].clamp(min=0)
        both: Floats = 0.5 * (self.divergence.of_each_row(outputs).numpy() + too_high.square().numpy())
        return both

    def shares(self, x: Tensor) -> Shares:
        """The shares of the likelihood: `(N, C, H, W)` twice; they need not sum to the score."""
        return likelihood_shares(self.reference, x)
