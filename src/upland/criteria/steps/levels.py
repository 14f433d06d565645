r"""Experts of where a channel stands, of how that changes and of how much it moves.

* Level: the squared distance from the median in robust deviations, ((x - median) / (1.4826 MAD))^2 (as PAI,
  "point anomaly indicator", beside any learned score).
* Shift: the squared change of the mean, of the last 16 steps from the 16 before, in its deviations among
  normal steps: a local shift, where the level itself need not be unusual.
* Movement: the largest squared standard score of three log(s + c), s the deviation over the last 16 steps,
  that of the second differences in the last 24, which slow swings do not have, or the share of these 24
  steps that repeat no value. It is two-sided: a channel that is calmer than any normal stretch, as a sensor
  that is stuck, scores as one that is noisier.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from upland.criteria.base import Floats
from upland.criteria.steps.part import Normal, StepPart, past_windows, spread

CONSISTENT = 1.4826  # of the MAD of a normal distribution
LEAST_SHARE = 0.25  # of the standard deviation that a robust one counts as at least
LEAST_CHANGE = 1e-3  # standard deviations of the channel
STILL = 0.03  # what is added to the numbers of a stretch, which are in standard deviations of the channel
LEAST_SPREAD = 0.1  # of the logarithms of stretches
SAME = 1e-7  # standard deviations of the channel, between steps of one value
MOST = 20_000  # steps that are fitted on


class Level(StepPart):
    """The squared robust standard score of each channel."""

    FIELDS: ClassVar = {"median": ("channel",), "deviation": ("channel",)}
    POSITIVE: ClassVar = ("deviation",)
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


class Shift(StepPart):
    """The squared change of each channel's mean, in units of its mean square among normal steps.

    Args:
        length: steps of each of the two means.
    """

    FIELDS: ClassVar = {"deviation": ("channel",)}
    POSITIVE: ClassVar = ("deviation",)
    deviation: Floats

    def __init__(self, length: int = 16) -> None:
        self.length, self.reach = length, 2 * length

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        changes = self._changes(normal.windows(ends, self.reach)[..., : normal.n_channels])[:, 0]
        self.deviation = np.sqrt((changes**2).mean(axis=0)) + LEAST_CHANGE
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        found: Floats = (self._changes(steps[..., : self.deviation.size]) / self.deviation) ** 2
        return found

    def _changes(self, steps: Floats) -> Floats:
        """`(n, L + reach - 1, D) -> (n, L, D)`."""
        means = past_windows(steps, self.length).mean(axis=-1)
        found: Floats = means[:, self.length :] - means[:, : -self.length]
        return found


class Movement(StepPart):
    """The largest squared standard score of three logarithms of how much a channel moves; two-sided.

    Args:
        length: steps that the deviation of the values is of.
        reach: steps that the deviation of their second differences and the share of changes are of.
    """

    FIELDS: ClassVar = {"mean": ("channel", "number"), "deviation": ("channel", "number")}
    POSITIVE: ClassVar = ("deviation",)
    mean: Floats
    deviation: Floats

    def __init__(self, length: int = 16, reach: int = 24) -> None:
        self.length, self.reach = length, reach

    def sizes(self) -> dict[str, int]:
        """See `StepPart.sizes`."""
        return {"number": 3}

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        windows = normal.windows(ends, self.reach)[..., : normal.n_channels]
        moved = self._moved(windows.transpose(0, 2, 1))
        self.mean = moved.mean(axis=0)
        self.deviation = np.maximum(moved.std(axis=0), LEAST_SPREAD)
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        moved = self._moved(past_windows(steps[..., : len(self.mean)], self.reach))
        squares: Floats = (((moved - self.mean) / self.deviation) ** 2).max(axis=-1)
        return squares

    def _moved(self, windows: Floats) -> Floats:
        """Logarithms of the deviations and of the share of changes: `(..., reach) -> (..., 3)`."""
        changes = np.diff(windows)
        numbers = (
            windows[..., -self.length :].std(axis=-1),
            np.diff(changes).std(axis=-1),
            (np.abs(changes) > SAME).mean(axis=-1),
        )
        found: Floats = np.log(np.stack(numbers, axis=-1) + STILL)
        return found
