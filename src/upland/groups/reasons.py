r"""Which columns or regions of a group are off: by themselves, or in how they go together.

In the user's own columns (encoded inputs, those of a categorical column together), not in latents. With the
mean m and variance v of a column in a group of n rows, in units of normal ones, its *marginal* part is

    KL(N(m, v) || N(0, 1)) = 1/2 (v + m^2 - 1 - log v),

and its part of the *dependence* is the sum over other columns of the squared difference between their
correlation in the group and among normal rows. Both are compared with those of random normal groups of the
same size: the verdict is the one whose strangest column is further out. Of images the columns are the
nine regions of a 3 x 3 grid, and there is no dependence part.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.data.image.encoder import ImageEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.fitting import Member

DRAWS = 100
WIDEST = 256  # encoded columns up to which dependence is told
NAMED = 3
LEAST_VARIANCE = 1e-6
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


class Reasons:
    """Tells groups of one member's encoded rows.

    Args:
        member: as fitted, with normal rows kept.
    """

    def __init__(self, member: Member) -> None:
        assert member.standard is not None
        normal = member.standard.flatten(1).double()
        self.normal, self.center = normal, normal.mean(0)
        self.scale = normal.var(0, correction=0).clamp(min=LEAST_VARIANCE).sqrt()
        self.names, self.slots = _columns(member)
        units = (normal - self.center) / self.scale
        self.usual_correlation = _correlation(units) if self.dependent else None
        self._usual: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    @property
    def dependent(self) -> bool:
        """Whether dependence is told."""
        return len(self.center) <= WIDEST and len(self.names) > 1

    def of(self, x: Tensor) -> tuple[str, tuple[str, ...]]:
        """What a group's rows `(n, ...)` are off in: "marginals" or "dependence", and the columns."""
        parts = self._parts(x.flatten(1).double())
        usual, spread, most = self._usual_of(len(x))
        away = (parts - usual) / spread
        kind = int((away.amax(1) - most).argmax())
        by_column = away[kind]
        order = by_column.argsort(descending=True, stable=True)[:NAMED].tolist()
        return ("marginals", "dependence")[kind], tuple(self.names[i] for i in order)

    def _parts(self, x: Tensor) -> Tensor:
        """Logarithms of both parts of each of the user's columns: `(2 or 1, C)`."""
        units = (x - self.center) / self.scale
        mean, variance = units.mean(0), units.var(0, correction=0)
        n = len(x)
        variance = (n * variance + 2) / (n + 2)
        found = [0.5 * (variance + mean.square() - 1 - variance.log())]
        if self.usual_correlation is not None:
            found.append((_correlation(units) - self.usual_correlation).square().sum(1))
        stacked = torch.stack(found)
        summed = stacked.new_zeros(len(found), len(self.names)).index_add_(1, self.slots, stacked)
        return (summed + 1e-9).log()

    def _usual_of(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard deviation of the parts of random normal groups of about n rows, and how far out
        the strangest column usually is: one of many is further than one of few.
        """
        size = min(_rounded(n), max(len(self.normal) // 2, 1))
        if size not in self._usual:
            source = torch.Generator().manual_seed(size)
            drawn = [
                self._parts(self.normal[torch.randperm(len(self.normal), generator=source)[:size]])
                for _ in range(DRAWS)
            ]
            parts = torch.stack(drawn)
            mean, spread = parts.mean(0), parts.std(0).clamp(min=1e-3)
            self._usual[size] = mean, spread, ((parts - mean) / spread).amax(2).mean(0)
        return self._usual[size]


def _rounded(n: int) -> int:
    """The nearest size of a ladder, so that a thousand sizes cost no more than a few."""
    return n if n <= 4 else round(2 ** (round(4 * np.log2(n)) / 4))


def _correlation(units: Tensor) -> Tensor:
    away = units - units.mean(0)
    product = away.mT @ away / len(units)
    size = product.diagonal().clamp(min=LEAST_VARIANCE).sqrt()
    found: Tensor = (product / size / size[:, None]).fill_diagonal_(0)
    return found


def _columns(member: Member) -> tuple[tuple[str, ...], Tensor]:
    """The names of columns or regions, and which of them each encoded number belongs to."""
    encoder = member.encoder
    if isinstance(encoder, TableEncoder):
        return encoder.column_names, torch.from_numpy(np.asarray(encoder.slots))
    assert isinstance(encoder, ImageEncoder)
    channels, height, width = encoder.shape
    cells = 3 * _thirds(height)[:, None] + _thirds(width)
    names = tuple(f"{row} {column}" for row in _ROWS for column in _COLUMNS)
    return names, torch.from_numpy(np.tile(cells.ravel(), channels))


def _thirds(side: int) -> NDArray[np.int64]:
    return np.arange(side, dtype=np.int64) * 3 // side
