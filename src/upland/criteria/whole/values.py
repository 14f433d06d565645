"""The values themselves, at the same positions of all sequences: level and course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from upland.criteria.base import Floats
from upland.criteria.whole.part import VectorPart
from upland.criteria.whole.resampling import from_grid, median_length, on_grid

GRID = 64
"""Steps that sequences are compared on, at most."""


class Values(VectorPart):
    """A Gaussian energy of the sequence on a grid, as one vector."""

    name: ClassVar[str] = "values"
    weight: ClassVar[float] = 0.5

    def learn(self, sequences: Sequence[Floats]) -> None:
        """The length of the grid: the median one.

        Args:
            sequences: normal.
        """
        self.length = median_length(sequences, GRID)

    def vectors(self, sequences: Sequence[Floats]) -> Floats:
        """See `VectorPart.vectors`."""
        return on_grid(sequences, self.length).reshape(len(sequences), -1)

    def spread(self, steps: Floats, pull: Floats, away: Floats) -> Floats:
        """See `VectorPart.spread`."""
        return from_grid((pull * away).reshape(self.length, -1), len(steps))

    def restore(self, arrays: Mapping[str, Floats], width: int) -> Self:
        """See `Part.restore`."""
        size = arrays["center"].size
        if not size or size % width or size > GRID * width:
            raise ValueError(f"the arrays of {self.name} do not fit the channels")
        self.restore_gaussian(arrays, size)
        self.length = size // width
        return self
