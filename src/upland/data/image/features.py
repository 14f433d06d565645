"""Features of images: the interface of what turns pixels into the numbers that experts of images see.

A source of features gives an image a row of numbers: *vectors* of the whole image, one after the other, then
a *map* of patches, `(C, h, w)` flattened. What each is is said by a `FeatureLayout`. A source may learn from
normal images, as a dictionary of patches does, or be fixed, as a network with weights of its own is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upland.data.image.encoder import Scaling

OWN = "own"
"""The name of features that a module of the user's own makes."""
WHOLE = 9
"""The number that stands for the whole image, behind those of the parts of a grid of three by three."""
REGIONS = tuple(
    f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")
)
NAMES = (*REGIONS, "the whole image")
LEAST_LENGTH = 1e-12
SAMPLED = 1 << 24
"""Pixel values of normal images that a source learns from at most."""


class FeaturesError(ValueError):
    """What the user gave to make features is at fault."""


@dataclass(frozen=True)
class FeatureLayout:
    """Which numbers of a row of features belong together.

    Args:
        vectors: numbers of each vector.
        map: (C, h, w) of the map of patches; C is 0 where there is none.
        alike: mean cosine of the vectors of two normal images, in (0, 1), at which patches say as much as
            these. Below it images are different things of one class, above it one thing again and again.
        directions: whether what matters in a vector is its direction, as for networks, and not its length.
        pixels: whether the first vector are pixels, of which there are many shapes and no one Gaussian.
    """

    vectors: tuple[int, ...]
    map: tuple[int, int, int]
    alike: float = 0.5
    directions: bool = False
    pixels: bool = False

    @property
    def of_vectors(self) -> int:
        """Numbers of all vectors."""
        return sum(self.vectors)

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return self.of_vectors + math.prod(self.map)


class FeatureSource(Protocol):
    """What makes features of encoded images; a structural type.

    Attributes:
        name: what it is called in files and messages.
        scaling: of the pixels that it takes, see `ImageEncoder`.
        is_fixed: whether it learns nothing, so that all members of a detector can have the same one.
    """

    name: str
    scaling: Scaling
    is_fixed: bool

    def fit(self, codes: NDArray[np.float32]) -> None:
        """Learn from some normal images.

        Args:
            codes: `(n, C, H, W)` with its scaling.
        """

    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """The layout of the features of images of one shape; raises ValueError where it has learned from
        images of other channels.

        Args:
            shape: (C, H, W).
        """

    def transform(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features of images, each by itself: `(n, C, H, W) -> (n, D)`, finite."""

    def to_pixels(self, shares: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Shares of features where they come from in the image: `(n, D) -> (n, C, H, W)`, with equal sums.

        Args:
            shares: of each feature.
            shape: (C, H, W) of an encoded image.
        """

    def regions(self, shape: tuple[int, int, int]) -> NDArray[np.int64]:
        """The number of the part of an image that each number of its vectors is of, of a grid of three by
        three in the order of rows; 9 where it is of the whole image: `(V,)`.

        Args:
            shape: (C, H, W) of an encoded image.
        """

    def to_codes(self, features: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
        """The codes of pixels that features have: `(n, D) -> (n, C, H, W)`; None where there is no way back.

        Args:
            features: `(n, D)`.
            shape: (C, H, W) of an encoded image.
        """

    def to(self, device: str) -> None:
        """Make features on a device, where the source is a network of upland's own.

        Args:
            device: the name of one that there is.
        """

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors."""

    def restore(self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `to_state` gave; raises ValueError for what it did not give, or what another source
        gave.
        """


class VectorsAlone:
    """The vectors alone of what another source gives, each of length one where its direction is what matters
    and it has more numbers than one.

    Args:
        source: gives vectors and perhaps a map.

    Attributes:
        name: of the source.
        scaling: of the source.
        is_fixed: as the source.
    """

    def __init__(self, source: FeatureSource) -> None:
        self.source, self.name = source, source.name
        self.scaling, self.is_fixed = source.scaling, source.is_fixed

    def fit(self, codes: NDArray[np.float32]) -> None:
        """As the source.

        Args:
            codes: of normal images.
        """
        self.source.fit(codes)

    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """That of the source, with a map of no channels.

        Args:
            shape: (C, H, W).
        """
        return replace(self.source.layout(shape), map=(0, 1, 1))

    def transform(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors of images: `(n, C, H, W) -> (n, V)`."""
        layout = self.source.layout(_shape_of(codes))
        found = self.source.transform(codes)[:, : layout.of_vectors]
        if not layout.directions:
            return np.ascontiguousarray(found)
        parts = np.split(found, np.cumsum(layout.vectors)[:-1], axis=1)
        return np.concatenate([part if part.shape[1] == 1 else _directions(part) for part in parts], axis=1)

    def to_pixels(self, shares: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """As the source: `(n, V) -> (n, C, H, W)`.

        Args:
            shares: of each number of the vectors.
            shape: (C, H, W).
        """
        lacking = math.prod(self.source.layout(shape).map)
        return self.source.to_pixels(np.pad(shares, ((0, 0), (0, lacking))), shape)

    def regions(self, shape: tuple[int, int, int]) -> NDArray[np.int64]:
        """As the source: `(V,)`.

        Args:
            shape: (C, H, W).
        """
        return self.source.regions(shape)

    def to_codes(self, features: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float32] | None:
        """As the source, which needs no map for it.

        Args:
            features: `(n, V)`.
            shape: (C, H, W).
        """
        return self.source.to_codes(features, shape)

    def to(self, device: str) -> None:
        """As the source.

        Args:
            device: the name of one that there is.
        """
        self.source.to(device)

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """That of the source."""
        return self.source.to_state()

    def restore(self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """As the source; raises ValueError for the state of another."""
        self.source.restore(manifest, tensors)


def _directions(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one, where they are of another than none: `(n, D) -> (n, D)`."""
    lengths = np.sqrt(np.square(x, dtype=np.float64).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):  # of infinite ones, which are refused as NaN
        units: NDArray[np.float32] = (x / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    return units


def _shape_of(codes: NDArray[Any]) -> tuple[int, int, int]:
    channels, height, width = codes.shape[1:]
    return channels, height, width
