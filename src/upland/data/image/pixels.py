"""Images converted to another size, or from grey to colour and back; the dtype stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upland.data.image.arrays import LEAST_SIDE, Channels
from upland.io.advice import Advice, Argument
from upland.io.colours import recoloured, rounded
from upland.io.images import pillow

Mode = Literal["grey", "rgb"]


@dataclass(frozen=True)
class Conversion:
    """What a user wants images to be converted to.

    Args:
        size: (height, width), or None for as they are.
        mode: "grey", "rgb", or None for as they are.
        channels: which axis of an `(N, a, b, c)` array the channels are, or None to go by the shape.
    """

    size: tuple[int, int] | None = None
    mode: Mode | None = None
    channels: Channels | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", _checked_size(self.size))
        if not (self.mode is None or (isinstance(self.mode, str) and self.mode in ("grey", "rgb"))):
            raise ValueError(f"mode must be 'grey', 'rgb' or None, got {self.mode!r}")
        if self.channels not in (None, "first", "last"):
            raise ValueError(f"channels must be 'first', 'last' or None, got {self.channels!r}")

    def shape(self, height: int, width: int, channels: int) -> tuple[int, int, int]:
        """The shape (H, W, C) that an image of this shape is converted to."""
        height, width = self.size or (height, width)
        return height, width, {None: channels, "grey": 1, "rgb": 3}[self.mode]

    def apply(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Images `(n, H, W, C)` converted."""
        height, width, channels = self.shape(*pixels.shape[1:])
        pixels = recoloured(pixels, channels)
        if pixels.shape[1:3] == (height, width):
            return pixels
        out = np.empty((len(pixels), height, width, channels), dtype=pixels.dtype)
        for number, image in enumerate(pixels):
            out[number] = resized(image, (height, width))
        return out


def _checked_size(size: Any) -> tuple[int, int]:
    whole = isinstance(size, list | tuple) and len(size) == 2
    if not whole or not all(isinstance(side, int | np.integer) and side >= LEAST_SIDE for side in size):
        text = f" must be (height, width) of at least {LEAST_SIDE} pixels each, got {size!r}"
        raise ValueError(Advice(Argument("size"), text))
    return int(size[0]), int(size[1])


def resized(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Pixels `(H, W, C)` brought to (height, width), each channel by itself, smoothed where it shrinks.

    Args:
        pixels: of any of the dtypes of images; the result has the same.
        size: (height, width).
    """
    if pixels.shape[:2] == size:
        return pixels
    module = pillow()
    out = np.empty((*size, pixels.shape[2]), dtype=np.float32)
    for channel in range(pixels.shape[2]):
        plane = module.fromarray(np.ascontiguousarray(pixels[:, :, channel], dtype=np.float32))
        out[:, :, channel] = plane.resize(size[::-1], module.Resampling.BILINEAR)
    return rounded(out, pixels.dtype)
