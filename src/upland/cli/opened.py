"""What scoring asks of data at a path; a class for each unit of score makes it concrete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upland.cli.results import Finding, Floats, Indices, Reasons, Request, Write, findings, worst_first
from upland.io.dialect import PLAIN, Dialect

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
    dialect: Dialect = PLAIN
    """How text is laid out in what is read, and so in what is written."""
    total: int | None = None
    """How many rows, steps or images go by."""

    def __init__(self, detector: Detector, request: Request, path: Path) -> None:
        self.detector, self.request, self.path = detector, request, path
        self.seen: Seen = lambda count: None

    @abstractmethod
    def cut(self) -> float:
        """The largest p-value that is flagged."""

    @abstractmethod
    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Write everything with its verdicts, if anything is to be written.

        Args:
            cut: The largest p-value that is flagged.
            write: Takes rows; None where none are wanted.

        Returns:
            How many rows, images, sequences or steps there are, and how many of them are flagged.
        """

    @abstractmethod
    def most_anomalous(self, cut: float) -> list[Finding]:
        """The findings with the highest scores, worst first, with reasons where these are shown."""

    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What the JSON document says beside counts and rates."""


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

    def most_anomalous(self, cut: float) -> list[Finding]:
        """Those with the highest scores; of equals, the earlier one."""
        worst = worst_first(self.scores, self.request.top)
        names = [self.names[n] for n in worst.tolist()]
        reasons = self.reasons(worst) if self.request.shown else []
        return findings(names, self.scores[worst], self.p_values[worst], cut, reasons)
