"""The section of a page on alarms: what each level would cost, on a slider and in a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import Unit
from upland.detectors.scoring import ScoringDetector
from upland.reporting.base import Floats, Found
from upland.reporting.page import Column, Prose, Section, Slider, Table
from upland.scoring.alarm_history import Alarms, alarms_of
from upland.scoring.alarms import CONFIDENCE, AlarmCounter, Level
from upland.scoring.episodes import NEAR
from upland.scoring.merging import merging_of
from upland.scoring.times import SECONDS, Kind, plain_times


class AlarmsSeen:
    """Counts the alarms of the rows of a page as they go by, in bounded memory.

    Args:
        detector: Fitted.
        unit: What a p-value is of.
        ordered: Whether the rows are in an order of time, so that those near each other are merged.
    """

    def __init__(self, detector: ScoringDetector, unit: Unit, ordered: bool) -> None:
        self._detector, self._unit = detector, unit
        self._kind: Kind = "order"
        self._counter = AlarmCounter(merging_of(NEAR if ordered else 0, None))

    def see(
        self, p_values: Floats, stamps: NDArray[Any] | None = None, series: NDArray[np.int64] | None = None
    ) -> None:
        """Take in rows.

        Args:
            p_values: `(N,)`.
            stamps: `(N,)` when each was; None where that is not known.
            series: `(N,)` the number of each one's series or segment; None where all are one.
        """
        times = None
        if stamps is not None:
            times, self._kind = plain_times(stamps)
            self._counter.seconds = SECONDS[self._kind]
        self._counter.see(p_values, times, None if series is None else series.tolist())

    def found(self) -> Alarms:
        """What the rows so far come to."""
        return alarms_of(self._detector, self._counter, self._unit, self._kind)

    def beside(self, found: Found) -> Found:
        """What was found of the data, with the section on alarms behind the others."""
        return replace(found, sections=[*found.sections, alarms_section(self.found())])


def alarms_section(found: Alarms) -> Section:
    """How many alarms each level gives, and how many of them would be false.

    Args:
        found: what the data of the page come to, as `upland.alarms` gives it, or
            `upland.scoring.alarm_history.alarms_of` from p-values that go by batch by batch.
    """
    levels = found.levels()
    start = min(range(len(levels)), key=lambda at: abs(levels[at].alpha - found.alpha))
    names = [f"{level.alpha:.3g}" for level in levels]
    shown = [_shown(found, level) for level in levels]
    columns = [
        Column("false discovery rate", "number"),
        Column(f"alarms per {found.per}", "number"),
        Column("alarms", "number"),
        Column(f"{found.unit}s flagged", "number"),
    ]
    by_discoveries = (
        "The table is of false discovery control: a level is then the expected share of flags that are "
        f"false, over all {found.unit}s of the page together."
    )
    counted = f"{found.unit.capitalize()}s: {found.rows:,}."
    note = f"The level of a {found.unit} by the model itself: {found.alpha:g}. {counted}"
    return Section(
        "Alarms at each level",
        [
            Prose(_sentences(found)),
            Slider("Level (alpha)", names, shown, start),
            Prose([by_discoveries]),
            Table(columns, [_cells(level) for level in found.levels("fdr")], note),
        ],
    )


def _sentences(found: Alarms) -> list[str]:
    unit = found.unit
    return [
        f"A flag is a p-value of at most the level; {found.rule}.",
        f"The level bounds the share of normal {unit}s that are flagged; their p-values: {found.guarantee}. "
        "How many alarms are true is not guaranteed: it is what these data came to. "
        "The interval says how far another stretch of the same length may differ "
        f"({CONFIDENCE:.0%}, of a Poisson rate, if alarms come independently of each other).",
    ]


def _shown(found: Alarms, level: Level) -> Mapping[str, str]:
    return {
        f"Alarms per {found.per}": f"{level.rate:.3g} (between {level.low:.3g} and {level.high:.3g})",
        "Alarms in all": f"{level.alarms:,}",
        f"{found.unit.capitalize()}s flagged": f"{level.flagged:,} of {found.rows:,}",
        "Falsely flagged on average, if all are normal": (
            f"{found.bound} {level.alpha * found.rows:.3g} {found.unit}s"
        ),
    }


def _cells(level: Level) -> list[object]:
    return [level.alpha, level.rate, level.alarms, level.flagged]
