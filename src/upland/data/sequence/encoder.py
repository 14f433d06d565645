"""Sequences to numbers: each time step is encoded as a row of a table is.

`SequenceEncoder` wraps a `TableEncoder`: scaling, missing values, categories, constant channels and names all
come from there, and a step's code depends on that step alone.

Columns named as *context* (control inputs, operating states) are encoded like the others and stand behind
them: a model is conditioned on them, and they are no channels.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from upland.data.rows import slice_rows
from upland.data.sequence.container import Sequences, as_sequences
from upland.data.sequence.longframes import check_step, typical_step
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table
from upland.data.table.matching import as_names, listed, resolve
from upland.io.cells import USUAL, CellOptions
from upland.io.locks import warnings_apart
from upland.io.records import check_types

FORMAT = 1
_STORED = {"id": str | int | None, "time": str | int | None, "owner": str, "context": Sequence[str]}
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
        cells: How cells of text are written, and what dates are used as.
        owner: Who encodes, for messages.

    Attributes:
        table: The encoder of the steps, of channels and context alike.
        step: The median time from one step to the next, in seconds of dates; None if there are no times.

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
        cells: CellOptions = USUAL,
        owner: str = "SequenceEncoder",
    ) -> None:
        self.id = column_name(id, "id")
        self.time = column_name(time, "time")
        self.owner = owner
        self.context = as_names(context, "context")
        self.step: float | None = None
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
        """Read text as another encoder does, which was fitted on these steps and more; returns itself."""
        self.table.read_as(other.table)
        return self

    def fit_batches(self, batches: Iterable[object]) -> Self:
        """The same from a stream of sequences; raises as `fit`."""
        steps: list[float | None] = []

        def tables() -> Iterator[Any]:
            for batch in batches:
                sequences = self._read(batch)
                steps.append(typical_step(sequences.lengths, sequences.stamps))
                self._check_context(sequences.table)
                yield sequences.table

        self.table.fit_batches(tables())
        if not self.width:
            raise ValueError("every column is context: nothing is left to find anomalies in")
        self.step = next(filter(None, steps), None)
        return self

    def _check_context(self, table: Any) -> None:
        """The names of context columns as text, which must be there and in use."""
        if not self.context:
            return
        rows = view_table(table)
        context = resolve(self.context, rows, "context")
        if both := context & resolve(self.table.ignore, rows, "ignore"):
            raise ValueError(f"columns both in context and in ignore: {listed(sorted(both))}")
        self.context = tuple(name for name in rows.names if name in context)

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
        return self.table.width - self.width

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
        return self._encoded(self._read(X).table)

    def next_step(self, row: object) -> Codes:
        """Encode one step, `(1, D + C)`, given as a table of one row; raises as `transform`."""
        return self._encoded(row)

    def _encoded(self, table: object) -> Codes:
        codes = self.table.transform(table)
        return codes[:, self.order] if self.context else codes

    def slices(self, X: object) -> Callable[[int, int], Codes]:
        """A function that gives the codes `(stop - start, D + C)` of the steps from start to stop; raises as
        `transform`.

        All are made at once, or stretch by stretch where they would fill the memory. A warning comes once.
        """
        sequences = self._read(X)
        check_step(self.step, typical_step(sequences.lengths, sequences.stamps))
        table = sequences.table
        if sequences.n_steps * self.table.width <= CODES_AT_ONCE:
            codes = self._encoded(table)
            return lambda start, stop: codes[start:stop]
        warned: set[str] = set()

        def stretch(start: int, stop: int) -> Codes:
            with warnings_apart(record=True) as caught:
                warnings.simplefilter("always")
                found = self._encoded(slice_rows(table, start, stop))
            for warning in caught:
                if str(warning.message) not in warned:
                    warned.add(str(warning.message))
                    warnings.warn(warning.message, warning.category, stacklevel=2)
            return found

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

    def values(self, X: object) -> dict[str, NDArray[Any]]:
        """The values of the channels in use at every step, `(S,)` each, sequence after sequence; missing as
        NaN, NaT or None.
        """
        return self._channels(self.table.values(self._read(X).table))

    # -- persistence -----------------------------------------------------------------------------------------

    def to_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """A JSON-able manifest and tensors; `from_state` is the exact way back."""
        table, tensors = self.table.to_state()
        return {
            "format": FORMAT,
            "id": self.id,
            "time": self.time,
            "owner": self.owner,
            **({} if self.step is None else {"step": self.step}),
            **({"context": list(self.context)} if self.context else {}),
            "table": table,
        }, tensors

    @classmethod
    def from_state(cls, manifest: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Self:
        """Rebuild an encoder that gives the same bits; raises ValueError for what `to_state` did not
        write.
        """
        fields = {"format", "id", "time", "owner", "table"}
        if wrong := (set(manifest) - {"step", "context"}) ^ fields:  # those that are not in every file
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
        step = manifest.get("step")
        if step is not None and (
            isinstance(step, bool) or not isinstance(step, int | float) or not 0 <= step < math.inf
        ):
            raise ValueError(f"not the state of a SequenceEncoder: its step is {step!r}")
        encoder.step = step
        encoder.table = TableEncoder.from_state(manifest["table"], tensors)
        if unknown := set(encoder.context) - set(encoder.table.inputs):
            raise ValueError(f"not the state of a SequenceEncoder: no column is called {sorted(unknown)}")
        if encoder.context and not encoder.width:
            raise ValueError("not the state of a SequenceEncoder: it has no channels")
        return encoder


def column_name(name: Any, what: str) -> str | int | None:
    """A column's name as text or a whole number, None for none; raises TypeError for anything else."""
    if isinstance(name, bool | np.bool_) or not isinstance(name, str | int | np.integer | None):
        raise TypeError(f"{what} must be the name of one column, got {name!r}")
    return int(name) if isinstance(name, np.integer) else name


def padded(codes: Codes, lengths: NDArray[np.int64]) -> Codes:
    """Codes of steps as `(N, T, D)`, T the longest sequence; NaN behind the end of a shorter one.

    Args:
        codes: `(S, D)`, sequence after sequence, S the sum of the lengths.
        lengths: `(N,)` steps of each sequence.
    """
    longest, width = int(lengths.max()), codes.shape[1]
    if lengths.min() == longest:
        return codes.reshape(lengths.size, longest, width)
    result = np.full((lengths.size, longest, width), np.nan, dtype=np.float32)
    result[np.arange(longest) < lengths[:, None]] = codes
    return result
