"""Scoring images: which ones, and where in them; heat maps as PNG files.

Images go by in batches, so that memory does not depend on their number. All are scored first; then those that
are shown, written with reasons or mapped are explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.cli.console import OutputError, writing
from upland.cli.inputs import check_new
from upland.cli.opened import Assessed
from upland.cli.results import REASONS, Floats, Indices, Reasons, Request, Write, worst_first
from upland.scoring.columns import texts, with_verdicts
from upland.scoring.regions import full_heat, regions

if TYPE_CHECKING:
    from upland.data.image.encoder import Images
    from upland.detectors.base import Detector
    from upland.explanation import ImageExplanation, Reason

AT_ONCE = 1 << 21
"""Pixel values that are scored at a time; an eighth of them are explained at a time."""

_MAP = re.compile(r"\d{4,}_.*\.png")


def open_images(detector: Detector, path: Path) -> Images:
    """Look at the images of a path for a detector of images; reads no pixels.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: Data of another modality; as `as_images`.
    """
    from upland.data.image.feature_encoder import pixel_encoder

    check_new(path, "image")
    return pixel_encoder(detector.encoder_).images(path)


class OpenedImages(Assessed):
    """Images of a folder, a file or an array; all go by once, and those explained once more.

    Args:
        detector: Fitted on images.
        request: What is wanted.
        path: Where the images are.
        maps: The folder for heat maps; None draws none.
        all_maps: Whether heat maps are of all images, or of the flagged and of the most anomalous.

    Raises:
        ValueError, OSError: The images cannot be read.
        OutputError: Heat maps could not be written.
    """

    unit = "image"
    called = "image"

    def __init__(
        self, detector: Detector, request: Request, path: Path, maps: Path | None, all_maps: bool
    ) -> None:
        super().__init__(detector, request, path)
        self.images = open_images(detector, path)
        self.total = len(self.images)
        self.names: Any = list(range(self.total)) if self.images.names is None else list(self.images.names)
        self.maps, self.all_maps, self.n_maps = maps, all_maps, 0
        self._most_anomalous: tuple[Reasons, Floats] | None = None
        if maps is not None:
            check_maps(maps, path, request.overwrite)

    def assess(self) -> tuple[Floats, Floats]:
        """Anomaly scores and p-values, batch by batch."""
        parts = []
        for rows in self._portions(np.arange(len(self.images)), AT_ONCE):
            parts.append(self.detector.assess(self.images.select(rows)))
            self.seen(rows.size)
        scores, p_values = (np.concatenate(part) for part in zip(*parts, strict=True))
        return scores, p_values

    def reasons(self, rows: Indices) -> Reasons:
        """The regions of the most anomalous images."""
        return self._strange(rows)[0]

    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Draw the heat maps and write one row for each image."""
        flags = self.p_values <= cut
        everyone = write is not None and self.request.why
        worst = worst_first(self.scores, self.request.top)
        mapped = np.zeros(len(self.images), dtype=bool)
        level = 1.0
        if self.maps is not None:
            mapped = flags | self.all_maps
            mapped[worst] = True
            level = self._level(worst)
        why: list[str] = []
        for rows, explained in self._explained(np.flatnonzero(mapped | everyone)):
            why += texts(regions(explained, REASONS)) if everyone else []
            self._draw(explained, rows, mapped, level)
        self.n_maps = int(mapped.sum())
        if write is not None:
            table = pa.table({"image": self.names})
            write(with_verdicts(table, self.scores, self.p_values, cut, why if everyone else None))
        return self.counts(cut)

    def details(self) -> dict[str, Any]:
        """How many heat maps were written."""
        return {"maps": self.n_maps}

    def _portions(self, rows: Indices, values: int) -> Iterator[Indices]:
        at_once = max(1, values // int(np.prod(self.images.shape)))
        for start in range(0, rows.size, at_once):
            yield rows[start : start + at_once]

    def _explained(self, rows: Indices) -> Iterator[tuple[Indices, ImageExplanation]]:
        from upland.explanation import ImageExplanation, explain

        for part in self._portions(rows, AT_ONCE // 8):
            found = explain(self.detector, self.images.select(part))
            assert isinstance(found, ImageExplanation)
            yield part, found
            self.seen(part.size)

    def _strange(self, worst: Indices) -> tuple[Reasons, Floats]:
        """The regions of the most anomalous images, and the largest heat in each; explained once."""
        if self._most_anomalous is None:
            reasons: list[list[Reason]] = []
            peaks = []
            for _, explained in self._explained(worst):
                reasons += regions(explained, REASONS)
                peaks.append(explained.heat().max(axis=(1, 2)))
            self._most_anomalous = reasons, np.concatenate(peaks)
        return self._most_anomalous

    def _level(self, worst: Indices) -> float:
        """The heat that is full red in all maps."""
        threshold = self.detector.calibration_.threshold(self.request.alpha)
        return full_heat(self._strange(worst)[1], self.scores[worst], threshold)

    def _draw(
        self, explained: ImageExplanation, rows: Indices, mapped: NDArray[np.bool_], level: float
    ) -> None:
        """Write heat maps, named by their rank: `0001_cat.png` is of the most anomalous image."""
        if self.maps is None:
            return
        from upland.io.heatmaps import write_heat_map

        ranks = np.empty(len(self.names), dtype=np.int64)
        ranks[worst_first(self.scores, len(self.names))] = np.arange(1, len(self.names) + 1)
        for row, pixels, heat in zip(rows.tolist(), explained.values, explained.heat(), strict=True):
            if mapped[row]:
                path = self.maps / f"{ranks[row]:04d}_{_file_name(self.names[row])}.png"
                with writing(path):
                    write_heat_map(path, pixels, heat, level)


def check_maps(folder: Path, data: Path, overwrite: bool) -> None:
    """Refuse, before any work, a folder that maps could not go into.

    Args:
        folder: Where heat maps are wanted.
        data: The images, where no map may go.
        overwrite: Whether maps of an earlier run may be replaced.

    Raises:
        OutputError: It is a file, cannot be made, or holds maps already.
        ImportError: Pillow is not installed.
    """
    from upland.io.images import pillow

    pillow()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"cannot write heat maps into {folder}: it is a file")
    if data.is_dir() and data.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise OutputError(f"{folder} is in the folder of the images themselves; choose another folder")
    if folder.is_dir() and not overwrite and any(_MAP.fullmatch(path.name) for path in folder.iterdir()):
        raise OutputError(f"{folder} holds heat maps already; choose another folder or say --overwrite")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _file_name(name: Any) -> str:
    """A name that any file system takes."""
    text = f"image_{name}" if isinstance(name, int) else str(Path(name).with_suffix(""))
    return re.sub(r"[^\w.-]+", "_", text).strip("_")[-100:]
