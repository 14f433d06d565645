"""Features by a module or a function of the user's own.

It is given one image at a time, `(1, 3, H, W)` float32 with values from 0 to 1, at the image's own size, so
that the features of an image depend on that image alone. It returns maps `(1, C, h, w)` or vectors `(1, C)`.
Vectors, and the means of maps over their positions, are the vectors of the image. The two finest maps of
`LEAST_SIDE` positions a side or more, averaged over three by three positions and brought to one grid, are its
map of patches (Roth et al., CVPR 2022); of more than `CHANNELS` channels those at even steps are used, as the
channels of a wide network say much the same (Defard et al., "PaDiM", ICPR 2020).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from upland.data.image.features import OWN, FeatureLayout, FeaturesError
from upland.data.image.state import MOST_PIXELS
from upland.detectors.features.modules import RIGHT, Own, check_own, copied, device_of, digest_of, label_of
from upland.detectors.features.network import brought, coarsened, rgb_pixels
from upland.detectors.features.placing import FixedFeatures, split
from upland.io.records import shown
from upland.models.process import THREADS

LEAST_SIDE = 4
CHANNELS = 128
"""Channels of a map that patches are described by, at most."""
PROBE = 64
"""Features of a fixed picture that a file holds, of each vector and of the map, at even steps."""
TOLERANCE = 1e-3
"""The largest difference of these, relative to the largest of them, by another machine or device."""
REPEATED = 1e-6
"""The same for a second call."""
_FIELDS = {"name", "digest", "shape"}

Shape = tuple[int, int, int]


class OwnFeatures(FixedFeatures):
    """Features by a module or function of the user's own.

    A module is copied, so that it stays as it is and what becomes of it later changes no score; the copy
    is in evaluation mode. A function is called as it is. Neither is part of a model file, which holds the
    name, the digest of the weights and some features of a fixed picture.

    Args:
        module: from images `(N, 3, H, W)`, values from 0 to 1, to maps or vectors.

    Attributes:
        name: "own".
        label: the name of the class or function.
        digest: SHA-256 of the weights.

    Raises:
        FeaturesError: it is no such thing, or a module that cannot be copied.

    Examples:
        >>> import torch
        >>> from upland.data.image.encoder import ImageEncoder
        >>> from upland.data.image.feature_encoder import FeatureEncoder
        >>> network = torch.nn.Conv2d(3, 5, kernel_size=3)
        >>> pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
        >>> encoder = FeatureEncoder(ImageEncoder(scaling="levels"), OwnFeatures(network))
        >>> encoder.fit_batches([pictures]).layout.map  # a map of 6 by 6 positions
        (5, 6, 6)
    """

    name = OWN

    def __init__(self, module: Own) -> None:
        check_own(module)
        self.label, self.digest = label_of(module), digest_of(module)
        self.module = copied(module) if isinstance(module, nn.Module) else module
        self._sizes: dict[Shape, tuple[tuple[int, ...], ...]] = {}
        self._probed: tuple[Shape, NDArray[np.float32]] | None = None

    def fit(self, codes: NDArray[np.float32]) -> None:
        """Nothing is learned but what the module gives of images of one shape.

        Args:
            codes: `(n, C, H, W)`, of which the shape is used.

        Raises:
            FeaturesError: the module gives no maps or vectors, or not the same ones twice.
        """
        shape = _shape(codes.shape[1:])
        if self._probed is None or self._probed[0] != shape:
            self._probe(shape)

    def _probe(self, shape: Shape) -> None:
        """Find and keep the first features of a fixed picture of some shape; raises as `fit`."""
        codes = _fixed_picture(shape)
        first, second = (self._some(self.transform(codes), shape) for _ in range(2))
        if not np.isfinite(first).all():
            raise FeaturesError(f"features: those of a picture by {self.label} are not all finite")
        if _difference(first, second) > REPEATED:
            raise FeaturesError(
                f"features: {self.label} gives something else of the same picture each time: it must not "
                "draw random numbers, as dropout does in training mode"
            )
        self._probed = shape, first

    def _some(self, features: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
        """Numbers at even steps of each vector and of the map of one image: `(1, D) -> (P,)`."""
        vectors, patches = split(features, self.layout(shape))
        parts = [part.ravel() for part in (*vectors, patches) if part.size]
        return np.concatenate(
            [part[np.unique(np.linspace(0, part.size - 1, PROBE).astype(np.int64))] for part in parts]
        )

    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """Vectors and the map, found by one call on a fixed picture.

        Args:
            shape: (C, H, W).

        Raises:
            FeaturesError: the module gives no maps or vectors.
        """
        sizes = self._sizes_of(_shape(shape))
        patches = _patches(sizes)
        depth = sum(min(sizes[number][1], CHANNELS) for number in patches)
        grid = coarsened(sizes[patches[0]][2:]) if patches else (1, 1)
        return FeatureLayout(tuple(size[1] for size in sizes), (depth, *grid), directions=True)

    def _sizes_of(self, shape: Shape) -> tuple[tuple[int, ...], ...]:
        """The shapes of what the module gives of images of some shape."""
        if shape not in self._sizes:
            with THREADS.at(1), torch.no_grad():
                outputs = self._outputs(torch.from_numpy(_fixed_picture(shape)))
            self._sizes[shape] = tuple(tuple(output.shape) for output in outputs)
        return self._sizes[shape]

    # -- features --------------------------------------------------------------------------------------------

    def transform(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features of images, each by itself: `(n, C, H, W) -> (n, D)`.

        Args:
            codes: of the pixels.

        Raises:
            FeaturesError: the module gives no maps or vectors, or of other sizes than of another image.
        """
        shape = _shape(codes.shape[1:])
        layout, sizes = self.layout(shape), self._sizes_of(shape)
        patches, grid = _patches(sizes), layout.map[1:]
        found = np.empty((len(codes), layout.width), dtype=np.float32)
        with THREADS.at(1), torch.no_grad():
            for row, image in zip(found, torch.from_numpy(codes), strict=True):
                outputs = self._outputs(image[None])
                if (other := tuple(tuple(output.shape) for output in outputs)) != sizes:
                    text = f"{list(other)} for one image and {list(sizes)} for another of the same size"
                    raise FeaturesError(f"features: {self.label} gives {text}")
                vectors = [_vector(output) for output in outputs]
                maps = [brought(_thinned(outputs[number]), grid).flatten() for number in patches]
                row[:] = torch.cat([*vectors, *maps]).numpy()
        return found

    def _outputs(self, codes: Tensor) -> list[Tensor]:
        """What the module gives of one image `(1, C, H, W)`, checked: float32 on the CPU."""
        pixels = (rgb_pixels(codes) / 255).contiguous().to(device_of(self.module))
        try:
            given = self.module(pixels)
        except MemoryError:
            raise
        except Exception as error:  # code of the user's
            what = f"raised {type(error).__name__} for an image {tuple(pixels.shape)}: {error}"
            raise FeaturesError(
                f"features: {self.label} {what} (images come at their own size, with values from 0 to 1: "
                "bring them to another inside the module)"
            ) from error
        parts = _parts(given)
        if not parts:
            raise FeaturesError(f"features: {self.label} must return {RIGHT}, got an empty {_type(given)}")
        return [self._checked(part, where) for where, part in parts.items()]

    def _checked(self, part: Any, where: str) -> Tensor:
        text = f"features: {self.label} must return {RIGHT}, or a list, tuple or dict of them"
        if not isinstance(part, Tensor):
            raise FeaturesError(f"{text}, as tensors; got {where}{_type(part)}")
        shape = tuple(part.shape)
        if part.ndim not in (2, 4) or part.is_complex() or part.is_sparse:
            raise FeaturesError(f"{text}; got {where}{_type(part)} {shape} of {part.dtype}")
        if shape[0] != 1:
            raise FeaturesError(f"features: {self.label} gives {shape[0]} rows for 1 image: {where}{shape}")
        if not part.numel():
            raise FeaturesError(f"{text}; got {where}{_type(part)} {shape}, which is empty")
        return part.detach().to("cpu", torch.float32)

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Name, digest, and the features of a fixed picture; neither code nor weights are stored."""
        assert self._probed is not None
        shape, probe = self._probed
        return {"name": self.label, "digest": self.digest, "shape": list(shape)}, {"probe": probe}

    def restore(self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Refuse what features of another module left.

        Args:
            manifest: what `to_state` gave.
            tensors: likewise.

        Raises:
            FeaturesError: name, weights or the features of the fixed picture are others.
            ValueError: `to_state` gave something else.
        """
        if set(manifest) != _FIELDS or set(tensors) != {"probe"}:
            raise ValueError("not the state of features of a module of the user's own")
        name, digest, shape = manifest["name"], manifest["digest"], _stored_shape(manifest["shape"])
        if name != self.label:
            text = f"was fitted with features by {shown(name)}, and those given are by {self.label}"
            raise FeaturesError(f"{text}: give the module or function of the fit")
        if digest != self.digest:
            raise FeaturesError(
                f"was fitted with features by {self.label} with other weights (SHA-256 {shown(digest)}) than "
                f"the one given has ({self.digest}): load the weights of the fit into it"
            )
        try:
            self.fit(np.zeros((0, *shape), dtype=np.float32))
        except FeaturesError as error:
            raise FeaturesError(f"cannot be read with the features given: {error}") from error
        assert self._probed is not None
        self._compare(tensors["probe"], self._probed[1])

    def _compare(self, stored: NDArray[Any], here: NDArray[np.float32]) -> None:
        if stored.dtype != np.float32 or stored.ndim != 1 or not np.isfinite(stored).all():
            raise ValueError("the features of the fixed picture must be finite numbers of float32")
        difference = math.inf if stored.shape != here.shape else _difference(stored, here)
        if difference > TOLERANCE:
            found = "another number" if difference == math.inf else f"by {difference:.2g} of the largest"
            raise FeaturesError(
                f"was fitted with other features by {self.label} than the one given gives of the same "
                f"picture ({found}), with the same weights: look at what it does before and after them, such "
                "as resizing and normalisation"
            )


def _parts(given: Any) -> dict[str, Any]:
    """The parts of what a module gave, by what a message calls them."""
    if isinstance(given, Mapping):
        return {f"under {name!r} ": part for name, part in given.items()}
    if isinstance(given, list | tuple):
        return {f"at {number} ": part for number, part in enumerate(given)}
    return {"": given}


def _type(value: Any) -> str:
    return type(value).__name__


def _patches(sizes: tuple[tuple[int, ...], ...]) -> list[int]:
    """The numbers of the two finest maps, those of equal size in the order in which they come."""
    maps = [n for n, size in enumerate(sizes) if len(size) == 4 and min(size[2:]) >= LEAST_SIDE]
    return sorted(maps, key=lambda number: -math.prod(sizes[number][2:]))[:2]


def _vector(output: Tensor) -> Tensor:
    """A vector, or the mean of a map over its positions: `(1, C)` or `(1, C, h, w)` -> `(C,)`."""
    return output.flatten(2).mean(2)[0] if output.ndim == 4 else output[0]


def _thinned(found: Tensor) -> Tensor:
    """A map with `CHANNELS` of its channels at most, at even steps."""
    channels = found.shape[1]
    if channels <= CHANNELS:
        return found
    steps = torch.arange(CHANNELS, dtype=torch.int64) * channels // CHANNELS
    return found[:, steps]


def _shape(shape: Any) -> Shape:
    channels, height, width = (int(side) for side in shape)
    return channels, height, width


def _stored_shape(shape: Any) -> Shape:
    """The shape that a file says; raises ValueError for one that no image has."""
    whole = isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)
    if not whole or shape[0] not in (1, 3, 4) or math.prod(shape) > MOST_PIXELS:
        raise ValueError(f"the shape of the fixed picture cannot be {shown(shape)}")
    return _shape(shape)


def _fixed_picture(shape: Shape) -> NDArray[np.float32]:
    """The codes of a picture of waves and grain, the same everywhere: `(1, C, H, W)`."""
    channel, row, column = (np.arange(side, dtype=np.int64) for side in shape)
    channel, row = channel[:, None, None], row[:, None]
    levels = (row * row + 3 * column * column + 7 * row * column + 85 * channel) % 256
    codes: NDArray[np.float32] = ((levels + 0.5) / 256 - 0.5).astype(np.float32)[None]
    return codes


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference, relative to the largest number."""
    largest = max(float(np.abs(one).max()), float(np.abs(other).max()))
    return float(np.abs(one.astype(np.float64) - other).max()) / largest if largest else 0.0
