r"""Experts of where a channel stands and of how much it moves.

* Level: the squared distance from the median in robust deviations, ((x - median) / (1.4826 MAD))^2 (as PAI,
  "point anomaly indicator", beside any learned score).
* Movement: the squared standard score of log(s + c), s the deviation over the last 16 steps. It is two-sided:
  a channel that is calmer than any normal stretch, as a sensor that is stuck, scores as one that is noisier.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from upland.criteria.base import Floats
from upland.criteria.steps.part import Normal, StepPart, past_windows, spread

CONSISTENT = 1.4826  # of the MAD of a normal distribution
LEAST_SHARE = 0.25  # of the standard deviation that a robust one counts as at least
STILL = 0.03  # deviation that is added to that of a stretch, in standard deviations of the channel
LEAST_SPREAD = 0.1  # of the logarithm of the deviations of stretches
MOST = 20_000  # steps that are fitted on


class Level(StepPart):
    """The squared robust standard score of each channel."""

    FIELDS: ClassVar = {"median": ("channel",), "deviation": ("channel",)}
    reach = 1
    median: Floats
    deviation: Floats

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        x = normal.steps[normal.ends[spread(normal.ends.size, MOST)], : normal.n_channels]
        self.median = np.median(x, axis=0)
        robust = CONSISTENT * np.median(np.abs(x - self.median), axis=0)
        self.deviation = np.maximum(robust, LEAST_SHARE * x.std(axis=0) + 1e-3)
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        away: Floats = (steps[..., : self.median.size] - self.median) / self.deviation
        return away**2


class Movement(StepPart):
    """The squared standard score of the logarithm of the deviation over some steps; two-sided.

    Args:
        length: steps that the deviation is of.
    """

    FIELDS: ClassVar = {"mean": ("channel",), "deviation": ("channel",)}
    mean: Floats
    deviation: Floats

    def __init__(self, length: int = 16) -> None:
        self.reach = length

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        moved = _moved(normal.windows(ends, self.reach)[..., : normal.n_channels], axis=1)
        self.mean = moved.mean(axis=0)
        self.deviation = np.maximum(moved.std(axis=0), LEAST_SPREAD)
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        moved = _moved(past_windows(steps[..., : self.mean.size], self.reach), axis=-1)
        away: Floats = (moved - self.mean) / self.deviation
        return away**2


def _moved(windows: Floats, axis: int) -> Floats:
    found: Floats = np.log(windows.std(axis=axis) + STILL)
    return found
