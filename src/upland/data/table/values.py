"""One column of a user's table, from any container: its kind, its numbers, its levels.

A column is either a one-dimensional NumPy array of numbers or booleans, or an Arrow array. NaN and null both
mean missing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Number
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from upland.data.table.encodings import Floats
from upland.io.advice import Advice, Argument
from upland.io.plain import one_chunk
from upland.io.schema import ColumnKind

Values = Any
"""`np.ndarray` with a dtype of kind b, i, u or f, or `pa.Array`."""

_SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def dtype_of(values: Values, name: str) -> str | None:
    """The data's own word for its type, or None when it is all null and untyped; raises TypeError for what is
    no column of a table.
    """
    if isinstance(values, np.ndarray):
        return {"b": "boolean", "f": "floating"}.get(values.dtype.kind, "integer")
    return _arrow_dtype(values.type, name)


def _arrow_dtype(type_: pa.DataType, name: str) -> str | None:
    is_a = pa.types
    tests = (
        (is_a.is_null, None),
        (is_a.is_boolean, "boolean"),
        (is_a.is_integer, "integer"),
        (is_a.is_floating, "floating"),
        (is_a.is_decimal, "decimal"),
        (is_text, "string"),
        (lambda t: is_a.is_timestamp(t) or is_a.is_date(t), "datetime"),
        (lambda t: is_a.is_duration(t) or is_a.is_time(t), "duration"),
    )
    for test, word in tests:
        if test(type_):
            return word
    if is_a.is_dictionary(type_):
        value = type_.value_type
        return None if is_a.is_null(value) else "string" if is_text(value) else "category"
    raise TypeError(
        Advice(
            f"column {name!r} has the type {type_}, which is neither a number, text, a boolean nor a date: "
            "leave it out (",
            Argument("ignore", [name]),
            ") or turn it into columns of its own",
        )
    )


def is_text(type_: pa.DataType) -> bool:
    """Whether an Arrow type is one of the three types of text."""
    is_a = pa.types
    return bool(is_a.is_string(type_) or is_a.is_large_string(type_) or is_a.is_string_view(type_))


def kind_of(dtype: str) -> ColumnKind:
    """The kind that a column of this dtype has unless the user names it categorical."""
    kinds: dict[str, ColumnKind] = {
        "boolean": "boolean",
        "integer": "numeric",
        "floating": "numeric",
        "decimal": "numeric",
        "datetime": "date",
        "duration": "duration",
    }
    return kinds.get(dtype, "categorical")


def floats(values: Values) -> Floats:
    """Numbers, booleans, dates and durations as float64, NaN where missing: `(N,)`. Dates are seconds since
    1970 in UTC.
    """
    if isinstance(values, np.ndarray):
        return values.astype(np.float64)
    type_ = values.type
    is_a = pa.types
    if is_a.is_null(type_):
        return np.full(len(values), np.nan)
    if is_a.is_dictionary(type_):
        return floats(values.dictionary_decode())
    if is_a.is_date(type_):
        type_ = pa.timestamp("s" if is_a.is_date32(type_) else "ms")
        values = values.cast(type_)
    if is_a.is_temporal(type_):
        whole = pa.int32() if is_a.is_time32(type_) else pa.int64()
        return _to_numpy(values.cast(whole)) / _SECONDS[type_.unit]
    if is_a.is_boolean(type_):
        values = values.cast(pa.uint8())
    if is_a.is_decimal(type_):
        values = values.cast(pa.float64())
    return _to_numpy(values)


def _to_numpy(values: pa.Array) -> Floats:
    return cast(Floats, values.to_numpy(zero_copy_only=False)).astype(np.float64)


def zone_of(values: Values) -> bool | None:
    """Whether dates have a time zone; None for what are no dates."""
    type_ = None if isinstance(values, np.ndarray) else values.type
    if type_ is None or not (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
        return None
    return pa.types.is_timestamp(type_) and type_.tz is not None


def levels(values: Values, blank: Collection[str] = ()) -> tuple[list[str], NDArray[np.intp]]:
    """Distinct levels as text and each row's index among them, -1 where missing: `(K,)`, `(N,)`.

    Args:
        values: Of a column.
        blank: Texts that stand for a missing cell.
    """
    if isinstance(values, np.ndarray):
        distinct, codes = np.unique(values, return_inverse=True)
        keys = [_key(value) for value in distinct.tolist()]
    else:
        keys, codes = _arrow_levels(values)
    if blank and not isinstance(values, np.ndarray):
        keys = [None if key in blank else key for key in keys]
    if None in keys:
        codes = np.where(np.array([key is None for key in keys] + [False])[codes], -1, codes)
    return [key or "" for key in keys], codes.astype(np.intp)


def _arrow_levels(values: pa.Array) -> tuple[list[str | None], NDArray[np.intp]]:
    if pa.types.is_null(values.type):
        return [], np.full(len(values), -1, dtype=np.intp)
    if not pa.types.is_dictionary(values.type):
        text = pa.types.is_string_view(values.type)
        values = (values.cast(pa.large_string()) if text else values).dictionary_encode()
    codes = pc.fill_null(values.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return [_key(value) for value in values.dictionary.to_pylist()], codes


def _key(value: object) -> str | None:
    """A level as text: 3, 3.0 and Decimal("3") are one level; None and NaN are missing."""
    if value is None or (isinstance(value, float | Decimal) and value != value):
        return None
    if isinstance(value, float | Decimal):
        return str(int(value)) if value % 1 == 0 else str(float(value))
    return str(value)


def from_objects(values: NDArray[np.object_], name: str) -> Values:
    """A column of Python objects as a typed one; raises ValueError for a mixture, TypeError for what is
    neither number nor text.
    """
    values = _checked_moments(values, name)
    try:
        return plain(pa.array(values, from_pandas=True))
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _from_mixture(values, name)


def _checked_moments(values: NDArray[np.object_], name: str) -> NDArray[np.object_]:
    """Dates beside datetimes as midnights; raises ValueError for a time zone beside none."""
    first = next((value for value in values if isinstance(value, date)), None)
    if first is None:
        return values
    stamps = [value for value in values if isinstance(value, date) and value == value]
    if not any(isinstance(value, datetime) for value in stamps):
        return values
    whole = [isinstance(value, date) and not isinstance(value, datetime) for value in values]
    naive = [not isinstance(value, datetime) or value.tzinfo is None for value in stamps]
    if any(naive) and not all(naive):
        row = next(
            number
            for number, value in enumerate(values)
            if isinstance(value, date) and value == value and getattr(value, "tzinfo", None) is None
        )
        raise ValueError(
            f"column {name!r}: some dates have a time zone, row {row + 1} has none: write them alike"
        )
    if not any(whole):
        return values
    made = values.copy()
    made[whole] = [datetime.combine(value, time()) for value in values[whole]]
    return made


def plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One chunk, of a plain type."""
    return one_chunk(values)


def concatenated(parts: Sequence[Values]) -> Values:
    """Columns one after another; raises `pyarrow.ArrowException` where their types do not go together."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    arrays = [pa.array(part, from_pandas=True) if isinstance(part, np.ndarray) else part for part in parts]
    tables = [pa.table([array], names=["column"]) for array in arrays]
    return plain(pa.concat_tables(tables, promote_options="permissive").column(0))


def _from_mixture(values: NDArray[np.object_], name: str) -> Values:
    types = np.array([_type_of(value) for value in values])
    for row in np.flatnonzero(types == "other")[:1]:
        if isinstance(values[row], complex):
            raise ValueError(f"Complex data not supported: column {name!r}, row {row + 1}: {values[row]!r}")
        raise TypeError(
            f"column {name!r}, row {row + 1}: argument must be a string or a number, "
            f"not {type(values[row]).__name__!r}"
        )
    texts, numbers, moments = (types == word for word in ("text", "number", "moment"))
    held = {"numbers": numbers, "text": texts, "dates": moments}
    if sum(map(np.any, held.values())) > 1:
        rest = max(held, key=lambda word: int(held[word].sum()))
        row = int(np.flatnonzero(~held[rest] & (types != "absent"))[0])
        raise Mixture(values, mixture_text(name, rest, row, values[row]))
    if texts.any():
        return pa.array(
            [value if type_ == "text" else None for value, type_ in zip(values, types, strict=True)]
        )
    return np.array(
        [float(value) if type_ == "number" else np.nan for value, type_ in zip(values, types, strict=True)]
    )


def _type_of(value: object) -> str:
    if (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and value != value)
        or (isinstance(value, str) and not value.strip())
    ):
        return "absent"
    if isinstance(value, date | time | timedelta):
        return "moment"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, Number | np.bool_) and not isinstance(value, complex) else "other"


class Mixture(ValueError):
    """Numbers and text in one column.

    Args:
        values: Of the column.
        message: What is wrong.
    """

    def __init__(self, values: NDArray[np.object_], message: str) -> None:
        super().__init__(message)
        self.values = values

    def as_text(self) -> pa.Array:
        """The values as they are written."""
        return pa.array([None if _type_of(value) == "absent" else str(value) for value in self.values])

    def without(self, blank: Collection[str]) -> NDArray[np.object_]:
        """The values, with None for texts that stand for a missing cell."""
        return np.array(
            [None if isinstance(value, str) and value.strip() in blank else value for value in self.values],
            dtype=object,
        )


def mixture_text(name: str, rest: str, row: int, value: object) -> Advice:
    """What is wrong with numbers and text in one column; `row` counts from 0, the message from 1."""
    missing = (
        (Argument("missing", [value]), " reads it as a missing cell; ") if isinstance(value, str) else ()
    )
    return Advice(
        f"column {name!r} holds {rest}, but row {row + 1} holds {value!r}: "
        "correct that cell or leave it empty; ",
        *missing,
        "if the column is a category, make all of it text and name it, ",
        Argument("categorical", [name]),
    )
