"""What every expert of a time step is: a function of a few last steps, fitted in closed form.

An expert gives each step a number of each channel, not negative and higher = more anomalous, from the step
and the `reach - 1` steps before it. So a pass over a series and a stream of its steps give the same numbers,
and what has to be remembered of a series is the last steps, however long it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.criteria.reading import Indices

Tensors = dict[str, NDArray[Any]]

LARGEST = 1e12
"""The size of what is learned, at most."""

SMALLEST = 1e-12
"""What positive numbers are at least."""


class Normal(NamedTuple):
    """Normal steps that an expert is fitted on.

    Args:
        steps: `(S, D + C)` the encoded steps of all sequences, D channels and then C context inputs.
        ends: the steps that may be seen with all the steps before them that the expert reads, sorted.
        n_context: how many of the columns are context inputs, C.
    """

    steps: Floats
    ends: Indices
    n_context: int

    @property
    def n_channels(self) -> int:
        """How many of the columns are channels, D."""
        return int(self.steps.shape[1]) - self.n_context

    def windows(self, ends: Indices, length: int) -> Floats:
        """The last steps up to each of some: `(len(ends), length, D + C)`.

        Args:
            ends: positions in `steps`.
            length: steps of a window.
        """
        found: Floats = self.steps[ends[:, None] + np.arange(1 - length, 1)]
        return found


class StepPart(ABC):
    """An expert of time steps: abstract, `fit`, `squares` and `FIELDS` to write.

    Attributes:
        FIELDS: the axes of each array that `fit` learns, by name; "channel" is the number of channels, other
            names stand for one number each.
        POSITIVE: the arrays whose numbers are positive.
        reach: steps that a number depends on, the step itself among them.
    """

    FIELDS: ClassVar[dict[str, tuple[str, ...]]]
    POSITIVE: ClassVar[tuple[str, ...]] = ()

    reach: int

    @abstractmethod
    def fit(self, normal: Normal) -> Self:
        """Learn from normal steps, at least one.

        Args:
            normal: what may be seen.
        """

    @abstractmethod
    def squares(self, steps: Floats) -> Floats:
        """The numbers of steps: `(n, L + reach - 1, D + C) -> (n, L, D)`.

        Args:
            steps: of n series, the first `reach - 1` before those that are scored.
        """

    def state(self) -> Tensors:
        """What was learned: arrays by name."""
        return {name: getattr(self, name) for name in self.FIELDS}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> Self:
        """Take up what `state` gave.

        Args:
            state: arrays by name.
        """
        for name in self.FIELDS:
            setattr(self, name, state[name])
        return self

    def sizes(self) -> dict[str, int]:
        """The axes that are always as long, by name."""
        return {}

    def check(self, state: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
        """Refuse arrays that `state` does not give; raises ValueError.

        Args:
            state: of a file.
            sizes: the numbers that are known, by the name of the axis.
        """
        known = {**self.sizes(), **sizes}
        if state.keys() != self.FIELDS.keys():
            raise ValueError(f"{type(self).__name__} learns {', '.join(self.FIELDS)}")
        for name, axes in self.FIELDS.items():
            value = state[name]
            if value.dtype != np.float64 or value.ndim != len(axes) or not (np.abs(value) <= LARGEST).all():
                raise ValueError(f"{name} must hold float64 numbers within {LARGEST:g}, with the axes {axes}")
            if name in self.POSITIVE and not (value >= SMALLEST).all():
                raise ValueError(f"{name} must hold positive numbers, of at least {SMALLEST:g}")
            for axis, size in zip(axes, value.shape, strict=True):
                if known.setdefault(axis, size) != size or size == 0:
                    raise ValueError(f"{name} has {size} of {axis}, and not {known[axis]}")


def past_windows(steps: Floats, length: int) -> Floats:
    """Every window of so many steps as a view: `(n, T, D) -> (n, T - length + 1, D, length)`.

    Args:
        steps: of n series.
        length: of a window.
    """
    return sliding_window_view(steps, length, axis=1)


def spread(count: int, most: int) -> Indices:
    """So many of the numbers 0 to count - 1, all where there are no more, evenly spread but in step with no
    period: sorted.

    They are those whose multiple of the golden ratio, modulo 1, is smallest, so that no seed is needed: two
    neighbours are one of three distances apart (Steinhaus' three-gap theorem).

    Args:
        count: how many there are.
        most: how many are wanted.
    """
    if count <= most:
        return np.arange(count)
    golden = (np.sqrt(5.0) - 1) / 2
    order = np.argpartition(np.arange(count) * golden % 1.0, most)
    return np.sort(order[:most])
