"""Level, range, spread and spectrum of each channel: what does not depend on the phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.criteria.whole.gaussian import LEAST_SCALE
from upland.criteria.whole.part import Arrays, VectorPart, whole_number
from upland.criteria.whole.resampling import LONGEST, median_length

BANDS = 6
SHORTEST = 16  # steps that a spectrum is of, at least
LEAST_DEVIATION, LEAST_POWER = 0.02, 1e-3


class Summaries(VectorPart):
    """A Gaussian energy of three groups of numbers of each channel.

    They are the logarithms of the power in bands of the spectrum; mean, extremes and median; and the
    logarithms of the deviation of the values and of their differences. Each group is in units of its own
    deviation.
    """

    name: ClassVar[str] = "summaries"
    weight: ClassVar[float] = 1.0

    def learn(self, sequences: Sequence[Floats]) -> None:
        """The bands, and the unit of each group of numbers.

        Args:
            sequences: normal.
        """
        self._use_bands(max(SHORTEST, median_length(sequences)))
        self.units = np.ones(3)
        groups = self._groups(sequences)
        units = np.array([np.sqrt(group.var(0).mean()) for group in groups])
        self.units = np.where(units > LEAST_SCALE, units, 1.0)

    def _use_bands(self, length: int) -> None:
        self.length = length
        self.edges: NDArray[np.int64] = np.unique(
            np.round(np.geomspace(1, length // 2 + 1, BANDS + 1)).astype(np.int64)
        )

    def _spectrum(self, steps: Floats) -> Floats:
        taper = np.hanning(len(steps) + 2)[1:-1, None]
        size = max(self.length, len(steps))
        power = np.abs(np.fft.rfft((steps - steps.mean(0)) * taper, n=size, axis=0)) ** 2 / len(steps)
        at = np.arange(len(power)) * (self.length / size)
        bands = [
            power[(at >= low - 0.5) & (at < high - 0.5)].mean(0)
            for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)
        ]
        return np.log(np.concatenate(bands) + LEAST_POWER)

    def _groups(self, sequences: Sequence[Floats]) -> list[Floats]:
        found: list[list[Floats]] = [[], [], []]
        for steps in sequences:
            changes = np.diff(steps, axis=0) if len(steps) > 1 else np.zeros_like(steps)
            level = [steps.mean(0), steps.min(0), steps.max(0), np.median(steps, axis=0)]
            found[0].append(self._spectrum(steps))
            found[1].append(np.concatenate(level))
            found[2].append(np.log(np.concatenate([steps.std(0), changes.std(0)]) + LEAST_DEVIATION))
        return [np.stack(group) for group in found]

    def vectors(self, sequences: Sequence[Floats]) -> Floats:
        """See `VectorPart.vectors`."""
        groups = self._groups(sequences)
        return np.concatenate([group / unit for group, unit in zip(groups, self.units, strict=True)], axis=1)

    def spread(self, steps: Floats, pull: Floats, away: Floats) -> Floats:
        """See `VectorPart.spread`; every step of a channel has the same part."""
        channels = (pull * away).reshape(-1, steps.shape[1]).sum(0)
        return np.broadcast_to(channels / len(steps), steps.shape).copy()

    def arrays(self) -> Arrays:
        """See `Part.arrays`."""
        return {**super().arrays(), "length": np.array([float(self.length)]), "units": self.units}

    def restore(self, arrays: Mapping[str, Floats], width: int) -> Self:
        """See `Part.restore`."""
        length, self.units = whole_number(arrays["length"], LONGEST), arrays["units"]
        if self.units.shape != (3,) or (self.units <= 0).any() or length < SHORTEST:
            raise ValueError(f"units of {self.name} must be positive")
        self._use_bands(length)
        self.restore_gaussian(arrays, (self.edges.size + 5) * width)
        return self
