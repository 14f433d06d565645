r"""A dictionary of patches, learned without labels from the normal images.

Coates, Lee, Ng, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011.
Patches of K by K pixels are brought to one mean and one contrast, whitened, and grouped by k-means into
centres c_k. A patch x at distances d_k from the centres is described by how much nearer than usual it is to
each,

    a_k = max(0, mean_j d_j - d_k),

which is the convolution of the image with the centres and a non-linearity. The features of an image are its
codes (the pixels), the square roots of a averaged over a grid of three by three, and, as the map of patches,
over a grid of `MAP` at most. Nothing is drawn: images, patches and first centres are taken at even steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from upland.data.image.encoder import Scaling
from upland.data.image.features import FeatureLayout
from upland.detectors.features.placing import placed, split
from upland.models.process import THREADS

CENTRES, SIDE = 128, 5
PATCHES, ROUNDS = 20_000, 10
POOLS = 3
MAP = 14
"""Positions along a side of the map, at most."""
CHANNELS = 24
"""Principal axes of the activations that the map has."""
POSITIONS = 128
"""Positions along a side of an image that patches are taken at, about; of larger images every other pixel, or
fewer, is a position."""
ALIKE = 0.997
"""Between the mean cosines of the pooled activations of things of one class (.96 to .99) and of one part or
texture (.999 and more)."""
MOST_PIXELS = 4_096
"""Numbers of an image up to which its codes are a vector of its features; larger ones are reduced."""
SOFTENING, SHRINKAGE = 0.1, 0.1
ROUNDING = 1e-3


class PatchDictionary:
    """Features by a dictionary of patches that is learned from normal images.

    Attributes:
        name: "pixels".
        scaling: "contrast".
        is_fixed: False.

    Examples:
        >>> import numpy as np
        >>> codes = np.random.default_rng(0).normal(size=(30, 1, 12, 12)).astype(np.float32)
        >>> dictionary = PatchDictionary()
        >>> dictionary.fit(codes)
        >>> dictionary.transform(codes[:2]).shape[1] == dictionary.layout((1, 12, 12)).width
        True
    """

    name = "pixels"
    scaling: Scaling = "contrast"
    is_fixed = False

    softening: float
    mean: Tensor
    whitening: Tensor
    centres: Tensor
    axes: Tensor

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, codes: NDArray[np.float32]) -> None:
        """Learn whitening, centres and the axes of the map.

        Args:
            codes: `(n, C, H, W)` of some normal images.
        """
        with THREADS.at(1), torch.no_grad():
            x = torch.from_numpy(codes)
            patches = self._some_patches(x)
            variance = patches.var(1, correction=0)
            self.softening = SOFTENING * max(float(variance.mean()), 1e-12)
            patches = self._normalised(patches)
            self.mean = patches.mean(0)
            self.whitening = _whitening(patches - self.mean)
            self.centres = _k_means((patches - self.mean) @ self.whitening)
            self.axes = _principal(self._pooled(self._activations(image[None]), True) for image in x)

    def _some_patches(self, x: Tensor) -> Tensor:
        """Patches at even steps of those of all images: `(n, C, H, W) -> (P, C K K)`."""
        count = self._patches(x[:1]).shape[1]
        numbers = _even(count * len(x), PATCHES)
        of, where = numbers // count, numbers % count
        found = [self._patches(x[[image]])[0, where[of == image]] for image in of.unique().tolist()]
        return torch.cat(found)

    def _stride(self, shape: torch.Size | tuple[int, ...]) -> int:
        return max(1, round(max(shape[-2:]) / POSITIONS))

    def _patches(self, x: Tensor) -> Tensor:
        """The patches of images: `(n, C, H, W) -> (n, L, C K K)`."""
        stride = self._stride(x.shape)
        return functional.unfold(x, SIDE, stride=stride, padding=SIDE // 2).movedim(1, 2)

    def _normalised(self, patches: Tensor) -> Tensor:
        centred = patches - patches.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.softening).sqrt()

    def _activations(self, x: Tensor) -> Tensor:
        """How much nearer than usual each patch is to each centre: `(1, C, H, W) -> (h, w, K)`."""
        stride = self._stride(x.shape)
        seen = (self._normalised(self._patches(x)[0]) - self.mean) @ self.whitening
        squares = seen.square().sum(-1, keepdim=True) + self.centres.square().sum(-1)
        distances = (squares - 2 * seen @ self.centres.T).clamp(min=0).sqrt()
        nearer = (distances.mean(-1, keepdim=True) - distances).clamp(min=0)
        sides = [(side - 1) // stride + 1 for side in x.shape[2:]]
        return nearer.reshape(*sides, -1)

    def _pooled(self, activations: Tensor, to_map: bool) -> Tensor:
        """Square roots of means over a grid, of the map also over three by three positions: `(h, w, K) ->
        (h', w', K)`.
        """
        height, width, _ = activations.shape
        over_rows = _means(height, to_map) @ activations.flatten(1)
        found: Tensor = _means(width, to_map) @ over_rows.reshape(-1, width, activations.shape[2])
        return found.clamp(min=0).sqrt()

    # -- features --------------------------------------------------------------------------------------------

    def layout(self, shape: tuple[int, int, int]) -> FeatureLayout:
        """Codes, the pooled activations, and the map; raises ValueError for images of other channels than
        those that were learned from.

        Args:
            shape: (C, H, W).
        """
        if len(self.mean) != shape[0] * SIDE**2:
            raise ValueError(f"the dictionary of patches is not of images of {shape[0]} channels")
        stride = self._stride(shape)
        sides = [(side - 1) // stride + 1 for side in shape[1:]]
        pools = math.prod(min(POOLS, side) for side in sides)
        height, width = (min(MAP, side) for side in sides)
        vectors = (math.prod(_reduced(shape)), len(self.centres) * pools)
        return FeatureLayout(vectors, (self.axes.shape[1], height, width), ALIKE, pixels=True)

    def transform(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features of images, each by itself: `(n, C, H, W) -> (n, D)`."""
        found = np.empty((len(codes), self.layout(codes.shape[1:]).width), dtype=np.float32)
        small = _reduced(codes.shape[1:])
        with THREADS.at(1), torch.no_grad():
            for row, image in zip(found, torch.from_numpy(codes), strict=True):
                x = image[None]
                activations = self._activations(x)
                pixels = functional.adaptive_avg_pool2d(x, small[1:]).flatten()
                pooled = self._pooled(activations, False)
                patches = self._pooled(activations, True) @ self.axes
                maps = [part.movedim(2, 0).flatten() for part in (pooled, patches)]
                row[:] = torch.cat([pixels, *maps]).numpy()
        return found

    def to_pixels(self, shares: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float64]:
        """Shares of pixels are theirs, those of pooled activations are spread over their part of the grid.

        Args:
            shares: `(n, D)`.
            shape: (C, H, W).
        """
        (pixels, pooled), patches = split(shares, self.layout(shape))
        small, (height, width) = _reduced(shape), shape[1:]
        own = _enlarged(pixels.reshape(-1, *small), (height, width))
        sides = [min(POOLS, (side - 1) // self._stride(shape) + 1) for side in shape[1:]]
        grid = pooled.reshape(len(shares), -1, *sides).sum(1)
        spread = _enlarged(grid[:, None], (height, width)) / shape[0]
        none = np.zeros(len(shares))
        found: NDArray[np.float64] = own + spread + placed(none, patches.sum(1), shape)
        return found

    def regions(self, shape: tuple[int, int, int]) -> NDArray[np.int64]:
        """The third of the height and of the width that pixels and cells of the grid are of: `(V,)`.

        Args:
            shape: (C, H, W).
        """
        channels, *small = _reduced(shape)
        cells = [min(POOLS, (side - 1) // self._stride(shape) + 1) for side in shape[1:]]
        pixels, pooled = (3 * _thirds(sides[0])[:, None] + _thirds(sides[1]) for sides in (small, cells))
        return np.concatenate([np.tile(pixels.ravel(), channels), np.tile(pooled.ravel(), len(self.centres))])

    def to_codes(self, features: NDArray[Any], shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """The codes of pixels that features have, in the size of the image: `(n, D) -> (n, C, H, W)`.

        Args:
            features: `(n, D)`.
            shape: (C, H, W).
        """
        pixels = torch.from_numpy(np.asarray(features, dtype=np.float32)[:, : self.layout(shape).vectors[0]])
        small = pixels.reshape(-1, *_reduced(shape))
        if small.shape[2:] == shape[1:]:
            return small.numpy()
        return functional.interpolate(small, shape[1:], mode="bilinear", align_corners=False).numpy()

    # -- persistence -----------------------------------------------------------------------------------------

    def to(self, device: str) -> None:
        """Features are made on the CPU.

        Args:
            device: not used.
        """

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The softening, and what was learned."""
        tensors = {"mean": self.mean, "whitening": self.whitening, "centres": self.centres, "axes": self.axes}
        return {"softening": self.softening}, {name: part.numpy() for name, part in tensors.items()}

    def restore(self, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `to_state` gave; raises ValueError for what it did not."""
        if set(manifest) != {"softening"} or set(tensors) != {"mean", "whitening", "centres", "axes"}:
            raise ValueError("not the state of a dictionary of patches")
        softening = manifest["softening"]
        if not isinstance(softening, float) or not 0 < softening < math.inf:
            raise ValueError("the softening of a dictionary of patches must be positive")
        width, count, axes = tensors["mean"].size, *_sides(tensors["axes"])
        shapes = {
            "mean": (width,),
            "whitening": (width, width),
            "centres": (count, width),
            "axes": (count, axes),
        }
        for name, wanted in shapes.items():
            part = tensors[name]
            if (
                part.shape != wanted
                or part.dtype != np.float32
                or not np.isfinite(part).all()
                or not part.size
            ):
                raise ValueError(
                    f"{name} of a dictionary of patches must be finite float32 of shape {wanted}"
                )
        if np.abs(tensors["axes"]).max() > 1 + ROUNDING:
            raise ValueError("axes of a dictionary of patches must be of length one")
        self.softening = softening
        self.mean, self.whitening = torch.from_numpy(tensors["mean"]), torch.from_numpy(tensors["whitening"])
        self.centres, self.axes = torch.from_numpy(tensors["centres"]), torch.from_numpy(tensors["axes"])


def _means(side: int, to_map: bool) -> Tensor:
    """The means over a grid along one side, of the map also over three positions: `(cells, side)`."""
    unit = torch.eye(side, dtype=torch.float32)[:, None]
    if to_map:
        unit = functional.avg_pool1d(unit, 3, 1, 1, count_include_pad=False)
    return functional.adaptive_avg_pool1d(unit, min(MAP if to_map else POOLS, side))[:, 0].T.contiguous()


def _sides(matrix: NDArray[Any]) -> tuple[int, int]:
    """Rows and columns; none of what is no matrix."""
    return (matrix.shape[0], matrix.shape[1]) if matrix.ndim == 2 else (0, 0)


def _reduced(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape of the codes that are a vector of the features."""
    channels, height, width = shape
    factor = max(1, math.ceil(math.sqrt(channels * height * width / MOST_PIXELS)))
    return channels, math.ceil(height / factor), math.ceil(width / factor)


def _thirds(side: int) -> NDArray[np.int64]:
    return np.arange(side, dtype=np.int64) * 3 // side


def _enlarged(x: NDArray[Any], sides: tuple[int, int]) -> NDArray[np.float64]:
    """Sums of the cells of a grid spread evenly over the pixels that are nearest to each."""
    rows, columns = (
        np.minimum(np.arange(side) * cells // side, cells - 1)
        for side, cells in zip(sides, x.shape[2:], strict=True)
    )
    per_row, per_column = np.bincount(rows), np.bincount(columns)
    shared = x / (per_row[:, None] * per_column)
    found: NDArray[np.float64] = shared[:, :, rows][:, :, :, columns].astype(np.float64)
    return found


def _even(count: int, most: int) -> Tensor:
    """Numbers below `count` at even steps, `most` of them at most."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()


def _whitening(centred: Tensor) -> Tensor:
    """The symmetric matrix that brings patches to one variance along all axes but the faintest."""
    exact = centred.double()
    variances, axes = torch.linalg.eigh(exact.T @ exact / len(exact))
    least = SHRINKAGE * variances.mean().clamp(min=1e-12)
    matrix: Tensor = (axes / (variances.clamp(min=0) + least).sqrt()) @ axes.T
    return matrix.float()


def _k_means(x: Tensor) -> Tensor:
    """Centres of groups of near rows: `(N, D) -> (K, D)`."""
    order = x.square().sum(1).argsort(stable=True)
    centres = x[order[_even(len(x), CENTRES)]]
    for _ in range(ROUNDS):
        nearest = torch.cat([torch.cdist(part, centres).argmin(1) for part in x.split(4_096)])
        counts = torch.bincount(nearest, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        centres = torch.where((counts > 0)[:, None], sums / counts.clamp(min=1)[:, None], centres)
    return centres


def _principal(maps: Iterable[Tensor]) -> Tensor:
    """The axes along which the places of maps `(h, w, K)` vary most: `(K, CHANNELS)`."""
    count, sums, products = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for one in maps:
        rows = one.flatten(0, 1).double()
        count, sums, products = count + len(rows), sums + rows.sum(0), products + rows.T @ rows
    mean = sums / count
    axes: Tensor = torch.linalg.eigh(products / count - mean[:, None] * mean).eigenvectors
    return axes[:, -CHANNELS:].flip(1).float().contiguous()
