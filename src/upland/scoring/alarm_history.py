"""`upland.alarms`: how many alarms each level gives on a history of a detector."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.calibration.block_calibration import BlockCalibration
from upland.calibration.conformal import Calibration
from upland.calibration.false_discovery import Control, check_rate
from upland.catalogue import Unit
from upland.io.cells import CellOptions
from upland.io.threads import read_ahead
from upland.scoring.alarms import HIGHEST, MOST, AlarmCounter, AlarmRates, Level, levels_for, rates_of
from upland.scoring.budget import Budget, budget_of, largest
from upland.scoring.episodes import NEAR
from upland.scoring.histories import HistoryReader
from upland.scoring.merging import merging_of
from upland.scoring.strongest import Episode, Rows, parted
from upland.scoring.times import Kind, moment

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.detectors.scoring import ScoringDetector

Floats = NDArray[np.float64]

By = Literal["history", "blocks"]

FINE = 400
"""Levels among which a budget chooses."""


@dataclass(frozen=True)
class Alarms:
    """What alarms a history gives at every level that the calibration can resolve.

    Args:
        unit: what one p-value is of.
        calibration: rows that calibrate.
        smallest_p: the least p-value that can be reached.
        alpha: the model's own level.
        rates: of the whole history.
        halves: of the earlier and of the later half.
        rule: how flagged rows are merged, in words.
        guarantee: of the p-values.
        strongest: the rows with the smallest p-values.
        most: how far rows of one alarm are apart at most.
        names: of the series; none where all rows are one.
        kind: what times are; "order" where there are none.
        late: rows that did not come in the order of time, so that alarms may be counted twice.
        untimed: rows without a time, of which each is an alarm of its own.
        steps: the calibration of steps of series; None of other rows.
        blocks: that of episodes of steps; None likewise, and of a model file that has none.

    Examples:
        >>> import numpy as np, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0).fit(rng.normal(size=(600, 2)))
        >>> found = upland.alarms(detector, rng.normal(size=(2_000, 2)))
        >>> level = found.within("10 per 1000")
        >>> found.per, level.rate <= 10, level.false == level.alpha * 2_000
        ('1,000 rows', True, True)
    """

    unit: Unit
    calibration: int
    smallest_p: float
    alpha: float
    rates: AlarmRates
    halves: tuple[AlarmRates, AlarmRates]
    rule: str
    guarantee: str
    strongest: Rows
    most: float
    names: Sequence[Hashable]
    kind: Kind
    late: int = 0
    untimed: int = 0
    steps: Calibration | None = None
    blocks: BlockCalibration | None = None

    @property
    def rows(self) -> int:
        """How many rows, steps, sequences or images there are."""
        return self.rates.tally.rows

    @property
    def bound(self) -> str:
        """How a number of false alarms is meant: `at most`, where p-values are exact, or `about`."""
        return "at most" if self.guarantee.startswith("exact") else "about"

    @property
    def per(self) -> str:
        """What rates are per: `day`, or `1,000 rows` where nothing says how long the history is."""
        return self.rates.per.replace("row", self.unit)

    @property
    def rows_per(self) -> float:
        """Rows a day, or 1,000."""
        return self.rows / self.rates.exposure

    def at(self, alpha: float, control: Control = "false_alarm") -> Level:
        """What one level comes to.

        Args:
            alpha: the rate that is kept, in (0, 1).
            control: whose.
        """
        return self.rates.at(alpha, control)

    def levels(self, control: Control = "false_alarm", most: int = MOST) -> list[Level]:
        """What the levels that the calibration can resolve come to, thinned evenly on a log scale.

        Args:
            control: whose rate is kept.
            most: how many levels, beside the model's own.
        """
        return [
            self.rates.at(alpha, control)
            for alpha in levels_for(self.calibration, most, self.alpha, self.smallest_p)
        ]

    @property
    def fine(self) -> list[float]:
        """The levels among which a budget chooses."""
        return levels_for(self.calibration, FINE, None, self.smallest_p)

    def episodes(self, level: Level) -> tuple[list[Episode], bool]:
        """The alarms of a level, those with the smallest p-values first; and whether these are all.

        They are made up of the rows that are kept: of more flagged rows those with the smallest p-values.

        Args:
            level: of this history.
        """
        kept = self.strongest
        flagged = kept.take(kept.p_values <= level.cut)
        parts = [part for part in parted(flagged, self.most) if part.p_values.size]
        found = [self._episode(part) for part in parts]
        found.sort(key=lambda one: (one.p_value, -one.rows, one.first))
        return found, flagged.p_values.size == level.flagged

    def _episode(self, rows: Rows) -> Episode:
        worst = int(np.argmin(rows.p_values))
        name = self.names[int(rows.series[0])] if self.names else None
        start, end = (
            moment(float(rows.times[at]), int(rows.numbers[at]), self.kind) for at in (0, rows.times.size - 1)
        )
        size, peak = rows.p_values.size, int(rows.numbers[worst])
        return Episode(name, start, end, int(rows.numbers[0]), size, peak, float(rows.p_values[worst]))

    def false_alarms(self, alpha: float) -> float | None:
        """How many alarms of steps would be false a day (or 1,000 steps) at a level if all were normal, by
        the peaks of held-out blocks, where alarms at most a block apart count once; None of other rows, and
        of a model file that has no blocks.

        Args:
            alpha: the level of steps.

        Raises:
            ValueError: it is not between 0 and 1.
        """
        check_rate(alpha, "false_alarm")
        if self.blocks is None or self.steps is None:
            return None
        if alpha < self.steps.smallest_p:  # no step is flagged
            return 0.0
        return self.blocks.rate(alpha, self.steps) * self.rows_per / self.blocks.length

    def within(self, budget: str | Budget, by: By = "history") -> Level | None:
        """The largest level that keeps a budget of alarms; None where the least that the calibration can
        resolve does not.

        Args:
            budget: such as `3 per day`, `1 per week`, `0.5/h`, `2 per 1000` (rows).
            by: "history" counts the alarms of the history, and takes the largest level up to which every
                level keeps the budget there; "blocks" bounds the false ones by the peaks of held-out blocks
                of steps, whatever the history holds, where alarms at most a block apart count once.

        Raises:
            ValueError: it is no budget, or by time where nothing says how long the history is; there are no
                blocks.
        """
        asked = budget_of(budget) if isinstance(budget, str) else budget
        if by == "history":
            return largest(self.rates, self.fine, asked)
        if by != "blocks":
            raise ValueError(f"by must be 'history' or 'blocks', got {by!r}")
        if self.blocks is None or self.steps is None:
            raise ValueError(f"blocks are of time steps of series, and the model has none for {self.unit}s")
        level = self.blocks.level(asked.on(self.rates) * self.blocks.length / self.rows, self.steps)
        return self.at(min(level, HIGHEST)) if level else None

    def held_out(self, budget: str | Budget) -> tuple[Level, Level] | None:
        """The level that the earlier half of the history would choose, and what it comes to on the later
        half; None where there is no such level, or no later half.

        Args:
            budget: as in `within`.
        """
        asked = budget_of(budget) if isinstance(budget, str) else budget
        first, second = self.halves
        by_time = asked.seconds is not None
        if not second.tally.rows or (by_time and not (first.seconds and second.seconds)):
            return None
        chosen = largest(first, self.fine, asked)
        return None if chosen is None else (chosen, second.at(chosen.alpha))

    def to_arrow(self) -> pa.Table:
        """The levels of both controls as an Arrow table, a row for each."""
        found = [*self.levels(), *self.levels("fdr")]
        columns = {name: [getattr(level, name) for level in found] for name in Level._fields}
        return pa.table(columns | {"per": [self.per] * len(found)})


def alarms(
    detector: Detector,
    history: Any,
    time: str | None = None,
    *,
    id: str | None = None,
    merge: int | str | None = None,
) -> Alarms:
    """How many alarms each level gives on a history, how many of them would be false, and which level keeps a
    budget.

    Args:
        detector: fitted.
        history: data like those of the fit, or the path of a file or folder, of which tables and images are
            read batch by batch.
        time: the column that says when a row of a table was; a model of sequences knows its own. Without one
            rates are per 1,000 rows.
        id: the column that names the series of a row of a table, such as its machine; a model of segments or
            of sequences knows its own.
        merge: flagged rows of a series that are at most so many rows, or such a duration (`"10min"`), apart
            are one alarm; 0 merges none. None is 3 rows where there is a time or a sequence, and 0 elsewhere.

    Raises:
        sklearn.exceptions.NotFittedError: the detector is not fitted.
        TypeError: it is no detector.
        ValueError: a column is missing or holds no times; merge is neither; there are no rows.

    Examples:
        >>> import numpy as np, pandas as pd, upland
        >>> rng = np.random.default_rng(0)
        >>> detector = upland.EnergyDetector(random_state=0).fit(pd.DataFrame({"flow": rng.normal(size=600)}))
        >>> when = pd.date_range("2026-01-01", periods=480, freq="h")
        >>> history = pd.DataFrame({"when": when, "flow": rng.normal(size=480)})
        >>> found = upland.alarms(detector, history, time="when")
        >>> found.per, found.within("1 per day").alpha < found.within("3 per day").alpha
        ('day', True)
    """
    from upland.detectors.foreign import check_detector

    check_detector(detector, "alarms")
    detector.check_fitted()
    return counted(detector, history, time, id, merge)


def counted(
    detector: Detector,
    history: Any,
    time: str | None,
    id: str | None,
    merge: int | str | None,
    cells: CellOptions | None = None,
) -> Alarms:
    """The same of a detector that is fitted.

    Args:
        detector: fitted.
        history: as in `alarms`.
        time: as in `alarms`.
        id: as in `alarms`.
        merge: as in `alarms`.
        cells: how times are written as text; None is as in the fit.
    """
    reader = HistoryReader(detector, time, id, cells)
    counter: AlarmCounter | None = None
    with read_ahead(reader.batches(history)) as batches:
        for batch in batches:
            if counter is None:
                ordered = batch.times is not None or reader.unit == "step"
                usual = NEAR if ordered else 0
                merging = merging_of(usual if merge is None else merge, reader.seconds)
                counter = AlarmCounter(merging, reader.seconds)
            counter.seconds = reader.seconds  # a first batch may have no time at all
            counter.see(*batch)
    if counter is None or not counter.whole.rows:
        raise ValueError("the history has no rows")
    return alarms_of(detector, counter, reader.unit, reader.kind)


def alarms_of(detector: ScoringDetector, counter: AlarmCounter, unit: Unit, kind: Kind) -> Alarms:
    """What was counted, as the result.

    Args:
        detector: whose p-values were counted.
        counter: that has seen them.
        unit: what each is of.
        kind: what the times are.
    """
    from upland.detectors.segmented import SegmentedDetector

    first, second = (rates_of(half, counter.seconds) for half in counter.halves)
    rates = rates_of(counter.whole, counter.seconds)
    if counter.late:
        warnings.warn(
            f"{counter.late:,} rows of the history come after later ones of their series, too far to be put "
            "in order: alarms are merged as they come; sort the file by time",
            stacklevel=4,
        )
    if counter.untimed:
        warnings.warn(
            f"{counter.untimed:,} rows of the history have no time: each is an alarm of its own where it is "
            "flagged",
            stacklevel=4,
        )
    guarantee = detector.info()["calibration"]["guarantee"]
    calibration = detector.calibrations_[unit]
    smallest = calibration.smallest_p
    if isinstance(detector, SegmentedDetector):
        smallest = detector.segment_calibration_.smallest_p
    return Alarms(
        unit,
        calibration.size,
        smallest,
        detector.alpha_,
        rates,
        (first, second),
        counter.merging.said,
        guarantee,
        counter.strongest,
        counter.merging.most,
        counter.names,
        kind,
        counter.late,
        counter.untimed,
        *((calibration, detector.blocks_) if unit == "step" else ()),
    )
