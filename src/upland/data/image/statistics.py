"""Mean and scale of pixels, in constant memory.

Level scaling takes them from the dtype: every step of a pixel's range gets a bin of its own of an interval of
length one, (x + 1/2) / 256 - 1/2 for 8 bits. Floats count as 8 bits of the smallest usual range that holds
them, 0 to 1, -1 to 1 or 0 to 255, and otherwise of the one from their least to their greatest value.

Elsewhere the scale is the standard deviation, but no less than a tenth of the typical one, so that a pixel
that was constant gets a large code when it changes, but a bounded one. Where all pixels of all images
were equal, a step of 1/255 of the range counts one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_SHARE = 0.1  # of the typical standard deviation
_LEVELS = 255  # steps of the range that count one each where nothing varied
_NOTHING = 1e-6  # of the range: what varies less is rounding


RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))

NORM = 6.5
"""The norm that contrast scaling gives to a typical image."""

_LEAST_CONTRAST = 0.4  # of the typical contrast, added to the contrast of each image


class LevelSums:
    """What level scaling learns: of whole numbers nothing, of floats the range that they are of."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.count, self.largest = 0, 0.0
        self._least, self._most = math.inf, -math.inf

    def add(self, x: NDArray[np.float64]) -> None:
        """Images `(n, H, W, C)`."""
        self.count += len(x)
        self._least, self._most = min(self._least, float(x.min())), max(self._most, float(x.max()))
        self.largest = max(-self._least, self._most)

    def finish(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The middle of the range `(1,)`, and the range with half a step more at both ends `(1,)`; raises
        ValueError for numbers too large.
        """
        least, most = self._range()
        steps = levels_of(self.dtype)
        middle, whole = 0.5 * least + 0.5 * most, (most / (steps - 1) - least / (steps - 1)) * steps
        if not math.isfinite(whole):
            raise ValueError(
                f"pixels as large as {self.largest:g} are too large: bring them to a smaller unit"
            )
        return np.array([middle]), np.array([whole])

    def _range(self) -> tuple[float, float]:
        if self.dtype.kind != "f":
            return 0.0, levels_of(self.dtype) - 1.0
        for least, most in RANGES:
            if least <= self._least and self._most <= most:
                return least, most
        if self._most - self._least > _NOTHING * self.largest:
            return self._least, self._most
        return self._least - 0.5, self._least + 0.5


def levels_of(dtype: np.dtype[Any]) -> int:
    """The number of values that a pixel of this dtype can have; of floats as many as of 8 bits."""
    if dtype.kind == "u":
        return int(np.iinfo(dtype).max) + 1
    return 256 if dtype.kind == "f" else 2


class ContrastSums:
    """What contrast scaling learns: what is added to a contrast, and the factor that makes norms `NORM`."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.count, self.largest = 0, 0.0
        self._contrasts: list[NDArray[np.float64]] = []

    def add(self, x: NDArray[np.float64]) -> None:
        """Images `(n, H, W, C)`."""
        self.count += len(x)
        self.largest = max(self.largest, float(np.abs(x).max()))
        with np.errstate(over="ignore", invalid="ignore"):
            self._contrasts.append(brightness_and_contrast(rooted(x))[1])

    def finish(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What is added `(1,)` and the factor's inverse `(1,)`; raises ValueError for numbers too large."""
        contrasts = np.concatenate(self._contrasts)
        typical = float(np.median(contrasts))
        if not np.isfinite(contrasts).all():
            raise ValueError(
                f"pixels as large as {self.largest:g} are too large: bring them to a smaller unit"
            )
        span = math.sqrt(span_of(self.dtype, self.largest))
        added = _LEAST_CONTRAST * typical if typical > _NOTHING * span else span / _LEVELS
        squares = math.prod(self.shape) * np.square(contrasts / (contrasts + added))
        norm = math.sqrt(float(squares.mean())) or 1.0
        return np.array([added]), np.array([norm / NORM])


def rooted(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square roots, with the sign of what is below zero: dark parts count as much as bright ones."""
    return np.sign(x) * np.sqrt(np.abs(x))


def brightness_and_contrast(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation over all pixels and channels of each image, `(n, ...) -> (n,)` each."""
    flat = x.reshape(len(x), -1)
    mean = flat.mean(axis=1)
    return mean, np.sqrt(np.square(flat - mean[:, None]).mean(axis=1))


def span_of(dtype: np.dtype[Any], largest: float) -> float:
    """The range that pixels of this dtype have."""
    if dtype.kind == "u":
        return float(np.iinfo(dtype).max)
    return (largest or 1.0) if dtype.kind == "f" else 1.0


class PixelSums:
    """Sums over images in float64, taken from the first image, so that constants stay exactly constant."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[Any], axes: tuple[int, ...]) -> None:
        self.shape, self.dtype, self.axes = shape, dtype, axes
        self.count, self.largest = 0, 0.0
        self._times = 0  # numbers in each sum

    def add(self, x: NDArray[np.float64]) -> None:
        """Images `(n, H, W, C)`; changes them."""
        if self.count == 0:
            first = x[:1] if self.axes == (0,) else x[:1, :1, :1]
            self._zero = first.reshape(first.shape[len(self.axes) :]).copy()
            self._total, self._squares = np.zeros_like(self._zero), np.zeros_like(self._zero)
        self.count += len(x)
        self._times += math.prod(x.shape[axis] for axis in self.axes)
        self.largest = max(self.largest, float(np.abs(x).max()))
        with np.errstate(over="ignore", invalid="ignore"):
            x -= self._zero
            self._total += x.sum(axis=self.axes)
            self._squares += np.einsum("nhwc,nhwc->" + ("c" if len(self.axes) == 3 else "hwc"), x, x)

    def finish(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and scale; raises ValueError for numbers too large to square."""
        with np.errstate(over="ignore", invalid="ignore"):
            away = self._total / self._times
            variance = np.maximum(self._squares / self._times - away**2, 0.0)
            typical = math.sqrt(float(variance.mean()))
        if not math.isfinite(typical):
            raise ValueError(
                f"pixels as large as {self.largest:g} are too large: bring them to a smaller unit"
            )
        span = span_of(self.dtype, self.largest)
        least = _LEAST_SHARE * typical if typical > _NOTHING * span else span / _LEVELS
        return self._zero + away, np.maximum(np.sqrt(variance), least)
