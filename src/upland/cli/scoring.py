"""From a model, a path and what the user wants to a result: the same steps for every modality."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upland.cli.console import console
from upland.cli.inputs import check_new
from upland.cli.results import (
    Finding,
    Floats,
    Indices,
    Reasons,
    Request,
    Result,
    Write,
    check_clash,
    findings,
    worst_first,
    writer,
)

if TYPE_CHECKING:
    from upland.catalogue import Unit
    from upland.detectors.base import Detector

Seen = Callable[[int], None]


class Opened(ABC):
    """Data at a path, opened for one scoring: abstract; one subclass for each unit of score.

    Args:
        detector: Fitted on data of the same modality.
        request: What is wanted.
        path: Where the data are.
    """

    unit: Unit
    called: str
    """What the user calls the names of the findings."""
    columns: Sequence[str] = ()
    """Columns of the file that is written again with more columns."""
    total: int | None = None
    """How many rows, steps or images go by."""

    def __init__(self, detector: Detector, request: Request, path: Path) -> None:
        self.detector, self.request, self.path = detector, request, path
        self.seen: Seen = lambda count: None

    @abstractmethod
    def cut(self) -> float:
        """The largest p-value that is flagged."""

    @abstractmethod
    def go(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Write everything with its verdicts, if anything is to be written.

        Args:
            cut: The largest p-value that is flagged.
            write: Takes rows; None where none are wanted.

        Returns:
            How many rows, images, sequences or steps there are, and how many of them are flagged.
        """

    @abstractmethod
    def strangest(self, cut: float) -> list[Finding]:
        """The findings with the highest scores, worst first, with reasons where these are shown."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What a program is told beside counts and rates."""


class Assessed(Opened):
    """Data whose scores are all held in memory: abstract.

    Args:
        detector: Fitted on data of the same modality.
        request: What is wanted.
        path: Where the data are.
    """

    scores: Floats
    p_values: Floats
    names: Sequence[Any]

    @abstractmethod
    def assess(self) -> tuple[Floats, Floats]:
        """Anomaly scores and p-values, `(N,)` each."""

    @abstractmethod
    def reasons(self, rows: Indices) -> Reasons:
        """The contributing columns or regions of some, by their numbers."""

    def cut(self) -> float:
        """The rate itself, or the largest p-value that Benjamini and Hochberg reject."""
        from upland.calibration.false_discovery import benjamini_hochberg

        self.scores, self.p_values = self.assess()
        if self.request.control == "false_alarm":
            return self.request.alpha
        rejected = benjamini_hochberg(self.p_values, self.request.alpha)
        return float(self.p_values[rejected].max(initial=0.0))

    def counts(self, cut: float) -> tuple[int, int]:
        """How many there are, and how many are flagged."""
        return self.scores.size, int((self.p_values <= cut).sum())

    def strangest(self, cut: float) -> list[Finding]:
        """Those with the highest scores; of equals, the earlier one."""
        worst = worst_first(self.scores, self.request.top)
        names = [self.names[n] for n in worst.tolist()]
        reasons = self.reasons(worst) if self.request.shown else []
        return findings(names, self.scores[worst], self.p_values[worst], cut, reasons)


def open_data(detector: Detector, path: Path, request: Request, maps: Path | None, all_maps: bool) -> Opened:
    """What is at a path, opened as the detector reads it; raises as `score_path`."""
    if detector.modality == "image":
        from upland.cli.images import OpenedImages

        return OpenedImages(detector, request, path, maps, all_maps)
    if detector.modality == "sequence":
        from upland.cli.sequences import open_sequences

        return open_sequences(detector, request, path)
    from upland.cli.tables import OpenedTable

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
        with writer(request.target, request.overwrite) as write:
            count, flagged = data.go(cut, write)
        strangest = data.strangest(cut)
    known = detector.calibrations_[data.unit]
    details = {"calibration": known.method, "smallest_p": known.smallest_p, **data.details()}
    return Result(detector.modality, data.unit, data.called, count, flagged, request, strangest, details)


def normal_data(detector: Detector, path: Path) -> Any:
    """Fresh normal data for a detector, as it takes them; raises as `score_path`."""
    if detector.modality == "sequence":
        from upland.cli.sequences import open_series

        return open_series(detector, path).sequences
    check_new(path, detector.modality)
    return path


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
