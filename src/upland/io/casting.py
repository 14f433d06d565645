"""Cells of text to the kinds that the columns of a schema have; a cell that is of no such kind is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from upland.io.cells import CellOptions, as_number
from upland.io.schema import Column, Schema, TextForm, is_index
from upland.io.stamps import Stamp, stamp_of
from upland.io.texts import MARKERS, NEGATIVE, NULLS, clean, number_pattern

__all__ = ["NULLS", "BadCell", "canonical_level", "cast_cells", "cast_columns", "columns_of"]

_TRUE, _FALSE = ("true", "1"), ("false", "0")
_SPACES = "[\u00a0\u2007\u2009\u202f]"
_MINUS = "[\u2212\u2012\u2013]"
_PLAIN = TextForm("number")
_DATE = "a date (such as 2026-01-31 or 2026-01-31T12:00:00)"
_TIME = "a time of day (such as 12:00:00)"


def columns_of(schema: Schema, names: Sequence[str]) -> dict[str, Column]:
    """The columns of a file that a schema has: by name, or by position when the fit had no names."""
    columns = {column.name: column for column in schema.columns}
    if schema.naming == "names":
        return {name: columns[name] for name in names if name in columns}
    if len(names) != len(schema.inputs):  # the index of a pandas frame may be written along
        names = [name for position, name in enumerate(names) if not is_index(names, position)]
    if len(names) != len(schema.inputs):
        return {}
    pairs = zip(names, schema.inputs, strict=True)
    return {name: columns[fitted] for name, fitted in pairs if fitted in columns}


def cast_columns(
    raw: pa.Table, columns: dict[str, Column], decimal: str, first: int, path: Path, cells: CellOptions
) -> pa.Table:
    """The same rows with their known columns cast to the kinds that these had in the fit.

    Args:
        raw: Cells as text.
        columns: What is known of some of its columns, as `columns_of` gives it.
        decimal: The decimal sign of numbers that the fit read without a form of their own.
        first: Rows of the file before these, for messages.
        path: The file, for messages.
        cells: What the user says of cells.

    Raises:
        ValueError: For a cell that is not of its column's kind, with column, row and value.
    """
    arrays = list(raw.columns)
    for position, name in enumerate(raw.column_names):
        if name in columns:
            try:
                arrays[position] = cast_cells(arrays[position], columns[name], cells, decimal)
            except BadCell as bad:
                raise ValueError(
                    f"{path}: column {name!r}, row {first + bad.row + 1} holds {bad.value!r}, {bad.fault}"
                ) from None
    return pa.Table.from_arrays(arrays, names=raw.column_names)


class BadCell(Exception):
    """A cell that is not of its column's kind.

    Args:
        row: Its number, counted from 0.
        value: What it holds.
        fault: What is wrong, as the end of a sentence.
    """

    def __init__(self, row: int, value: str, fault: str) -> None:
        self.row, self.value, self.fault = row, value, fault


def cast_cells(cells: Any, column: Column, options: CellOptions, decimal: str = ".") -> Any:
    """Cells of text as the kind that their column had in the fit; categories stay text.

    Args:
        cells: An Arrow array of text, chunked or not.
        column: As the fit learned it.
        options: What the user says of cells.
        decimal: The decimal sign where the fit read numbers without a form of their own.

    Raises:
        BadCell: For one that is not of the column's kind.
    """
    if column.kind == "categorical":
        known = {*column.levels, *column.rare}
        blank = [text for text in NULLS if text not in known]
        return _levels(_without(cells, (*blank, *options.missing_texts)), column.dtype)
    if column.kind == "numeric" and column.form is None and decimal == "." and not options.missing_texts:
        numbers = _at_once(cells, (pa.int64(), pa.uint64()) if column.origin else (pa.float64(),))
        if numbers is not None:
            return numbers
    cells = _without(pc.utf8_trim_whitespace(cells), (*NULLS, *MARKERS, *options.missing_texts))
    if column.kind == "boolean":
        return _booleans(cells)
    if column.kind == "numeric":
        whole = column.origin != 0 or column.dtype == "string"  # the same type in every batch
        return _numbers(cells, column.form or TextForm("number", decimal), whole)
    if column.kind == "date":
        return _dates(cells, column.form)
    return _times(cells)


def _at_once(cells: Any, types: Sequence[Any]) -> Any | None:
    """Cells that are all numbers, as most columns hold them; None for others."""
    for type_ in types:
        with suppress(pa.ArrowInvalid):
            numbers = pc.cast(cells, type_)
            return None if pc.any(pc.is_nan(numbers)).as_py() else numbers
    return None


def _without(cells: Any, blank: Sequence[str]) -> Any:
    return pc.if_else(pc.is_in(cells, pa.array(blank, cells.type)), pa.scalar(None, cells.type), cells)


# -- numbers -------------------------------------------------------------------------------------------------


def _numbers(cells: Any, form: TextForm, whole: bool) -> Any:
    """Numbers of a form, and plain ones; whole ones as such where floats might not hold them."""
    types = (pa.int64(), pa.uint64(), pa.float64()) if whole else (pa.float64(),)
    if form == _PLAIN:
        for type_ in types:
            with suppress(pa.ArrowInvalid):
                return pc.cast(cells, type_)
    trimmed = pc.replace_substring_regex(pc.replace_substring_regex(cells, _SPACES, " "), _MINUS, "-")
    trimmed = pc.replace_substring(trimmed, "\u2019", "'")
    trimmed = pc.replace_substring_regex(trimmed, rf"^(?:{NEGATIVE})$", r"-\1\2")
    bare = pc.utf8_trim_whitespace(_without_around(trimmed, form))
    digits = number_pattern(form.decimal, form.thousands).pattern
    _check(
        cells, pc.match_substring_regex(bare, rf"^[+-]?{digits}(?:[eE][+-]?\d+)?$"), "which is not a number"
    )
    if form.thousands:
        bare = pc.replace_substring(bare, form.thousands, "")
    bare = bare if form.decimal == "." else pc.replace_substring(bare, form.decimal, ".")
    for type_ in types[:-1]:
        with suppress(pa.ArrowInvalid):
            return pc.cast(bare, type_)
    return pc.cast(bare, pa.float64())


def _without_around(cells: Any, form: TextForm) -> Any:
    """Numbers without what stands before and behind each: `-$3` and `$-3` are -3."""
    if form.prefix:
        cells = pc.replace_substring_regex(cells, rf"^([+-]?) ?{_escaped(form.prefix)} ?", r"\1")
    return pc.replace_substring_regex(cells, rf" ?{_escaped(form.suffix)}$", "") if form.suffix else cells


def _escaped(text: str) -> str:
    return "".join(sign if sign.isalnum() or not sign.isascii() else "\\" + sign for sign in text)


def _check(cells: Any, valid: Any, fault: str) -> None:
    valid = pc.or_kleene(valid, pc.is_null(cells))
    if not pc.all(valid).as_py():
        row = pc.index(valid, False).as_py()
        raise BadCell(row, cells[row].as_py(), fault)


# -- dates ---------------------------------------------------------------------------------------------------


def _dates(cells: Any, form: TextForm | None) -> Any:
    """Dates and times, with or without a zone, down to nanoseconds (which are cut off)."""
    if form is None or form.dayfirst is None:
        for unit, zone in (("us", None), ("us", "UTC"), ("ns", None), ("ns", "UTC")):
            try:
                return pc.cast(cells, pa.timestamp(unit, zone)).cast(pa.timestamp("us", zone), safe=False)
            except pa.ArrowInvalid:
                continue
    dayfirst = None if form is None else form.dayfirst
    moments, codes = _each(cells, lambda stamp: _moment(stamp, dayfirst), _DATE)
    if len({moment.tzinfo is None for moment in moments}) > 1:
        naive = [code for code, moment in enumerate(moments) if moment.tzinfo is None]
        row = pc.index(pc.is_in(codes, pa.array(naive, codes.type)), True).as_py()
        raise BadCell(
            row, cells[row].as_py(), "a time without a zone, where other rows have one: write them alike"
        )
    zone = "UTC" if moments and moments[0].tzinfo is not None else None
    return pa.chunked_array([pa.array(moments, pa.timestamp("us", zone)).take(codes)])


def _moment(stamp: Stamp, dayfirst: bool | None) -> datetime:
    if stamp.layout == "time" or (stamp.layout == "numbers" and dayfirst is None):
        raise ValueError("no date, or one that can be read in two ways")
    return stamp.moment(dayfirst if stamp.layout == "numbers" else None)


def _times(cells: Any) -> Any:
    """Times of day."""
    clocks, codes = _each(cells, _clock, _TIME)
    return pa.chunked_array([pa.array(clocks, pa.time64("us")).take(codes)])


def _clock(stamp: Stamp) -> time:
    if stamp.layout != "time":
        raise ValueError("no time of day")
    return stamp.clock


def _each(cells: Any, read: Callable[[Stamp], Any], wanted: str) -> tuple[list[Any], Any]:
    """What the distinct texts stand for, and which of them each cell is."""
    whole = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    encoded = whole.dictionary_encode()
    values = []
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        stamp = stamp_of(clean(text))
        try:
            if stamp is None:
                raise ValueError("neither a date nor a time of day")
            values.append(read(stamp))
        except ValueError:
            row = pc.index(encoded.indices, pa.scalar(code, encoded.indices.type)).as_py()
            raise BadCell(row, text, f"which is not {wanted}") from None
    return values, encoded.indices


# -- flags and categories ------------------------------------------------------------------------------------


def _booleans(cells: Any) -> Any:
    lower = pc.utf8_lower(cells)
    true, false = pc.is_in(lower, pa.array(_TRUE, lower.type)), pc.is_in(lower, pa.array(_FALSE, lower.type))
    _check(
        cells, pc.if_else(pc.is_null(cells), True, pc.or_(true, false)), "which is not true, false, 1 or 0"
    )
    return pc.if_else(pc.is_null(cells), pa.scalar(None, pa.bool_()), true)


def _levels(cells: Any, dtype: str) -> Any:
    """Text as the fit would have read it: in a column of whole numbers 007 is 7."""
    if dtype in ("string", "category"):
        return cells
    encoded = cells.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    words = [canonical_level(word, dtype) for word in encoded.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(words, pa.string()).take(encoded.indices)])


def canonical_level(word: str, dtype: str) -> str:
    """A level as a column of this type has it: 007 is 7 among numbers, 1 is True among flags.

    Args:
        word: The level.
        dtype: The type of the column in the fit.
    """
    if dtype == "boolean":
        lower = word.strip().casefold()
        return "True" if lower in _TRUE else "False" if lower in _FALSE else word
    number: Any = as_number(word)
    if number is None:
        return word
    return str(int(number)) if number == int(number) else str(number)
