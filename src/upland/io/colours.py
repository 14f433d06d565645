"""Pixels from grey to colour and back; the dtype stays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 1 << 18
"""Pixels that are converted at a time, so that large images take little memory."""


def rounded(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers as pixels of a dtype: rounded and clipped to its range; floats as they are."""
    if dtype.kind == "b":
        bright: NDArray[np.bool_] = values >= 0.5
        return bright
    if dtype.kind == "u":
        whole: NDArray[Any] = np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
        return whole
    return values.astype(dtype)


def recoloured(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Pixels `(..., C)` with another number of channels: grey is the luma of ITU-R 601; alpha is dropped.

    Args:
        pixels: of 1, 3 or 4 channels.
        channels: 1 or 3.
    """
    if pixels.shape[-1] == channels:
        return pixels
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, channels, axis=-1)
    if channels == 3:
        return pixels[..., :3]
    grey = np.empty((*pixels.shape[:-1], 1), dtype=pixels.dtype)
    flat, there = pixels.reshape(-1, pixels.shape[-1]), grey.reshape(-1)
    for start in range(0, len(flat), AT_ONCE):
        part = flat[start : start + AT_ONCE]
        red, green, blue = (part[:, k].astype(np.float64) for k in range(3))
        there[start : start + AT_ONCE] = rounded(0.299 * red + 0.587 * green + 0.114 * blue, pixels.dtype)
    return grey
