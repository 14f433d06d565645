r"""Reading sequences with a model whose energy is a sum over steps, in bounded memory.

The model reads a sequence once from its start, in stretches of bounded length, and carries its state from one
to the next: memory does not grow with the length. It runs in float64, so that a step's number does not
depend on the stretches, on the sequences that are read beside it, or on whether the steps come one by one.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.models.base import EnergyModel
from upland.models.blocks import fitting_threads
from upland.models.sequential import SequenceModel

Indices = NDArray[np.int64]
Codes = Callable[[int, int], Tensor]

STRETCH = 1_024  # steps of a sequence that are read at once
TOGETHER = 8_192  # steps of all sequences that are read at once
POINTS = 4_096  # points scored at once


class Stretch(NamedTuple):
    """Some steps of n sequences that were read together.

    Args:
        group: `(n,)` which sequences.
        begin: how many steps of each were read before.
        points: `(n, L, P D)` frames, one for each step.
        context: `(n, L, S)` what conditions them.
        valid: `(n, L)` whether there is such a step.
        positions: `(n, L)` where the steps stand among all steps.
    """

    group: Indices
    begin: int
    points: Tensor
    context: Tensor
    valid: Tensor
    positions: Tensor


def precise(model: SequenceModel) -> SequenceModel:
    """A copy of the model in float64, in evaluation mode."""
    return copy.deepcopy(model).double().eval()


def stretches(model: SequenceModel, codes: Codes, lengths: Indices) -> Iterator[Stretch]:
    """Read sequences: all stretches of some, then of others.

    Args:
        model: in float64.
        codes: encoded steps `(stop - start, D)` from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
    """
    device = next(model.parameters()).device
    starts = np.cumsum(lengths) - lengths
    for group in _groups(lengths):
        state: Any = model.start(len(group))
        for begin in range(0, int(lengths[group].max()), STRETCH):
            x, valid, positions = _codes_of(codes, starts[group], lengths[group], begin)
            with torch.no_grad(), fitting_threads(model, STRETCH):
                points, context, state = model.advance(state, x.double().to(device))
            yield Stretch(group, begin, points, context, valid.to(device), positions)


def step_values(
    function: Callable[[EnergyModel, Tensor, float], Tensor],
    model: SequenceModel,
    codes: Codes,
    lengths: Indices,
    sigma: float,
) -> Tensor:
    """A function of every step, given the steps before it: `(S,)` or `(S, ...)`, float64, on the CPU.

    Args:
        function: `(model, points, sigma) -> one result a point`.
        model: as trained.
        codes: encoded steps `(stop - start, D)` from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence, S in all.
        sigma: scale of the noise that the model was trained with.
    """
    exact = precise(model)
    parts, positions = [], []
    for read in stretches(exact, codes, lengths):
        points, context = read.points[read.valid], read.context[read.valid]
        with torch.no_grad(), fitting_threads(exact, STRETCH):
            for x, h in zip(points.split(POINTS), context.split(POINTS), strict=True):
                parts.append(function(exact.given(h), x, sigma).cpu())
        positions.append(read.positions[read.valid.cpu()])
    return torch.cat(parts)[torch.argsort(torch.cat(positions))]


def _groups(lengths: Indices) -> Iterator[Indices]:
    """Sequences of like length, as many at a time as memory allows."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and (stop + 1 - start) * min(int(lengths[order[stop]]), STRETCH) <= TOGETHER:
            stop += 1
        yield order[start:stop]
        start = stop


def _codes_of(codes: Codes, starts: Indices, lengths: Indices, begin: int) -> tuple[Tensor, Tensor, Tensor]:
    """Steps `begin` to `begin + STRETCH` of some sequences: `(n, L, D)` with zeros behind their ends, which
    are there `(n, L)`, and their positions among all steps `(n, L)`.
    """
    counts = np.clip(lengths - begin, 0, STRETCH)
    size = int(counts.max())
    firsts = starts + begin
    rows = {
        row: codes(int(first), int(first + count))
        for row, (first, count) in enumerate(zip(firsts, counts, strict=True))
        if count
    }
    x = torch.zeros(len(counts), size, next(iter(rows.values())).shape[1], dtype=torch.float32)
    for number, codes_of_row in rows.items():
        x[number, : len(codes_of_row)] = codes_of_row
    steps = torch.arange(size)
    return x, steps < torch.from_numpy(counts)[:, None], steps + torch.from_numpy(firsts)[:, None]
