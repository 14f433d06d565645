"""Which arrays and tensors are images: by their dtype, their size, and the axis of their channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upland.data.arrays import as_array, is_tensor
from upland.io.advice import Advice, Wording

Channels = Literal["first", "last"]

CHANNELS = (1, 3, 4)
"""Channels that an image can have."""

LEAST_SIDE = 2
"""Pixels that an image has at least in each direction."""


def is_array(x: object) -> bool:
    """Whether this is a NumPy array or a PyTorch tensor; does not import PyTorch."""
    return isinstance(x, np.ndarray) or is_tensor(x)


def dtype_of(x: Any) -> np.dtype[Any]:
    """The dtype of an array or tensor."""
    return x.dtype if isinstance(x, np.ndarray) else as_array(x.new_empty(0)).dtype


def looks_like_images(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Whether an array of this shape and dtype is images by them: numbers of rank 4, or rank 3 of bool,
    uint8 or uint16.
    """
    return (len(shape) == 4 and dtype.kind in "buif") or (
        len(shape) == 3 and dtype.kind in "bu" and dtype.itemsize <= 2
    )


def as_pixels(x: Any) -> NDArray[Any]:
    """An array or tensor as an array; raises TypeError for masked arrays, ValueError for ragged lists."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("masked arrays are not supported as images: fill them in with X.filled(...)")
    return as_array(x, "these are no images")


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Refuse pixels of a dtype that images do not have; raises TypeError, ValueError for complex numbers."""
    if dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {what} of dtype {dtype}")
    if dtype.kind == "i" or (dtype.kind == "u" and dtype.itemsize > 2):
        raise TypeError(
            f"{what} of dtype {dtype}, whose range is not that of an image: use X.astype(np.uint8) "
            "for values from 0 to 255, np.uint16 to 65535, or a float for any other"
        )
    if dtype.kind not in "buf" or dtype.itemsize > 8:
        raise TypeError(
            f"{what} of dtype {dtype}: images are of bool, uint8, uint16 or a float, "
            "and those of several sizes a list"
        )


def channels_last(X: NDArray[Any], channels: Channels | None) -> NDArray[Any]:
    """An array of images seen as `(N, H, W, C)`.

    Raises:
        ValueError: another shape than images have; one that can be read either way; the message says what to
            do.
    """
    shape = X.shape
    if X.ndim == 3 and not (shape[2] in (3, 4) and shape[1] != shape[2]):
        return X[..., None]
    if X.ndim == 3:
        raise ValueError(
            f"an array of shape {shape} looks like one colour image: it is X[None] then; "
            f"{shape[0]} grey images of {shape[1]} x {shape[2]} are X[:, None] with channels='first'"
        )
    if X.ndim == 2:
        raise ValueError(f"an array of shape {shape} is one grey image: images are X[None], of (N, H, W)")
    if X.ndim != 4:
        raise ValueError(
            f"an array of shape {shape}: images are (N, H, W), (N, H, W, C) or (N, C, H, W) "
            "of C = 1, 3 or 4 channels"
        )
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if first and last and channels is None:
        raise ValueError(
            Advice(
                f"an array of shape {shape} can be (N, C, H, W) or (N, H, W, C): ",
                Wording(
                    "give the former as X.transpose(0, 2, 3, 1), the latter as X.transpose(0, 3, 1, 2); "
                    "an ImageEncoder also takes channels='first' or 'last'",
                    "store the former with its axes in the order 0, 2, 3, 1, the latter in 0, 3, 1, 2",
                ),
            )
        )
    if channels is not None and not (first if channels == "first" else last):
        raise ValueError(
            f"an array of shape {shape} has {shape[1] if channels == 'first' else shape[3]} channels "
            f"with channels={channels!r}: an image has 1, 3 or 4"
        )
    if not first and not last:
        raise ValueError(
            f"an array of shape {shape} has no axis of channels: images are (N, H, W), (N, H, W, C) "
            "or (N, C, H, W) of C = 1, 3 or 4 channels"
        )
    return np.moveaxis(X, 1, 3) if (channels or ("first" if first else "last")) == "first" else X


def check_sides(shape: Sequence[int], label: str) -> None:
    """Refuse images of less than 2 x 2 pixels; raises ValueError."""
    if min(shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"{label} is of {shape[0]} x {shape[1]} pixels: at least {LEAST_SIDE} x {LEAST_SIDE} are needed"
        )
