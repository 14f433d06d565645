"""Values, times and reasons in words."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from upland.catalogue import FORMATS
from upland.scoring.words import label_text, one_line, plain_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from upland.counterfactuals.result import Change


def change_text(changes: Sequence[Change], found: bool, p_value: float) -> str:
    """The changed cells of a row in words, and the p-value that it then has: `flow: 40 -> 12.5 (p 0.12)`.

    Args:
        changes: Of the row.
        found: Whether it is normal then.
        p_value: What it then has.
    """
    cells = ", ".join(
        f"{one_line(change.column)}: {_long_text(change.value)} -> {_long_text(change.proposed)}"
        for change in changes
    )
    if found:
        return f"{cells} (p {p_value:.2g})"
    return f"none found; the best is {cells} (p {p_value:.2g})" if cells else "none found"


def _long_text(value: object) -> str:
    """A cell as `cell_text`, but numbers to six digits and whole ones with all of theirs."""
    value = plain_value(value)
    if value is None or value != value:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else label_text(value)


def span_text(start: object, end: object) -> str:
    """From one place to another: `3 to 8`, `2026-03-02 10:12 to 10:40`; a single place by itself."""
    first, last = plain_value(start), plain_value(end)
    if isinstance(first, datetime) and isinstance(last, datetime):
        whole_minutes = not (first.second or last.second)
        precision = "minutes" if whole_minutes else "seconds"
        began, ended = (stamp.isoformat(sep=" ", timespec=precision) for stamp in (first, last))
        if first.date() == last.date():
            ended = ended.split(" ")[1]
        return began if first == last else f"{began} to {ended}"
    return label_text(first) if first == last else f"{label_text(first)} to {label_text(last)}"


def json_value(value: Any) -> str | float | list[Any] | None:
    """A value for JSON: numbers and text as they are, a missing one as null, the rest as text."""
    value = plain_value(value)
    if value is None or value != value:  # NaN differs from itself
        return None
    if isinstance(value, tuple | list):
        return [json_value(entry) for entry in value]
    return value if isinstance(value, bool | str | int | float) else str(value)


def infinity_text(path: Path | None, column: str) -> str:
    """Where a column of data holds infinity; of a file of rows how often, and the first row.

    Args:
        path: Of the data.
        column: Its name, or `x0`, `x1`, ... of an array.
    """
    text = f"{path or 'the data'}: column {column!r} holds infinity"
    if path is None or not path.name.casefold().endswith(tuple(FORMATS)):
        return text
    from upland.data.table.values import floats, plain
    from upland.io.formats import open_source

    source = open_source(path)
    if column not in source.names:
        return text
    tables = source.batches()
    rows = np.flatnonzero(np.concatenate([np.isinf(floats(plain(table[column]))) for table in tables]))
    return f"{text} in {counted(rows.size, 'row')}, the first is row {rows[0] + 1}"


def counted(count: int, what: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def plural(name: str) -> str:
    """`shift` -> `shifts`; what is no plain word becomes `groups of 'lot_id'`."""
    if not (name.isascii() and name.isalpha()):
        return f"groups of {name!r}"
    if name.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    return f"{name[:-1]}ies" if name.endswith("y") and name[-2:-1] not in "aeiou" else f"{name}s"
