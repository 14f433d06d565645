r"""The expert of channels with at most two values in normal data: states, switches, flags and categories.

Such a channel has no level or shape; what it has are transitions. Its number is the surprise of a step given
the one before,

    -log p(x_t | x_{t-1}) = -log (n_ab + 1/2) / (n_a + 3/2),

by the counts of normal steps, with a third value for all that never occurred; after such a value it is
-log p(x_t), so that one that lasts stays as surprising as it was when it came. It is bounded by the logarithm
of the counts, so that a rare command cannot hide what measured channels do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.criteria.steps.part import Normal, StepPart

SAME = 1e-4  # of encoded values that are one value
PRIOR = 0.5


class Transitions(StepPart):
    """The surprise of the transition to each step, in nats."""

    FIELDS: ClassVar = {"values": ("channel", "value"), "surprise": ("channel", "before", "after")}
    POSITIVE: ClassVar = ("surprise",)
    reach = 2
    values: Floats
    surprise: Floats

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        pairs = normal.windows(normal.ends, 2)[..., : normal.n_channels]
        low, high = pairs.min(axis=(0, 1)), pairs.max(axis=(0, 1))
        self.values = np.stack([low, high], axis=1)
        codes = self._codes(pairs)
        counts = np.full((normal.n_channels, 3, 3), PRIOR)
        for channel in range(normal.n_channels):
            np.add.at(counts[channel], (codes[:, 0, channel], codes[:, 1, channel]), 1)
        counts[:, 2] = counts[:, :2].sum(axis=1) - PRIOR  # nothing is known of what follows a new value
        self.surprise = -np.log(counts / counts.sum(axis=2, keepdims=True))
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        codes = self._codes(steps[..., : len(self.values)])
        found: Floats = self.surprise[np.arange(len(self.values)), codes[:, :-1], codes[:, 1:]]
        return found

    def _codes(self, x: Floats) -> NDArray[np.int64]:
        """0 and 1 for the two values, 2 for any other."""
        near = np.abs(x[..., None] - self.values) <= SAME
        return np.where(near.any(axis=-1), near.argmax(axis=-1), 2)

    def check(self, state: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
        """See `StepPart.check`."""
        super().check(state, sizes)
        if state["values"].shape[1] != 2 or state["surprise"].shape[1:] != (3, 3):
            raise ValueError("Transitions has two values and what is neither")
