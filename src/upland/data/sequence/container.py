"""Sequences in any form: arrays `(N, T, D)`, lists, long frames, one long series.

All become one container: a table with one time step a row, sequence after sequence, and the number of steps
of each. So a step is encoded as any row of a table is, there is no padding that could leak, and scores go
back in the user's own arrangement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.arrays import as_array, filled, from_tensor, numbers
from upland.data.rows import slice_rows, take_rows
from upland.data.sequence.clock import distances_of
from upland.data.sequence.longframes import find_column, in_time, name_of, read_ids, read_stamps
from upland.data.table.containers import is_container
from upland.data.table.frames import TableView, arrow_table, check_size, held, view_table
from upland.data.table.matching import listed
from upland.io.advice import Advice, Argument, Wording
from upland.io.arrays import is_array_file, read_array
from upland.io.cells import USUAL, CellOptions
from upland.io.formats import open_source
from upland.io.places import is_place
from upland.io.plain import plain_table

Layout = Literal["array", "ragged", "frame", "series"]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of time steps, N of them with S steps in all.

    Args:
        table: The steps' values, S rows: an array or a frame; sequence after sequence, in time order.
        lengths: `(N,)` steps of each sequence.
        layout: How the user gave them: an `array` (N, T, D), a `ragged` list, a long `frame`, one `series`.
        order: `(S,)` the user's own row of each step; None where the steps are in the order of the rows.
        ids: The user's ids, in the order of the sequences; None where there are none.
        stamps: `(S,)` time stamps as NumPy numbers, datetime64 (in UTC) or timedelta64; None where there
            are none.
        span: T of an array (N, T, D), the padded steps included.
        distances: `(S,)` the time since the step before, in seconds of dates; NaN at the start of a sequence.
            None where there are no time stamps.
        id: What the user calls the ids; None where there are none.

    Examples:
        >>> import numpy as np
        >>> from upland.data.sequence.container import as_sequences
        >>> sequences = as_sequences([np.zeros((3, 2)), np.ones((5, 2))])
        >>> sequences.lengths.tolist(), sequences.n_steps, sequences.per
        ([3, 5], 8, 'sequence')
    """

    table: Any
    lengths: Indices
    layout: Layout
    order: Indices | None = None
    ids: tuple[Any, ...] | None = None
    stamps: NDArray[Any] | None = None
    span: int = 0
    distances: NDArray[np.float64] | None = None
    id: str | None = None

    @property
    def n_sequences(self) -> int:
        """N."""
        return int(self.lengths.size)

    @property
    def n_steps(self) -> int:
        """S, the steps of all sequences."""
        return int(self.lengths.sum())

    @cached_property
    def starts(self) -> Indices:
        """`(N,)` the first step of each sequence among all steps."""
        return np.cumsum(self.lengths) - self.lengths

    @property
    def row_numbers(self) -> Indices:
        """`(S,)` the user's own row, or the position in the flattened array, of each step."""
        return np.arange(self.n_steps) if self.order is None else self.order

    @property
    def per(self) -> Literal["sequence", "step"]:
        """What a user of this layout expects one score of."""
        return "sequence" if self.layout in ("array", "ragged") else "step"

    def take(self, rows: Indices) -> Sequences:
        """The sequences of these numbers."""
        rows = np.asarray(rows, dtype=np.int64)
        return self.cut(rows, self.starts[rows], self.lengths[rows])

    def cut(self, rows: Indices, starts: Indices, lengths: Indices) -> Sequences:
        """Pieces as sequences of their own.

        Args:
            rows: `(M,)` the sequence that each piece is of.
            starts: `(M,)` the first step of each piece, among all steps.
            lengths: `(M,)` its steps.
        """
        steps, table = _ranges(starts, lengths), None
        if steps.size and steps[-1] - steps[0] + 1 == steps.size and bool(np.all(np.diff(steps) == 1)):
            table = slice_rows(self.table, int(steps[0]), int(steps[-1]) + 1)
        return replace(
            self,
            table=take_rows(self.table, steps) if table is None else table,
            lengths=np.asarray(lengths, dtype=np.int64),
            order=steps if self.order is None else self.order[steps],
            ids=None if self.ids is None else tuple(self.ids[row] for row in rows),
            stamps=None if self.stamps is None else self.stamps[steps],
            distances=None if self.distances is None else self.distances[steps],
        )

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """One value a step, `(S, ...)`, in the user's own arrangement.

        Returns:
            `(N, T, ...)` for an array, NaN behind the end of a sequence; else `(S, ...)` in the order of the
            user's rows, the sequences of a list one after the other.
        """
        values = np.asarray(values)
        if len(values) != self.n_steps:
            raise ValueError(f"there are {self.n_steps} steps, but {len(values)} values")
        if self.layout == "array":
            sequence = np.repeat(np.arange(self.n_sequences), self.lengths)
            step = np.arange(self.n_steps) - self.starts[sequence]
            padded = np.full((self.n_sequences, self.span, *values.shape[1:]), np.nan)
            padded[sequence, step] = values
            return padded
        return values if self.order is None else values[np.argsort(self.order, kind="stable")]

    def called(self, sequence: int) -> str:
        """What a sequence is called in messages."""
        return name_of(self.id, self.ids, self.layout, sequence)

    def label(self, sequence: int, step: int) -> tuple[Any, Any]:
        """What the user calls a step: the sequence's id or number, and the time stamp or position."""
        name = sequence if self.ids is None else self.ids[sequence]
        if self.stamps is None:
            return name, step
        stamp = self.stamps[int(self.starts[sequence]) + step]
        return name, stamp if stamp.dtype.kind in "mM" else stamp.item()


def is_sequence_input(X: object, time: object = None, id: object = None) -> bool:
    """Whether data that could be a table, sequences or images are sequences.

    Args:
        X: The user's data.
        time: The user's time column; with one, or with `id`, any data are sequences.
        id: The user's id column.
    """
    if isinstance(X, Sequences) or time is not None or id is not None:
        return True
    if entries := _entries(X):
        return _are_sequences(entries)
    X = from_tensor(X)
    return isinstance(X, np.ndarray) and X.ndim == 3 and _is_no_image(X.dtype)


def as_sequences(
    X: object,
    id: str | int | None = None,
    time: str | int | None = None,
    owner: str = "SequenceEncoder",
    cells: CellOptions = USUAL,
) -> Sequences:
    """Read sequences in any form.

    * An array or tensor `(N, T, D)`: N sequences; trailing steps that are NaN throughout are padding.
    * A list of arrays `(T_i, D)` or `(T_i,)`, or of frames: a sequence each.
    * An array `(T, D)` or `(T,)`: one long series.
    * The path of a file of NumPy's: what its array is.
    * A frame (pandas, polars, Arrow, ...), or the path of a file of rows: one step a row. Rows are put in the
      order of `time`; those that share an `id` are one sequence. Without `time` they keep their order;
      without `id` all are one series. The other columns are values.

    Args:
        X: The user's data.
        id: The column of a frame that identifies sequences.
        time: The column of a frame that orders the steps: numbers, dates, durations.
        owner: Who reads, for messages.
        cells: How cells of text are written.

    Raises:
        TypeError: For what is neither numbers nor a frame.
        ValueError: For a wrong shape, an empty sequence, channels that differ from one sequence to the next,
            columns that are not there, missing ids, missing or equal time stamps; they are named.

    Examples:
        >>> import polars as pl
        >>> from upland.data.sequence.container import as_sequences
        >>> frame = pl.DataFrame({"pump": ["a", "b", "a"], "hour": [2, 1, 1], "flow": [0.2, 0.3, 0.1]})
        >>> sequences = as_sequences(frame, id="pump", time="hour")
        >>> sequences.ids, sequences.lengths.tolist(), sequences.table["flow"].to_list()
        (('a', 'b'), [2, 1], [0.1, 0.2, 0.3])
    """
    if isinstance(X, Sequences):
        return X
    if is_place(X):
        X = read_array(Path(X)) if is_array_file(X) else open_source(X, cells).read()
    frame = _as_frame(X)
    if frame is not None:
        return _from_frame(frame, id, time, cells)
    if (entries := _entries(X)) is not None:
        return _from_list(entries, time, cells)
    return _from_array(filled(as_array(X)), owner)


def _ranges(starts: Indices, lengths: Indices) -> Indices:
    """The numbers from each start on, range after range."""
    offsets = np.cumsum(lengths) - lengths
    rows: Indices = np.arange(int(np.sum(lengths)), dtype=np.int64) + np.repeat(starts - offsets, lengths)
    return rows


# -- arrays --------------------------------------------------------------------------------------------------


def _from_array(X: NDArray[Any], owner: str) -> Sequences:
    if X.ndim not in (1, 2, 3):
        raise ValueError(
            f"{owner} reads sequences as an array (N, T, D), as a list of arrays (T, D), as one long series "
            f"(T, D) or (T,), or as a frame with a time column; got an array of {X.ndim} dimensions"
        )
    if X.ndim == 3:
        return _from_padded(numbers(X, Advice(Wording("X", "{data}"))))
    X = X.reshape(-1, 1) if X.ndim == 1 else X
    check_size(view_table(X))
    return Sequences(X, np.array([len(X)], dtype=np.int64), "series")


def _from_padded(X: NDArray[Any]) -> Sequences:
    n, span, width = X.shape
    if 0 in X.shape:
        raise ValueError(f"an array of sequences (N, T, D) must not be empty, got the shape {X.shape}")
    lengths = np.full(n, span, dtype=np.int64)
    padded = np.flatnonzero(np.isnan(X[:, -1]).all(axis=1)) if X.dtype.kind == "f" else np.arange(0)
    if not padded.size:
        return Sequences(X.reshape(n * span, width), lengths, "array", span=span)
    there = ~np.isnan(X[padded]).all(axis=2)
    lengths[padded] = np.where(there.any(axis=1), span - np.argmax(there[:, ::-1], axis=1), 0)
    if empty := np.flatnonzero(lengths == 0).tolist():
        shown = listed([f"X[{row}]" for row in empty]).replace("'", "")
        named = Wording(shown, f"{{data}}: sequence {', '.join(map(str, empty[:20]))}")
        raise ValueError(Advice(named, ": no step is left, all values are NaN; leave it out"))
    order = np.flatnonzero(np.arange(span) < lengths[:, None])
    table = X.reshape(n * span, width)[order]
    return Sequences(table, lengths, "array", order=order, span=span)


# -- lists ---------------------------------------------------------------------------------------------------


def _entries(X: object) -> Sequence[Any] | None:
    """The entries of a list of sequences, or None for anything else, a flat list of numbers too."""
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        X = X.tolist()
    if not isinstance(X, list | tuple):
        return None
    return None if X and not isinstance(X[0], str | bytes) and np.isscalar(X[0]) else X


def _are_sequences(entries: Sequence[Any]) -> bool:
    if _as_frame(entries[0]) is not None:
        return True
    if isinstance(entries[0], list | tuple):
        first = entries[0][0] if entries[0] else None
        return isinstance(first, list | tuple) or (isinstance(first, np.ndarray) and first.ndim == 1)
    arrays = [from_tensor(entry) for entry in entries]
    if not all(isinstance(array, np.ndarray) and array.ndim in (1, 2) for array in arrays):
        return False
    shapes = {cast(NDArray[Any], array).shape for array in arrays}
    flat = all(len(shape) == 1 for shape in shapes)
    return len(shapes) > 1 if flat else _is_no_image(cast(NDArray[Any], arrays[0]).dtype)


def _is_no_image(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "ifO" or (dtype.kind == "u" and dtype.itemsize > 2)


def _from_list(entries: Sequence[Any], time: str | int | None, cells: CellOptions) -> Sequences:
    if not entries:
        raise ValueError("there is no sequence: the list is empty")
    frames = [_as_frame(entry) for entry in entries]
    if all(frame is not None for frame in frames):
        return _from_frames(frames, time, cells)
    arrays = [_entry(entry, f"X[{number}]") for number, entry in enumerate(entries)]
    widths = [array.shape[1] for array in arrays]
    if other := [number for number, width in enumerate(widths) if width != widths[0]]:
        raise ValueError(f"X[{other[0]}] has {widths[other[0]]} channel(s), but X[0] has {widths[0]}")
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    return Sequences(np.concatenate(arrays), lengths, "ragged")


def _entry(entry: object, where: str) -> NDArray[Any]:
    try:
        array = filled(as_array(entry))
    except ValueError as error:
        raise ValueError(f"{where} is no array (T, D): {error}") from None
    if array.ndim not in (1, 2):
        raise ValueError(f"{where} must be an array (T, D) or (T,), got {array.ndim} dimension(s)")
    array = numbers(array.reshape(-1, 1) if array.ndim == 1 else array, where)
    if 0 in array.shape:
        raise ValueError(f"{where} has no {'step' if not len(array) else 'channel'}: shape {array.shape}")
    return array


# -- frames --------------------------------------------------------------------------------------------------


def _as_frame(X: object) -> Any:
    """An eager native frame or Arrow table, or None for anything else."""
    if isinstance(X, np.ndarray | list | tuple) and not is_container(X):
        return None
    X = held(X)
    if isinstance(X, TableView):
        return arrow_table(X, X.names)
    X = X.to_native() if isinstance(X, nw.DataFrame | nw.LazyFrame) else X
    X = pa.Table.from_batches([X]) if isinstance(X, pa.RecordBatch) else X
    if isinstance(X, pa.Table):
        return plain_table(X)
    if nw.dependencies.is_pandas_dataframe(X):
        return X
    frame = nw.from_native(cast(Any, X), pass_through=True)
    frame = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    return frame.to_native() if isinstance(frame, nw.DataFrame) else None


def _from_frame(frame: Any, id: str | int | None, time: str | int | None, cells: CellOptions) -> Sequences:
    rows = view_table(frame)
    check_size(rows)
    taken = {what: find_column(frame, rows, name, what) for what, name in (("id", id), ("time", time))}
    if id is not None and taken["id"] == taken["time"]:
        text = f" name the same column: {id!r}"
        raise ValueError(Advice(Argument("id"), " and ", Argument("time"), text))
    codes, ids = None, None
    if taken["id"] is not None:
        codes, ids = read_ids(rows, taken["id"])
    return _stepwise(frame, rows, taken, codes, ids, None if id is None else str(id), "frame", cells)


def _from_frames(frames: Sequence[Any], time: str | int | None, cells: CellOptions) -> Sequences:
    parts = [view_table(frame) for frame in frames]
    names = parts[0].names
    for number, rows in enumerate(parts):
        lacking = [name for name in names if name not in rows.names]
        more = [name for name in rows.names if name not in names]
        if lacking or more:
            what = f"lacks {listed(lacking)}" if lacking else f"has {listed(more)} beside them"
            raise ValueError(f"X[{number}] has other columns than X[0]: it {what}")
        if not rows.n_rows:
            raise ValueError(f"X[{number}] has no step: it has no rows")
    try:
        table = pa.concat_tables([arrow_table(rows, names) for rows in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise ValueError(f"the frames differ in the types of their columns: {error}") from None
    rows = view_table(table)
    check_size(rows)
    taken = {"id": None, "time": find_column(frames[0], rows, time, "time")}
    codes = np.repeat(np.arange(len(parts)), [part.n_rows for part in parts])
    return _stepwise(table, rows, taken, codes, None, None, "ragged", cells)


def _stepwise(
    frame: Any,
    rows: TableView,
    taken: dict[str, int | None],
    codes: Indices | None,
    ids: tuple[Any, ...] | None,
    id: str | None,
    layout: Layout,
    cells: CellOptions,
) -> Sequences:
    values = [position for position in range(len(rows.names)) if position not in taken.values()]
    if not values:
        raise ValueError(f"no column of values is left: the table has only {listed(rows.names)}")
    time = taken["time"]
    stamps = None if time is None else read_stamps(rows, time, cells)
    order, lengths, stamps = in_time(codes, stamps, rows.n_rows, partial(name_of, id, ids, layout), rows)
    if len(values) < len(rows.names):
        frame = (
            frame.select(values)
            if isinstance(frame, pa.Table)
            else nw.from_native(frame)[:, values].to_native()
        )
    table = frame if order is None else take_rows(frame, order)
    distances = None if stamps is None else distances_of(stamps, lengths)
    return Sequences(table, lengths, layout, order, ids, stamps, distances=distances, id=id)
