"""Reads a history for a detector: p-values, times and series of its rows, batch by batch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import MODALITIES
from upland.io.advice import Advice, Argument
from upland.scoring.times import SECONDS, Kind, Times, plain_times

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.detectors.base import Detector
    from upland.io.cells import CellOptions

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Batch(NamedTuple):
    """Some rows of a history.

    Args:
        p_values: `(N,)`.
        times: `(N,)` in microseconds, or numbers; None where there are none.
        series: `(N,)` the name of each row's series; None where all are one.
        numbers: `(N,)` of the rows in the user's data; None where they are in order.
    """

    p_values: Floats
    times: Floats | None
    series: Sequence[Hashable] | None
    numbers: Indices | None = None


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
        self.kind: Kind = "order"
        given = {"time": time, "id": id}
        if not isinstance(encoder, TableEncoder):
            own = {name: getattr(encoder, name, None) for name in given}
            wrong = [name for name, column in given.items() if column is not None and column != own[name]]
            if wrong:
                own_name = own[wrong[0]]
                beside = "" if own_name is None else f", whose own is {own_name!r}"
                text = f": the model is of {MODALITIES[detector.modality]}{beside}: leave it out"
                raise ValueError(Advice(Argument(wrong[0], given[wrong[0]]), " is a column of a table", text))
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
            self.kind, self.seconds = self._times.kind, SECONDS[self._times.kind]
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
            times, self.kind = plain_times(sequences.stamps)
            self.seconds = SECONDS[self.kind]
        names = range(sequences.n_sequences) if sequences.ids is None else sequences.ids
        alone = sequences.ids is None and sequences.n_sequences == 1
        named = None if alone else [names[owner] for owner in owners.tolist()]
        return Batch(p_values, times, named, sequences.row_numbers)
