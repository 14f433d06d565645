"""The columns of a later table matched with those of the fit by name or position, their kinds checked."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import numpy as np

from upland.data.table.frames import TableView
from upland.data.table.values import Values, dtype_of, floats, kind_of, zone_of
from upland.io.advice import Advice, Argument, Wording
from upland.io.cells import as_number
from upland.io.schema import Column, ColumnKind, Naming, Schema


def as_names(names: Sequence[str | int], what: str) -> tuple[str | int, ...]:
    """Column names as the user gave them; raises TypeError for one text, whose letters are no columns,
    and for what is no collection.
    """
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of column names, not one text: {what}=[{names!r}]")
    if not isinstance(names, Collection):
        raise TypeError(f"{what} must be a list of column names, got {names!r}")
    return tuple(name.item() if isinstance(name, np.generic) else name for name in names)


def resolve(names: Sequence[str | int], rows: TableView, what: str) -> set[str]:
    """Names as text; a whole number is a position in an array, the name itself in a frame with numbered
    columns.
    """
    texts = {
        f"x{name}" if isinstance(name, int | np.integer) and rows.naming == "none" else str(name)
        for name in names
    }
    if unknown := sorted(texts - set(rows.names)):
        raise ValueError(
            Advice(
                Argument(what),
                f" names columns that are not in the table: {listed(unknown)}; it has {listed(rows.names)}",
            )
        )
    return texts


def find_positions(rows: TableView, schema: Schema, wanted: Sequence[str], owner: str) -> list[int]:
    """Positions of the wanted columns in a table: by name where both have names, else by position."""
    if rows.naming == schema.naming != "none":
        here = {name: position for position, name in enumerate(rows.names)}
        if lacking := [name for name in wanted if name not in here]:
            table = Wording("the table", "{data}")
            raise ValueError(
                Advice(f"missing column(s): {listed(lacking)}; ", table, f" has {listed(rows.names)}")
            )
        return [here[name] for name in wanted]
    if len(rows.names) != len(schema.inputs):
        raise ValueError(
            Advice(
                Wording(
                    f"X has {len(rows.names)} features, "
                    f"but {owner} is expecting {len(schema.inputs)} features as input",
                    f"{{data}} has {_counted(rows.names, rows.naming)}, "
                    f"but the model was fitted on {_counted(schema.inputs, schema.naming)}",
                )
            )
        )
    if schema.naming == "names":
        warnings.warn(
            Advice(
                Wording(
                    f"X does not have valid feature names, but {owner} was fitted with feature names",
                    f"{{data}} does not name its columns: they are read as {listed(schema.inputs)}",
                )
            ),
            UserWarning,
            stacklevel=4,
        )
    elif rows.naming == "names":
        warnings.warn(
            Advice(
                Wording(
                    f"X has feature names, but {owner} was fitted without feature names",
                    f"the model was fitted without names of columns: those of {{data}} are read in the order "
                    f"in which they stand, {listed(rows.names)}",
                )
            ),
            UserWarning,
            stacklevel=4,
        )
    here = {name: position for position, name in enumerate(schema.inputs)}
    return [here[name] for name in wanted]


def _counted(names: Sequence[str], naming: Naming) -> str:
    """`2 columns ('flow', 'pressure')`, `3 columns without names`."""
    what = f"{len(names)} column{'' if len(names) == 1 else 's'}"
    return f"{what} without names" if naming == "none" else f"{what} ({listed(names)})"


def listed(names: Sequence[str], limit: int = 20) -> str:
    """Names for a message, the first `limit` of them."""
    shown = ", ".join(repr(str(name)) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def check_kind(column: Column, values: Values) -> None:
    """Refuse a column of another kind than in the fit; 0/1 and booleans are one, and so are whole and other
    numbers.
    """
    dtype = dtype_of(values, column.name)
    if dtype is None or (column.kind == "categorical" and dtype == column.dtype):
        return
    found = kind_of(dtype)
    if column.kind == "categorical":
        codes = dtype in ("integer", "floating") and any(
            as_number(level) is not None for level in column.levels
        )
        right = codes or found == "categorical" or column.dtype not in ("string", "category")
    elif column.kind == "boolean" and found == "numeric":
        x = floats(values)
        right = bool(np.all(np.isnan(x) | (x == 0) | (x == 1)))
    else:
        right = found == column.kind or (found, column.kind) == ("boolean", "numeric")
    if found == column.kind == "date":
        _warn_of_zone(column, values)
    if not right:
        raise ValueError(
            f"column {column.name!r} was {_words(column.kind, column.dtype)} in the normal data, "
            f"but is {_words(found, dtype)} here"
            f"{_example(column, values)}"
        )


def _warn_of_zone(column: Column, values: Values) -> None:
    zoned = zone_of(values)
    if None in (zoned, column.zoned) or zoned == column.zoned:
        return
    here, there = ("has a", "none") if zoned else ("has no", "one")
    text = f"column {column.name!r} {here} time zone here, but had {there} in the normal data"
    warnings.warn(f"{text}: all its times are read as UTC", UserWarning, stacklevel=4)


def _words(kind: ColumnKind, dtype: str) -> str:
    return f"{kind} ({dtype})"


def _example(column: Column, values: Values) -> str:
    shown = [value for value in values[:1000].tolist() if value is not None and value == value]
    if column.kind == "boolean":
        shown = [value for value in shown if value not in (0, 1)] or shown
    return f", for example {shown[0]!r}" if shown else ""
