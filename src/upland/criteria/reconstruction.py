"""The reconstruction error |x - f(x)|^2 = |grad E(x)|^2, in squared units of the encoded input (DSEBM, eq.
12).

Of an energy that stands on training rows too it is that of the nets alone: the gradient of a kernel through
ranks and logarithms has no measure.
"""

from __future__ import annotations

from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.residuals import residual_shares, squared_error
from upland.models.blocks import in_blocks


class Reconstruction(PointCriterion):
    """The squared reconstruction error of each point; shares sum to it."""

    def score(self, x: Tensor) -> Floats:
        """|x - f(x)|^2: `(N, ...) -> (N,)`, float64."""
        return in_blocks(squared_error, self.reference.model, x, self.reference.sigma).numpy()

    def of_block(self, x: Tensor) -> Tensor:
        """|x - f(x)|^2 of some points: `(N, ...) -> (N,)`, float64."""
        return squared_error(self.reference.model, x, self.reference.sigma)

    def shares(self, x: Tensor) -> Shares:
        """Squared residuals, and the reconstruction: `(N, ...)` twice."""
        return residual_shares(self.reference, x)
