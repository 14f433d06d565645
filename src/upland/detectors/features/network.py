"""Features by a network that is not trained here: a bundled backbone, or a module of the user's.

A backbone gives a map after each of its stages. The means over the deeper ones are the vectors of an image;
two of middle depth, averaged over three by three positions and brought to one size, are the map of patches
(Roth et al., CVPR 2022). Images are enlarged to `LEAST` pixels a side at least and reduced to `MOST` at most,
and the map has `GRID` positions a side at most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from upland.data.image.features import FeatureLayout
from upland.detectors.features.placing import FixedFeatures
from upland.models.process import THREADS

LEAST, MOST, STEP = 128, 1_024, 32
GRID = 64
LEVELS = 256.0
"""Values of a pixel that networks are given, 0 to 255."""


class Backbone(NamedTuple):
    """A network and which of its maps are used.

    Args:
        network: from pixels `(N, 3, H, W)`, 0 to 255, to maps.
        vectors: numbers of the maps whose means are vectors.
        rooted: those among them of which square roots are taken, as of counts.
        patches: numbers of the maps that patches are described by.
        channels: of each map.
        stride: pixels from one position of the finest of these to the next.
        digest: SHA-256 of the weights.
    """

    network: nn.Module
    vectors: tuple[int, ...]
    rooted: tuple[int, ...]
    patches: tuple[int, ...]
    channels: tuple[int, ...]
    stride: int
    digest: str


class NetworkFeatures(FixedFeatures):
    """Features by a backbone.

    Args:
        name: of the backbone.
        backbone: the network.
    """

    def __init__(self, name: str, backbone: Backbone) -> None:
        self.name, self.backbone = name, backbone
        self.device = torch.device("cpu")

    def to(self, device: str) -> None:
        """Make features on a device.

        Args:
            device: the name of one that there is.
        """
        self.device = torch.device(device)
        self.backbone.network.to(self.device)

    def fit(self, codes: NDArray[np.float32]) -> None:
        """Nothing is learned.

        Args:
            codes: not used.
        """

    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """Vectors and the map.

        Args:
            shape: (C, H, W).
        """
        channels = self.backbone.channels
        sides = _grid(_sides(shape), self.backbone.stride)
        depth = sum(channels[number] for number in self.backbone.patches)
        return FeatureLayout(
            tuple(channels[number] for number in self.backbone.vectors), (depth, *sides), directions=True
        )

    def transform(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features of images, each by itself: `(n, C, H, W) -> (n, D)`."""
        shape = codes.shape[1:]
        found = np.empty((len(codes), self.layout(shape).width), dtype=np.float32)
        with THREADS.at(1), torch.no_grad():
            for row, image in zip(found, torch.from_numpy(codes), strict=True):
                row[:] = self._of_image(image[None].to(self.device)).cpu().numpy()
        return found

    def _of_image(self, codes: Tensor) -> Tensor:
        """Vectors and map of one image: `(1, C, H, W) -> (D,)`."""
        pixels = rgb_pixels(codes)
        sides = _sides(codes.shape[1:])
        if sides != tuple(pixels.shape[2:]):
            low, high = (float(end) for end in pixels.aminmax())
            pixels = functional.interpolate(
                pixels, sides, mode="bicubic", antialias=True, align_corners=False
            )
            pixels = pixels.clamp(min(low, 0.0), max(high, LEVELS - 1))
        maps = self.backbone.network(pixels)
        vectors = [self._vector(maps[number], number) for number in self.backbone.vectors]
        grid = _grid(sides, self.backbone.stride)
        patches = [brought(maps[number], grid).flatten() for number in self.backbone.patches]
        return torch.cat([*vectors, *patches])

    def _vector(self, found: Tensor, number: int) -> Tensor:
        mean = found.mean(dim=(0, 2, 3))
        return mean.clamp(min=0).sqrt() if number in self.backbone.rooted else mean

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Name and digest; the weights are not stored."""
        return {"name": self.name, "digest": self.backbone.digest}, {}

    def restore(self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Refuse what another network gave; raises ValueError."""
        if set(manifest) != {"name", "digest"} or tensors:
            raise ValueError("not the state of features of a network")
        if manifest != self.to_state()[0]:
            other = f"the features are of {manifest['name']!r} with other weights"
            raise ValueError(f"{other} than those of {self.name!r} here")


def _sides(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width that an image is brought to for a network."""
    height, width = shape[-2:]
    factor = max(LEAST / min(height, width), 1.0)
    factor = min(factor, MOST / max(height, width)) if factor * max(height, width) > MOST else factor
    return _rounded(height * factor), _rounded(width * factor)


def _rounded(side: float) -> int:
    return max(STEP, round(side / STEP) * STEP)


def _grid(sides: tuple[int, int], stride: int) -> tuple[int, int]:
    """Positions of the map of patches."""
    return coarsened([math.ceil(side / stride) for side in sides])


def rgb_pixels(codes: Tensor) -> Tensor:
    """Pixels of three channels, grey ones repeated: `(N, C, H, W) -> (N, 3, H, W)`.

    They are from 0 to 255, but for floats beyond what is usual, such as a heat that no normal image has.

    Args:
        codes: with the scaling "levels"; a fourth channel is left out.
    """
    return ((codes[:, :3] + 0.5) * LEVELS - 0.5).expand(-1, 3, -1, -1)


def coarsened(positions: Sequence[int]) -> tuple[int, int]:
    """Positions of a map, `GRID` a side at most.

    Args:
        positions: (h, w) of the finest map.
    """
    factor = math.ceil(max(positions) / GRID)
    return math.ceil(positions[0] / factor), math.ceil(positions[1] / factor)


def brought(found: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map averaged over three by three positions, at the positions of the grid.

    Args:
        found: `(N, C, h, w)`.
        grid: its positions.
    """
    smooth = functional.avg_pool2d(found, 3, 1, 1, count_include_pad=False)
    if smooth.shape[2] > grid[0] or smooth.shape[3] > grid[1]:
        return functional.adaptive_avg_pool2d(smooth, grid)
    return functional.interpolate(smooth, grid, mode="bilinear", align_corners=False)


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of all weights of a module, by their names; what is stored beside them is left out.

    Args:
        module: any.
    """
    import hashlib

    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
