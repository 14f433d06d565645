r"""One number for every time step of sequences, from a model whose energy is a sum over steps.

The model reads a sequence once from its start, in stretches of bounded length, and carries its state from one
to the next: memory does not grow with the length. It runs in float64, so that a step's number does not
depend on the stretches, on the sequences that are read beside it, or on whether the steps come one by one.
"""

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.models.base import EnergyModel
from upland.models.recurrent import RecurrentEnergy, State
from upland.models.threads import fitting_threads

Lengths = NDArray[np.int64]

STRETCH = 1_024  # steps of a sequence that are read at once
TOGETHER = 8_192  # steps of all sequences that are read at once
POINTS = 4_096  # points judged at once


def precise(model: RecurrentEnergy) -> RecurrentEnergy:
    """A copy of the model in float64, in evaluation mode."""
    return copy.deepcopy(model).double().eval()


def step_values(
    function: Callable[[EnergyModel, Tensor, float], Tensor],
    model: RecurrentEnergy,
    codes: Callable[[int, int], Tensor],
    lengths: Lengths,
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
    device = next(exact.parameters()).device
    parts: list[Tensor] = []
    places: list[Tensor] = []
    for group in _groups(lengths):
        state: State | None = None
        starts = (np.cumsum(lengths) - lengths)[group]
        for begin in range(0, int(lengths[group].max()), STRETCH):
            x, valid, where = _stretch(codes, starts, lengths[group], begin)
            with torch.no_grad(), fitting_threads(exact, STRETCH):
                state = exact.start(len(group)) if state is None else state
                points, context, state = exact.advance(state, x.double().to(device))
                parts.append(_judged(function, exact, points, context, valid.to(device), sigma))
            places.append(where)
    order = torch.argsort(torch.cat(places))
    return torch.cat(parts)[order]


def _judged(
    function: Callable[[EnergyModel, Tensor, float], Tensor],
    model: RecurrentEnergy,
    points: Tensor,
    context: Tensor,
    valid: Tensor,
    sigma: float,
) -> Tensor:
    points, context = points[valid], context[valid]
    pieces = zip(points.split(POINTS), context.split(POINTS), strict=True)
    return torch.cat([function(model.given(h), x, sigma).cpu() for x, h in pieces])


def _groups(lengths: Lengths) -> Iterator[Lengths]:
    """Sequences of like length, as many at a time as memory allows."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < order.size:
        stop = start + 1
        while stop < order.size and (stop + 1 - start) * min(int(lengths[order[stop]]), STRETCH) <= TOGETHER:
            stop += 1
        yield order[start:stop]
        start = stop


def _stretch(
    codes: Callable[[int, int], Tensor], starts: Lengths, lengths: Lengths, begin: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Steps `begin` to `begin + STRETCH` of some sequences: `(n, L, D)` with zeros behind their ends, which
    are there `(n, L)`, and their places among all steps.
    """
    counts = np.clip(lengths - begin, 0, STRETCH)
    size = int(counts.max())
    firsts = starts + begin
    rows = {
        place: codes(int(first), int(first + count))
        for place, (first, count) in enumerate(zip(firsts, counts, strict=True))
        if count
    }
    x = torch.zeros(len(counts), size, next(iter(rows.values())).shape[1])
    for place, row in rows.items():
        x[place, : row.shape[0]] = row
    valid = torch.arange(size) < torch.from_numpy(counts)[:, None]
    where = torch.arange(size) + torch.from_numpy(starts + begin)[:, None]
    return x, valid, where[valid]
