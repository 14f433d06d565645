"""Heat maps: an image and beside it the image in grey with the heat over it, as a file; small
ones of both for a page.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.io.colours import recoloured
from upland.io.images import pillow
from upland.io.replace import replacing

LEAST_WIDTH = 256
"""Small images are enlarged by a whole number until they are this wide."""

_MOST = 4_096  # neither side grows beyond this
_GAP = 8  # white pixels between the two
_LEVELS = 31  # of the heat over a thumbnail
# Heat from 0 to 1: red, green, blue, cover. Lightness falls while cover rises, so that more is always more.
_HEAT = np.array([0.0, 0.05, 0.25, 0.5, 0.75, 1.0])
_RAMP = np.array(
    [
        [255, 245, 160, 0.00],
        [255, 245, 160, 0.00],
        [255, 225, 80, 0.50],
        [253, 165, 40, 0.75],
        [240, 80, 30, 0.85],
        [190, 0, 30, 0.92],
    ]
)


def write_heat_map(path: str | Path, image: NDArray[Any], heat: NDArray[Any], top: float) -> None:
    """Write a PNG, whole or not at all: the image, and to its right the image in grey with its heat over it,
    yellow to red.

    Args:
        path: the file to write.
        image: `(H, W)` or `(H, W, C)` pixels of 1, 3 or 4 channels; floats and 16 bits are shown from their
            least to their greatest value.
        heat: `(H, W)`, not negative.
        top: the heat that is shown in full red, so that the maps of several images compare.

    Raises:
        ImportError: Pillow is not installed.
        OSError: the file cannot be written.
        ValueError: shapes that do not fit, heat that is negative or not finite, a top that is not positive.

    Examples:
        >>> import numpy as np, tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "map.png"
        >>> write_heat_map(path, np.zeros((8, 8), dtype=np.uint8), np.eye(8), top=1.0)
        >>> path.exists()
        True
    """
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    warmth = np.asarray(heat, dtype=np.float64)
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or warmth.shape != pixels.shape[:2]:
        raise ValueError(
            f"an image (H, W) or (H, W, C) and its heat (H, W) are wanted, "
            f"got {np.shape(image)} and {warmth.shape}"
        )
    if not np.isfinite(warmth).all() or warmth.min(initial=0.0) < 0:
        raise ValueError("heat must be finite and not negative")
    if not (np.isfinite(top) and top > 0):
        raise ValueError(f"top must be a positive number, got {top}")
    shown = recoloured(_bytes(pixels), 3)
    left, right = (_enlarged(part) for part in (shown, _warmed(shown, warmth / top)))
    gap = np.full((len(left), _GAP, 3), 255, dtype=np.uint8)
    drawn = io.BytesIO()
    pillow().fromarray(np.concatenate([left, gap, right], axis=1)).save(drawn, format="PNG")
    with replacing(path, overwrite=True) as file:
        file.write(drawn.getbuffer())


def reduced_pixels(image: NDArray[Any], side: int) -> NDArray[np.uint8]:
    """An image as 8 bits, `(h, w, 1)` or `(h, w, 3)`, at most so wide and high.

    Args:
        image: `(H, W, C)` as for `write_heat_map`.
        side: pixels; a smaller image keeps its size.

    Raises:
        ImportError: Pillow is not installed.
    """
    shown = _bytes(image)
    grey = shown.shape[2] == 1
    picture = pillow().fromarray(shown[:, :, 0] if grey else recoloured(shown, 3))
    small: NDArray[np.uint8] = np.asarray(_reduced(picture, side))
    return small[:, :, None] if grey else small


def reduced_heat(heat: NDArray[Any], side: int) -> NDArray[np.float32]:
    """Heat `(H, W)` at most so wide and high, each the mean of what it stands for; raises as
    `reduced_pixels`.
    """
    small: NDArray[np.float32] = np.asarray(_reduced(pillow().fromarray(heat.astype(np.float32)), side))
    return small


def png_of_pixels(pixels: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file, in 256 colours; raises as `reduced_pixels`.

    Args:
        pixels: `(H, W, 1)` or `(H, W, 3)`.
    """
    grey = pixels.shape[2] == 1
    picture = pillow().fromarray(pixels[:, :, 0] if grey else pixels)
    return _png(picture if grey else picture.quantize(256))


def png_of_heat(heat: NDArray[Any], top: float) -> bytes:
    """The bytes of a PNG file that is laid over an image: yellow to red, clear where there is no heat; raises
    as `reduced_pixels`.

    Args:
        heat: `(H, W)`, finite; what is negative counts as none.
        top: the heat that is shown in full red.
    """
    levels = np.clip(np.rint(np.asarray(heat, dtype=np.float64) / top * _LEVELS), 0, _LEVELS)
    steps = np.linspace(0, 1, _LEVELS + 1)
    ramp = np.stack([np.interp(steps, _HEAT, column) for column in _RAMP.T], axis=1)
    drawn = pillow().fromarray(levels.astype(np.uint8), mode="P")
    drawn.putpalette(np.rint(ramp[:, :3]).astype(np.uint8).tobytes())
    return _png(drawn, transparency=np.rint(255 * ramp[:, 3]).astype(np.uint8).tobytes())


def _reduced(picture: Any, side: int) -> Any:
    """A picture of Pillow's that is at most so wide and high."""
    largest = max(picture.size)
    if largest <= side:
        return picture
    size = tuple(max(1, round(length * side / largest)) for length in picture.size)
    return picture.resize(size, pillow().Resampling.BOX)


def _png(picture: Any, **options: Any) -> bytes:
    drawn = io.BytesIO()
    picture.save(drawn, format="PNG", optimize=True, **options)
    return drawn.getvalue()


def _bytes(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels as 8 bits."""
    if pixels.dtype == np.uint8:
        return pixels
    values = pixels.astype(np.float64)
    if pixels.dtype != bool:
        low, high = values.min(initial=np.inf), values.max(initial=-np.inf)
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
    result: NDArray[np.uint8] = np.rint(255 * values).astype(np.uint8)
    return result


def _warmed(shown: NDArray[np.uint8], warmth: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The image in grey under its heat, `(H, W, 3)`."""
    grey = recoloured(shown, 1).astype(np.float64)
    ramp = np.stack([np.interp(warmth, _HEAT, column) for column in _RAMP.T], axis=2)
    cover = ramp[:, :, 3:]
    result: NDArray[np.uint8] = np.rint(grey * (1 - cover) + ramp[:, :, :3] * cover).astype(np.uint8)
    return result


def _enlarged(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = shown.shape[:2]
    times = max(1, min(-(-LEAST_WIDTH // width), _MOST // max(height, width)))
    return shown.repeat(times, axis=0).repeat(times, axis=1)
