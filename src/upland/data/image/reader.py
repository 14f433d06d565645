"""How images are read: arrays, files or a folder, some at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import FEATURES, Unit, load
from upland.data.encoder import Encoder
from upland.data.image.container import Images
from upland.data.image.encoder import ImageEncoder, ImageRows, Scaling
from upland.data.image.feature_encoder import FeatureEncoder, pixel_encoder
from upland.data.image.features import FeatureSource, VectorsAlone
from upland.data.image.ignored import Mask
from upland.data.image.photographs import AUTO, suitable_features
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
        features: what makes features of the pixels, a name of `upland.catalogue.FEATURES`; "auto" goes by the
            normal images; "own" is a module of the user's own; None for no features.
        source: what does so, where it does not learn; it is in no file.
        maps: whether features are all that the source gives, the map of patches beside the vectors; else they
            are the directions of the vectors.
    """

    size: tuple[int, int] | None = None
    mode: Mode | None = None
    scaling: Scaling = "contrast"
    owner: str = "ImageReader"
    ignored: str | None = None
    mask: Mask | None = field(default=None, compare=False)
    features: str | None = None
    source: FeatureSource | None = field(default=None, compare=False)
    maps: bool = True
    modality: ClassVar[Literal["image"]] = "image"
    units: ClassVar[tuple[Unit, ...]] = ("image",)

    def encoder(self) -> ImageEncoder | FeatureEncoder:
        """An encoder that has learned nothing yet."""
        source = self._source()
        pixels = ImageEncoder(
            size=self.size,
            mode=self.mode,
            scaling=self.scaling if source is None else source.scaling,
            owner=self.owner,
            ignore=self.mask,
        )
        return pixels if source is None else FeatureEncoder(pixels, source)

    def restored_encoder(
        self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> ImageEncoder | FeatureEncoder:
        """The encoder of a file; raises ValueError for what no fit leaves in one.

        Args:
            manifest: what the encoder's `to_state` gave.
            tensors: likewise.
        """
        source = self._source()
        if source is None:
            return ImageEncoder.from_state(manifest, tensors)
        return FeatureEncoder.restored(source, manifest, tensors)

    def _source(self) -> FeatureSource | None:
        """What makes features; one that learns is made anew."""
        if self.features is None:
            return self.source
        if self.source is None and self.features not in FEATURES:
            raise ValueError(f"there are no features called {self.features!r}")
        made: FeatureSource = self.source or load(FEATURES[self.features])()
        return made if self.maps or isinstance(made, VectorsAlone) else VectorsAlone(made)

    def normal_rows(self, X: Any) -> ImageRows:
        """One row an image."""
        return ImageRows(X, size=self.size, mode=self.mode, owner=self.owner)

    def resolved(self, rows: NormalRows) -> ImageReader:
        """With the features that suit the images, and what makes them where it learns nothing."""
        if self.features != AUTO:
            return self.with_source()
        assert isinstance(rows, ImageRows)
        return replace(self, features=suitable_features(rows.whole())).with_source()

    def with_source(self) -> ImageReader:
        """With what makes the features, where it learns nothing: then all encoders have the same one."""
        source = self._source()
        return replace(self, source=source) if source is not None and source.is_fixed else self

    def on(self, device: str) -> ImageReader:
        """Itself, with a network of upland's own moved to a device.

        Args:
            device: the name of one that there is.
        """
        if self.source is not None:
            self.source.to(device)
        return self

    def blocks(self, rows: NormalRows) -> tuple[None, int]:
        """Each image is a block of its own."""
        return None, rows.n_rows

    def pieces(self, X: Any, encoder: Encoder) -> Iterator[Images]:
        """As many images at a time as memory allows."""
        images = pixel_encoder(encoder).images(X)
        at_once = max(1, PIXELS_AT_ONCE // max(math.prod(images.shape), encoder.width))
        for start in range(0, len(images), at_once):
            yield images.select(np.arange(start, min(start + at_once, len(images))))

    def calibration_pieces(self, X: Any, encoder: Encoder, unit: Unit) -> Iterator[Images]:
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
