"""Types for columns of text, decided by all cells of a file in batches: never by the first, nor by one batch.

A cell counts as a number only where the number says all that the text does, so that 007 and the 20 digits of
an order stay text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upland.io.casting import NULLS, columns_of
from upland.io.plain import one_chunk
from upland.io.schema import Column, Schema
from upland.io.source import Source
from upland.io.threads import read_ahead

_WHOLE = r"^-?(0|[1-9]\d{0,18})$"
_REAL = r"^-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$|^-?inf$"
_DATE = r"^\d{4}-\d\d-\d\d"
_WORD = r"(?i)^(true|false)$"


class _Reading(NamedTuple):
    """One way to read cells: a pattern that all match, and the type that they are cast to."""

    pattern: str
    dtype: pa.DataType


_NUMBERS = (_Reading(_WHOLE, pa.int64()), _Reading(_REAL, pa.float64()))
_READINGS = (
    *_NUMBERS,
    _Reading(_WORD, pa.bool_()),
    _Reading(_DATE + "$", pa.date32()),
    *(_Reading(_DATE, pa.timestamp(unit, zone)) for unit in ("us", "ns") for zone in (None, "UTC")),
)
_FEW = 1e14  # below it there are no more digits before the point than _WHOLE and _REAL take
_EXACT = 1 << 53  # up to it all whole numbers are floating ones too
_FITTING = {
    "numeric": (pa.types.is_integer, pa.types.is_floating),
    "categorical": (pa.types.is_integer,),
    "date": (pa.types.is_temporal,),
}
"""Types in which a column of a kind can be written, besides the one that it has for the model."""


class TypedRows:
    """Rows of a file of text with a type for each column: as the model reads those that it has, else as all
    cells of the file agree. Reads the file once, in batches.

    Args:
        source: The file.
        schema: The columns of the model.
    """

    def __init__(self, source: Source, schema: Schema) -> None:
        self._columns = columns_of(schema, source.names)
        self._decimal = source.dialect.decimal
        alive: dict[str, list[_Reading]] = {name: list(_READINGS) for name in source.names}
        filled: set[str] = set()
        with read_ahead(source.pairs(schema)) as pairs:
            for raw, typed in pairs:
                for name in raw.column_names:
                    cells, left = self._unsure(raw[name], typed[name], alive[name])
                    if len(cells) or len(left) < len(_READINGS):
                        filled.add(name)
                    alive[name] = [
                        reading for reading in left if not len(cells) or _read(cells, reading) is not None
                    ]
        self._readings = {
            name: left[0]
            for name, left in alive.items()
            if left and name in filled and _suits(left[0], self._columns.get(name))
        }

    def _unsure(
        self, raw: pa.ChunkedArray, typed: pa.ChunkedArray, left: list[_Reading]
    ) -> tuple[pa.ChunkedArray, list[_Reading]]:
        """The cells by which the readings that are left for a column are still to be decided, and these: of
        plain numbers, whose reading is sure, only those that look otherwise.
        """
        rows = doubtful_rows(raw, typed)
        if len(rows) < len(raw) and (_NUMBERS[0] not in left or not _has_points(raw)):
            raw, left = raw.take(pa.array(rows)), [reading for reading in left if reading in _NUMBERS]
        return _present(raw, self._decimal).drop_null() if len(raw) else raw, left

    def table(self, raw: pa.Table, typed: pa.Table) -> pa.Table:
        """A batch with its types.

        Args:
            raw: As it stands in the file.
            typed: As the model reads it.
        """
        columns = [self._column(name, raw[name], typed[name]) for name in raw.column_names]
        return pa.table(columns, names=raw.column_names)

    def _column(self, name: str, raw: pa.ChunkedArray, typed: pa.ChunkedArray) -> pa.ChunkedArray:
        reading, column = self._readings.get(name), self._columns.get(name)
        if reading is not None:
            known = None if column is None or column.form is not None else _as_read(raw, typed, reading)
            return _cast(_present(raw, self._decimal), reading) if known is None else known
        if column is not None:
            return typed
        return pc.if_else(pc.equal(raw, ""), pa.scalar(None, raw.type), raw)


def _suits(reading: _Reading, column: Column | None) -> bool:
    """Whether cells that are read so mean the same to the model."""
    return column is None or any(test(reading.dtype) for test in _FITTING.get(column.kind, ()))


def _present(cells: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    """Cells without blanks around them, missing ones as null, numbers with a point."""
    cells = pc.utf8_trim_whitespace(cells)
    cells = pc.if_else(pc.is_in(cells, pa.array(NULLS)), pa.scalar(None, cells.type), cells)
    if decimal == ".":
        return cells
    number = pc.match_substring_regex(cells, _REAL.replace(r"\.", decimal))
    return pc.if_else(number, pc.replace_substring(cells, decimal, "."), cells)


def _read(cells: pa.ChunkedArray, reading: _Reading) -> pa.ChunkedArray | None:
    """Cells of text as a type; None where one of them is of no such type."""
    if not pc.all(pc.match_substring_regex(cells, reading.pattern), min_count=0).as_py():
        return None
    try:
        return _cast(cells, reading)
    except pa.ArrowInvalid:
        return None


def _cast(cells: pa.ChunkedArray, reading: _Reading) -> pa.ChunkedArray:
    if pa.types.is_boolean(reading.dtype):
        return pc.equal(pc.utf8_lower(cells), "true")
    return pc.cast(cells, reading.dtype)


def _as_read(raw: pa.ChunkedArray, typed: pa.ChunkedArray, reading: _Reading) -> pa.ChunkedArray | None:
    """Cells of a column by the numbers that the model reads in them, where these are the same; else None."""
    blank = pc.sum(pc.is_in(raw, pa.array(NULLS)), min_count=0).as_py() if typed.null_count else 0
    if typed.type != pa.float64() or typed.null_count != blank or reading not in _NUMBERS:
        return None
    if reading.dtype == typed.type:
        return typed
    exact = pc.less(pc.abs(typed), float(_EXACT))
    return typed.cast(reading.dtype) if pc.all(exact, min_count=0).as_py() else None


def doubtful_rows(raw: pa.ChunkedArray, typed: pa.ChunkedArray) -> NDArray[np.int64]:
    """The rows of a column of text that do not look like plain numbers, such as -12.5, with few digits before
    the point and without superfluous zeros; all rows of a column that the model does not read as numbers.

    Args:
        raw: Cells as text.
        typed: What the model reads in them.
    """
    if typed.type != pa.float64() or raw.null_count:
        return np.arange(len(raw))
    data, starts, ends = _cells_of(raw)
    doubtful = ~(np.abs(typed.to_numpy()) < _FEW)
    first = starts + (data[starts] == ord("-"))
    zero = np.flatnonzero((data[first] == ord("0")) & (first + 1 < ends))
    doubtful[zero[data[first[zero] + 1] != ord(".")]] = True
    odd = np.flatnonzero(data[:-1] - np.uint8(ord("-")) > ord("9") - ord("-"))
    doubtful[np.searchsorted(ends, odd, side="right")] = True
    return np.flatnonzero(doubtful)


def _has_points(raw: pa.ChunkedArray) -> bool:
    return bool((_cells_of(raw)[0] == ord(".")).any())


def _cells_of(raw: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of a column of text, with a zero behind them, and where each cell starts and ends."""
    text = one_chunk(raw).cast(pa.large_string())
    _, offsets, data = text.buffers()
    ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    held = np.zeros(int(ends[-1] - ends[0]) + 1, np.uint8)
    if data is not None:
        held[:-1] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    return held, ends[:-1] - ends[0], ends[1:] - ends[0]
