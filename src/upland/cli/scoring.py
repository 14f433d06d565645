"""From a model, a path and what the user wants to a result: the same steps for every modality."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upland.cli.console import console
from upland.cli.images import OpenedImages
from upland.cli.inputs import check_new
from upland.cli.opened import Opened, Seen
from upland.cli.results import Request, Result, check_clash, writer
from upland.cli.sequences import open_sequences, open_series
from upland.cli.tables import OpenedTable

if TYPE_CHECKING:
    from upland.detectors.base import Detector


def open_data(detector: Detector, path: Path, request: Request, maps: Path | None, all_maps: bool) -> Opened:
    """What is at a path, opened as the detector reads it; raises as `score_path`."""
    if detector.modality == "image":
        return OpenedImages(detector, request, path, maps, all_maps)
    if detector.modality == "sequence":
        return open_sequences(detector, request, path)
    return OpenedTable(detector, request, path)


def score_path(
    detector: Detector,
    path: Path,
    request: Request,
    maps: Path | None = None,
    all_maps: bool = False,
    quiet: bool = True,
) -> Result:
    """Score what is at a path, and write it with its verdicts if there is a target.

    Args:
        detector: Fitted.
        path: Data of the modality of the fit.
        request: What is wanted.
        maps: The folder for heat maps of images; None writes none.
        all_maps: Whether heat maps are of all images.
        quiet: Whether there is no progress bar.

    Raises:
        ValueError, OSError: The data cannot be used; the message says why.
        OutputError: What is to be written cannot be.
    """
    data = open_data(detector, path, request, maps, all_maps)
    detector.check_alpha(request.alpha, request.control, data.unit)
    check_clash(path, data.columns, request)
    with _progress(data.total, quiet) as data.seen:
        cut = data.cut()
        with writer(request.target, request.overwrite, data.dialect) as write:
            count, flagged = data.process(cut, write)
            found = data.most_anomalous(cut)
    calibration = detector.calibrations_[data.unit]
    details = {"calibration": calibration.method, "smallest_p": calibration.smallest_p, **data.details()}
    return Result(detector.modality, data.unit, data.called, count, flagged, request, found, details)


def normal_data(detector: Detector, path: Path) -> Any:
    """Fresh normal data for a detector, as it takes them; raises as `score_path`."""
    if detector.modality == "sequence":
        return open_series(detector, path).sequences
    check_new(path, detector.modality)
    return path


@contextmanager
def _progress(total: int | None, quiet: bool) -> Iterator[Seen]:
    """A progress bar while data go by, where standard error is a terminal."""
    screen = console(sys.stderr)
    if quiet or not screen.is_terminal:
        yield lambda count: None
        return
    from rich.progress import Progress

    with Progress(console=screen, transient=True) as bar:
        task = bar.add_task("scoring", total=total)
        yield lambda count: bar.advance(task, count)
