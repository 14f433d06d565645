"""A table with some of its cells replaced, in the container and in the types in which it came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.frames import TableView, arrow_table
from upland.data.table.values import Mixture, Values, is_text
from upland.io.schema import Column, TextForm


class Limits(NamedTuple):
    """The numbers that a type holds: their step, 0 where it is finer than a microsecond or there is none, the
    least and the largest.
    """

    step: float = 0.0
    low: float = -np.inf
    high: float = np.inf


_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_WHEN_EMPTY = {
    "categorical": pa.string(),
    "date": pa.timestamp("us"),
    "duration": pa.duration("us"),
    "boolean": pa.bool_(),
    "numeric": pa.float64(),
}
"""Types of new cells in a column that has no type, since all of it is missing."""


class NewCells(NamedTuple):
    """New cells of one column.

    Args:
        rows: Their rows.
        values: In the type of the column.
    """

    rows: list[int]
    values: list[Any]


def type_of(rows: TableView, position: int, column: Column) -> Any:
    """The type of a user's column: NumPy's or Arrow's; of a dictionary that of its values.

    Args:
        rows: The table.
        position: Of the column in it.
        column: As the fit learned it.
    """
    try:
        values = rows.read(position)
    except Mixture:
        return _WHEN_EMPTY[column.kind]
    if isinstance(values, np.ndarray):
        return values.dtype
    type_ = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    return _WHEN_EMPTY[column.kind] if pa.types.is_null(type_) else type_


def cell_in(rows: TableView, position: int, row: int) -> Any:
    """What a user's table holds in a cell, as a value of Python's.

    Args:
        rows: The table.
        position: Of the column in it.
        row: Of the cell.
    """
    try:
        values = rows.read(position)
    except Mixture as mixture:
        values = mixture.values
    value = values[row]
    if isinstance(value, pa.Scalar):
        return value.as_py()
    return value.item() if isinstance(value, np.generic) else value


def limits_of(type_: Any) -> Limits:
    """The numbers that a type holds, of dates and durations in seconds.

    Args:
        type_: NumPy's or Arrow's.
    """
    is_a = pa.types
    if not isinstance(type_, np.dtype):
        if is_a.is_decimal(type_):
            return Limits(float(10.0**-type_.scale))
        if is_a.is_date(type_):
            return Limits(86_400.0)
        if is_a.is_time(type_):
            return Limits(1.0 / min(_UNITS[type_.unit], 1_000_000), 0.0, 86_399.0)
        if is_a.is_temporal(type_):
            return Limits(1.0 / min(_UNITS[type_.unit], 1_000_000))
        if not (is_a.is_integer(type_) or is_a.is_boolean(type_)):
            return Limits()
        type_ = np.dtype(type_.to_pandas_dtype())
    if type_.kind == "b":
        return Limits(1.0, 0.0, 1.0)
    return (
        Limits() if type_.kind == "f" else Limits(1.0, float(np.iinfo(type_).min), float(np.iinfo(type_).max))
    )


def cell_of(value: Any, column: Column, type_: Any) -> Any:
    """A plain value (`upland.data.table.domains`) as a cell of a type; missing as None, among floats as NaN.

    Args:
        value: A number, text, or missing.
        column: As the fit learned it.
        type_: NumPy's or Arrow's.
    """
    if value is None or value != value:
        return type_.type(np.nan) if isinstance(type_, np.dtype) and type_.kind == "f" else None
    if isinstance(type_, np.dtype):
        number = value == "True" if type_.kind == "b" and isinstance(value, str) else value
        return type_.type(number)
    if is_text(type_):
        return value if column.kind == "categorical" else _written(value, column)
    if column.kind == "categorical":
        return pa.scalar(value).cast(type_).as_py()
    is_a = pa.types
    if is_a.is_decimal(type_):
        return Decimal(f"{value:.{max(type_.scale, 0)}f}")
    if is_a.is_date(type_):
        return pa.scalar(round(value / 86_400), pa.int32()).cast(pa.date32()).as_py()
    if is_a.is_temporal(type_):
        count = round(value * 1_000_000) * _UNITS[type_.unit] // 1_000_000
        whole = pa.int32() if is_a.is_time32(type_) else pa.int64()
        return pa.scalar(count, whole).cast(type_).as_py()
    return round(value) if is_a.is_integer(type_) else pa.scalar(value).cast(type_).as_py()


def _written(value: float, column: Column) -> str:
    """A number, date, time of day or flag as text that is read as in the fit."""
    form = column.form or TextForm("number")
    if column.kind == "boolean":
        return "true" if value > 0.5 else "false"
    if column.kind == "duration":
        return (datetime.min + timedelta(seconds=value)).time().isoformat()
    if column.kind == "date":
        moment = datetime(1970, 1, 1, tzinfo=UTC if column.zoned else None) + timedelta(seconds=value)
        short = moment.time() == time() and not column.zoned
        return moment.date().isoformat() if short else moment.isoformat()
    digits = np.format_float_positional(value, trim="-").replace(".", form.decimal)
    return f"{form.prefix}{digits}{form.suffix}"


def replaced(X: Any, rows: TableView, cells: Mapping[int, NewCells]) -> Any:
    """A copy of a table with new cells; an array or a frame of the same sort, all else as an Arrow table.

    Args:
        X: The table.
        rows: The same, viewed.
        cells: New cells by the position of their column.
    """
    if isinstance(X, np.ndarray) and X.dtype.names is None:
        return _in_array(X.copy() if isinstance(X, np.ma.MaskedArray) else np.array(X), cells)
    if rows.naming == "none" and rows.matrix is not None:
        return _in_array(np.array(rows.matrix), cells)
    if nw.dependencies.is_pandas_dataframe(X):
        return _in_pandas(X, cells)
    frame = nw.from_native(X, pass_through=True)
    if isinstance(frame, nw.DataFrame) and not isinstance(X, pa.Table | pa.RecordBatch):
        return _in_frame(frame, cells)
    return _in_arrow(X if isinstance(X, pa.Table) else arrow_table(rows, rows.names), cells)


def _in_array(made: NDArray[Any], cells: Mapping[int, NewCells]) -> NDArray[Any]:
    for position, (rows, values) in cells.items():
        for row, value in zip(rows, values, strict=True):
            made[row, position] = value
    return made


def _in_pandas(X: Any, cells: Mapping[int, NewCells]) -> Any:
    made = X.copy()
    for position, (rows, values) in cells.items():
        column = X.iloc[:, position].copy()
        if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufO":
            array = column.to_numpy(copy=True)
            for row, value in zip(rows, values, strict=True):
                array[row] = value
            column = type(column)(array, index=column.index, name=column.name, dtype=column.dtype)
        else:
            if column.dtype.name == "category":
                known = set(column.cat.categories)
                new = [value for value in dict.fromkeys(values) if value is not None and value not in known]
                column = column.cat.add_categories(new)
            for row, value in zip(rows, values, strict=True):
                column.iloc[row] = value
        made.isetitem(position, column)
    return made


def _in_frame(frame: nw.DataFrame[Any], cells: Mapping[int, NewCells]) -> Any:
    columns = []
    for position, (rows, values) in cells.items():
        column = frame.get_column(frame.columns[position])
        dtype = column.dtype
        if dtype in (nw.Categorical, nw.Enum):
            column = column.cast(nw.String)
        if column.null_count() == len(column):  # which may have no type
            new = dict(zip(rows, values, strict=True))
            filled = [new.get(row) for row in range(len(column))]
            made = nw.new_series(column.name, filled, backend=frame.implementation)
            columns.append(made if dtype == nw.Unknown else made.cast(dtype))
            continue
        cells_of = nw.new_series(column.name, values, column.dtype, backend=frame.implementation)
        column = column.scatter(rows, cells_of)
        columns.append(column.cast(nw.Categorical()) if dtype == nw.Categorical else column)
    return frame.with_columns(*columns).to_native()


def _in_arrow(table: pa.Table, cells: Mapping[int, NewCells]) -> pa.Table:
    for position, (rows, values) in cells.items():
        column = table.column(position).combine_chunks()
        array = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        table = table.set_column(position, table.column_names[position], _with_new(array, rows, values))
    return table


def _with_new(array: Values, rows: Sequence[int], values: Sequence[Any]) -> pa.Array:
    type_ = array.type
    if pa.types.is_dictionary(type_):
        return _with_new(array.dictionary_decode(), rows, values).dictionary_encode().cast(type_)
    new = pa.array(list(values)) if pa.types.is_null(type_) else pa.array(list(values), type_)
    order = np.arange(len(array))
    order[list(rows)] = len(array) + np.arange(len(rows))
    return pa.concat_arrays([array.cast(new.type), new]).take(pa.array(order))
