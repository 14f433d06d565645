"""Scoring images: which ones, and where in them; heat maps as PNG files.

Images go by in batches, so that memory does not depend on their number. All are judged first; then those that
are told of, written about or mapped are explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.cli.console import OutputError, writing
from upland.cli.inputs import check_new
from upland.cli.verdicts import (
    REASONS,
    Asked,
    Bools,
    Finding,
    Floats,
    Judgement,
    Seen,
    said,
    verdicts_of,
    with_verdicts,
    worst_first,
    writer,
)

if TYPE_CHECKING:
    from upland.data.image.encoder import Images
    from upland.detectors.base import Detector
    from upland.explanation import ImageExplanation, Reason

AT_ONCE = 1 << 21
"""Pixel values that are judged at a time; an eighth of them are explained at a time."""

FIELDS = 7
"""A region that is blamed is a seventh of the image high and wide."""

_MAP = re.compile(r"\d{4,}_.*\.png")


@dataclass(frozen=True)
class Maps:
    """Heat maps that are wanted.

    Args:
        folder: Where they go.
        all: Whether of all images, or of the flagged and of the strangest.
    """

    folder: Path
    all: bool = False


def open_images(detector: Detector, path: Path) -> Images:
    """Look at the images of a path for a detector of images; reads no pixels.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: Data of another kind; as `as_images`.
    """
    from upland.data.image.encoder import ImageEncoder

    check_new(path, "image")
    assert isinstance(detector.encoder_, ImageEncoder)
    return detector.encoder_.images(path)


def check_maps(maps: Maps, data: Path, overwrite: bool) -> None:
    """Refuse, before any work, a folder that maps could not go into.

    Args:
        maps: What is wanted.
        data: The images, where no map may go.
        overwrite: Whether maps of an earlier run may be replaced.

    Raises:
        OutputError: It is a file, cannot be made, or holds maps already.
        ImportError: Pillow is not installed.
    """
    from upland.io.images import pillow

    pillow()
    if maps.folder.exists() and not maps.folder.is_dir():
        raise OutputError(f"cannot write heat maps into {maps.folder}: it is a file")
    if data.is_dir() and data.resolve() in (maps.folder.resolve(), *maps.folder.resolve().parents):
        raise OutputError(f"{maps.folder} is in the folder of the images themselves; choose another folder")
    if maps.folder.is_dir() and not overwrite and any(map(_is_map, maps.folder.iterdir())):
        raise OutputError(f"{maps.folder} holds heat maps already; choose another folder or say --overwrite")
    with writing(maps.folder):
        maps.folder.mkdir(parents=True, exist_ok=True)


def score_images(
    detector: Detector,
    images: Images,
    asked: Asked,
    maps: Maps | None = None,
    seen: Seen = lambda images: None,
) -> Judgement:
    """Score images, write one row for each if there is a target, and heat maps if there is a folder.

    Args:
        detector: Fitted on images.
        images: As `open_images` finds them.
        asked: What is wanted.
        maps: Where heat maps go; None writes none.
        seen: Told the number of images after each batch; all come by once, and those explained once more.

    Raises:
        ValueError: Images of another size or depth than in the fit; damaged files.
        OutputError: The target exists or cannot be written.
    """
    detector.check_alpha(asked.alpha, asked.control)
    verdicts = verdicts_of(*_assessed(detector, images, seen), asked)
    scores, p_values, flags = verdicts
    worst = worst_first(scores, asked.top)
    names: Any = list(range(len(images))) if images.names is None else list(images.names)
    reasons, peaks = _reasons(detector, images, worst, seen)
    everyone = asked.target is not None and asked.why
    mapped = np.zeros(len(images), dtype=bool)
    if maps is not None:
        mapped = flags | maps.all
        mapped[worst] = True
    atlas = _Atlas(maps, names, scores, _level(detector, asked.alpha, scores[worst], peaks))
    why: list[str] = []
    for rows in _portions(images, np.flatnonzero(mapped | everyone), AT_ONCE // 8):
        explained = _explained(detector, images, rows)
        why += said(regions(explained)) if everyone else []
        atlas.draw(explained, rows, mapped)
        seen(rows.size)
    with writer(asked.target, asked.overwrite) as write:
        if write is not None:
            table = pa.table({"image": names})
            write(with_verdicts(table, verdicts, why if everyone else None))
    found = [
        Finding(names[n], float(scores[n]), float(p_values[n]), bool(flags[n]), told)
        for n, told in zip(worst.tolist(), reasons, strict=True)
    ]
    return Judgement("image", len(images), int(flags.sum()), found, "image", maps=int(mapped.sum()))


def regions(explained: ImageExplanation, count: int = REASONS) -> list[list[Reason]]:
    """The parts of each image to blame, worst first: rectangles that do not overlap, by what they hold of the
    heat; value and expected are means over the rectangle.

    Args:
        explained: Images with the shares of their pixels.
        count: How many of each image at most; those without heat are left out.
    """
    from upland.explanation import Reason

    found = []
    for heat, values, expected in zip(explained.heat(), explained.values, explained.expected, strict=True):
        reasons: list[Reason] = []
        total, left = float(heat.sum()), heat.copy()
        for _ in range(count):
            window = _hottest(left)
            share = float(left[window].sum())
            if share <= 0:
                break
            rows, columns = (_range(part) for part in window)
            reasons.append(
                Reason(
                    f"rows {rows}, columns {columns}",
                    share,
                    share / total,
                    _mean(values[window]),
                    _mean(expected[window]),
                )
            )
            left[window] = 0.0
        found.append(reasons)
    return found


# -- judging and explaining ----------------------------------------------------------------------------------


def _assessed(detector: Detector, images: Images, seen: Seen) -> tuple[Floats, Floats]:
    parts = []
    for rows in _portions(images, np.arange(len(images)), AT_ONCE):
        parts.append(detector.assess(images.select(rows)))
        seen(rows.size)
    scores, p_values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return scores, p_values


def _reasons(
    detector: Detector, images: Images, worst: NDArray[np.int64], seen: Seen
) -> tuple[list[list[Reason]], Floats]:
    """The regions of the strangest images, and the heat of the hottest pixel of each."""
    reasons: list[list[Reason]] = []
    peaks = []
    for rows in _portions(images, worst, AT_ONCE // 8):
        explained = _explained(detector, images, rows)
        reasons += regions(explained)
        peaks.append(explained.heat().max(axis=(1, 2)))
        seen(rows.size)
    return reasons, np.concatenate(peaks)


def _explained(detector: Detector, images: Images, rows: NDArray[np.int64]) -> ImageExplanation:
    from upland.explanation import ImageExplanation, explain

    found = explain(detector, images.select(rows))
    assert isinstance(found, ImageExplanation)
    return found


def _portions(images: Images, rows: NDArray[np.int64], values: int) -> Iterator[NDArray[np.int64]]:
    at_once = max(1, values // int(np.prod(images.shape)))
    for start in range(0, rows.size, at_once):
        yield rows[start : start + at_once]


# -- regions -------------------------------------------------------------------------------------------------


def _hottest(heat: Floats) -> tuple[slice, slice]:
    """The rectangle that holds most of the heat; of equals, the first."""
    height, width = (min(side, max(2, round(side / FIELDS))) for side in heat.shape)
    sums = np.pad(heat, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    held = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y, x = np.unravel_index(int(held.argmax()), held.shape)
    return slice(int(y), int(y) + height), slice(int(x), int(x) + width)


def _range(part: slice) -> str:
    return f"{part.start}-{part.stop - 1}"


def _mean(pixels: NDArray[Any]) -> Any:
    """The mean of each channel; a number where there is one."""
    means = pixels.reshape(-1, pixels.shape[-1]).mean(axis=0, dtype=np.float64).tolist()
    return means[0] if len(means) == 1 else tuple(means)


# -- heat maps -----------------------------------------------------------------------------------------------


def _level(detector: Detector, alpha: float, scores: Floats, peaks: Floats) -> float:
    """The heat that is full red in all maps: that of the hottest pixel of a typical one of the strangest.

    An image that would not be flagged counts as if it were as hot as one that just would, so that maps of
    normal images stay pale.
    """
    threshold = detector.calibration_.threshold(alpha)
    cool = (scores > 0) & (scores < threshold)
    level = float(np.median(peaks * np.where(cool, threshold / np.where(cool, scores, 1.0), 1.0)))
    return level if np.isfinite(level) and level > 0 else 1.0


class _Atlas:
    """Writes heat maps, named by their rank: `0001_cat.png` is of the strangest image.

    Args:
        maps: Where; None draws nothing.
        names: What the user calls the images.
        scores: Their anomaly scores.
        level: The heat that is full red.
    """

    def __init__(self, maps: Maps | None, names: list[Any], scores: Floats, level: float) -> None:
        self.maps, self.names, self.level = maps, names, level
        self.ranks = np.empty(len(names), dtype=np.int64)
        self.ranks[worst_first(scores, len(names))] = np.arange(1, len(names) + 1)

    def draw(self, explained: ImageExplanation, rows: NDArray[np.int64], mapped: Bools) -> None:
        """Write the maps of those images that are to have one."""
        if self.maps is None:
            return
        from upland.io.heatmaps import write_heat_map

        for row, pixels, heat in zip(rows.tolist(), explained.values, explained.heat(), strict=True):
            if mapped[row]:
                path = self.maps.folder / f"{self.ranks[row]:04d}_{_file_name(self.names[row])}.png"
                with writing(path):
                    write_heat_map(path, pixels, heat, self.level)


def _file_name(name: Any) -> str:
    """A name that any file system takes."""
    text = f"image_{name}" if isinstance(name, int) else str(Path(name).with_suffix(""))
    return re.sub(r"[^\w.-]+", "_", text).strip("_")[-100:]


def _is_map(path: Path) -> bool:
    return _MAP.fullmatch(path.name) is not None
