"""Values that recur in the columns of a table: counted among training rows, and looked up in others.

Values that differ by no more than rounding to float32 are one value, where values are not usually that close.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from upland.models.parts import Layout
from upland.models.views import CODES_KNEE, FARTHEST

BLOCKS = 5
"""Blocks of neighbouring rows that are left out in turn."""

ROUNDING = 6.1e-8
"""Relative rounding to float32, 2^-24 and a little."""

DISTINCT = 4.0
"""Usual distance of the values of a column, in units of rounding, from which close ones are one value."""

MISSING = 3e38
"""The value of a missing cell."""


class Counted(NamedTuple):
    """Distinct keys of the training rows, ascending, how often each occurs, which one each row has, and
    whether no row of another block has it.
    """

    keys: Tensor
    counts: Tensor
    of_row: Tensor
    alone: Tensor

    @property
    def missing_mass(self) -> float:
        """The probability that a new row has another key."""
        return max(int(self.alone.sum()), 1) / (len(self.of_row) + 1)


def counted(keys: Tensor, blocks: Tensor | None = None, offset: float = 0.0) -> Counted:
    """Count keys `(n,)` of rows in blocks `(n,)`, each row one by default; close numbers are equal."""
    if blocks is None:
        blocks = torch.arange(len(keys), dtype=torch.int64, device=keys.device)
    distinct, of_row = torch.unique(keys, return_inverse=True)
    if keys.is_floating_point():
        is_first = torch.ones_like(distinct, dtype=torch.bool)
        is_first[1:] = distinct.diff() > tolerance_of(distinct, offset) * rounding(distinct[1:], offset)
        distinct, of_row = distinct[is_first], (is_first.cumsum(0) - 1)[of_row]
    counts = torch.bincount(of_row, minlength=len(distinct))
    first = torch.full_like(counts, len(keys)).scatter_reduce_(0, of_row, blocks, "amin")
    last = torch.zeros_like(counts).scatter_reduce_(0, of_row, blocks, "amax")
    return Counted(distinct, counts, of_row, (first == last)[of_row])


def rounding(codes: Tensor, offset: Tensor | float) -> Tensor:
    """How far a code may be moved where its value is rounded to float32, as some files and arrays hold it.

    Args:
        codes: of values.
        offset: of the mean of the column from zero, in standard deviations.
    """
    size = codes.abs()
    grown = torch.expm1((size - CODES_KNEE).clamp(0.0, FARTHEST))
    of_value = (size.clamp(max=CODES_KNEE) + grown + offset) / (1 + grown)
    return ROUNDING * of_value + 2 * ROUNDING * size


def tolerance_of(keys: Tensor, offset: float) -> float:
    """Whether numbers within rounding are one value: 1 or 0.

    They are not where the values of a column, such as time stamps, are commonly that close.

    Args:
        keys: `(V,)` distinct, ascending.
        offset: of the mean of the column from zero, in standard deviations.
    """
    finite = keys[keys.isfinite()]
    if len(finite) < 2:
        return 1.0
    return float(finite.diff().median() > DISTINCT * rounding(finite[1:], offset).median())


def blocks_of_neighbours(count: int) -> Tensor:
    """The block of each of some rows in the order of the data: `(count,)`."""
    return torch.arange(count, dtype=torch.int64) * min(BLOCKS, count) // count


class Columns(NamedTuple):
    """The columns that values are looked up in.

    Args:
        first: `(C,)` first inputs, or of a one-hot column also the first.
        last: `(C,)` last inputs.
        one_hot: `(C,)` whether a column is one.
        offsets: `(C,)` of their means from zero, in standard deviations.
    """

    first: tuple[int, ...]
    last: tuple[int, ...]
    one_hot: tuple[bool, ...]
    offsets: tuple[float, ...]


def countable_columns(layout: Layout) -> Columns:
    """All columns but parts of dates, which are points on circles."""
    kept = [column for column, cyclic in enumerate(layout.cyclic) if not cyclic]
    inputs = [layout.inputs(column) for column in kept]
    return Columns(
        tuple(part[0] for part in inputs),
        tuple(part[-1] for part in inputs),
        tuple(layout.categorical[column] for column in kept),
        tuple(layout.offsets[column] if layout.offsets else 0.0 for column in kept),
    )


def values_of(x: Tensor, columns: Columns) -> Tensor:
    """One number for the value of each column: `(N, D) -> (C, N)`, equal where the values are."""
    found = []
    for first, last, one_hot, _ in zip(*columns, strict=True):
        if one_hot:
            found.append(x[:, first : last + 1].argmax(1).to(x.dtype))
        elif last > first:
            found.append(torch.where(x[:, last] > 0, MISSING, x[:, first]))
        else:
            found.append(x[:, first])
    return torch.stack(found) if found else x.new_zeros(0, x.shape[0])


def nearest_keys(table: Tensor, keys: Tensor, offsets: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Where numbers stand in the rows of a table, and which are none of them: `(K, N)` twice."""
    right = torch.searchsorted(table, keys.contiguous()).clamp(max=table.shape[1] - 1)
    left = (right - 1).clamp(min=0)
    above, below = (table.gather(1, at) - keys for at in (right, left))
    positions = torch.where(below.abs() < above.abs(), left, right)
    return positions, torch.minimum(below.abs(), above.abs()) > tolerance * rounding(keys, offsets)


def positions_of(table: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Where keys stand in the rows of a table, and which are not there: `(K, V)`, `(K, N)` -> `(K, N)`."""
    positions = torch.searchsorted(table, keys.contiguous()).clamp(max=table.shape[1] - 1)
    return positions, table.gather(1, positions) != keys
