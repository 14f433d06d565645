"""A column of times of a table that is read batch by batch: microseconds, or plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upland.data.table.frames import TableView
from upland.data.table.texts import KINDS, counted
from upland.data.table.values import is_text
from upland.io.advice import Advice, Wording
from upland.io.casting import NULLS, BadCell, cast_cells
from upland.io.cells import CellOptions
from upland.io.schema import Column
from upland.io.texts import find_form

Floats = NDArray[np.float64]

MICRO = 1e-6
"""Seconds of a microsecond."""


class Times:
    """Reads the times of rows: dates (in UTC where they say a zone), times of day, durations or numbers.

    How text is written is decided by the first batch and holds for the others.

    Args:
        name: of the column.
        cells: how dates are written as text, where they can be read in two ways.

    Attributes:
        seconds: of one unit of the times; None of numbers, which do not say what they count.
    """

    def __init__(self, name: str, cells: CellOptions) -> None:
        self.name, self.cells = name, cells
        self.seconds: float | None = None
        self._rows = 0
        self._column: Column | None = None
        self._kind: str | None = None

    def read(self, rows: TableView, position: int) -> Floats:
        """The times of a batch: `(N,)`, NaN where a cell is empty.

        Args:
            rows: the batch.
            position: of the column in it.

        Raises:
            ValueError: a cell is no time; the column, the row and the cell are named.
        """
        values = rows.read(position)
        values = pa.array(values, from_pandas=True) if isinstance(values, np.ndarray) else values
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if is_text(values.type):
            values = self._of_text(values.cast(pa.large_string()))
        self._rows += rows.n_rows
        return self._numbers(values)

    def _of_text(self, values: Any) -> Any:
        blank = pc.is_in(
            pc.utf8_trim_whitespace(values), value_set=pa.array(sorted(NULLS), pa.large_string())
        )
        values = pc.if_else(blank, None, values)
        if values.null_count == len(values):
            return pa.nulls(len(values), pa.float64())
        if self._column is None:
            self._column = self._learned(values)
        try:
            cast = cast_cells(values, self._column, self.cells)
        except BadCell as bad:
            raise ValueError(
                f"column {self.name!r}, row {self._rows + bad.row + 1} holds {bad.value!r}, {bad.fault}"
            ) from None
        return cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast

    def _learned(self, values: Any) -> Column:
        counts, first = counted(values)
        found = find_form(self.name, counts, first, self.cells)
        kind = None if found is None else KINDS[found.form.reads]
        if found is None or kind is None or kind == "boolean":
            raise self._no_time(next(iter(counts)))
        return Column(self.name, kind, "string", form=found.form)

    def _no_time(self, example: Any) -> ValueError:
        return ValueError(
            Advice(
                f"the time column {self.name!r} holds no times, for example {example!r}: ",
                Wording(
                    "turn it into dates or numbers, as pandas.to_datetime or "
                    "polars.Series.str.to_datetime does",
                    "write dates as in ISO 8601, such as 2026-03-02 10:12:00, or numbers",
                ),
            )
        )

    def _numbers(self, values: Any) -> Floats:
        is_a = pa.types
        if is_a.is_null(values.type):
            return np.full(len(values), np.nan)
        if is_a.is_boolean(values.type) or not (
            is_a.is_temporal(values.type)
            or is_a.is_integer(values.type)
            or is_a.is_floating(values.type)
            or is_a.is_decimal(values.type)
        ):
            raise self._no_time(values[0].as_py())
        absent = values.is_null(nan_is_nan=True) if is_a.is_floating(values.type) else values.is_null()
        kind = "dates" if is_a.is_temporal(values.type) else "numbers"
        if not pc.all(absent).as_py():
            if self._kind not in (None, kind):
                raise ValueError(
                    f"the time column {self.name!r} holds dates in some rows and numbers in others"
                )
            self._kind, self.seconds = kind, MICRO if kind == "dates" else None
        if is_a.is_temporal(values.type):
            values = _microseconds(values)
        found: Floats = pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return found


def _microseconds(values: Any) -> Any:
    """Temporal values as whole microseconds, since 1970 or midnight."""
    type_ = values.type
    if pa.types.is_date(type_):
        values = values.cast(pa.timestamp("ms"))
        type_ = values.type
    if pa.types.is_time32(type_):
        values = values.cast(pa.time64("us"))
    elif pa.types.is_timestamp(type_):
        values = pc.cast(values, pa.timestamp("us", tz=type_.tz), safe=False)
    elif pa.types.is_duration(type_):
        values = pc.cast(values, pa.duration("us"), safe=False)
    elif pa.types.is_time64(type_):
        values = pc.cast(values, pa.time64("us"), safe=False)
    return values.cast(pa.int64())
