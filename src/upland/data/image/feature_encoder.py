"""Images to features: `(N, D)` float32, by pixels that an `ImageEncoder` encodes and a source of features.

A source that learns does so from normal images at even steps in the order in which they come, as many as
`SAMPLED` pixel values allow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import FEATURES, load
from upland.data.encoder import Encoder
from upland.data.image.container import Images
from upland.data.image.encoder import ImageEncoder
from upland.data.image.features import NAMES, SAMPLED, FeatureLayout, FeatureSource

FORMAT = 1
_FIELDS = {"format", "features", "pixels", "source"}
FAR = 1e10
"""Features are bounded by it, so that squares are finite."""
AT_ONCE = 1 << 22
"""Pixel values of images whose features are made at a time."""


class FeatureEncoder:
    """Encodes images as features for a model.

    Args:
        pixels: encodes them first, with the scaling of the source.
        source: makes features of what it encodes.

    Attributes:
        layout: which features belong together.

    Examples:
        >>> import numpy as np
        >>> from upland.data.image.encoder import ImageEncoder
        >>> from upland.detectors.features.dictionary import PatchDictionary
        >>> pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
        >>> encoder = FeatureEncoder(ImageEncoder(scaling="contrast"), PatchDictionary())
        >>> encoder.fit_batches([pictures]).transform(pictures).shape == (20, encoder.width)
        True
    """

    modality: Literal["image"] = "image"
    context_width: Literal[0] = 0
    named: Literal[False] = False

    def __init__(self, pixels: ImageEncoder, source: FeatureSource) -> None:
        if pixels.scaling != source.scaling:
            raise ValueError(f"features={source.name!r} need scaling={source.scaling!r}")
        self.pixels, self.source = pixels, source

    # -- fit -------------------------------------------------------------------------------------------------

    def fit_batches(self, batches: Iterable[Any]) -> Self:
        """Learn from normal images, at least two; raises as `ImageEncoder.fit_batches`."""
        sample = _Sample()
        self.pixels.fit_batches(sample.passing(self.pixels.images(batch) for batch in batches))
        some = sample.kept()[:1] if self.source.is_fixed else sample.kept()
        self.source.fit(np.concatenate([self.pixels.transform(pixels) for pixels in some]))
        return self

    def read_as(self, other: Any) -> Self:
        """Returns itself: pixels are read in one way."""
        return self

    # -- what was learned ------------------------------------------------------------------------------------

    @property
    def layout(self) -> FeatureLayout:
        """Which features belong together."""
        return self.source.layout(self.pixels.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of an image, (D,)."""
        return (self.width,)

    @property
    def width(self) -> int:
        """Features of an image."""
        return self.layout.width

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the channels."""
        return self.pixels.inputs

    @property
    def slots(self) -> NDArray[np.int64]:
        """The number of the part of an image that each number of its vectors is of: `(V,)`."""
        return np.unique(self.source.regions(self.pixels.shape), return_inverse=True)[1]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of these parts."""
        return tuple(NAMES[number] for number in np.unique(self.source.regions(self.pixels.shape)))

    def describe(self) -> list[dict[str, str]]:
        """Name and kind of each channel."""
        return self.pixels.describe()

    def gives_the_same(self, other: FeatureEncoder) -> bool:
        """Whether another encoder gives the same features of any image: by one fixed source, of the same
        codes.

        Args:
            other: fitted.
        """
        if not self.source.is_fixed or other.source is not self.source:
            return False
        (own, arrays), (others, theirs) = self.pixels.to_state(), other.pixels.to_state()
        same = {**own, "largest": None} == {**others, "largest": None} and arrays.keys() == theirs.keys()
        return same and all(np.array_equal(array, theirs[name]) for name, array in arrays.items())

    # -- features --------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> NDArray[np.float32]:
        """The features of images: `(N, D)` float32, finite; raises as `ImageEncoder.transform`."""
        images = self.pixels.images(X)
        found = np.empty((len(images), self.width), dtype=np.float32)
        step = max(1, AT_ONCE // math.prod(images.shape))
        for start in range(0, max(len(images), 1), step):
            rows = np.arange(start, min(start + step, len(images)))
            codes = self.pixels.transform(images.select(rows))
            found[start : start + step] = self.source.transform(codes)
        if not np.isfinite(found).all():
            first = images.label(int(np.argmin(np.isfinite(found).all(axis=1))))
            raise ValueError(f"features={self.source.name!r}: those of {first} are not all finite")
        return np.clip(found, -FAR, FAR, out=found)

    def to_pixels(self, shares: NDArray[Any]) -> NDArray[np.float64]:
        """Shares of features where they come from: `(N, D) -> (N, C, H, W)`, with equal sums."""
        return self.source.to_pixels(shares, self.pixels.shape)

    def decode(self, features: NDArray[Any], like: Any = None) -> NDArray[Any] | None:
        """Features as images `(N, H, W, C)` in the user's own dtype; None where there is no way back.

        Args:
            features: `(N, D)`.
            like: as `ImageEncoder.decode` takes it.
        """
        codes = self.source.to_codes(features, self.pixels.shape)
        return None if codes is None else self.pixels.decode(codes, like)

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors."""
        (pixels, arrays), (source, learned) = self.pixels.to_state(), self.source.to_state()
        manifest = {"format": FORMAT, "features": self.source.name, "pixels": pixels, "source": source}
        of_pixels = {f"pixels/{name}": value for name, value in arrays.items()}
        return manifest, of_pixels | {f"source/{name}": value for name, value in learned.items()}

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild an encoder whose source has a name of the catalogue; raises as `restored`."""
        name = manifest.get("features")
        if name not in FEATURES:
            raise ValueError(f"there are no features called {name!r}")
        return cls.restored(load(FEATURES[name])(), manifest, tensors)

    @classmethod
    def restored(
        cls, source: FeatureSource, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Rebuild an encoder that gives the same bits.

        Args:
            source: of the same name, fresh.
            manifest: what `to_state` gave.
            tensors: likewise.

        Raises:
            ValueError: `to_state` gave something else, or another source did.
        """
        if set(manifest) != _FIELDS or manifest["format"] != FORMAT or manifest["features"] != source.name:
            raise ValueError(f"not the state of an encoder of the features {source.name!r}")
        parts: dict[str, dict[str, NDArray[Any]]] = {"pixels": {}, "source": {}}
        for first in parts:
            if not isinstance(manifest[first], Mapping):
                raise ValueError(f"the {first} of an encoder of features must be a mapping")
        for name, value in tensors.items():
            first, _, rest = name.partition("/")
            if first not in parts:
                raise ValueError(f"an encoder of features has no tensor {name}")
            parts[first][rest] = value
        encoder = cls(ImageEncoder.from_state(manifest["pixels"], parts["pixels"]), source)
        channels, height, width = encoder.pixels.shape
        if manifest["source"].get("shape", [channels, height, width]) != [channels, height, width]:
            raise ValueError("the features are of images of another shape than the pixels")
        source.restore(manifest["source"], parts["source"])
        source.layout(encoder.pixels.shape)  # that of images of these channels
        return encoder


class _Sample:
    """Images at even steps of a stream: where there are too many, every second of those kept is dropped."""

    def __init__(self) -> None:
        self.images: list[Images] = []
        self.step = 1

    def passing(self, batches: Iterable[Images]) -> Iterable[Images]:
        """The batches as they are."""
        number = 0
        for batch in batches:
            most = max(2, SAMPLED // math.prod(batch.shape))
            for row in range(len(batch)):
                if number % self.step == 0:
                    self.images.append(batch.select([row]))
                    if len(self.images) > most:
                        self.images, self.step = self.images[::2], 2 * self.step
                number += 1
            yield batch

    def kept(self) -> list[Images]:
        """Those that were kept."""
        return self.images


def pixels_of(encoder: Encoder) -> ImageEncoder | None:
    """What encodes the pixels of images; None of an encoder of another modality.

    Args:
        encoder: any.
    """
    if isinstance(encoder, FeatureEncoder):
        return encoder.pixels
    return encoder if isinstance(encoder, ImageEncoder) else None


def pixel_encoder(encoder: Encoder) -> ImageEncoder:
    """What encodes the pixels, of an encoder of images.

    Args:
        encoder: of images.
    """
    found = pixels_of(encoder)
    assert found is not None
    return found


def kept_numbers(encoder: Encoder) -> tuple[int, ...]:
    """Shape of the rows that are kept with a model: of features the vectors alone, since maps are large.

    Args:
        encoder: fitted.
    """
    return (encoder.layout.of_vectors,) if isinstance(encoder, FeatureEncoder) else encoder.shape
