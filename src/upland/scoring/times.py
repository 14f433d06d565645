"""A column of times of a table that is read batch by batch: microseconds, or plain numbers."""

from __future__ import annotations

from typing import Any, Literal

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
from upland.io.stamps import stamp_of
from upland.io.texts import clean, find_form

Floats = NDArray[np.float64]

Kind = Literal["dates", "durations", "numbers", "order"]
"""What times are; the order of the rows where there are none."""

SECONDS: dict[Kind, float | None] = {"dates": 1e-6, "durations": 1e-6, "numbers": None, "order": None}
"""Seconds of one unit of the times: microseconds; numbers do not say what they count."""


class Times:
    """Reads the times of rows: dates (in UTC where they say a zone), durations or numbers.

    How text is written is decided by the first batch and holds for the others.

    Args:
        name: of the column.
        cells: how dates are written as text, where they can be read in two ways.

    Attributes:
        kind: what the times are; the order of the rows until one has a time.
    """

    def __init__(self, name: str, cells: CellOptions) -> None:
        self.name, self.cells = name, cells
        self.kind: Kind = "order"
        self._rows = 0
        self._column: Column | None = None
        self._plain = False  # whether text holds plain numbers

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
        if self._column is None and not self._plain:
            self._plain = self._are_numbers(values)
            self._column = None if self._plain else self._learned(values)
        if self._plain:
            return self._as_numbers(values)
        assert self._column is not None
        try:
            cast = cast_cells(values, self._column, self.cells)
        except BadCell as bad:
            raise ValueError(
                f"column {self.name!r}, row {self._rows + bad.row + 1} holds {bad.value!r}, {bad.fault}"
            ) from None
        return cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast

    @staticmethod
    def _are_numbers(values: Any) -> bool:
        """Whether all texts are plain numbers, and none is a date."""
        texts = values.drop_null()
        try:
            pc.cast(pc.utf8_trim_whitespace(texts), pa.float64())
        except pa.ArrowInvalid:
            return False
        return all(stamp_of(clean(text)) is None for text in pc.unique(texts).to_pylist())

    def _as_numbers(self, values: Any) -> Any:
        try:
            return pc.cast(pc.utf8_trim_whitespace(values), pa.float64())
        except pa.ArrowInvalid:
            row = next(
                at for at, cell in enumerate(values) if not self._are_numbers(pa.array([cell], values.type))
            )
            text = f"holds {values[row].as_py()!r}, which is no number as the cells before are"
            raise ValueError(f"column {self.name!r}, row {self._rows + row + 1} {text}") from None

    def _learned(self, values: Any) -> Column:
        counts, first = counted(values)
        strays = [text for text in counts if stamp_of(clean(text)) is None]
        if 0 < len(strays) < len(counts) / 2:
            row = min(strays, key=lambda text: first[text])
            number = self._rows + first[row] + 1
            raise ValueError(f"column {self.name!r}, row {number} holds {row!r}, which is no time")
        try:
            found = find_form(self.name, counts, first, self.cells, plain=True)
        except ValueError:
            if strays:
                raise self._no_time(strays[0]) from None
            raise  # dates that can be read in two ways
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
        if is_a.is_time(values.type):
            raise ValueError(
                Advice(
                    f"the time column {self.name!r} holds times of day, which name no day: ",
                    Wording("join them with their dates", "write dates too, such as 2026-03-02 10:12:00"),
                )
            )
        absent = values.is_null(nan_is_null=True) if is_a.is_floating(values.type) else values.is_null()
        if not pc.all(absent).as_py():
            kind = _kind_of(values.type)
            if self.kind not in ("order", kind):
                text = f"holds {self.kind} in some rows and {kind} in others"
                raise ValueError(f"the time column {self.name!r} {text}")
            self.kind = kind
        if is_a.is_temporal(values.type):
            values = _microseconds(values)
        found: Floats = pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return found


def _kind_of(type_: pa.DataType) -> Kind:
    if not pa.types.is_temporal(type_):
        return "numbers"
    return "dates" if pa.types.is_date(type_) or pa.types.is_timestamp(type_) else "durations"


def plain_times(stamps: NDArray[Any]) -> tuple[Floats, Kind]:
    """Time stamps of NumPy as numbers, and what they are.

    Args:
        stamps: `(N,)` dates, durations or numbers.
    """
    if stamps.dtype.kind not in "mM":
        return stamps.astype(np.float64), "numbers"
    whole = stamps.astype(f"{stamps.dtype.kind}8[us]").astype(np.int64)
    return whole.astype(np.float64), "dates" if stamps.dtype.kind == "M" else "durations"


def moment(time: float, row: int, kind: Kind) -> Any:
    """A time as a date, a duration or a number; the number of the row, from 1, where it has none.

    Args:
        time: as `Times.read` gives it.
        row: its number, from 0.
        kind: what times are.
    """
    if kind == "order" or np.isnan(time):
        return row + 1
    if kind == "dates":
        return np.datetime64(int(time), "us")
    return np.timedelta64(int(time), "us") if kind == "durations" else time


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
