"""How sequences are read: whole ones, or long series that are cut into windows to train on.

What is held out of a long series is windows too. Its steps, however, are scored in one pass over the whole
series from its start, those that calibrate as those that are new: the past of a step may hold others, as it
will in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from upland.catalogue import Unit
from upland.data.reader import Floats, Indices
from upland.data.sequence.clock import Calendar
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows, windows_of
from upland.io.cells import USUAL, CellOptions

Per = Literal["auto", "sequence", "step"]


@dataclass(frozen=True)
class SequenceReader:
    """Sequences, and what one score is of.

    Args:
        id: the column that identifies sequences in a long frame.
        time: the column that orders the steps of a long frame.
        window: steps of a training window; None cuts nothing; "auto" before a fit only.
        stride: steps from one window to the next; None is the window itself.
        per: what one score is of; "auto" goes by the layout of the data.
        categorical: columns that are categories whatever they hold.
        ignore: columns to leave out.
        context: columns that a model is conditioned on.
        calendar: whether it is conditioned on the hour of the day and the weekday.
        owner: the estimator, for messages.
        cells: how cells of text are written, and what dates are used as.
    """

    id: str | int | None = None
    time: str | int | None = None
    window: int | Literal["auto"] | None = "auto"
    stride: int | None = None
    per: Per = "auto"
    categorical: Sequence[str | int] = ()
    ignore: Sequence[str | int] = ()
    context: Sequence[str | int] = ()
    calendar: Calendar = False
    owner: str = "SequenceReader"
    cells: CellOptions = USUAL
    modality: ClassVar[Literal["sequence"]] = "sequence"
    units: ClassVar[tuple[Unit, ...]] = ("step", "sequence")

    def encoder(self) -> SequenceEncoder:
        """An encoder that has learned nothing yet."""
        return SequenceEncoder(
            id=self.id,
            time=self.time,
            categorical=self.categorical,
            ignore=self.ignore,
            context=self.context,
            calendar=self.calendar,
            cells=self.cells,
            owner=self.owner,
        )

    def normal_rows(self, X: Any) -> SequenceRows:
        """One row a window, or a sequence that is shorter."""
        return SequenceRows(
            X,
            id=self.id,
            time=self.time,
            window=self.window,
            stride=self.stride,
            owner=self.owner,
            cells=self.cells,
        )

    def resolved(self, rows: SequenceRows) -> SequenceReader:
        """The same with the window and the stride that the fit cuts by."""
        stride = None if rows.window_ is None else (self.stride or rows.window_)
        return replace(self, window=rows.window_, stride=stride)

    def blocks(self, rows: SequenceRows) -> tuple[Indices, int]:
        """Windows that share steps are held out together; windows count, since steps depend on each other."""
        return rows.blocks, rows.n_rows

    def pieces(self, X: Any, encoder: SequenceEncoder) -> Iterator[Sequences]:
        """All sequences at once: a score rests on the whole past of its sequence."""
        yield as_sequences(X, id=self.id, time=self.time, owner=self.owner, cells=self.cells)

    def calibration_pieces(self, X: Any, encoder: SequenceEncoder, unit: Unit) -> Iterator[Sequences]:
        """Whole for steps; for sequences the windows, where the fit cut any."""
        for piece in self.pieces(X, encoder):
            if unit == "sequence" and isinstance(self.window, int):
                yield windows_of(piece, self.window, self.stride)
            else:
                yield piece

    def unit(self, piece: Sequences) -> Unit:
        """Sequences, or the steps of a long series, unless the user says which."""
        return piece.per if self.per == "auto" else self.per

    def unit_of_rows(self, rows: SequenceRows) -> Unit:
        """The same of normal rows."""
        return self.unit(rows.sequences)

    def arrange(self, values: Floats, piece: Sequences, unit: Unit) -> Floats:
        """Steps go back to the user's rows; sequences stay as they are."""
        return piece.arrange(values) if unit == "step" else values
