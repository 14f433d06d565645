"""Defects that are planted into pictures: scratch, stain, missing part, swap, dent.

A defect takes a picture, a place, a strength and a generator, and returns the picture with the defect.
Pictures are float32 `(H, W, C)` from 0 to 255. `planted` draws until the defect can be seen and has the size
asked for, and returns the mask of the pixels that it changed.

**How the sizes and contrasts were set.** By looking at sheets of pictures
(`python -m benchmarks.defect_pictures --sheet DIR`), before any method had seen them: a defect is one that a
person finds within a moment who knows what the normal pictures look like, and no stronger. A contrast is a
constant step and a share of the spread of the picture around the place, since a busy texture hides more than
a plain one.

Two changes came after first results of one seed were known: the factor 1.6 on grass and gravel, where the
sheet had a scratch that could not be seen, and that spots and masks keep no small islands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]
Place = tuple[int, int]
Defect = Callable[[Picture, Place, float, np.random.Generator], Picture]
"""Picture, place, factor of the contrast, generator -> picture."""

STEP = 6.0
"""A pixel belongs to the defect where a channel changes by more than this, of 255."""
VISIBLE = 14.0
"""Mean change within the mask, at least, of 255, in the channel that changes most; times the strength."""
SHARE = (0.01, 0.05)
"""Of the picture's area that the mask takes, at least and at most."""
CLOSING = 3
"""Gaps in the mask up to twice so many pixels wide are closed, in a picture of 256."""
SPECK = 20
"""Pieces of the mask with fewer pixels, or less than a tenth of the largest piece, are left out."""
TONE = 40.0
"""The mean of a part that is swapped differs from the mean of what it replaces by less, in each channel."""
DRAWS = 200
"""Draws of a place and a defect before the picture is given up."""


def planted(
    picture: Picture, defect: Defect, allowed: Mask, blur: float, strength: float, rng: np.random.Generator
) -> tuple[Picture, Mask]:
    """The picture with the defect, and the pixels that changed.

    Args:
        picture: `(H, W, C)`, 0 to 255.
        defect: one of `DEFECTS`.
        allowed: `(H, W)`, where the middle of the defect may lie.
        blur: standard deviation, in pixels, of the picture's own blur: the change is blurred as much.
        strength: factor of the contrast and of the least change: more than 1 where the pictures differ so
            much from each other that less would not be seen.
        rng: draws the place and the defect.

    Raises:
        ValueError: no draw is visible and of the size asked for.
    """
    places = np.argwhere(allowed)
    for _ in range(DRAWS):
        row, column = (int(number) for number in places[rng.integers(len(places))])
        change = defect(picture, (row, column), strength, rng) - picture
        if blur:
            change = ndimage.gaussian_filter(change, (blur, blur, 0))
        damaged = np.clip(picture + change, 0, 255).astype(np.float32)
        mask = changed(picture, damaged)
        size = np.abs(damaged - picture).max(axis=2)[mask]
        if SHARE[0] <= mask.mean() <= SHARE[1] and size.mean() >= strength * VISIBLE:
            return damaged, mask
    raise ValueError(f"no visible defect in {DRAWS} draws")


def changed(before: Picture, after: Picture) -> Mask:
    """Where a channel differs by more than `STEP`, without small gaps and specks."""
    mask = np.abs(after - before).max(axis=2) > STEP
    width = max(round(CLOSING * len(mask) / 256), 1)
    mask = ndimage.binary_closing(np.pad(mask, width), iterations=width)[width:-width, width:-width]
    mask = ndimage.binary_fill_holes(mask)
    labels, count = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, np.arange(count + 1))
    least = max(SPECK, 0.1 * float(sizes[1:].max(initial=0)))
    return np.asarray(mask & (sizes[labels] >= least), dtype=np.bool_)


# -- shapes --------------------------------------------------------------------------------------------------


def distance(shape: tuple[int, ...], place: Place) -> NDArray[np.float64]:
    """Of each pixel from the place."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - place[0], columns - place[1])


def blob(
    shape: tuple[int, ...], place: Place, share: float, edge: float, rng: np.random.Generator
) -> Picture:
    """An irregular spot `(H, W, 1)` that takes a share of the area: 1 within, 0 outside, soft at its edge."""
    side = shape[0]
    noise = ndimage.gaussian_filter(rng.standard_normal(shape[:2]), side / 20)
    reach = distance(shape, place) / side - 0.05 * noise / noise.std()
    limit = np.partition(reach, round(share * reach.size), axis=None)[round(share * reach.size)]
    labels, _ = ndimage.label(reach < limit)
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    inside = ndimage.gaussian_filter(largest.astype(np.float32), edge)
    return inside[..., None]


def surrounding(picture: Picture, place: Place, radius: float) -> tuple[Picture, float]:
    """Mean of each channel, and the spread, of the pixels around a place."""
    near = picture[distance(picture.shape, place) < radius]
    return near.mean(axis=0), float(near.std(axis=0).mean())


def contrast(picture: Picture, place: Place, step: float, share: float) -> float:
    """A constant step, and a share of the spread of the picture around the place."""
    return step + share * surrounding(picture, place, 0.15 * len(picture))[1]


# -- defects -------------------------------------------------------------------------------------------------


def scratch(picture: Picture, place: Place, strength: float, rng: np.random.Generator) -> Picture:
    """A bent line, lighter or darker than what it crosses, strongest in its middle."""
    side = len(picture)
    length, width = rng.uniform(0.4, 0.7) * side, rng.uniform(0.012, 0.02) * side
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-0.8, 0.8)
    along = np.linspace(-0.5, 0.5, 4 * round(length))
    turned = angle + bend * along
    path = np.stack([np.cumsum(np.sin(turned)), np.cumsum(np.cos(turned))]) * length / len(along)
    path += np.array(place)[:, None] - path[:, [len(along) // 2]]
    inside = np.all((path >= 0) & (path <= side - 1), axis=0)
    path, taper = path[:, inside], (1 - (2 * along[inside]) ** 4).astype(np.float32)
    line = np.ones((side, picture.shape[1]), dtype=np.bool_)
    profile = np.zeros((side, picture.shape[1]), dtype=np.float32)
    rows, columns = np.rint(path).astype(np.intp)
    line[rows, columns], profile[rows, columns] = False, taper
    away, (nearest_row, nearest_column) = ndimage.distance_transform_edt(line, return_indices=True)
    tone = strength * rng.choice([-1, 1]) * contrast(picture, place, 28, 0.7)
    alpha = profile[nearest_row, nearest_column] * np.exp(-((away / (0.6 * width)) ** 4))
    return (picture + tone * alpha[..., None]).astype(np.float32)


def stain(picture: Picture, place: Place, strength: float, rng: np.random.Generator) -> Picture:
    """A soft spot of another tone, and in colour of another tint, through which the picture is seen."""
    side = len(picture)
    alpha = blob(picture.shape, place, rng.uniform(0.015, 0.035), 0.012 * side, rng)
    tone = strength * rng.choice([-1, 1]) * contrast(picture, place, 24, 0.5)
    tint = rng.uniform(0.5, 1.0, size=picture.shape[2]) if picture.shape[2] > 1 else np.ones(1)
    mean, _ = surrounding(picture, place, 0.1 * side)
    thinner = 0.75 * picture + 0.25 * mean
    return (picture + alpha * (thinner - picture + tone * tint)).astype(np.float32)


def missing(picture: Picture, place: Place, strength: float, rng: np.random.Generator) -> Picture:
    """An irregular part is gone: what lies around it is blurred into it."""
    side = len(picture)
    share = rng.uniform(0.02, 0.04)
    alpha = blob(picture.shape, place, share, 0.004 * side, rng)
    around = 1 - (blob(picture.shape, place, share, 0.004 * side, rng) + alpha > 0.02)
    width = (0.08 * side, 0.08 * side, 0)
    weight = ndimage.gaussian_filter(around.astype(np.float32), width) + 1e-6
    filling = ndimage.gaussian_filter(picture * around, width) / weight
    return (picture + alpha * (filling - picture)).astype(np.float32)


def swap(picture: Picture, place: Place, strength: float, rng: np.random.Generator) -> Picture:
    """A rectangle from another place of the picture of nearly the same tone, turned by a right angle."""
    side = len(picture)
    half = np.rint(np.sqrt(rng.uniform(0.02, 0.04)) * side / 2 * np.array([0.85, 1.18])).astype(int)
    half = half if rng.random() < 0.5 else half[::-1]
    row, column = (int(np.clip(at, size, side - size)) for at, size in zip(place, half, strict=True))
    here = (slice(row - half[0], row + half[0]), slice(column - half[1], column + half[1]))
    result = picture.copy()
    for _ in range(DRAWS):
        other = [int(rng.integers(size, side - size + 1)) for size in half[::-1]]
        part = np.rot90(
            picture[other[0] - half[1] : other[0] + half[1], other[1] - half[0] : other[1] + half[0]]
        )
        is_far = max(abs(other[0] - row), abs(other[1] - column)) > side // 5
        tone = np.abs(part.mean(axis=(0, 1)) - picture[here].mean(axis=(0, 1))).max()
        if is_far and tone < TONE:
            result[here] = part
            break
    return result


def dent(picture: Picture, place: Place, strength: float, rng: np.random.Generator) -> Picture:
    """The picture around the place is turned and pressed together or drawn apart."""
    side = len(picture)
    radius = rng.uniform(0.10, 0.125) * side
    turn, press = rng.choice([-1, 1]) * rng.uniform(0.8, 1.4), rng.choice([-1, 1]) * rng.uniform(0.25, 0.4)
    away = distance(picture.shape, place)
    hold = np.clip(1 - (away / radius) ** 2, 0, None)
    rows, columns = np.mgrid[:side, : picture.shape[1]].astype(np.float64)
    rows, columns = rows - place[0], columns - place[1]
    cosine, sine, size = np.cos(turn * hold), np.sin(turn * hold), 1 + press * hold
    at = np.stack(
        [
            size * (cosine * rows - sine * columns) + place[0],
            size * (sine * rows + cosine * columns) + place[1],
        ]
    )
    channels = [
        ndimage.map_coordinates(picture[..., channel], at, order=3, mode="reflect")
        for channel in range(picture.shape[2])
    ]
    return np.where(hold[..., None] > 0, np.stack(channels, axis=2), picture).astype(np.float32)


DEFECTS: dict[str, Defect] = {
    "scratch": scratch,
    "stain": stain,
    "missing": missing,
    "swap": swap,
    "dent": dent,
}
