"""The energy E(x) / sigma^2, in nats of the noise-smoothed density up to log Z (DSEBM, section 4)."""

from __future__ import annotations

from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.residuals import residual_shares
from upland.models.base import EnergyModel
from upland.models.blocks import in_blocks


def scaled_energy(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """E(x) / sigma^2: `(N, ...) -> (N,)`, float64, in nats up to a constant."""
    return model.energy(x).double() / sigma**2


class Energy(PointCriterion):
    """The energy of each point. It is a height and has no parts: shares are those of its slope."""

    def score(self, x: Tensor) -> Floats:
        """E / sigma^2: `(N, ...) -> (N,)`, in nats up to a constant, float64."""
        return in_blocks(scaled_energy, self.reference.model, x, self.reference.sigma).numpy()

    def of_block(self, x: Tensor) -> Tensor:
        """E / sigma^2 of some points: `(N, ...) -> (N,)`, float64."""
        return scaled_energy(self.reference.model, x, self.reference.sigma)

    def shares(self, x: Tensor) -> Shares:
        """Squared gradients, which sum to the reconstruction error, and the reconstruction: `(N, ...)`."""
        return residual_shares(self.reference, x)
