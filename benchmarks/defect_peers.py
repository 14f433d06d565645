"""Peers on pictures with defects: each gives a score for a picture and, where it has one, a heat map.

On pixels:

* **kNN**: mean distance to the five nearest training pictures; heat: squared difference from the nearest.
* **PCA**: squared residual behind 95 % of the variance, and heat likewise.
* **OCSVM**: nu = 0.1; no heat.

On the maps of a backbone, of which each is averaged over 3 x 3 places and brought to the size of the
largest, so that a patch is the channels of all maps at one place:

* **patch kNN**, after PatchCore (Roth et al., CVPR 2022): distance of each patch to the nearest of a
  coreset of 10 % of the training patches, chosen by greedy k-centres on a random projection; a picture's
  score is its largest distance (without the paper's weight).
* **patch Gaussian**, after PaDiM (Defard et al., ICPR 2021 workshops): Mahalanobis distance to the Gaussian
  of each place on 100 random channels, 0.01 added to the variances; a picture's score is its largest.

The published methods smooth their heat maps by a Gaussian of 4 pixels; here all peers' heat maps are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.decomposition import PCA

from benchmarks import images
from benchmarks.defect_pictures import Images

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Maps = Callable[[Images], Sequence[Floats]]
"""Pictures, uint8 `(N, H, W)` or `(N, H, W, 3)` -> the maps of a backbone, `(N, C, h, w)` each."""

SMOOTHING = 4 / 256
"""Standard deviation of the Gaussian that smooths heat maps, of the picture's side."""
NEIGHBOURS = 5
PCA_SHARE = 0.95
CORESET, PROJECTED = 0.1, 32
"""Share of the patches that are kept; dimensions of the random projection by which they are chosen."""
CHANNELS, RIDGE = 100, 0.01
CHUNK = 2048


class Found(NamedTuple):
    """What a method says of pictures: scores `(N,)`, and heat maps `(N, H, W)` or None."""

    scores: Array
    heat: Floats | None


class Patches(NamedTuple):
    """Features of the places of pictures, `(N, h, w, D)`, and the pictures' size."""

    features: Floats
    size: tuple[int, int]


Find = Callable[[Images], Found]
FindPatches = Callable[[Patches], Found]


def smoothed(heat: NDArray[np.floating]) -> Floats:
    """Heat maps smoothed by a Gaussian of `SMOOTHING` of their side."""
    width = SMOOTHING * heat.shape[1]
    return np.stack([ndimage.gaussian_filter(one.astype(np.float32), width) for one in heat])


def enlarged(maps: NDArray[np.floating], size: tuple[int, int]) -> Floats:
    """Maps `(N, h, w)` at another size, bilinear between the middles of their cells."""
    zoom = (size[0] / maps.shape[1], size[1] / maps.shape[2])
    return np.stack(
        [ndimage.zoom(one.astype(np.float32), zoom, order=1, grid_mode=True, mode="nearest") for one in maps]
    )


# -- on pixels -----------------------------------------------------------------------------------------------


def pixel_heat(differences: Floats, pictures: Images) -> Floats:
    """Squares of differences `(N, D)`, summed over channels, as heat maps."""
    return smoothed((differences**2).reshape(*pictures.shape[:3], -1).sum(axis=3))


def neighbours(train: Images, seed: int) -> Find:
    """Distance to the nearest training pictures."""
    rows = images.pixels(train)

    def find(test: Images) -> Found:
        pictures = images.pixels(test)
        squares = (pictures**2).sum(axis=1)[:, None] - 2 * pictures @ rows.T + (rows**2).sum(axis=1)
        least = np.sort(np.sqrt(np.maximum(squares, 0)), axis=1)[:, :NEIGHBOURS]
        heat = pixel_heat(pictures - rows[squares.argmin(axis=1)], test)
        return Found(least.mean(axis=1, dtype=np.float64), heat)

    return find


def pca(train: Images, seed: int) -> Find:
    """What the components that explain 95 % of the variance leave."""
    model = PCA(n_components=PCA_SHARE, svd_solver="full").fit(images.pixels(train))

    def find(test: Images) -> Found:
        pictures = images.pixels(test)
        residual = pictures - model.inverse_transform(model.transform(pictures))
        return Found((residual**2).sum(axis=1, dtype=np.float64), pixel_heat(residual, test))

    return find


def ocsvm(train: Images, seed: int) -> Find:
    """The support vector machine of the image benchmark."""
    score = images.ocsvm(train, seed)["OCSVM"]
    return lambda test: Found(score(test), None)


# -- on the maps of a backbone -------------------------------------------------------------------------------


def patches(pictures: Images, maps: Maps) -> Patches:
    """The channels of all maps at each place, averaged over 3 x 3 places; coarser maps are enlarged."""
    found = list(maps(pictures))
    height, width = max((one.shape[2:] for one in found), key=lambda size: size[0] * size[1])
    parts = []
    for one in found:
        mean = ndimage.uniform_filter(one, size=(1, 1, 3, 3), mode="nearest")
        flat = enlarged(mean.reshape(-1, *mean.shape[2:]), (height, width))
        parts.append(flat.reshape(*one.shape[:2], height, width))
    features = np.ascontiguousarray(np.moveaxis(np.concatenate(parts, axis=1), 1, 3), dtype=np.float32)
    return Patches(features, (pictures.shape[1], pictures.shape[2]))


def patch_neighbours(train: Patches, seed: int) -> FindPatches:
    """Distance of patches to the nearest of a coreset."""
    rows = train.features.reshape(-1, train.features.shape[3])
    middle = rows.mean(axis=0)  # differences of squares lose fewer digits
    kept = rows[coreset(rows, round(CORESET * len(rows)), np.random.default_rng([seed, 1]))] - middle
    squares = np.einsum("nd,nd->n", kept, kept)

    def find(test: Patches) -> Found:
        flat = test.features.reshape(-1, test.features.shape[3])
        least = np.empty(len(flat), dtype=np.float32)
        for start in range(0, len(flat), CHUNK):
            part = flat[start : start + CHUNK] - middle
            products = (squares - 2 * part @ kept.T).min(axis=1)
            least[start : start + CHUNK] = products + np.einsum("nd,nd->n", part, part)
        return patch_heat(np.sqrt(np.maximum(least, 0)).reshape(test.features.shape[:3]), test.size)

    return find


def coreset(rows: Floats, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Greedy k-centres: each next row is the farthest from those chosen, in a random projection."""
    matrix = rng.standard_normal((rows.shape[1], PROJECTED), dtype=np.float32) / np.sqrt(PROJECTED)
    projected = np.ascontiguousarray(rows @ matrix)
    half_squares = np.einsum("nd,nd->n", projected, projected) / 2
    chosen = np.empty(count, dtype=np.intp)
    chosen[0] = rng.integers(len(rows))
    least = np.full(len(rows), np.inf, dtype=np.float32)
    for number in range(count):
        if number:
            chosen[number] = least.argmax()
        last = chosen[number]
        np.minimum(least, half_squares - projected @ projected[last] + half_squares[last], out=least)
    return chosen


def patch_gaussian(train: Patches, seed: int) -> FindPatches:
    """Mahalanobis distance of patches to the Gaussian of their place."""
    depth = train.features.shape[3]
    channels = np.random.default_rng([seed, 2]).permutation(depth)[:CHANNELS]
    rows = train.features[..., channels].astype(np.float64)
    mean = rows.mean(axis=0)
    centred = np.moveaxis(rows - mean, 0, 2)  # (h, w, N, D)
    covariance = np.swapaxes(centred, 2, 3) @ centred / max(len(rows) - 1, 1)
    factor = np.linalg.cholesky(np.linalg.inv(covariance + RIDGE * np.eye(len(channels))))

    def find(test: Patches) -> Found:
        parts = [
            (((one[..., channels] - mean)[:, :, None, :] @ factor)[:, :, 0] ** 2).sum(axis=2)
            for one in test.features
        ]
        return patch_heat(np.sqrt(np.stack(parts)), test.size)

    return find


def patch_heat(distances: NDArray[np.floating], size: tuple[int, int]) -> Found:
    """The largest of a picture's distances, and the distances at the picture's size."""
    scores = distances.reshape(len(distances), -1).max(axis=1).astype(np.float64)
    return Found(scores, smoothed(enlarged(distances, size)))
