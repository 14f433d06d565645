"""Images with the variation that is normal: moved, and in another light."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upland.data.image.container import Images, as_images


def augment_images(
    X: Any,
    *,
    shift: int = 0,
    light: float = 0.0,
    copies: int = 1,
    size: tuple[int, int] | None = None,
    mode: Literal["grey", "rgb"] | None = None,
    random_state: int | None = None,
) -> NDArray[Any]:
    """Images as they would be from a camera that moves a little, in a light that differs.

    Every copy of an image is moved by whole pixels, rows and columns each by at most `shift`, with the pixels
    at the edge repeated, and its colours multiplied by a factor within `light` of 1, both drawn evenly.

    Copies of one image are not independent: give them to `fit` beside the images, and calibrate on images
    that neither the fit nor a copy has seen.

    Args:
        X: images as detectors take them: an array, a list, a folder.
        shift: pixels, less than the sides.
        light: share, 0 to less than 1; without a meaning for booleans.
        copies: of each image.
        size: (height, width) to bring images to first.
        mode: "grey" or "rgb" to bring images to first.
        random_state: a seed, with which two calls are equal; None draws anew.

    Returns:
        `(copies N, H, W)`, or `(copies N, H, W, C)` of colours: all images once, then all once more, in their
        order and dtype. Integers are rounded and cut off at the ends of their range, floats at the least and
        the largest pixel of all images.

    Raises:
        TypeError: X is no images.
        ValueError: an argument is not as it must be; X is not as `fit` takes it.

    Examples:
        >>> import upland
        >>> from sklearn.datasets import load_digits
        >>> pictures = load_digits().images[:10].astype("uint8")
        >>> upland.augment_images(pictures, shift=1, light=0.2, copies=3, random_state=0).shape
        (30, 8, 8)
    """
    images = as_images(X, size=size, mode=mode)
    _check(images, shift, light, copies, random_state)
    shift, (height, width, channels) = int(shift), images.shape
    rng = np.random.default_rng(random_state)
    pixels = images.take(np.arange(len(images)))
    low, high = _range(pixels)
    found = np.empty((copies, *pixels.shape), dtype=pixels.dtype)
    for copy in found:
        down, right = rng.integers(-shift, shift + 1, (2, len(pixels)))
        factors = rng.uniform(1 - light, 1 + light, len(pixels))
        for number, image in enumerate(pixels):
            rows = np.clip(np.arange(height) - down[number], 0, height - 1)
            columns = np.clip(np.arange(width) - right[number], 0, width - 1)
            moved = image[rows][:, columns]
            copy[number] = moved if light == 0 else _lit(moved, factors[number], low, high)
    return found.reshape(-1, height, width, *([channels] if channels > 1 else []))


def _check(images: Images, shift: Any, light: Any, copies: Any, seed: Any) -> None:
    least = min(images.shape[:2])
    if isinstance(shift, bool) or not isinstance(shift, Integral) or not 0 <= int(shift) < least:
        raise ValueError(
            f"shift must be a whole number from 0 to {least - 1}, less than a side, got {shift!r}"
        )
    if isinstance(light, bool) or not isinstance(light, Real) or not 0 <= float(light) < 1:
        raise ValueError(f"light must be a number from 0 to less than 1, got {light!r}")
    if light and images.dtype.kind == "b":
        raise ValueError("light has no meaning for booleans: leave it out")
    if isinstance(copies, bool) or not isinstance(copies, Integral) or copies < 1:
        raise ValueError(f"copies must be a whole number of at least 1, got {copies!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, Integral) or int(seed) < 0):
        raise ValueError(f"random_state must be None or a whole number of at least 0, got {seed!r}")


def _range(pixels: NDArray[Any]) -> tuple[float, float]:
    """The ends of the range of integers; the least and the largest of floats."""
    if pixels.dtype.kind == "f":
        return float(pixels.min()), float(pixels.max())
    return (0.0, 1.0) if pixels.dtype.kind == "b" else (0.0, float(np.iinfo(pixels.dtype).max))


def _lit(image: NDArray[Any], factor: float, low: float, high: float) -> NDArray[Any]:
    """An image times a factor, within a range; a fourth channel, which is no colour, as it is."""
    lit = image.astype(np.float64)
    lit[..., :3] = np.clip(lit[..., :3] * factor, low, high)
    return lit if image.dtype.kind == "f" else np.rint(lit)
