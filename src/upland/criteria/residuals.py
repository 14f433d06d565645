r"""The reconstruction f(x) = x - grad E(x) of an energy, its residual, and the shares that follow from it.

The share of an input in the squared reconstruction error |x - f(x)|^2 is (x_i - f_i(x))^2, so that shares sum
to it; what was expected for x is f(x) (DSEBM, section 4).
"""

from __future__ import annotations

from torch import Tensor

from upland.criteria.base import Shares
from upland.groups.outputs import Reference
from upland.models.base import EnergyModel
from upland.models.blocks import in_blocks


def residual(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """X - f(x) = grad E(x), of the nets alone: `(N, ...) -> (N, ...)`, float64.

    Of a product of experts f(x) is what the conditionals predict, which is no gradient.
    """
    return (x - model.reconstruct_without_prior(x)).double()


def squared_error(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """|x - f(x)|^2 = |grad E(x)|^2: `(N, ...) -> (N,)`, float64."""
    return residual(model, x, sigma).square().flatten(1).sum(1)


def residual_shares(reference: Reference, x: Tensor) -> Shares:
    """Squared residuals and the reconstruction: `(N, ...)` twice.

    Args:
        reference: holds the model.
        x: `(N, ...)` encoded points.
    """
    away = in_blocks(residual, reference.model, x, reference.sigma).numpy()
    return Shares(away**2, x.numpy() - away)
