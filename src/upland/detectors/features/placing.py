"""Where in an image features come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from upland.data.image.encoder import Scaling
from upland.data.image.features import WHOLE, FeatureLayout

LEAST = 1e-300


class FixedFeatures(ABC):
    """The part of a `FeatureSource` that networks share: what they give has no way back to pixels.

    Attributes:
        scaling: "levels".
        is_fixed: True.
    """

    scaling: Scaling = "levels"
    is_fixed = True

    @abstractmethod
    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """Vectors and the map.

        Args:
            shape: (C, H, W).
        """

    def to(self, device: str) -> None:
        """Features are made where they were: a module of the user's own stays where its weights are.

        Args:
            device: not used.
        """
        return None

    def to_pixels(self, shares: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Shares of patches are spread over the image; those of vectors, which have no place, as these are.

        Args:
            shares: `(n, D)`.
            shape: (C, H, W).
        """
        vectors, patches = split(shares, self.layout(shape))
        return placed(sum(part.sum(axis=1) for part in vectors), patches.sum(axis=1), shape)

    def regions(self, shape: tuple[int, int, int]) -> NDArray[np.int64]:
        """The vectors are of the whole image: `(V,)`.

        Args:
            shape: (C, H, W).
        """
        return np.full(self.layout(shape).of_vectors, WHOLE, dtype=np.int64)

    def to_codes(self, features: NDArray[Any], shape: tuple[int, int, int]) -> None:
        """None: there is no way back to pixels.

        Args:
            features: not used.
            shape: not used.
        """
        return None


def placed(vectors: NDArray[Any], patches: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """Shares of an image's pixels: those of the patches spread over the image, and those of the vectors,
    which have no place, in proportion to them: `(n,)`, `(n, h, w)` -> `(n, C, H, W)`.

    Args:
        vectors: the shares that have no place.
        patches: shares of places of a map.
        shape: (C, H, W) of the image.
    """
    channels, height, width = shape
    found = torch.from_numpy(np.ascontiguousarray(patches, dtype=np.float64))[:, None]
    spread = functional.interpolate(found, size=(height, width), mode="bilinear", align_corners=False)
    heat = spread[:, 0].numpy()
    total = heat.sum(axis=(1, 2), keepdims=True)
    even = np.full_like(heat, 1 / (height * width))
    part = np.where(total > 0, heat / np.maximum(total, LEAST), even)
    wanted = vectors + patches.sum(axis=(1, 2))
    pixels = part * wanted[:, None, None] / channels
    return np.repeat(pixels[:, None], channels, axis=1)


def split(shares: NDArray[Any], layout: FeatureLayout) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Numbers of features as those of each vector, `(n, D_k)`, and those of the map, `(n, C, h, w)`.

    Args:
        shares: `(n, D)`.
        layout: of the features.
    """
    cuts = np.cumsum(layout.vectors)
    parts = np.split(shares, cuts, axis=1)
    return parts[:-1], parts[-1].reshape(len(shares), *layout.map)
