"""One column of a user's table, from any library, as numbers of NumPy's or as a plain Arrow array."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.arrays import as_cells, filled
from upland.data.table.values import Values, from_objects
from upland.io.advice import Advice, Argument
from upland.io.plain import one_chunk


def column_of(values: Any, name: str) -> Values:
    """A column in any container.

    Args:
        values: A list, an array, a tensor, or a series of a frame.
        name: Its name, for messages.

    Raises:
        TypeError: For values that are no column, or of an unsupported type.
        ValueError: For other than one dimension, complex numbers, a mixture of numbers and text.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return one_chunk(values)
    if nw.dependencies.is_pandas_series(values):
        return column_of_pandas(values, name)
    if nw.dependencies.is_into_series(values):
        return column_of_series(nw.from_native(values, series_only=True), name)
    return column_of_array(as_cells(values), name)


def column_of_array(values: NDArray[Any], name: str) -> Values:
    """A column of NumPy's; raises as `column_of`."""
    values = filled(values)
    if values.ndim != 1:
        raise ValueError(f"column {name!r} has {values.ndim} dimensions: a column has one value a row")
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r}")
    if values.dtype.kind in "biuf":
        return values
    if values.dtype.kind == "O":
        return from_objects(values, name)
    if values.dtype.kind in "SV":
        raise unsupported(name, values.dtype)
    return pa.array(np.ascontiguousarray(values), from_pandas=True)


def column_of_pandas(column: Any, name: str) -> Values:
    """A column of a pandas frame; raises as `column_of`."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "biufcO":
        return column_of_array(column.to_numpy(), name)
    try:
        array = pa.array(_with_words(column), from_pandas=True)
    except (pa.ArrowException, TypeError):
        return _dense(column, name)
    if isinstance(array.type, pa.BaseExtensionType) and array.type.extension_name.startswith("pandas."):
        raise unsupported(name, column.dtype)  # periods and intervals
    return one_chunk(array)


def _dense(column: Any, name: str) -> Values:
    """A sparse column and others that only NumPy reads."""
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise unsupported(name, column.dtype)
    return values


def column_of_series(column: nw.Series[Any], name: str) -> Values:
    """A column of a frame that narwhals reads; raises as `column_of`."""
    if column.dtype == nw.Object:
        return from_objects(np.array(column.to_list(), dtype=object), name)
    try:
        return one_chunk(column.to_arrow())
    except (pa.ArrowException, nw.exceptions.NarwhalsError):
        raise unsupported(name, column.dtype) from None


def is_one_value(values: Any) -> bool:
    """Whether this is no column but a single value."""
    if isinstance(values, np.ndarray):
        return values.ndim == 0
    return isinstance(values, str | bytes | Mapping) or not isinstance(values, Sized)


def unsupported(name: str, dtype: object) -> TypeError:
    """The error for a column of a type that is not read."""
    return TypeError(
        Advice(
            f"column {name!r} has the type {dtype}, which is not supported: leave it out (",
            Argument("ignore", [name]),
            ")",
        )
    )


def _with_words(column: Any) -> Any:
    """A category of intervals or periods, as `pandas.cut` gives, by its words."""
    if column.dtype.name != "category":
        return column
    categories = column.cat.categories
    interval = type(categories).__name__ in ("IntervalIndex", "PeriodIndex")
    return column.cat.rename_categories(categories.astype(str)) if interval else column
