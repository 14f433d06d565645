"""The columns of a fitted table: names, kinds, levels, scaling.

A `Schema` is all that `upland.data.table.encoder.TableEncoder` learns from normal rows. It is frozen, and it
survives JSON without the loss of a bit (JSON keeps a float64 whole), so that a reloaded detector encodes
every row to the same bits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from upland.io.records import Unsigned, fits

ColumnKind = Literal["numeric", "boolean", "categorical", "date", "duration"]
Naming = Literal["names", "numbers", "none"]
PARTS = ("hour", "weekday", "month")
"""Parts of a date that return."""


def is_index(names: Sequence[str], position: int) -> bool:
    """Whether a column of a table holds the index of a pandas frame: by its name, which pandas gives where an
    index has none, in CSV and in Parquet or Arrow.

    Args:
        names: The table's columns.
        position: The column.
    """
    if re.fullmatch(r"__index_level_\d+__", names[position]):
        return True
    return all(name == "" or re.fullmatch(r"Unnamed: 0(\.\d+)*", name) for name in names[: position + 1])


_NO_ORIGIN = Unsigned(0)
LATER = frozenset({"form", "zoned", "origin", "tolerance", "parts", "part_scaling"})
"""Fields of columns that files of before there were such fields lack."""


@dataclass(frozen=True)
class TextForm:
    """How the text of a column was read as numbers or dates in the fit; later text is read in the same way.

    Args:
        reads: What the cells are.
        decimal: The decimal sign of numbers.
        thousands: What parts their thousands; empty for nothing.
        prefix: What stands before each number, such as a currency.
        suffix: What stands behind each number, such as a percent sign or a unit.
        dayfirst: Whether the day stands first in a date, or the month; None for ISO dates.
    """

    reads: Literal["number", "date", "time", "flag"]
    decimal: str = "."
    thousands: str = ""
    prefix: str = ""
    suffix: str = ""
    dayfirst: bool | None = None


@dataclass(frozen=True)
class Column:
    """One column of the user's table, as it was among the normal rows.

    Args:
        name: The column's name; `x0`, `x1`, ... for an array.
        kind: What the values are. Dates count as seconds since 1970, durations and times of day as seconds.
        dtype: The type in the data: integer, floating, decimal, boolean, string, datetime or duration.
        center: Mean of the values present (share of true for a boolean), or the constant.
        scale: Standard deviation; 0 marks a constant column.
        missing: Share of missing cells; above 0 the column has a slot of its own for them.
        levels: Levels with a slot each, most frequent first (categorical only).
        shares: Share of each level among all rows.
        rare: Levels seen too rarely for a slot of their own; they share one.
        rare_share: Share of the rare levels together.
        form: How text is read as numbers or dates; None where the cells were typed, or are categories.
        zoned: Whether the dates had a time zone; None for other kinds.
        origin: A whole number that is subtracted from whole numbers before they become floating.
        tolerance: Deviation up to which a number equals a constant; None for a ten-millionth of it.
        parts: What of a date is encoded, of hour, weekday and month; None for dates that are encoded as a
            number, and for all else.
        part_scaling: Mean of the sine, mean of the cosine and scale of each of these parts.
    """

    name: str
    kind: ColumnKind
    dtype: str
    center: float = 0.0
    scale: float = 1.0
    missing: float = 0.0
    levels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    rare: tuple[str, ...] = ()
    rare_share: float = 0.0
    form: TextForm | None = None
    zoned: bool | None = None
    origin: Unsigned = _NO_ORIGIN
    tolerance: float | None = None
    parts: tuple[str, ...] | None = None
    part_scaling: tuple[float, ...] = ()

    @property
    def constant(self) -> bool:
        """Whether every normal row had the same value."""
        if self.kind == "categorical":
            return len(self.levels) == 1 and not self.missing
        if self.parts is not None:
            return not self.parts
        return self.scale == 0.0 or (self.kind == "boolean" and self.center in (0.0, 1.0))

    @property
    def width(self) -> int:
        """Number of encoded dimensions: value (or levels, rare, missing, unseen) and the mark of a missing
        cell.
        """
        marked = int(self.missing > 0)
        if self.parts is not None:
            return 2 * len(self.parts) + marked
        if self.kind != "categorical":
            return 1 + marked
        return len(self.levels) + int(bool(self.rare)) + marked + 1

    def to_json(self) -> dict[str, Any]:
        """Plain lists, strings and numbers, without what says nothing; `from_json` is the exact way back."""
        defaults = {field.name: field.default for field in fields(self) if field.name in LATER}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in defaults or value != defaults[key]
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Column:
        """Rebuild a column; raises ValueError for an unknown field or kind, or a value that cannot be."""
        _check_fields(cls, record, "column")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
        }
        if values.get("form") is not None:
            _check_fields(TextForm, values["form"], "form of text")
            values["form"] = TextForm(**values["form"])
        column = cls(**values)
        _check_column(column)
        return column


@dataclass(frozen=True)
class Schema:
    """The columns in use, in the order of the fit, and the names of all columns that were there.

    Args:
        columns: The columns that are encoded.
        inputs: Every column of the fitted table, the ignored ones included, in their order.
        naming: Whether the names were the user's (`names`), whole numbers (`numbers`) or none at all.
    """

    columns: tuple[Column, ...]
    inputs: tuple[str, ...]
    naming: Naming

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns in use."""
        return tuple(column.name for column in self.columns)

    @property
    def width(self) -> int:
        """Number of encoded dimensions."""
        return sum(column.width for column in self.columns)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, strings and numbers; `from_json` is the exact way back."""
        return {
            "columns": [column.to_json() for column in self.columns],
            "inputs": list(self.inputs),
            "naming": self.naming,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Schema:
        """Rebuild a schema; raises ValueError for an unknown field, kind or naming, or names that do not
        fit.
        """
        _check_fields(cls, record, "schema")
        columns = tuple(Column.from_json(column) for column in record["columns"])
        if not isinstance(record["inputs"], list | tuple):
            raise ValueError("the names in the schema must be a list")
        schema = cls(columns, tuple(record["inputs"]), record["naming"])
        _check_schema(schema)
        return schema


def _check_fields(cls: type[Column] | type[Schema] | type[TextForm], record: object, what: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f"a {what} must be a JSON object, got {type(record).__name__}")
    expected = {field.name for field in fields(cls)}
    if unknown := sorted(set(record) - expected):
        raise ValueError(f"unknown fields in the {what}: {', '.join(map(str, unknown))}")
    if lacking := sorted(expected - LATER - set(record)):
        raise ValueError(f"fields lacking in the {what}: {', '.join(lacking)}")


def _check_column(column: Column) -> None:
    label = f"column {column.name!r} of the schema"
    if not isinstance(column.name, str) or not isinstance(column.dtype, str):
        raise ValueError(f"{label}: name and dtype must be text")
    if column.kind not in get_args(ColumnKind):
        raise ValueError(
            f"{label}: unknown kind {column.kind!r}; known are " + ", ".join(get_args(ColumnKind))
        )
    _check_later(column, label)
    lists = (column.levels, column.shares, column.rare)
    if not all(isinstance(part, tuple) for part in lists):
        raise ValueError(f"{label}: levels and shares must be lists")
    numbers = (column.center, column.scale, column.missing, column.rare_share, *column.shares)
    if not all(fits(number, float) for number in numbers):
        raise ValueError(f"{label}: its scaling must be finite numbers")
    if column.scale < 0 or not 0 <= column.missing <= 1:
        raise ValueError(f"{label}: scale must not be negative, missing must lie in [0, 1]")
    if not all(isinstance(level, str) for level in (*column.levels, *column.rare)):
        raise ValueError(f"{label}: its levels must be text")
    if len({*column.levels, *column.rare}) < len(column.levels) + len(column.rare):
        raise ValueError(f"{label}: a level comes twice")
    shares = (*column.shares, column.rare_share)
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"{label}: shares must lie in [0, 1]")
    if len(column.levels) != len(column.shares) or (column.kind == "categorical") != bool(column.levels):
        raise ValueError(
            f"{label}: {len(column.levels)} levels and {len(column.shares)} shares do not fit its kind"
        )


def _check_later(column: Column, label: str) -> None:
    form = column.form
    if form is not None and not (
        form.reads in ("number", "date", "time", "flag")
        and form.decimal in (".", ",")
        and all(isinstance(text, str) for text in (form.thousands, form.prefix, form.suffix))
        and isinstance(form.dayfirst, bool | None)
    ):
        raise ValueError(f"{label}: unknown form of text {form!r}")
    if not isinstance(column.zoned, bool | None):
        raise ValueError(f"{label}: zoned must be true or false")
    if not fits(column.origin, Unsigned):
        raise ValueError(f"{label}: its origin must be a whole number")
    if column.tolerance is not None and not (fits(column.tolerance, float) and column.tolerance >= 0):
        raise ValueError(f"{label}: its tolerance must be a finite number of at least 0")
    _check_parts(column, label)


def _check_parts(column: Column, label: str) -> None:
    parts, scaling = column.parts or (), column.part_scaling
    if column.parts is not None and (column.kind != "date" or not isinstance(column.parts, tuple)):
        raise ValueError(f"{label}: only a date has parts")
    if not set(parts) <= set(PARTS) or len(set(parts)) < len(parts):
        raise ValueError(f"{label}: its parts must be of {', '.join(PARTS)}, each once")
    numbers = isinstance(scaling, tuple) and all(
        isinstance(number, int | float) and math.isfinite(number) for number in scaling
    )
    if not numbers or len(scaling) != 3 * len(parts) or not all(scale > 0 for scale in scaling[2::3]):
        raise ValueError(f"{label}: each of its parts needs two means and a positive scale")


def _check_schema(schema: Schema) -> None:
    if schema.naming not in get_args(Naming):
        raise ValueError(
            f"unknown naming {schema.naming!r} in the schema; known are {', '.join(get_args(Naming))}"
        )
    if not all(isinstance(name, str) for name in schema.inputs):
        raise ValueError("the names in the schema must be text")
    if len(set(schema.inputs)) != len(schema.inputs) or len(set(schema.names)) != len(schema.names):
        raise ValueError("the schema names a column twice")
    if not schema.columns or not set(schema.names) <= set(schema.inputs):
        raise ValueError("the schema has no columns, or columns that are not among its inputs")
