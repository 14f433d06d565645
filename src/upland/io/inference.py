"""Types for columns of text, decided by all cells of a file in batches: never by the first, nor by one batch.

A cell counts as a number only where the number says all that the text does, so that 007 and the 20 digits of
an order stay text.
"""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from upland.io.casting import NULLS, columns_of
from upland.io.schema import Column, Schema
from upland.io.source import Source

_WHOLE = r"^-?(0|[1-9]\d{0,18})$"
_REAL = r"^-?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$|^-?inf$"
_DATE = r"^\d{4}-\d\d-\d\d"
_WORD = r"(?i)^(true|false)$"


class _Reading(NamedTuple):
    """One way to read cells: a pattern that all match, and the type that they are cast to."""

    pattern: str
    dtype: pa.DataType


_READINGS = (
    _Reading(_WHOLE, pa.int64()),
    _Reading(_REAL, pa.float64()),
    _Reading(_WORD, pa.bool_()),
    _Reading(_DATE + "$", pa.date32()),
    *(_Reading(_DATE, pa.timestamp(unit, zone)) for unit in ("us", "ns") for zone in (None, "UTC")),
)
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
        for raw, _ in source.pairs(schema):
            for name in raw.column_names:
                cells = _present(raw[name], self._decimal).drop_null()
                if len(cells):
                    filled.add(name)
                    alive[name] = [reading for reading in alive[name] if _read(cells, reading) is not None]
        self._readings = {name: left[0] for name, left in alive.items() if left and name in filled}

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
        if reading is not None and _suits(reading, column):
            cells = _read(_present(raw, self._decimal), reading)
            assert cells is not None
            return cells
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
        if pa.types.is_boolean(reading.dtype):
            return pc.equal(pc.utf8_lower(cells), "true")
        return pc.cast(cells, reading.dtype)
    except pa.ArrowInvalid:
        return None
