"""What a report is asked for, and what is found of data of a modality.

`upland.reporting.report.FINDERS` names a function for each modality, which takes a fitted detector, the data
and `Settings` and gives what was `Found`. What looks at rows of a table as they go by is an `Observer`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.calibration.false_discovery import ALPHA
from upland.catalogue import MODALITIES, Modality
from upland.reporting.page import Section

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Args:
        alpha: The false-alarm rate of the flags.
        by: Columns whose values together name a group; none tests no groups.
        time: The column that says when a row was; None shows nothing over time.
        top: How many of the most anomalous are shown.
        data_name: What the data are called.
        group_alpha: The false discovery rate among groups.
    """

    alpha: float = ALPHA
    by: tuple[str, ...] = ()
    time: str | None = None
    top: int = 50
    data_name: str = "the data"
    group_alpha: float = ALPHA


@dataclass(frozen=True)
class Found:
    """What was found of data.

    Args:
        unit: What a score is of, such as `row`.
        count: How many there are.
        flagged: How many of them are flagged.
        summary: Plain sentences.
        sections: What the page shows, in order.
        facts: The numbers of the page for a program.
    """

    unit: str
    count: int
    flagged: int
    summary: Sequence[str]
    sections: Sequence[Section]
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_no_rows(settings: Settings, modality: Modality, time: str | int | None = None) -> None:
    """Refuse what is asked of rows of a table alone, for other data.

    Args:
        settings: What is asked for.
        modality: Of the model.
        time: The column that the model orders steps by.

    Raises:
        ValueError: Groups are asked for, or a column of times that is not the model's own.
    """
    of = f"the model is of {MODALITIES[modality]}"
    if settings.by:
        raise ValueError(f"groups are of rows of a table, and {of}: ask for none")
    if settings.time is not None and settings.time != str(time):
        own = f"; its steps are ordered by {time}" if time is not None else ""
        raise ValueError(f"a column of times is of rows of a table, and {of}{own}: ask for none")


@dataclass(frozen=True)
class Batch:
    """Some rows of a table with their verdicts.

    Args:
        first: The number of the first row among all, from 0.
        table: The rows, as the detector reads them.
        scores: `(N,)`.
        p_values: `(N,)`.
    """

    first: int
    table: Any
    scores: Floats
    p_values: Floats


class Observer(ABC):
    """Looks at rows as they go by and keeps a bounded amount of them: abstract."""

    @abstractmethod
    def see(self, batch: Batch) -> None:
        """Take in a batch."""

    @abstractmethod
    def sections(self) -> list[Section]:
        """What there is to show at the end."""
