r"""What random kernels see in a sequence: how often each finds its pattern, whenever that is.

Each of `KERNELS` kernels w has one channel c, random weights, a dilation d and a threshold b, a quantile of
what it gives on normal sequences. With the sequence x on a grid and o_t = sum_i w_i x_{t + i d, c}, its
number is the mean over t of

    sigma(SHARPNESS (o_t - b) / deviation of o).

(Dempster, Petitjean and Webb, ROCKET, 2020, count o_t > 0; the smooth form changes less at the threshold.)
Most kernels sum to zero and do not see the level. The numbers are compared by `ShrunkGaussian`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from upland.criteria.base import Floats
from upland.criteria.whole.part import Arrays, VectorPart, whole_number
from upland.criteria.whole.resampling import LONGEST, from_grid, median_length, on_grid

KERNELS = 500
LENGTH = 9
"""Steps of a kernel, or half of the grid where that is less."""

SHARPNESS = 10.0
WITH_LEVEL = 0.2
"""Kernels that do not sum to zero, as a share of all."""

LEAST_DEVIATION = 1e-9
Indices = NDArray[np.int64]


class Convolutions(VectorPart):
    """A Gaussian energy of the mean responses of random kernels."""

    name: ClassVar[str] = "convolutions"
    weight: ClassVar[float] = 3.0

    def learn(self, sequences: Sequence[Floats]) -> None:
        """Draw the kernels, always in the same way, and take thresholds from normal sequences.

        Args:
            sequences: normal.
        """
        self.length = median_length(sequences)
        x = on_grid(sequences, self.length).transpose(0, 2, 1)
        self._draw(x.shape[1], np.random.default_rng(0))
        self.thresholds = np.zeros(KERNELS)
        self.deviations = np.ones(KERNELS)
        quantiles = np.random.default_rng(1).random(KERNELS)
        for kernels in self._alike():
            responses = self._responses(x, kernels)
            self.deviations[kernels] = responses.std((0, 2)) + LEAST_DEVIATION
            for kernel, response in zip(kernels, responses.transpose(1, 0, 2), strict=True):
                self.thresholds[kernel] = np.quantile(response, quantiles[kernel])

    def _draw(self, width: int, generator: np.random.Generator) -> None:
        taps = min(LENGTH, max(-(-self.length // 2), min(3, self.length)))
        self.weights = generator.normal(size=(KERNELS, taps))
        centred = generator.random(KERNELS) >= WITH_LEVEL
        self.weights[centred] -= self.weights[centred].mean(1, keepdims=True)
        self.weights /= np.sqrt((self.weights**2).sum(1, keepdims=True)) + 1e-12
        most = np.log2((self.length - 1) / (taps - 1)) if taps > 1 else 0.0
        dilations = (2 ** generator.uniform(0, max(most, 0.0), KERNELS)).astype(np.int64)
        padding = np.where(generator.random(KERNELS) < 0.5, (taps - 1) * dilations // 2, 0)
        self.layout: Indices = np.stack([generator.integers(width, size=KERNELS), dilations, padding])

    def _alike(self) -> Iterator[Indices]:
        """The kernels of each dilation and padding."""
        _, group = np.unique(self.layout[1:], axis=1, return_inverse=True)
        for number in range(int(group.max()) + 1):
            yield np.flatnonzero(group.ravel() == number)

    def _responses(self, x: Floats, kernels: Indices) -> Floats:
        """O_t of kernels that are alike: `(N, D, length)` to `(N, k, T)`."""
        dilation, padding = self.layout[1:, kernels[0]]
        x = np.pad(x[:, self.layout[0, kernels]], ((0, 0), (0, 0), (padding, padding)))
        taps = self.weights.shape[1]
        size = x.shape[2] - (taps - 1) * dilation
        found = np.zeros((len(x), len(kernels), size))
        for tap in range(taps):
            found += self.weights[kernels, tap][:, None] * x[:, :, tap * dilation : tap * dilation + size]
        return found

    def _found(self, x: Floats, kernels: Indices) -> Floats:
        """Sigma of each step, `(N, k, T)`."""
        away = self._responses(x, kernels) - self.thresholds[kernels][:, None]
        found: Floats = expit(SHARPNESS * away / self.deviations[kernels][:, None])
        return found

    def vectors(self, sequences: Sequence[Floats]) -> Floats:
        """See `VectorPart.vectors`."""
        x = on_grid(sequences, self.length).transpose(0, 2, 1)
        found = np.zeros((len(x), self.thresholds.size))
        for kernels in self._alike():
            found[:, kernels] = self._found(x, kernels).mean(2)
        return found

    def spread(self, steps: Floats, pull: Floats, away: Floats) -> Floats:
        """See `VectorPart.spread`; a response goes to the steps below the kernel, by its squared weights."""
        x = on_grid([steps], self.length).transpose(0, 2, 1)
        shares = np.zeros(x.shape[1:])
        for kernels in self._alike():
            dilation, padding = self.layout[1:, kernels[0]]
            found = self._found(x, kernels)[0] - self.gaussian.center[kernels][:, None]
            part = pull[kernels][:, None] * found / found.shape[1]
            squares = self.weights[kernels] ** 2 + 1e-12
            squares /= squares.sum(1, keepdims=True)
            for tap in range(squares.shape[1]):
                at = np.arange(part.shape[1]) + tap * dilation - padding
                at = np.clip(at, 0, self.length - 1)
                channels = self.layout[0, kernels]
                np.add.at(shares, (channels[:, None], at[None, :]), squares[:, tap, None] * part)
        return from_grid(shares.T, len(steps))

    def arrays(self) -> Arrays:
        """See `Part.arrays`."""
        own = {
            "weights": self.weights,
            "layout": self.layout.astype(np.float64),
            "thresholds": self.thresholds,
            "deviations": self.deviations,
            "length": np.array([float(self.length)]),
        }
        return {**super().arrays(), **own}

    def restore(self, arrays: Mapping[str, Floats], width: int) -> Self:
        """See `Part.restore`."""
        self.length = whole_number(arrays["length"], LONGEST)
        self.weights, self.layout = arrays["weights"], arrays["layout"].astype(np.int64)
        self.thresholds, self.deviations = arrays["thresholds"], arrays["deviations"]
        count, taps = self.weights.shape
        shapes = {self.thresholds.shape, self.deviations.shape}
        if not count or not taps or shapes != {(count,)} or self.layout.shape != (3, count):
            raise ValueError(f"the arrays of {self.name} do not fit each other")
        channels, dilations, padding = self.layout
        fits = self.length + 2 * padding > (taps - 1) * dilations
        good = (channels < width) & (channels >= 0) & (dilations > 0) & (padding >= 0) & fits
        if not good.all() or (padding > LONGEST * LENGTH).any() or (self.deviations <= 0).any():
            raise ValueError(f"the kernels of {self.name} do not fit the channels and the grid")
        self.restore_gaussian(arrays, count)
        return self
