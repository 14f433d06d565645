"""What a file says of an image encoder, checked; each raises ValueError for what no fit leaves in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.image.ignored import Mask
from upland.io.records import fits

MOST_PIXELS = 1 << 28
"""Values of an image that a stored encoder may have at most."""


def sound_shape(manifest: Mapping[str, Any]) -> tuple[tuple[int, int, int], np.dtype[Any], float]:
    """The shape, dtype and greatest value in a manifest."""
    shape, name, largest = manifest["shape"], manifest["dtype"], manifest["largest"]
    whole = isinstance(shape, list) and all(type(side) is int and side > 0 for side in shape)
    if not whole or len(shape) != 3 or shape[2] not in (1, 3, 4) or math.prod(shape) > MOST_PIXELS:
        raise ValueError(f"the image encoder's shape is {shape!r}, which is not that of an image")
    if name not in ("bool", "uint8", "uint16", "float16", "float32", "float64"):
        raise ValueError(f"the image encoder's dtype is {name!r}, which is not that of an image")
    if not fits(largest, float) or largest < 0:
        raise ValueError(f"the image encoder's greatest value is {largest!r}")
    return (shape[0], shape[1], shape[2]), np.dtype(name), float(largest)


def sound_scaling(
    mean: Any, scale: Any, shape: tuple[int, ...], added: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Copies of mean and scale.

    Args:
        mean: float64.
        scale: float64, positive.
        shape: that they must have.
        added: whether the mean is what is added to a contrast, which is positive.
    """
    parts = [np.asarray(mean), np.asarray(scale)]
    if any(part.shape != shape or part.dtype != np.float64 for part in parts):
        raise ValueError(f"mean and scale of the image encoder must be float64 of shape {shape}")
    if not np.isfinite(parts).all() or (parts[1] <= 0).any():
        raise ValueError("mean and scale of the image encoder must be finite, and scale positive")
    if added and parts[0] <= 0:
        raise ValueError("what the image encoder adds to a contrast must be positive")
    return parts[0].copy(), parts[1].copy()


def sound_mask(mask: Any, shape: tuple[int, int, int]) -> Mask | None:
    """A copy of the mask of ignored pixels that cannot be written; None for None.

    Args:
        mask: `(H, W)` booleans, some true and some false, or None.
        shape: of the images, (H, W, C).
    """
    if mask is None:
        return None
    if mask.shape != shape[:2] or mask.dtype != np.bool_ or mask.all() or not mask.any():
        raise ValueError(f"the ignored pixels must be booleans of shape {shape[:2]}, some but not all true")
    own: Mask = mask.copy()
    own.setflags(write=False)
    return own
