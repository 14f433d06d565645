"""How images are read: arrays, files or a folder, some at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from upland.catalogue import Unit
from upland.data.image.container import Images
from upland.data.image.encoder import ImageEncoder, ImageRows, Scaling
from upland.data.image.ignored import Mask
from upland.data.image.pixels import Mode
from upland.data.reader import Floats
from upland.data.rows import NormalRows

PIXELS_AT_ONCE = 1 << 23  # pixel values of a piece of new images


@dataclass(frozen=True)
class ImageReader:
    """Images: arrays, files, a folder.

    Args:
        size: (height, width) that images of other sizes are brought to.
        mode: "grey" or "rgb" that images are brought to.
        scaling: how pixels become numbers, see `ImageEncoder`.
        owner: the estimator, for messages.
        ignored: the digest of the mask; None where there is none.
        mask: `(H, W)` booleans, pixels of every image that are left out; files hold it with the encoders.
    """

    size: tuple[int, int] | None = None
    mode: Mode | None = None
    scaling: Scaling = "contrast"
    owner: str = "ImageReader"
    ignored: str | None = None
    mask: Mask | None = field(default=None, compare=False)
    modality: ClassVar[Literal["image"]] = "image"
    units: ClassVar[tuple[Unit, ...]] = ("image",)

    def encoder(self) -> ImageEncoder:
        """An encoder that has learned nothing yet."""
        return ImageEncoder(
            size=self.size, mode=self.mode, scaling=self.scaling, owner=self.owner, ignore=self.mask
        )

    def normal_rows(self, X: Any) -> ImageRows:
        """One row an image."""
        return ImageRows(X, size=self.size, mode=self.mode, owner=self.owner)

    def resolved(self, rows: NormalRows) -> ImageReader:
        """Returns itself."""
        return self

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Each image is a block of its own."""
        return None, rows.n_rows

    def pieces(self, X: Any, encoder: ImageEncoder) -> Iterator[Images]:
        """As many images at a time as memory allows."""
        images = encoder.images(X)
        at_once = max(1, PIXELS_AT_ONCE // math.prod(images.shape))
        for start in range(0, len(images), at_once):
            yield images.select(np.arange(start, min(start + at_once, len(images))))

    def calibration_pieces(self, X: Any, encoder: ImageEncoder, unit: Unit) -> Iterator[Images]:
        """The same as `pieces`."""
        return self.pieces(X, encoder)

    def unit(self, piece: Any) -> Unit:
        """An image."""
        return "image"

    def unit_of_rows(self, rows: NormalRows) -> Unit:
        """An image."""
        return "image"

    def arrange(self, values: Floats, piece: Any, unit: Unit) -> Floats:
        """The values as they are."""
        return values
