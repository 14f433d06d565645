"""Regions of every image that are left out, and how they follow a change of size.

A mask is `(H, W)` booleans, True where pixels are left out. Brought to another size it covers every pixel
that an ignored one is part of, by the weights that images are resized with: what stays then depends on
no ignored pixel.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.arrays import as_array
from upland.data.image.pixels import resized
from upland.io.advice import Advice, Argument
from upland.io.arrays import is_array_file, read_array
from upland.io.images import is_image_file, read_pixels

Mask = NDArray[np.bool_]

_WANTED = "a boolean array (height, width), True where pixels are left out, or the path of an image file"


def as_ignored(ignore: Any) -> Mask | None:
    """Which pixels a user leaves out of every image, `(H, W)`, as a copy that cannot be written; None for
    none.

    Args:
        ignore: a boolean array or tensor `(H, W)`, True where pixels are left out; the path of an image file,
            of which every pixel that is not black is left out, or of an .npy or .npz file of such an array;
            or None.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: it is an image file, and Pillow is not installed.
        TypeError: it is no array and no path, or not boolean.
        ValueError: another shape; every pixel is left out; a file that is damaged, or not all opaque.

    Examples:
        >>> as_ignored(np.eye(2, dtype=bool)).tolist()
        [[True, False], [False, True]]
    """
    if ignore is None:
        return None
    if isinstance(ignore, str | PathLike):
        path = Path(fspath(ignore))
        if not (is_array_file(path) or is_image_file(path)):
            raise ValueError(Advice(Argument("ignore"), f" must be {_WANTED}, got the path {path}"))
        mask = read_array(path) if is_array_file(path) else not_black(path)
    else:
        mask = as_array(ignore, "ignore is no array")
    if mask.dtype != np.bool_:
        hint = ": as in mask > 0" if mask.dtype.kind in "uif" else ""
        raise TypeError(Advice(Argument("ignore"), f" must be {_WANTED}, got dtype {mask.dtype}{hint}"))
    if mask.ndim != 2:
        raise ValueError(Advice(Argument("ignore"), f" must be {_WANTED}, got the shape {mask.shape}"))
    return _some(mask)


def brought_to(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask in another size: every pixel that an ignored one is part of.

    Args:
        mask: `(H, W)`.
        size: (height, width).

    Raises:
        ValueError: no pixel stays.
    """
    if mask.shape == size:
        return mask
    covered: Mask = resized(mask[..., None].astype(np.float32), size)[..., 0] > 0
    if covered.all():
        sides = f"{size[0]} x {size[1]}"
        raise ValueError(Advice(Argument("ignore"), f" leaves no pixel of images of {sides} that counts"))
    covered.setflags(write=False)
    return covered


def check_size(mask: Mask | None, shape: tuple[int, ...]) -> None:
    """Refuse a mask of another size than the images; raises ValueError.

    Args:
        mask: `(H, W)`, or None.
        shape: of the images, (H, W, C).
    """
    if mask is not None and mask.shape != shape[:2]:
        (height, width), (rows, columns) = mask.shape, shape[:2]
        text = f" is of {height} x {width} pixels, images of {rows} x {columns}: give it in their size"
        raise ValueError(Advice(Argument("ignore"), text))


def counted(pixels: NDArray[np.float64], mask: Mask | None) -> NDArray[np.float64]:
    """Of images `(n, H, W, C)` the pixels that are not ignored, `(n, K, 1, C)`; all where there is no mask.

    Args:
        pixels: of the images.
        mask: `(H, W)`, or None.
    """
    return pixels if mask is None else pixels[:, ~mask][:, :, None]


def spread(values: NDArray[np.float64], mask: Mask, other: float) -> NDArray[np.float64]:
    """Values of the pixels that are not ignored where they belong, `(H, W, C)`.

    Args:
        values: `(K, 1, C)`.
        mask: `(H, W)`.
        other: the value for each ignored pixel.
    """
    whole = np.full((*mask.shape, values.shape[2]), other, dtype=np.float64)
    whole[~mask] = values[:, 0]
    return whole


def not_black(path: Path) -> Mask:
    """Which pixels of an image file are not black, `(H, W)`.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: Pillow is not installed.
        ValueError: the file is damaged, or not all opaque.
    """
    pixels, opaque = read_pixels(path, str(path))
    if not opaque:
        raise ValueError(f"{path} is not all opaque: save it without alpha, black where nothing is marked")
    mask: Mask = (pixels != 0).any(axis=2)
    return mask


def _some(mask: Mask) -> Mask | None:
    if mask.all():
        raise ValueError(Advice(Argument("ignore"), " leaves out every pixel: True is what is left out"))
    if not mask.any():
        return None
    own = np.array(mask, dtype=np.bool_)
    own.setflags(write=False)
    return own
