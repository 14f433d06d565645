"""Functions of rows, applied block by block.

Rows go through a model in blocks of one fixed size, or of `FEW` rows where there are no more, padded: matrix
products then have one of two shapes, so a row's number hardly depends on how many rows come with it.

Small models run on one thread. The matrix products of a small net take microseconds; dividing them among
threads costs more than it saves, and on a busy machine the threads wait for each other. One thread also makes
results equal on any number of cores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from upland.models.base import EnergyModel
from upland.models.process import THREADS

RowFunction = Callable[[EnergyModel, Tensor, float], Tensor]
RowFunctions = Callable[[EnergyModel, Tensor, float], list[Tensor]]

FEW = 64
"""Rows that are not padded to a whole block: one row alone would cost as much as some hundred."""

PRODUCTS = 4e8
"""Multiplications of a batch from which all of PyTorch's threads are used."""


@contextmanager
def fitting_threads(model: nn.Module, rows: int) -> Iterator[None]:
    """Run with one thread if a batch of `rows` is little work for the model; the number is restored after."""
    if rows * sum(p.numel() for p in model.parameters()) < PRODUCTS:
        with THREADS.at(1):
            yield
    else:
        yield


def in_blocks(
    function: RowFunction, model: EnergyModel, x: Tensor, sigma: float, size: int | None = None
) -> Tensor:
    """Apply a function of rows block by block on the model's device: `x (N, ...)` -> `(N, ...)` on the CPU.

    Args:
        function: `(model, rows, sigma) -> one result a row`.
        model: an energy in evaluation mode.
        x: `(N, ...)` inputs.
        sigma: scale of the noise that the model was trained with.
        size: rows of a block; None takes the model's `block_rows`.
    """
    return blocks_of(lambda *given: [function(*given)], model, x, sigma, size)[0]


def blocks_of(
    function: RowFunctions,
    model: EnergyModel,
    x: Tensor,
    sigma: float,
    size: int | None = None,
) -> list[Tensor]:
    """Apply a function with several results block by block: each `(N, ...)`, on the CPU.

    Args:
        function: `(model, rows, sigma) -> results, each one a row`.
        model: an energy in evaluation mode.
        x: `(N, ...)` inputs.
        sigma: scale of the noise that the model was trained with.
        size: rows of a block; None takes the model's `block_rows`.
    """
    device = next((p.device for p in model.parameters()), x.device)
    blocks, size = [], size or model.block_rows
    for block in x.split(size):
        rows = block.shape[0]
        padded = min(size, FEW) if rows <= FEW else size
        if rows < padded:
            block = torch.cat([block, block.new_zeros((padded - rows, *block.shape[1:]))])
        with torch.no_grad(), fitting_threads(model, size):
            blocks.append([part[:rows].cpu() for part in function(model, block.to(device), sigma)])
    return [torch.cat(parts) for parts in zip(*blocks, strict=True)]
