"""Columns of text in a user's table: their distinct cells, and what these are read as."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from upland.data.table.blanks import blanked
from upland.data.table.frames import TableView
from upland.data.table.values import Mixture, Values, dtype_of
from upland.io.casting import BadCell, cast_cells
from upland.io.cells import CellOptions
from upland.io.schema import Column, ColumnKind
from upland.io.stamps import stamp_of
from upland.io.texts import clean, find_form

KINDS: dict[str, ColumnKind] = {"number": "numeric", "date": "date", "time": "duration", "flag": "boolean"}
"""Kind of a column by what its text is read as."""


def counted(values: Values) -> tuple[dict[str, int], dict[str, int]]:
    """How many rows hold each text, and the first row of each, counted from 0.

    Args:
        values: An Arrow array of text.
    """
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    codes = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
    present = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    distinct, first, counts = np.unique(codes, return_index=True, return_counts=True)
    named = [(texts[code], n, row) for code, n, row in zip(distinct, counts, present[first], strict=True)]
    return {text: int(n) for text, n, _ in named}, {text: int(row) for text, _, row in named}


def read_text(values: Values, column: Column, cells: CellOptions) -> Values:
    """A column of text as the numbers, dates or flags that it held in the fit.

    Args:
        values: An Arrow array of text.
        column: As the fit learned it; no category.
        cells: What the user says of cells.

    Raises:
        ValueError: For a cell that is none of these; column, row and cell are named.
    """
    plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    try:
        cast = cast_cells(plain.cast(pa.large_string()), column, cells)
    except BadCell as bad:
        raise ValueError(
            f"column {column.name!r}, row {bad.row + 1} holds {bad.value!r}, {bad.fault}"
        ) from None
    return cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast


def as_fitted(rows: TableView, position: int, column: Column, cells: CellOptions) -> Values:
    """A column of a table as the kind that it had in the fit: text read, levels decoded; no category.

    Args:
        rows: The table.
        position: Of the column in it.
        column: As the fit learned it.
        cells: What the user says of cells.

    Raises:
        ValueError: For a cell that is not of the column's kind; column, row and cell are named.
    """
    try:
        values = rows.read(position)
    except Mixture as mixture:
        values = mixture.as_text()
    dtype = dtype_of(values, column.name)
    if dtype == "category":
        return values.dictionary_decode()
    return blanked(read_text(values, column, cells), cells.missing_numbers) if dtype == "string" else values


def read_dates(values: Values, name: str, cells: CellOptions) -> tuple[Values, str]:
    """A column of text as the dates or times of day that it is, and its type; unchanged if it is none.

    Args:
        values: An Arrow array of text.
        name: Of the column, for messages.
        cells: What the user says of cells.

    Raises:
        ValueError: For dates that can be read in two ways.
    """
    counts, rows = counted(values)
    if sum(stamp_of(clean(text)) is not None for text in counts) <= len(counts) / 2:
        return values, "string"
    found = find_form(name, counts, rows, cells, plain=True)
    if found is None:
        return values, "string"
    kind = KINDS[found.form.reads]
    column = Column(name, kind, "string", form=found.form)
    return read_text(values, column, cells), "datetime" if kind == "date" else "duration"
