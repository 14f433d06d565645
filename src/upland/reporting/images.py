"""Sections on images: which are anomalous, and where in them.

Images go by in batches, and of those that are shown a small one and its heat are kept, so that memory and the
page depend on how many are shown alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.image.feature_encoder import pixel_encoder
from upland.io.heatmaps import png_of_heat, png_of_pixels, reduced_heat, reduced_pixels
from upland.reporting.alarms import AlarmsSeen
from upland.reporting.base import Floats, Found, Indices, Settings, check_no_rows
from upland.reporting.page import Column, Gallery, Picture, Prose, Section, Table
from upland.reporting.phrases import clipped, flagged_text, percent
from upland.reporting.scores import ScoreCounter
from upland.scoring.episodes import worst_first
from upland.scoring.regions import full_heat, regions
from upland.scoring.words import cell_text

if TYPE_CHECKING:
    from upland.data.image.encoder import Images
    from upland.detectors.scoring import ScoringDetector
    from upland.explanation import ImageExplanation, Reason

PICTURES, NORMAL = 24, 6
"""Of the most anomalous images, and of typical ones, so many are pictured."""

FEWEST = 5
"""So many of the most anomalous are listed at least, though they are not flagged."""

SIDES = (192, 128, 96, 64)
"""Pixels of a picture, the first with which all take no more than `MOST` bytes."""

MOST = 1_200_000

AT_ONCE = 1 << 21
"""Pixel values that are scored at a time; an eighth of them are explained at a time."""

REGIONS = 3
"""Regions that are named of each image."""


class Small(NamedTuple):
    """An image as it is shown.

    Args:
        number: Of the image.
        pixels: `(h, w, C)` of 8 bits.
        heat: `(h, w)`.
        reasons: The regions that contribute most.
    """

    number: int
    pixels: NDArray[np.uint8]
    heat: NDArray[np.float32]
    reasons: list[Reason]


@dataclass(frozen=True, eq=False)
class Assessed:
    """Images with their scores.

    Args:
        detector: Fitted on images.
        images: All of them.
        scores: `(N,)`.
        p_values: `(N,)`.
        settings: What is asked for.
    """

    detector: ScoringDetector
    images: Images
    scores: Floats
    p_values: Floats
    settings: Settings

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Which are flagged."""
        return self.p_values <= self.settings.alpha

    def name(self, number: int) -> str:
        """What the user calls an image: its file, or its number from 0."""
        return self.images.label(number) if self.images.from_files else f"image {number}"


def found_in_images(detector: ScoringDetector, data: Any, settings: Settings) -> Found:
    """What a page says of images.

    Args:
        detector: Fitted on images.
        data: Images in any form, or the path of a folder or a file.
        settings: What is asked for.

    Raises:
        ImportError: Pillow is not installed.
        ValueError, OSError: The images cannot be read, or there is none.
    """
    from upland.io.images import pillow

    pillow()
    encoder = pixel_encoder(detector.encoder_)
    check_no_rows(settings, "image")
    images = encoder.images(data)
    counter, parts = ScoreCounter(detector, settings, "image"), []
    for rows in _portions(np.arange(len(images)), images, AT_ONCE):
        assessment, values, segments, _ = detector.assess_members(images.select(rows))
        counter.see(*assessment, values, segments)
        parts.append(assessment)
    scores, p_values = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = Assessed(detector, images, scores, p_values, settings)
    flagged = int(found.flags.sum())
    worst = worst_first(scores, min(max(flagged, FEWEST), settings.top))
    small = _small(found, worst)
    usual = _small(found, _typical(found, worst))
    sections = [*_galleries(found, small, usual), _table(found, small), counter.section()]
    alarms = AlarmsSeen(detector, "image", ordered=False)
    alarms.see(p_values)
    return alarms.beside(Found("image", len(images), flagged, _summary(found, flagged, small[0]), sections))


def _portions(rows: Indices, images: Images, values: int) -> Iterator[Indices]:
    at_once = max(1, values // int(np.prod(images.shape)))
    for start in range(0, rows.size, at_once):
        yield rows[start : start + at_once]


def _typical(found: Assessed, shown: Indices) -> Indices:
    """Images that are not flagged, those with the most usual scores."""
    others = np.setdiff1d(np.flatnonzero(~found.flags), shown)
    if not others.size:
        return others
    scores = found.scores[others]
    near = np.argsort(np.abs(scores - np.median(scores)), kind="stable")
    return others[near[:NORMAL]]


def _small(found: Assessed, rows: Indices) -> list[Small]:
    """Images as they are shown."""
    from upland.explanation import ImageExplanation, explain

    made: list[Small] = []
    for part in _portions(rows, found.images, AT_ONCE // 8):
        explained = explain(found.detector, found.images.select(part))
        assert isinstance(explained, ImageExplanation)
        made += _each(part, explained)
    return made


def _each(rows: Indices, explained: ImageExplanation) -> Iterator[Small]:
    parts = zip(rows.tolist(), explained.values, explained.heat(), regions(explained, REGIONS), strict=True)
    for row, pixels, heat, reasons in parts:
        yield Small(row, reduced_pixels(pixels, SIDES[0]), reduced_heat(heat, SIDES[0]), reasons)


def _galleries(found: Assessed, small: list[Small], usual: list[Small]) -> list[Section]:
    threshold = found.detector.calibration_.threshold(found.settings.alpha)
    peaks = np.array([one.heat.max() for one in small], dtype=np.float64)
    top = full_heat(peaks, found.scores[[one.number for one in small]], threshold)
    shown = small[:PICTURES]
    pictures = _pictures(found, [*shown, *usual], top)
    flagged = [one for one in shown if found.flags[one.number]]
    words = (
        "Heat maps show where in an image its score arises: yellow is little, dark red is much, on one "
        "scale for all images."
    )
    title = "The most anomalous images" if flagged else "The images with the highest scores"
    none = [] if flagged else ["No image is flagged."]
    sections = [Section(title, [Prose([*none, words]), Gallery(pictures[: len(shown)])])]
    if len(flagged) > 1:
        sections.append(_mean(flagged))
    if usual:
        said = "Images that are not flagged, with the most usual scores, to compare with."
        sections.append(Section("Normal images", [Prose([said]), Gallery(pictures[len(shown) :])]))
    return sections


def _pictures(found: Assessed, small: list[Small], top: float) -> list[Picture]:
    """Pictures that together take few bytes."""
    for side in SIDES:
        made = [_picture(found, one, side, top) for one in small]
        if sum(len(one.png) + len(one.overlay or b"") for one in made) <= MOST:
            break
    return made


def _picture(found: Assessed, small: Small, side: int, top: float) -> Picture:
    where = "".join(f"; {reason.column} ({percent(reason.part)})" for reason in small.reasons[:1])
    score, p_value = (float(part[small.number]) for part in (found.scores, found.p_values))
    caption = f"{clipped(found.name(small.number))}: score {cell_text(score)}, p {cell_text(p_value)}{where}"
    png = png_of_pixels(reduced_pixels(small.pixels, side))
    return Picture(png, caption, png_of_heat(reduced_heat(small.heat, side), top))


def _mean(small: list[Small]) -> Section:
    """Where the scores of the pictured images arise on the whole."""
    pixels = np.mean([one.pixels for one in small], axis=0)
    parts = [one.heat / max(float(one.heat.sum()), np.finfo(float).tiny) for one in small]
    heat = np.mean(parts, axis=0)
    picture = Picture(
        png_of_pixels(np.rint(pixels).astype(np.uint8)),
        f"Mean of {len(small)} flagged images",
        png_of_heat(heat, float(heat.max()) or 1.0),
    )
    words = (
        f"The mean of the {len(small)} flagged images above and of their heat maps, each image counting "
        "alike. One warm spot means that they are anomalous in the same part."
    )
    return Section("Where, on average", [Prose([words]), Gallery([picture])])


def _table(found: Assessed, small: list[Small]) -> Section:
    columns = [Column("image"), Column("contributes most"), Column("score", "number")]
    columns += [Column("p-value", "p_value"), Column("flagged")]
    rows = []
    for one in small:
        number = one.number
        where = tuple(f"{reason.column} ({percent(reason.part)})" for reason in one.reasons)
        row: list[Any] = [found.name(number), where, float(found.scores[number])]
        rows.append([*row, float(found.p_values[number]), "yes" if found.flags[number] else "no"])
    total = len(found.images)
    note = f"The {len(rows)} images with the highest scores, of {total:,}." if total > len(rows) else ""
    height, width, _ = found.images.shape
    words = f"Rows are counted from the top, columns from the left, of {height} x {width} pixels, from 0."
    return Section("Images", [Prose([words]), Table(columns, rows, note)])


def _summary(found: Assessed, flagged: int, worst: Small) -> list[str]:
    total = len(found.images)
    sentences = [flagged_text(flagged, total, "image", found.settings.alpha)]
    if not flagged:
        return sentences
    where = "".join(
        f"; most of its score arises in {reason.column} ({percent(reason.part)})"
        for reason in worst.reasons[:1]
    )
    return [*sentences, f"The most anomalous: {clipped(found.name(worst.number))}{where}."]
