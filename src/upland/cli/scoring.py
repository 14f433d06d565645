"""From a model, a path and what the user asks to verdicts, whichever kind of data it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from upland.cli import rendering as views
from upland.cli.console import console
from upland.cli.images import Maps, check_maps, open_images, score_images
from upland.cli.inputs import PLURAL, check_new
from upland.cli.sequences import open_series, score_sequences
from upland.cli.tables import score_file
from upland.cli.verdicts import Asked, Judgement, Seen

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.detectors.base import Detector


@dataclass(frozen=True)
class Scoring:
    """What scoring came to, ready to be told.

    Args:
        flagged: How many rows, steps, sequences or images are flagged.
        extra: Columns that the detector does not use.
        table: The strangest.
        note: What the marks in the table mean.
        line: The whole in one line.
        document: The same for a program.
        maps: How many heat maps were written.
    """

    flagged: int
    extra: list[str]
    table: RenderableType
    note: str
    line: str
    document: dict[str, Any]
    maps: int = 0


def score_path(
    detector: Detector, data: Path, asked: Asked, folder: Path | None, all_maps: bool, quiet: bool
) -> Scoring:
    """Score what is at a path.

    Args:
        detector: Fitted.
        data: Of the kind of the fit.
        asked: What is wanted.
        folder: Where heat maps go; None writes none.
        all_maps: Whether heat maps are of all images.
        quiet: Whether there is no progress bar.

    Raises:
        typer.BadParameter: Heat maps are asked for of what is no image.
        ValueError, OSError: The data cannot be used; the message says why.
        OutputError: What is to be written cannot be.
    """
    if folder is not None and detector.kind_ != "image":
        kind = PLURAL[detector.kind_]
        raise typer.BadParameter(
            f"--maps is for images, but the model is of {kind}: leave it out, or see --why"
        )
    if detector.kind_ == "table":
        return _score_table(detector, data, asked, quiet)
    if detector.kind_ == "sequence":
        series = open_series(detector, data)
        with _progress(series.sequences.n_steps, quiet) as seen:
            judged = score_sequences(detector, series, asked, seen)
        return _scoring(detector, judged, asked)
    images = open_images(detector, data)
    maps = None if folder is None else Maps(folder, all_maps)
    if maps is not None:
        check_maps(maps, data, asked.overwrite)
    with _progress(len(images), quiet) as seen:
        return _scoring(detector, score_images(detector, images, asked, maps, seen), asked)


def normal_data(detector: Detector, data: Path) -> Any:
    """Fresh normal data for a detector, as it takes them; raises as `score_path`."""
    if detector.kind_ == "sequence":
        return open_series(detector, data).sequences
    check_new(data, detector.kind_)
    return data


def _score_table(detector: Detector, data: Path, asked: Asked, quiet: bool) -> Scoring:
    from upland.io.formats import open_source

    source = open_source(data)
    passes = 2 if asked.control == "fdr" else 1
    total = None if source.n_rows is None else passes * source.n_rows
    size = 8_192 if asked.why else 65_536
    with _progress(total, quiet) as seen:
        outcome = score_file(detector, source, asked, batch_size=size, seen=seen)
    return Scoring(
        outcome.flagged,
        outcome.extra,
        views.strangest_table(outcome.strangest),
        "* flagged; rows are counted from 1, without the header",
        views.outcome_line(outcome, asked.alpha, asked.control),
        views.outcome_document(outcome, detector.calibration_, asked.alpha, asked.control),
    )


def _scoring(detector: Detector, judged: Judgement, asked: Asked) -> Scoring:
    known = detector.calibrations_[judged.unit]
    return Scoring(
        judged.flagged,
        judged.extra,
        views.findings_table(judged),
        views.judged_note(judged),
        views.judged_line(judged, asked.alpha, asked.control),
        views.judged_document(judged, known, asked.alpha, asked.control),
        judged.maps,
    )


@contextmanager
def _progress(total: int | None, quiet: bool) -> Iterator[Seen]:
    """A bar on standard error while data go by; nothing where no one looks."""
    screen = console(sys.stderr)
    if quiet or not screen.is_terminal:
        yield lambda count: None
        return
    from rich.progress import Progress

    with Progress(console=screen, transient=True) as bar:
        task = bar.add_task("scoring", total=total)
        yield lambda count: bar.advance(task, count)
