r"""One anomaly score for one point, from any energy model (DSEBM, section 4).

* energy: E(x) / sigma^2, in nats of the noise-smoothed density, up to log Z;
* reconstruction: |x - f(x)|^2 = |grad E(x)|^2, in squared units of the encoded input; of the nets alone where
  the energy stands on training rows too: a kernel's gradient through ranks and logarithms has no measure.

Sums over the inputs are taken in float64.
"""

from collections.abc import Callable

from torch import Tensor

from upland.models.base import EnergyModel

Criterion = Callable[[EnergyModel, Tensor, float], Tensor]


def energy(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """E(x) / sigma^2: `(N, ...) -> (N,)`, float64, in nats up to a constant."""
    return model.energy(x).double() / sigma**2


def residual(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """X - f(x) = grad E(x), of the nets alone: `(N, ...) -> (N, ...)`, float64."""
    return (x - model.without_prior().reconstruct(x)).double()


def reconstruction(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """|x - f(x)|^2 = |grad E(x)|^2: `(N, ...) -> (N,)`, float64."""
    return residual(model, x, sigma).square().flatten(1).sum(1)


CRITERIA: dict[str, Criterion] = {"reconstruction": reconstruction, "energy": energy}
