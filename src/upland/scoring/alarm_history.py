"""A history of a detector: p-values, times and series of its rows, batch by batch, and what they come to."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.calibration.false_discovery import Control
from upland.catalogue import Unit
from upland.scoring.alarms import MOST, AlarmCounter, AlarmRates, Level, ladder, rates_of
from upland.scoring.budget import Budget, budget_of, largest
from upland.scoring.episodes import NEAR
from upland.scoring.merging import merging_of
from upland.scoring.times import MICRO, Times

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.detectors.base import Detector
    from upland.io.cells import CellOptions

Floats = NDArray[np.float64]

FINE = 400
"""Levels among which a budget chooses."""


class Batch(NamedTuple):
    """Some rows of a history.

    Args:
        p_values: `(N,)`.
        times: `(N,)` in microseconds, or numbers; None where there are none.
        series: `(N,)` the name of each row's series; None where all are one.
    """

    p_values: Floats
    times: Floats | None
    series: Sequence[Hashable] | None


@dataclass(frozen=True)
class Alarms:
    """What alarms a history gives at every level that the calibration can resolve.

    Args:
        unit: what one p-value is of.
        calibration: rows that calibrate.
        alpha: the model's own level.
        rates: of the whole history.
        halves: of the earlier and of the later half.
        rule: how flagged rows are merged, in words.
        guarantee: of the p-values.
        late: rows that did not come in the order of time, so that alarms may be counted twice.
        untimed: rows without a time, of which each is an alarm of its own.
    """

    unit: Unit
    calibration: int
    alpha: float
    rates: AlarmRates
    halves: tuple[AlarmRates, AlarmRates]
    rule: str
    guarantee: str
    late: int = 0
    untimed: int = 0

    @property
    def rows(self) -> int:
        """How many rows, steps, sequences or images there are."""
        return self.rates.tally.rows

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
        return [self.rates.at(alpha, control) for alpha in ladder(self.calibration, most, self.alpha)]

    def within(self, budget: str | Budget) -> Level | None:
        """The largest level up to which every level keeps a budget of alarms on the history; None where the
        least that the calibration can resolve does not.

        Args:
            budget: such as `3 per day`, `1 per week`, `0.5/h`, `2 per 1000` (rows).

        Raises:
            ValueError: it is no budget, or by time where nothing says how long the history is.
        """
        asked = budget_of(budget) if isinstance(budget, str) else budget
        return largest(self.rates, ladder(self.calibration, FINE), asked)

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
        chosen = largest(first, ladder(self.calibration, FINE), asked)
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
    for batch in reader.batches(history):
        if counter is None:
            ordered = batch.times is not None or reader.unit == "step"
            usual = NEAR if ordered else 0
            counter = AlarmCounter(
                merging_of(usual if merge is None else merge, reader.seconds), reader.seconds
            )
        counter.seconds = reader.seconds  # a first batch may have no time at all
        counter.see(*batch)
    if counter is None or not counter.whole.rows:
        raise ValueError("the history has no rows")
    return alarms_of(detector, counter, reader.unit)


def alarms_of(detector: Detector, counter: AlarmCounter, unit: Unit) -> Alarms:
    """What was counted, as the result.

    Args:
        detector: whose p-values were counted.
        counter: that has seen them.
        unit: what each is of.
    """
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
    size = detector.calibrations_[unit].size
    return Alarms(
        unit,
        size,
        detector.alpha_,
        rates,
        (first, second),
        counter.merging.said,
        guarantee,
        counter.late,
        counter.untimed,
    )


class HistoryReader:
    """Reads a history for a detector.

    Args:
        detector: fitted.
        time: the column of times of a table.
        id: the column of series of a table.
        cells: how times are written as text; None is as in the fit.

    Raises:
        ValueError: the model is of images, or of sequences that name their own columns.
    """

    def __init__(
        self, detector: Detector, time: str | None, id: str | None, cells: CellOptions | None = None
    ) -> None:
        from upland.data.table.encoder import TableEncoder
        from upland.detectors.segmented import SegmentedDetector

        self.detector, self.unit = detector, detector.unit_
        encoder = detector.encoder_
        self.id = id if id is not None or not isinstance(detector, SegmentedDetector) else detector.by_
        self._times: Times | None = None
        self.seconds: float | None = None
        given = {"time": time, "id": id}
        if not isinstance(encoder, TableEncoder):
            own = {name: getattr(encoder, name, None) for name in given}
            wrong = [name for name, column in given.items() if column is not None and column != own[name]]
            if wrong:
                raise ValueError(
                    f"{wrong[0]} names a column of a table, but the model is of {detector.modality}s"
                    + (f", whose own is {own[wrong[0]]!r}" if own[wrong[0]] is not None else "")
                    + ": leave it out"
                )
            self.id = None
        elif time is not None:
            self._times = Times(time, encoder.cells if cells is None else cells)

    def batches(self, history: Any) -> Iterator[Batch]:
        """The rows of a history, in batches; raises ValueError where a column is missing."""
        detector = self.detector
        for piece in detector.plan_.reader.pieces(history, detector.encoder_):
            if detector.modality == "sequence":
                yield self._of_sequences(piece)
            elif detector.modality == "image":
                yield Batch(detector.p_values(piece), None, None)
            else:
                yield self._of_table(piece)

    def _of_table(self, piece: Any) -> Batch:
        from upland.data.table.frames import view_table
        from upland.groups.labels import listed

        rows = view_table(piece)
        if not rows.n_rows:
            return Batch(np.empty(0), None, None)
        times = None
        if self._times is not None:
            times = self._times.read(rows, self._position(rows, self._times.name, "time"))
            self.seconds = self._times.seconds
        series: list[Hashable] | None = None
        if self.id is not None:
            series = listed(rows.read(self._position(rows, self.id, "id")))
        return Batch(self.detector.p_values(piece), times, series)

    @staticmethod
    def _position(rows: Any, name: str, what: str) -> int:
        from upland.data.sequence.longframes import find_column

        position = find_column(None, rows, name, what)
        assert position is not None
        return position

    def _of_sequences(self, sequences: Sequences) -> Batch:
        self.unit = self.detector.plan_.reader.unit(sequences)
        p_values = self.detector.p_values(sequences)
        if self.unit == "sequence":
            return Batch(p_values, None, None)
        p_values = p_values.reshape(-1)[sequences.row_numbers]
        owners = np.repeat(np.arange(sequences.n_sequences), sequences.lengths)
        times = None
        if sequences.stamps is not None:
            stamps = sequences.stamps
            if stamps.dtype.kind in "mM":
                unit = np.datetime_data(stamps.dtype)[0]
                wide = stamps.astype(f"{stamps.dtype.kind}8[us]") if unit != "us" else stamps
                times, self.seconds = wide.astype(np.int64).astype(np.float64), MICRO
            else:
                times = stamps.astype(np.float64)
        return Batch(p_values, times, owners.tolist())
