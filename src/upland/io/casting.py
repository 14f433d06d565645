"""Cells of text to the kinds that the columns of a schema have; a cell that is of no such kind is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upland.io.cells import as_number
from upland.io.schema import Column, Schema

NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Spellings of a missing cell."""

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def columns_of(schema: Schema, names: Sequence[str]) -> dict[str, Column]:
    """The columns of a file that a schema has: by name, or by position when the fit had no names."""
    columns = {column.name: column for column in schema.columns}
    if schema.naming == "names":
        return {name: columns[name] for name in names if name in columns}
    if len(names) != len(schema.inputs):
        return {}
    pairs = zip(names, schema.inputs, strict=True)
    return {name: columns[fitted] for name, fitted in pairs if fitted in columns}


def cast_columns(raw: pa.Table, columns: dict[str, Column], decimal: str, first: int, path: Path) -> pa.Table:
    """The same rows with their known columns cast to the kinds that these had in the fit.

    Args:
        raw: Cells as text.
        columns: What is known of some of its columns, as `columns_of` gives it.
        decimal: The decimal sign of numbers.
        first: Rows of the file before these, for messages.
        path: The file, for messages.

    Raises:
        ValueError: For a cell that is not of its column's kind, with column, row and value.
    """
    arrays = list(raw.columns)
    for position, name in enumerate(raw.column_names):
        if name in columns:
            try:
                arrays[position] = _cast(arrays[position], columns[name], decimal)
            except _BadCell as bad:
                raise ValueError(
                    f"{path}: column {name!r}, row {first + bad.row + 1} holds {bad.value!r}, "
                    f"which is not {bad.wanted}"
                ) from None
    return pa.Table.from_arrays(arrays, names=raw.column_names)


class _BadCell(Exception):
    def __init__(self, row: int, value: str, wanted: str) -> None:
        self.row, self.value, self.wanted = row, value, wanted


def _cast(cells: pa.ChunkedArray, column: Column, decimal: str) -> pa.ChunkedArray:
    if column.kind == "categorical":
        return _levels(_without_nulls(cells), column.dtype)
    cells = _without_nulls(pc.utf8_trim_whitespace(cells))
    if column.kind == "boolean":
        return _booleans(cells)
    if column.kind == "numeric":
        return _tried(cells, partial(_numbers, decimal=decimal), "a number")
    if column.kind == "date":
        return _tried(cells, _dates, "a date (such as 2026-01-31 or 2026-01-31T12:00:00)")
    return _tried(cells, _times, "a time of day (such as 12:00:00)")


def _without_nulls(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_in(cells, pa.array(NULLS)), pa.scalar(None, pa.string()), cells)


def _numbers(cells: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    return pc.cast(cells if decimal == "." else pc.replace_substring(cells, decimal, "."), pa.float64())


def _dates(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO dates and times, with or without a zone, down to nanoseconds (which are cut off)."""
    *others, last = [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
    for stamp in others:
        try:
            return pc.cast(cells, stamp).cast(pa.timestamp("us"), safe=False)
        except pa.ArrowInvalid:
            continue
    return pc.cast(cells, last).cast(pa.timestamp("us"), safe=False)


def _times(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.binary_join_element_wise("1970-01-01", cells, "T"), pa.timestamp("us")).cast(
        pa.time64("us")
    )


def _tried(
    cells: pa.ChunkedArray, parse: Callable[[pa.ChunkedArray], pa.ChunkedArray], wanted: str
) -> pa.ChunkedArray:
    """Parse a column of text, or name the first cell that is not what is wanted, found by halving."""
    try:
        return parse(cells)
    except pa.ArrowInvalid:
        low, high = 0, len(cells)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            parse(cells[low:middle])
            low = middle
        except pa.ArrowInvalid:
            high = middle
    raise _BadCell(low, cells[low].as_py(), wanted)


def _booleans(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    lower = pc.utf8_lower(cells)
    true, false = pc.is_in(lower, pa.array(_TRUE)), pc.is_in(lower, pa.array(_FALSE))
    valid = pc.or_(pc.or_(true, false), pc.is_null(cells))
    if not pc.all(valid).as_py():
        row = pc.index(valid, False).as_py()
        raise _BadCell(row, cells[row].as_py(), "true, false, 1 or 0")
    return pc.if_else(pc.is_null(cells), pa.scalar(None, pa.bool_()), true)


def _levels(cells: pa.ChunkedArray, dtype: str) -> pa.ChunkedArray:
    """Text as the fit would have read it: in a column of whole numbers 007 is 7."""
    if dtype in ("string", "category"):
        return cells
    encoded = cells.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    words = [_canonical(word, dtype) for word in encoded.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(words, pa.string()).take(encoded.indices)])


def _canonical(word: str, dtype: str) -> str:
    if dtype == "boolean":
        lower = word.strip().casefold()
        return "True" if lower in _TRUE else "False" if lower in _FALSE else word
    number: Any = as_number(word)
    if number is None:
        return word
    return str(int(number)) if number == int(number) else str(number)
