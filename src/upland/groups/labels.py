"""Which group each row is in: labels in any container, or a column of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeGuard

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.data.table.frames import TableView, view_table
from upland.io.advice import Advice, Argument, Wording


def listed(labels: Any, what: str = "groups") -> list[Any]:
    """Labels as a list of plain values, from a list, an array, a tensor or a column of a frame.

    Args:
        labels: `(N,)`.
        what: they are, for messages.

    Raises:
        ValueError: they are not one for each row.
    """
    for method in ("to_pylist", "to_list", "tolist"):
        if callable(getattr(labels, method, None)):
            found = getattr(labels, method)()
            break
    else:
        found = list(labels) if isinstance(labels, Iterable) else None
    if not isinstance(found, list) or any(isinstance(label, list | dict | np.ndarray) for label in found[:1]):
        or_column = ", or the name of a column" if what == "groups" else ""
        raise ValueError(f"{what} must be one label for each row, (N,){or_column}")
    return found


def is_missing(label: Any) -> bool:
    """Whether a label is None, NaN, NaT, or pandas' NA.

    Args:
        label: of a row.
    """
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return bool(label != label)


def grouped(labels: Any, rows: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The groups in order of first appearance, and the number of each row's.

    Args:
        labels: `(N,)` hashable values, in any container.
        rows: N.

    Raises:
        ValueError: the numbers differ, there is none, or a row has no group.
    """
    found = listed(labels)
    if len(found) != rows:
        raise ValueError(Advice(f"there are {rows} rows, but ", Argument("groups"), f" names {len(found)}"))
    if not found:
        raise ValueError("there are no rows, and so no group to test")
    lost = [row for row, label in enumerate(found) if is_missing(label)]
    if lost:
        first = Wording(f"row {lost[0]}", f"row {lost[0] + 1}")
        raise ValueError(Advice(f"{len(lost)} of {rows} rows have no group, the first is ", first))
    number_of: dict[Any, int] = {}
    numbers = np.array([number_of.setdefault(label, len(number_of)) for label in found], dtype=np.int64)
    names = np.empty(len(number_of), dtype=object)
    names[:] = list(number_of)
    return names, numbers


def largest_group(labels: Any) -> int:
    """Rows of the largest group, at least 1; the number of all rows where labels cannot be counted.

    Args:
        labels: `(N,)`, in any container.
    """
    found = listed(labels)
    try:
        return max(Counter(found).values(), default=1)
    except TypeError:  # labels that cannot be compared are refused where they are used
        return max(len(found), 1)


def is_names(groups: Any) -> TypeGuard[tuple[str, ...]]:
    """Whether groups are named by several columns: a tuple of texts."""
    return isinstance(groups, tuple) and bool(groups) and all(isinstance(name, str) for name in groups)


def labels_by(
    table: Any, columns: Sequence[str], features: Collection[str], blanks: Collection[str] = ()
) -> list[Any]:
    """The group of each row by one column, whose values are the names, or by several, as `north / late`.

    Args:
        table: any table of named columns.
        columns: their names.
        features: names of the columns that the detector uses.
        blanks: text that stands for no label.

    Raises:
        ValueError: one is a feature, or there is no such column.
    """
    return joined_labels([labels_in(table, column, features, blanks) for column in columns])


def joined_labels(values: Sequence[list[Any]]) -> list[Any]:
    """The group of each row by the values of one column, or of several, as `north / late`.

    Args:
        values: of each column, `(N,)`.
    """
    if len(values) == 1:
        return values[0]
    rows = zip(*values, strict=True)
    return [None if any(map(is_missing, row)) else " / ".join(map(_part, row)) for row in rows]


def _part(value: Any) -> str:
    """A value as a part of a name; quoted where the name could be read in two ways."""
    text = str(value)
    return repr(text) if " / " in text or text[:1] in ("'", '"') else text


def labels_in(table: Any, column: str, features: Collection[str], blanks: Collection[str] = ()) -> list[Any]:
    """The values of a column that names groups; arguments and errors are those of `labels_by`."""
    if column in features:
        raise ValueError(
            Advice(
                f"column {column!r} is a feature of this detector: fit with ",
                Argument("ignore", [column]),
                " to name groups by it",
            )
        )
    rows = view_table(table)
    if rows.naming == "none" or column not in rows.names:
        there = ", ".join(map(repr, rows.names[:8])) if rows.naming != "none" else "no names"
        raise ValueError(f"there is no column {column!r} to name groups by; the table has {there}")
    if isinstance(table, TableView | pa.RecordBatch):
        values: list[Any] = listed(rows.read(rows.names.index(column)))
    else:
        values = nw.from_native(table, eager_only=True)[column].to_list()
    return [None if value in blanks else value for value in values] if blanks else values
