r"""One anomaly score for one point, from any energy model (DSEBM, section 4).

* energy: E(x) / sigma^2, in nats of the noise-smoothed density, up to log Z;
* reconstruction: |x - f(x)|^2 = |grad E(x)|^2, in squared units of the encoded input; of the nets alone where
  the energy stands on training rows too: a kernel's gradient through ranks and logarithms has no measure.

Rows are scored in blocks of one fixed size, the last one padded: every matrix product then has the same
shape, so a row's number does not depend on how many rows come with it. Sums over the inputs are taken in
float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from upland.models.base import EnergyModel
from upland.models.threads import fitting_threads

Criterion = Callable[[EnergyModel, Tensor, float], Tensor]


def energy(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """E(x) / sigma^2: `(N, ...) -> (N,)`, float64, in nats up to a constant."""
    return model.energy(x).double() / sigma**2


def residual(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """X - f(x) = grad E(x), of the nets alone: `(N, ...) -> (N, ...)`, float64."""
    return (x - model.of_nets().reconstruct(x)).double()


def reconstruction(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    """|x - f(x)|^2 = |grad E(x)|^2: `(N, ...) -> (N,)`, float64."""
    return residual(model, x, sigma).square().flatten(1).sum(1)


CRITERIA: dict[str, Criterion] = {"reconstruction": reconstruction, "energy": energy}


def in_blocks(
    function: Criterion, model: EnergyModel, x: Tensor, sigma: float, size: int | None = None
) -> Tensor:
    """Apply a function of rows block by block on the model's device: `x (N, ...)` -> `(N, ...)` on the CPU.

    Args:
        function: `(model, rows, sigma) -> one result a row`.
        model: an energy in evaluation mode.
        x: `(N, ...)` inputs.
        sigma: scale of the noise that the model was trained with.
        size: rows of a block; None asks the model.
    """
    return blocks_of(lambda *given: [function(*given)], model, x, sigma, size)[0]


def blocks_of(
    function: Callable[[EnergyModel, Tensor, float], list[Tensor]],
    model: EnergyModel,
    x: Tensor,
    sigma: float,
    size: int | None = None,
) -> list[Tensor]:
    """The same for a function of several results.

    Args:
        function: `(model, rows, sigma) -> results, each one a row`.
        model: an energy in evaluation mode.
        x: `(N, ...)` inputs.
        sigma: scale of the noise that the model was trained with.
        size: rows of a block; None asks the model.
    """
    device = next((p.device for p in model.parameters()), x.device)
    blocks, size = [], size or model.block
    for block in x.split(size):
        rows = block.shape[0]
        if rows < size:
            block = torch.cat([block, block.new_zeros((size - rows, *block.shape[1:]))])
        with torch.no_grad(), fitting_threads(model, size):
            blocks.append([part[:rows].cpu() for part in function(model, block.to(device), sigma)])
    return [torch.cat(parts) for parts in zip(*blocks, strict=True)]
