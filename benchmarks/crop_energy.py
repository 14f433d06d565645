"""The paper's convolutional energy of crops of images at several scales of noise: an experiment, no default.

Squares at random places of four fifths of the normal images train a convolutional energy for each scale of
noise. The squares of an image lie half a side apart. A square's reconstruction errors are standardised by
those of the squares at its place in the last fifth, joined over the scales by their cubic mean, and an image
has the mean near the maximum of its squares: as `upland.models.patch_maps` joins the distances of patches,
so that only what a patch is compared by differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Array = NDArray[np.float64]
Find = Callable[[Images], tuple[Array, NDArray[np.float32]]]
"""Images -> their scores `(N,)` and heat maps `(N, H, W)`."""

CROPS, LEAST_SIDE, MOST_SIDE = 4_000, 8, 32
NOISES = (0.5, 1.0, 2.0)
HELD_OUT = 5
"""One image in so many says what is usual."""
POWER, OVER_PLACES = 3, 6
LEAST_DEVIATION = 1e-12


def crop_energy(train: Images, seed: int) -> Find:
    """A function from images to scores and heat maps."""
    shorter = min(train.shape[1:3])
    side = int(np.clip(shorter // 2, min(LEAST_SIDE, shorter), MOST_SIDE))
    held_out = np.arange(len(train)) % HELD_OUT == HELD_OUT - 1
    crops = random_crops(train[~held_out], side, seed)
    detectors = [fitted(crops, noise, seed) for noise in NOISES]
    normal = errors(detectors, train[held_out], side)
    usual, deviation = normal.mean(1, keepdims=True), normal.std(1, keepdims=True).clip(LEAST_DEVIATION)

    def find(test: Images) -> tuple[Array, NDArray[np.float32]]:
        found = np.logaddexp((errors(detectors, test, side) - usual) / deviation, 0)
        joined = (found**POWER).mean(0) ** (1 / POWER)
        scores = (joined**OVER_PLACES).mean(1) ** (1 / OVER_PLACES)
        return scores, heat(joined, test.shape[1:3], side)

    return find


def fitted(crops: Images, noise: float, seed: int) -> Any:
    """A convolutional energy of crops."""
    from upland import ImageEnergyDetector

    return ImageEnergyDetector(
        energy="dsebm",
        filters=(16, 32),
        hidden=(128,),
        noise=noise,
        criterion="reconstruction",
        calibration="split",
        random_state=seed,
        progress=False,
    ).fit(crops)


def random_crops(images: Images, side: int, seed: int) -> Images:
    """`CROPS` squares at places that the seed draws."""
    rng = np.random.default_rng(seed)
    which = rng.integers(len(images), size=CROPS)
    tops, lefts = (rng.integers(length - side + 1, size=CROPS) for length in images.shape[1:3])
    places = zip(which, tops, lefts, strict=True)
    return np.stack([images[n, top : top + side, left : left + side] for n, top, left in places])


def corners(length: int, side: int) -> NDArray[np.int64]:
    """Where squares begin along a side: half of theirs apart, the last at the end."""
    return np.unique(np.append(np.arange(0, length - side + 1, max(1, side // 2)), length - side))


def places(sides: tuple[int, ...], side: int) -> list[tuple[int, int]]:
    """Where squares begin, in the order of rows."""
    return [(top, left) for top in corners(sides[0], side) for left in corners(sides[1], side)]


def errors(detectors: list[Any], images: Images, side: int) -> Array:
    """The reconstruction error of each square of each image by each detector: `(S, N, P)`."""
    found = [
        [detector.anomaly_score(images[:, top : top + side, left : left + side]) for detector in detectors]
        for top, left in places(images.shape[1:3], side)
    ]
    return np.moveaxis(np.array(found), 0, 2)


def heat(joined: Array, sides: tuple[int, ...], side: int) -> NDArray[np.float32]:
    """The mean of the squares that a pixel lies in: `(N, P) -> (N, H, W)`."""
    total, count = np.zeros((len(joined), *sides)), np.zeros(sides)
    for number, (top, left) in enumerate(places(sides, side)):
        total[:, top : top + side, left : left + side] += joined[:, number, None, None]
        count[top : top + side, left : left + side] += 1
    return (total / count).astype(np.float32)
