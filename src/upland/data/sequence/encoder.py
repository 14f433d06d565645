"""Sequences to numbers: each time step is encoded as a row of a table is.

`SequenceEncoder` wraps a `TableEncoder`: scaling, missing values, categories, constant channels and names all
come from there, and a step's code depends on that step alone.

Columns named as *context* (control inputs, operating states) are encoded like the others and stand behind
them: a model is conditioned on them, and they are no channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from upland.data.rows import slice_rows
from upland.data.sequence.clock import (
    Calendar,
    Clock,
    Floats,
    checked_calendar,
    checked_step,
    learned_clock,
    no_dates,
    typical,
)
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.longframes import check_context, check_context_there, column_name
from upland.data.sequence.padding import padded
from upland.data.sequence.sampling import (
    Intervals,
    check_sampling,
    each_warning_once,
    learned_intervals,
    stored_intervals,
    warn_of_gaps,
)
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table
from upland.data.table.matching import as_names, listed, resolve
from upland.io.cells import USUAL, CellOptions
from upland.io.records import check_types

FORMAT = 1
_STORED = {"id": str | int | None, "time": str | int | None, "owner": str, "context": Sequence[str]}
BAND = "band"
CODES_AT_ONCE = 1 << 25
"""Codes of more steps than this holds are made stretch by stretch (128 MB)."""

Codes = NDArray[np.float32]


class SequenceEncoder:
    """Encodes sequences for a model, and decodes what a model expects.

    Input is anything that `upland.data.sequence.container.as_sequences` reads.

    Args:
        id: The column of a long frame that identifies sequences.
        time: The column of a long frame that orders the steps.
        categorical: Columns to treat as categories whatever they hold.
        ignore: Columns to leave out.
        context: Columns that a model is conditioned on and that are no channels.
        calendar: Whether it is conditioned on the hour of the day and the weekday, too; "auto" where the fit
            covers three periods.
        cells: How cells of text are written, and what dates are used as.
        owner: Who encodes, for messages.

    Attributes:
        table: The encoder of the steps, of channels and context alike.
        step: The median time from one step to the next, in seconds of dates; None if there are no times.
        intervals: How far apart the steps of the fit are; None where that is not known.
        clock: The inputs that are made of time stamps.
        band: `(2, D)` between which differences from what a model expects most normal steps lie; a fit of a
            model sets it. None where there is none.

    Examples:
        >>> import numpy as np
        >>> from upland.data.sequence.encoder import SequenceEncoder
        >>> encoder = SequenceEncoder().fit([np.array([0.0, 2.0]), np.array([0.0, 2.0, 2.0, 0.0])])
        >>> encoder.transform([np.array([1.0]), np.array([2.0, 0.0])])[:, :, 0].tolist()
        [[0.0, nan], [1.0, -1.0]]
    """

    modality: Literal["sequence"] = "sequence"

    def __init__(
        self,
        *,
        id: str | int | None = None,
        time: str | int | None = None,
        categorical: Sequence[str | int] = (),
        ignore: Sequence[str | int] = (),
        context: Sequence[str | int] = (),
        calendar: Calendar = False,
        cells: CellOptions = USUAL,
        owner: str = "SequenceEncoder",
    ) -> None:
        self.id = column_name(id, "id")
        self.time = column_name(time, "time")
        self.owner = owner
        self.context = as_names(context, "context")
        self.calendar = checked_calendar(calendar)
        self.step: float | None = None
        self.intervals: Intervals | None = None
        self.clock = Clock()
        self.band: Codes | None = None
        self._known: tuple[Clock, Intervals | None] | None = None
        self.table = TableEncoder(categorical=categorical, ignore=ignore, cells=cells, owner=owner)

    # -- fit -------------------------------------------------------------------------------------------------

    def fit(self, X: object) -> Self:
        """Learn the channels of normal sequences, two steps at least.

        Raises:
            TypeError: For data that are no sequences of values; the row or entry is named.
            ValueError: As `as_sequences`; and for infinities, a channel that is all missing, free text or a
                label left in, unknown names in `categorical` or `ignore`.
        """
        return self.fit_batches([X])

    def read_as(self, other: SequenceEncoder) -> Self:
        """Read text and time as another encoder does, which was fitted on these steps and more; returns
        itself.
        """
        self.table.read_as(other.table)
        self._known = other.clock, other.intervals
        return self

    def fit_batches(self, batches: Iterable[object]) -> Self:
        """The same from a stream of sequences; raises as `fit`."""
        timed: list[Sequences] = []

        def tables() -> Iterator[Any]:
            for batch in batches:
                sequences = self._read(batch)
                timed.extend([sequences] if sequences.stamps is not None else [])
                self._check_context(sequences.table)
                yield sequences.table

        self.table.fit_batches(tables())
        if not self.width:
            raise ValueError("every column is context: nothing is left to find anomalies in")
        self._learn_time(timed)
        return self

    def _learn_time(self, timed: Sequence[Sequences]) -> None:
        """The median distance of steps, and which inputs are made of time stamps."""
        if not timed:
            if self.calendar is True:
                raise no_dates()
            return
        distances = np.concatenate([some.distances for some in timed if some.distances is not None])
        self.step = typical(distances)
        stamps = np.concatenate([some.stamps for some in timed if some.stamps is not None])
        self.clock, self.intervals = self._known or (learned_clock(distances, stamps, self.calendar), None)
        irregular = self.clock.distance
        self.intervals = self.intervals or learned_intervals(self.step, irregular, timed)
        for some in [] if irregular else timed:
            warn_of_gaps(some)

    def _check_context(self, table: Any) -> None:
        """The names of context columns as text, which must be there and in use."""
        if not self.context:
            return
        rows = view_table(table)
        check_context(self.context, self.time, self.id)
        context = resolve(self.context, rows, "context")
        if both := context & resolve(self.table.ignore, rows, "ignore"):
            raise ValueError(f"columns both in context and in ignore: {listed(sorted(both))}")
        self.context = tuple(name for name in rows.names if name in context)

    def _check_columns(self, sequences: Sequences) -> None:
        own = [str(name) for name in (self.id, self.time) if name is not None]
        if self.context and self.table.named:
            check_context_there(view_table(sequences.table), self.table.column_names, self.context, own)

    def _read(self, X: object) -> Sequences:
        return as_sequences(X, id=self.id, time=self.time, owner=self.owner, cells=self.table.cells)

    # -- what was learned ------------------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """Encoded numbers of the channels of one step, D."""
        return int(self.slots.size)

    @property
    def context_width(self) -> int:
        """Encoded numbers of its context, C."""
        return self.table.width - self.width + self.clock.width

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the encoded channels of one step, (D,)."""
        return (self.width,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The channels that sequences must have, those to be ignored and the context among them; id and
        time are none.
        """
        return self.table.inputs

    @property
    def named(self) -> bool:
        """Whether the fit saw column names that are text."""
        return self.table.named

    @property
    def column_names(self) -> tuple[str, ...]:
        """The channels in use, in the order of the fit."""
        return tuple(name for name in self.table.column_names if name not in self.context)

    @property
    def n_columns(self) -> int:
        """Number of channels in use."""
        return len(self.column_names)

    @property
    def order(self) -> NDArray[np.intp]:
        """`(D + C,)` which of the table's encoded numbers stands where: channels first, then the context."""
        columns = np.array([name in self.context for name in self.table.column_names])
        return np.argsort(columns[self.table.slots], kind="stable")

    @property
    def slots(self) -> NDArray[np.intp]:
        """`(D,)` the channel that each encoded number of a step belongs to."""
        columns = np.array([name not in self.context for name in self.table.column_names])
        numbers = np.cumsum(columns) - 1
        slots: NDArray[np.intp] = numbers[self.table.slots[columns[self.table.slots]]]
        return slots

    def describe(self) -> list[dict[str, str]]:
        """Name and kind of each column in use; `role` is there for context alone."""
        return [
            {**column, "role": "context"} if column["name"] in self.context else column
            for column in self.table.describe()
        ]

    # -- transform -------------------------------------------------------------------------------------------

    def transform(self, X: object) -> Codes:
        """Encode sequences: `(N, T, D + C)` float32, T the longest; NaN behind the end of a shorter one.

        Raises:
            TypeError: For data that are no sequences of values.
            ValueError: As `as_sequences`; and for missing channels (all are named), a retyped one, another
                number of channels in an array, infinities.
        """
        sequences = self._read(X)
        return padded(self.steps(sequences), sequences.lengths)

    def steps(self, X: object) -> Codes:
        """Encode all steps without padding, sequence after sequence: `(S, D + C)` float32; raises as
        `transform`.
        """
        sequences = self._read(X)
        self._check_columns(sequences)
        return self.encoded(sequences.table, sequences.distances, sequences.stamps)

    def encoded(self, table: object, distances: Floats | None, stamps: Any) -> Codes:
        """Encode steps of which nothing but the values, distances and time stamps is known; raises as
        `transform`.

        Args:
            table: The values, S rows.
            distances: `(S,)` from the step before.
            stamps: `(S,)`; None where there are none.
        """
        if self.clock.width and stamps is None:
            raise ValueError("the model is conditioned on time, and these data have no time column")
        if stamps is not None:
            self.clock.check(stamps, self.time)
        codes = self.table.transform(table)
        codes = codes[:, self.order] if self.context else codes
        if not self.clock.width:
            return codes
        return np.concatenate([codes, self.clock.codes(self.step, distances, stamps)], axis=1)

    def slices(self, X: object, warn: bool = True) -> Callable[[int, int], Codes]:
        """A function that gives the codes `(stop - start, D + C)` of the steps from start to stop; raises as
        `transform`.

        All are made at once, or stretch by stretch where they would fill the memory. A warning comes once;
        of the distances between steps there is none without `warn`.
        """
        sequences = self._read(X)
        self._check_columns(sequences)
        if sequences.stamps is not None:
            self.clock.check(sequences.stamps, self.time)
        if warn:
            check_sampling(self.intervals, sequences)
        if warn and not self.clock.distance:
            warn_of_gaps(sequences)
        table, distances, stamps = sequences.table, sequences.distances, sequences.stamps
        if sequences.n_steps * self.table.width <= CODES_AT_ONCE:
            codes = self.encoded(table, distances, stamps)
            return lambda start, stop: codes[start:stop]
        warned: set[str] = set()

        def stretch(start: int, stop: int) -> Codes:
            with each_warning_once(warned):
                return self.encoded(
                    slice_rows(table, start, stop),
                    None if distances is None else distances[start:stop],
                    None if stamps is None else stamps[start:stop],
                )

        return stretch

    # -- back to values --------------------------------------------------------------------------------------

    def decode(self, Z: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The typical values of channels that codes `(S, D)` stand for, as by `TableEncoder.decode`."""
        if self.context:
            codes = np.zeros((len(Z), self.table.width))
            codes[:, self.order[: self.width]] = Z
            Z = codes
        return self._channels(self.table.decode(Z))

    def _channels(self, values: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {name: values[name] for name in self.column_names}

    def bounds(self, Z: NDArray[Any]) -> list[dict[str, NDArray[Any]]]:
        """The lower and upper bounds of values where the codes `(S, D)` are expected, of channels that are
        numbers or moments; none where there is no band.
        """
        if self.band is None:
            return []
        kinds = {column.name: column.kind for column in self.table.schema_.columns if column.parts is None}
        both = [self.decode(Z + side) for side in self.band]
        plain = ("numeric", "date", "duration")
        return [{name: cells for name, cells in side.items() if kinds.get(name) in plain} for side in both]

    def values(self, X: object) -> dict[str, NDArray[Any]]:
        """The values of the channels in use at every step, `(S,)` each, sequence after sequence; missing as
        NaN, NaT or None.
        """
        return self._channels(self.table.values(self._read(X).table))

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors; `from_state` is the exact way back."""
        table, tensors = self.table.to_state()
        tensors = tensors if self.band is None else {**tensors, BAND: self.band}
        return {
            "format": FORMAT,
            "id": self.id,
            "time": self.time,
            "owner": self.owner,
            **({} if self.step is None else {"step": self.step}),
            **({"intervals": list(self.intervals[:2])} if self.clock.distance and self.intervals else {}),
            **({"context": list(self.context)} if self.context else {}),
            **({"clock": self.clock.to_json()} if self.clock.width else {}),
            "table": table,
        }, tensors

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild an encoder that gives the same bits; raises ValueError for what `to_state` did not
        write.
        """
        fields = {"format", "id", "time", "owner", "table"}
        later = {"step", "intervals", "context", "clock"}  # they are not in every file
        if wrong := (set(manifest) - later) ^ fields:
            raise ValueError(
                f"not the state of a SequenceEncoder: fields {sorted(wrong)} are unknown or lacking"
            )
        if manifest["format"] != FORMAT:
            raise ValueError(
                f"the sequence encoder's format is {manifest['format']!r}; "
                f"this version reads {FORMAT}: update upland"
            )
        arguments = {key: manifest[key] for key in ("id", "time", "owner", "context") if key in manifest}
        encoder = cls(**check_types(_STORED, arguments, "the sequence encoder"))
        encoder.step = step = checked_step(manifest.get("step"))
        encoder.clock = Clock.from_json(manifest["clock"]) if "clock" in manifest else Clock()
        if encoder.clock.width and (encoder.time is None or (encoder.clock.distance and not step)):
            raise ValueError("not the state of a SequenceEncoder: it has a clock, and no time")
        record = manifest.get("intervals")
        encoder.intervals = stored_intervals(step, encoder.clock.distance, record)
        encoder.table = TableEncoder.from_state(
            manifest["table"], {name: tensor for name, tensor in tensors.items() if name != BAND}
        )
        if unknown := set(encoder.context) - set(encoder.table.inputs):
            raise ValueError(f"not the state of a SequenceEncoder: no column is called {sorted(unknown)}")
        if encoder.context and not encoder.width:
            raise ValueError("not the state of a SequenceEncoder: it has no channels")
        encoder.band = tensors.get(BAND)
        if (band := encoder.band) is not None and (
            band.shape != (2, encoder.width) or band.dtype != np.float32 or not np.isfinite(band).all()
        ):
            raise ValueError("not the state of a SequenceEncoder: its band is not two for each channel")
        return encoder
