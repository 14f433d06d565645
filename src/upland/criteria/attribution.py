r"""Which encoded inputs lift a score: the parts that explanations are made of.

By a reconstruction (energies, VAEs) the share of an input is (x_i - f_i(x))^2, so that shares sum to the
reconstruction error. A likelihood has none, and its gradient at a far row points anywhere; there the share of
a column is what another value in it would save,

    share_j = max(0, E(x) - min_v E(x with v in column j)),   v among quantiles of normal rows,

in nats, and the best v is what was expected. Columns share what they explain together, so shares need not sum
to the score. The share of a pixel is the part of 1/2 |z|^2 of the latents of its place, over all levels.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from upland.criteria.judges import likelihood
from upland.criteria.points import blocks_of, in_blocks, residual
from upland.detectors.fitting import Member
from upland.groups.outputs import model_outputs
from upland.models.base import EnergyModel, LikelihoodModel, NoiseConditional

Floats = NDArray[np.float64]

VALUES = 9
"""Values that are tried in a column."""


def parts_of_rows(
    member: Member, rows: Tensor, slots: NDArray[np.intp], count: int, criterion: str
) -> tuple[Floats, NDArray[np.float32]]:
    """Shares of the columns `(N, C)`, and what was expected, encoded `(N, D)`.

    Args:
        member: as fitted.
        rows: `(N, D)` encoded.
        slots: `(D,)` the column of each encoded input.
        count: C.
        criterion: what rows are judged by.
    """
    if criterion == "combined":
        added, expected = (part.numpy() for part in blocks_of(_combined, member.model, rows, member.sigma))
        shares = np.zeros((len(rows), count))
        np.add.at(shares.T, slots, added.T)
        return shares, expected
    if not isinstance(member.model, LikelihoodModel):
        away = in_blocks(residual, member.model, rows, member.sigma).numpy()
        shares = np.zeros((len(rows), count))
        np.add.at(shares.T, slots, (away**2).T)
        return shares, rows.numpy() - away
    return _saved(member, rows, slots, count)


def _combined(model: EnergyModel, x: Tensor, sigma: float) -> list[Tensor]:
    """Shares of the inputs, and what was expected."""
    assert isinstance(model, NoiseConditional)
    return [model.shares(x), model.expected(x)]


def _saved(
    member: Member, rows: Tensor, slots: NDArray[np.intp], count: int
) -> tuple[Floats, NDArray[np.float32]]:
    now = likelihood(member, rows)
    shares, expected = np.zeros((len(rows), count)), rows.clone()
    normal = rows.new_zeros(1, rows.shape[1]) if member.standard is None else member.standard
    for column in range(count):
        places = np.flatnonzero(slots == column)
        for value in _tried(normal[:, places]):
            other = rows.clone()
            other[:, places] = value
            saved = now - likelihood(member, other)
            better = saved > shares[:, column]
            shares[better, column] = saved[better]
            expected[np.ix_(better, places)] = value
    return shares, expected.numpy()


def _tried(normal: Tensor) -> Tensor:
    """Values of a column that normal rows have: quantiles of a number, the commonest codes of a category."""
    if normal.shape[1] == 1:
        return torch.quantile(normal, torch.linspace(0.02, 0.98, VALUES), dim=0)
    codes, often = normal.unique(dim=0, return_counts=True)
    commonest: Tensor = codes[often.argsort(descending=True)[:VALUES]]
    return commonest


def parts_of_images(member: Member, x: Tensor) -> tuple[Floats, Floats]:
    """Shares of the pixels and what was expected, encoded: `(N, C, H, W)` twice.

    Args:
        member: as fitted.
        x: `(N, C, H, W)` encoded.
    """
    if not isinstance(member.model, LikelihoodModel):
        away = in_blocks(residual, member.model, x, member.sigma).numpy()
        return away**2, x.numpy() - away
    heat = torch.zeros(len(x), *x.shape[2:], dtype=torch.float64)
    for level in model_outputs(member.model, member.sigma, x).levels:
        heat += _spread(level.mean.double(), x.shape[2:])
    shares = (heat / x.shape[1])[:, None].expand(x.shape).numpy()
    slope = in_blocks(residual, member.model, x, member.sigma)
    return shares, (x.double() - member.sigma**2 * slope).numpy()


def _spread(z: Tensor, sides: torch.Size) -> Tensor:
    """1/2 |z|^2 of each place of a level, spread evenly over the pixels that it stands for: `(N, H, W)`."""
    energy = 0.5 * z.square()
    if z.ndim != 4:
        return (energy.flatten(1).sum(1) / sides.numel())[:, None, None].expand(-1, *sides)
    places = energy.sum(1, keepdim=True)
    wide = functional.interpolate(places, tuple(sides), mode="nearest")
    size = wide.sum((1, 2, 3), keepdim=True).clamp(min=1e-300)
    spread: Tensor = wide / size * places.sum((1, 2, 3), keepdim=True)
    return spread[:, 0]
