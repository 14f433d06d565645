r"""The distance to the nearest normal sequence, after alignment in time.

Dynamic time warping (Sakoe and Chiba, 1978): step i of a sequence may stand beside step j of a normal one
where |i - j| is at most `BAND` of the grid, and

    E = min over normal sequences of sqrt(least sum of squared differences along a path / (length D)).

`OwnScale` does the same with sequences that are centred and scaled, each channel by itself: the shape without
level and size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from upland.criteria.base import Floats
from upland.criteria.whole.part import Arrays, Part, folds
from upland.criteria.whole.resampling import from_grid, median_length, on_grid
from upland.criteria.whole.values import GRID

BAND = 0.08
NORMAL = 128
"""Normal sequences that are kept to compare with, at most."""

LEAST_DEVIATION = 0.1


class Aligned(Part):
    """The distance to the nearest normal sequence under dynamic time warping."""

    name: ClassVar[str] = "aligned"
    weight: ClassVar[float] = 0.5

    normal: Floats

    def prepared(self, sequences: Sequence[Floats], length: int) -> Floats:
        """Sequences as they are compared: `(N, length, D)`.

        Args:
            sequences: `(T_i, D)` each.
            length: of the grid.
        """
        return on_grid(sequences, length)

    def fit(self, sequences: Sequence[Floats]) -> Floats:
        """See `Part.fit`; of many sequences some are kept, evenly spread, and tell what is usual."""
        some = np.unique(np.linspace(0, len(sequences) - 1, min(NORMAL, len(sequences))).astype(int))
        chosen = [sequences[number] for number in some]
        self.normal = self.prepared(chosen, median_length(chosen, GRID))
        if len(chosen) < 2:
            return np.ones(1)
        between = warped(self.normal, self.normal)
        for left_out in folds(len(chosen)):
            between[np.ix_(left_out, left_out)] = np.inf
        found: Floats = between.min(1)
        return found

    def energies(self, sequences: Sequence[Floats]) -> Floats:
        """See `Part.energies`."""
        found: Floats = warped(self.prepared(sequences, self.normal.shape[1]), self.normal).min(1)
        return found

    def shares(self, steps: Floats) -> Floats:
        """See `Part.shares`: the squared differences along the path."""
        x = self.prepared([steps], self.normal.shape[1])
        nearest = self.normal[int(warped(x, self.normal)[0].argmin())]
        shares = np.zeros_like(nearest)
        for i, j in path(x[0], nearest):
            shares[i] += (x[0, i] - nearest[j]) ** 2
        return from_grid(shares, len(steps))

    def arrays(self) -> Arrays:
        """See `Part.arrays`."""
        return {"normal": self.normal}

    def restore(self, arrays: Mapping[str, Floats], width: int) -> Self:
        """See `Part.restore`."""
        self.normal = arrays["normal"]
        shape = self.normal.shape
        if len(shape) != 3 or shape[2] != width or not 1 <= shape[1] <= GRID or not 1 <= shape[0] <= NORMAL:
            raise ValueError(f"the sequences of {self.name} do not fit the channels")
        return self


class OwnScale(Aligned):
    """The same with every channel of a sequence centred and scaled by itself."""

    name: ClassVar[str] = "own_scale"

    def prepared(self, sequences: Sequence[Floats], length: int) -> Floats:
        """See `Aligned.prepared`."""
        own = [(steps - steps.mean(0)) / (steps.std(0) + LEAST_DEVIATION) for steps in sequences]
        return on_grid(own, length)


def band_of(length: int) -> int:
    """Steps by which two sequences may be apart.

    Args:
        length: of the grid.
    """
    return max(1, round(BAND * length))


def warped(x: Floats, y: Floats) -> Floats:
    """The distance of each sequence from each: `(N, L, D)`, `(M, L, D)` to `(N, M)`.

    Args:
        x: sequences on a grid.
        y: likewise.
    """
    length, band = x.shape[1], band_of(x.shape[1])
    before = np.full((len(x), len(y), length + 1), np.inf)
    before[:, :, 0] = 0.0
    squares = (y**2).sum(2)
    for i in range(length):
        low, high = max(0, i - band), min(length, i + band + 1)
        products = x[:, i] @ y[:, low:high].reshape(-1, y.shape[2]).T
        cost = (x[:, i] ** 2).sum(1)[:, None, None] + squares[None, :, low:high]
        cost = np.maximum(cost - 2 * products.reshape(len(x), len(y), -1), 0.0)
        best = np.minimum(before[:, :, low:high], before[:, :, low + 1 : high + 1])
        after = np.full_like(before, np.inf)
        along = after[:, :, low]
        for j in range(low, high):
            along = cost[:, :, j - low] + np.minimum(best[:, :, j - low], along)
            after[:, :, j + 1] = along
        before = after
    found: Floats = np.sqrt(before[:, :, length] / (length * x.shape[2]))
    return found


def path(x: Floats, y: Floats) -> list[tuple[int, int]]:
    """The steps that stand beside each other: pairs of positions, from the last.

    Args:
        x: `(L, D)`.
        y: `(L, D)`.
    """
    length, band = len(x), band_of(len(x))
    cost = ((x[:, None] - y[None]) ** 2).sum(2)
    total = np.full((length + 1, length + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(length):
        for j in range(max(0, i - band), min(length, i + band + 1)):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j, found = length, length, []
    while i > 0 and j > 0:
        found.append((i - 1, j - 1))
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda at: total[at])
    return found
