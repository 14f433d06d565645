r"""Which columns or regions contribute to a group's verdict: by themselves, or by how they depend on each
other.

In the user's own columns (encoded inputs, those of a categorical column together), not in latents. With the
mean m and variance v of a column in a group of n rows, in units of normal ones, its *marginal* part is

    KL(N(m, v) || N(0, 1)) = 1/2 (v + m^2 - 1 - log v),

and its part of the *dependence* is the sum over other columns of the squared difference between their
correlation in the group and among normal rows. Both are compared with those of random normal groups of the
same size: the reason is the one whose most anomalous column is further out. Of images the columns are the
nine regions of a 3 x 3 grid, and there is no dependence part.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.data.image.features import REGIONS

DRAWS = 100
WIDEST = 256  # encoded columns up to which dependence is compared
NAMED = 3
LEAST_VARIANCE = 1e-6


class Reason(NamedTuple):
    """Why a group differs from normal ones.

    Args:
        name: "marginals", "dependence", or "" where nobody asked.
        columns: the contributing columns or regions, the one that differs most first.
    """

    name: str
    columns: tuple[str, ...]


NO_REASON = Reason("", ())
"""What stands where nobody asked for a reason."""


class Reasons:
    """Finds the contributing columns of groups of encoded rows.

    What is usual of normal groups of a size is computed on first use and kept as long as this object lives.

    Args:
        normal: `(S, ...)` encoded normal rows.
        names: of the C columns or regions.
        columns: `(D,)` the number of the column or region that each encoded input belongs to.
    """

    def __init__(self, normal: Tensor, names: tuple[str, ...], columns: Tensor) -> None:
        self.normal = normal.flatten(1).double()
        self.names, self.columns = names, columns
        self.center = self.normal.mean(0)
        self.scale = self.normal.var(0, correction=0).clamp(min=LEAST_VARIANCE).sqrt()
        dependent = len(self.center) <= WIDEST and len(names) > 1
        units = (self.normal - self.center) / self.scale
        self.normal_correlation = _correlation(units) if dependent else None
        self._usual: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def of(self, x: Tensor) -> Reason:
        """The reason of one group.

        Args:
            x: `(n, ...)` its encoded rows.
        """
        parts = self._parts(x.flatten(1).double())
        mean, spread, furthest = self._usual_of(len(x))
        away = (parts - mean) / spread
        part = int((away.amax(1) - furthest).argmax())
        order = away[part].argsort(descending=True, stable=True)[:NAMED].tolist()
        return Reason(("marginals", "dependence")[part], tuple(self.names[i] for i in order))

    def _parts(self, x: Tensor) -> Tensor:
        """Logarithms of both parts of each of the user's columns: `(2 or 1, C)`."""
        units = (x - self.center) / self.scale
        mean, variance = units.mean(0), units.var(0, correction=0)
        n = len(x)
        variance = (n * variance + 2) / (n + 2)
        found = [0.5 * (variance + mean.square() - 1 - variance.log())]
        if self.normal_correlation is not None:
            found.append((_correlation(units) - self.normal_correlation).square().sum(1))
        stacked = torch.stack(found)
        summed = stacked.new_zeros(len(found), len(self.names)).index_add_(1, self.columns, stacked)
        return (summed + 1e-9).log()

    def _usual_of(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and standard deviation of the parts of random normal groups of about n rows, and how far out
        the most anomalous column usually is: one of many is further than one of few.
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
    """The nearest size of a grid, so that a thousand sizes cost no more than a few."""
    return n if n <= 4 else round(2 ** (round(4 * np.log2(n)) / 4))


def _correlation(units: Tensor) -> Tensor:
    away = units - units.mean(0)
    product = away.mT @ away / len(units)
    size = product.diagonal().clamp(min=LEAST_VARIANCE).sqrt()
    found: Tensor = (product / size / size[:, None]).fill_diagonal_(0)
    return found


def regions(shape: tuple[int, ...]) -> tuple[tuple[str, ...], Tensor]:
    """The names of the regions of images, and the number of the region of each pixel value: `(C H W,)`.

    Args:
        shape: (C, H, W).
    """
    channels, height, width = shape
    cells = 3 * _thirds(height)[:, None] + _thirds(width)
    return REGIONS, torch.from_numpy(np.tile(cells.ravel(), channels))


def _thirds(side: int) -> NDArray[np.int64]:
    return np.arange(side, dtype=np.int64) * 3 // side
