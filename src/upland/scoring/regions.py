"""The parts of an image that contribute most to its score, as rectangles, and the scale of heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upland.data.image.features import REGIONS

if TYPE_CHECKING:
    from upland.explanation import ImageExplanation, Reason

FIELDS = 7
"""A region that is named is a seventh of the image high and wide."""

Floats = NDArray[np.float64]


def regions(explained: ImageExplanation, count: int) -> list[list[Reason]]:
    """The contributing parts of each image, those with most heat first: rectangles that do not overlap; value
    and expected are means over the rectangle, None where the features have no way back to pixels.

    Args:
        explained: Images with the shares of their pixels.
        count: How many of each image at most; those without heat are left out.
    """
    from upland.explanation import Reason

    found = []
    for image, (heat, values) in enumerate(zip(explained.heat(), explained.values, strict=True)):
        reasons: list[Reason] = []
        total, left = float(heat.sum()), heat.copy()
        for _ in range(count):
            window = _most_heat(left)
            share = float(left[window].sum())
            if share <= 0:
                break
            name = _name(window, heat.shape)
            foreseen = explained.expected is not None
            expected = None if explained.expected is None else _mean(explained.expected[image][window])
            reasons.append(
                Reason(name, share, share / total, _mean(values[window]), expected, has_expected=foreseen)
            )
            left[window] = 0.0
        found.append(reasons)
    return found


def full_heat(peaks: Floats, scores: Floats, threshold: float) -> float:
    """The heat that is full red in all maps: the largest of a typical one of the most anomalous images.

    An image that would not be flagged counts as if its heat were that of one that just would, so that maps of
    normal images stay pale.

    Args:
        peaks: The largest heat in each of the most anomalous images.
        scores: Their anomaly scores.
        threshold: The least score that is not flagged.
    """
    cool = (scores > 0) & (scores < threshold)
    level = float(np.median(peaks * np.where(cool, threshold / np.where(cool, scores, 1.0), 1.0)))
    return level if np.isfinite(level) and level > 0 else 1.0


def _most_heat(heat: Floats) -> tuple[slice, slice]:
    """The rectangle that holds most of the heat; of equals, the first."""
    height, width = (min(side, max(2, round(side / FIELDS))) for side in heat.shape)
    sums = np.pad(heat, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    held = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y, x = np.unravel_index(int(held.argmax()), held.shape)
    return slice(int(y), int(y) + height), slice(int(x), int(x) + width)


def _name(window: tuple[slice, slice], shape: tuple[int, ...]) -> str:
    """A rectangle in words: its pixels, and which ninth of the image its centre lies in."""
    rows, columns = (f"{part.start}-{part.stop - 1}" for part in window)
    down, right = (
        3 * (part.start + part.stop - 1) // (2 * side) for part, side in zip(window, shape, strict=True)
    )
    return f"rows {rows}, columns {columns} ({REGIONS[3 * down + right]})"


def _mean(pixels: NDArray[Any]) -> Any:
    """The mean of each channel; a number where there is one."""
    means = pixels.reshape(-1, pixels.shape[-1]).mean(axis=0, dtype=np.float64).tolist()
    return means[0] if len(means) == 1 else tuple(means)
