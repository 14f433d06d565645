"""Excel workbooks (.xlsx), read by python-calamine: the first sheet, its first row as names, cells by type.

Of a formula the value that was stored with it is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from upland.io.casting import NULLS
from upland.io.cells import USUAL, CellOptions
from upland.io.formats import Format
from upland.io.source import Source, check_rows

NEEDED = "Excel files need python-calamine: pip install 'upland[excel]'"


class ExcelSource(Source):
    """The first sheet of a workbook, in memory; a warning names it where there are several."""

    def __init__(self, path: Path, cells: CellOptions = USUAL) -> None:
        sheet, rows = _first_sheet(path)
        if not rows:
            raise ValueError(f"{path}, sheet {sheet!r} is empty")
        names = _names(path, sheet, rows[0])
        columns = zip(*rows[1:], strict=True) if len(rows) > 1 else [() for _ in names]
        nulls = {*NULLS, *cells.missing_texts}
        arrays = [
            _column(list(column), f"{path}, sheet {sheet!r}, column {name!r}", nulls)
            for name, column in zip(names, columns, strict=True)
        ]
        self._table = pa.Table.from_arrays(arrays, names=names)
        super().__init__(path, names, [self._table.num_rows])
        check_rows(self)

    @property
    def types(self) -> pa.Schema:
        """See `Source.types`."""
        return self._table.schema

    def _pieces(self, group: int, size: int) -> Iterator[pa.Table]:
        return (self._table.slice(start, size) for start in range(0, self._table.num_rows, size))


def _first_sheet(path: Path) -> tuple[str, list[list[Any]]]:
    """The name and the cells of the first sheet of a workbook that is not empty."""
    try:
        calamine = import_module("python_calamine")
    except ImportError:
        raise ImportError(f"{path}: {NEEDED}") from None
    try:
        with calamine.CalamineWorkbook.from_path(str(path)) as book:
            names = list(book.sheet_names)
            rows = book.get_sheet_by_index(0).to_python(skip_empty_area=True) if names else []
    except (calamine.CalamineError, OSError) as error:
        raise _damaged(path, error) from error
    if not names:
        raise ValueError(f"{path} has no sheet")
    if len(names) > 1:
        others = ", ".join(map(repr, names[1:6]))
        warnings.warn(
            f"{path} has {len(names)} sheets: the first is read, {names[0]!r}, and not {others}",
            UserWarning,
            stacklevel=2,
        )
    return names[0], rows


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read as Excel, it is damaged or of another format: {error}")


def _names(path: Path, sheet: str, header: Sequence[Any]) -> list[str]:
    names = [str(cell) for cell in header]
    if odd := [number for number, cell in enumerate(header) if not isinstance(cell, str) or not cell.strip()]:
        raise ValueError(
            f"{path}, sheet {sheet!r}: the first row names the columns, but column {odd[0] + 1} has no name "
            f"({header[odd[0]]!r}): give it one"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}, sheet {sheet!r}: duplicate column names: {', '.join(map(repr, twice))}")
    return names


def _column(cells: list[Any], where: str, nulls: set[str]) -> pa.Array:
    """Cells as a column: numbers, truth values, moments, durations or text; an empty one is missing."""
    present = [None if isinstance(cell, str) and cell in nulls else cell for cell in cells]
    kinds = {_kind(cell) for cell in present if cell is not None}
    if kinds == {"date", "moment"}:
        kinds = {"moment"}
        present = [_midnight(cell) for cell in present]
    if len(kinds) < 2:
        whole = kinds == {"number"} and all(cell is None or float(cell).is_integer() for cell in present)
        if whole and all(cell is None or abs(cell) < 1 << 53 for cell in present):
            present = [None if cell is None else int(cell) for cell in present]
        return pa.array(present)
    if "text" in kinds and kinds <= {"text", "number"}:
        return pa.array([None if cell is None else _text(cell) for cell in present], pa.string())
    first, odd = next((a, b) for a in present for b in present if None not in (a, b) and _kind(a) != _kind(b))
    raise ValueError(f"{where} holds {_kind(first)}s such as {first!r}, but also {odd!r}: write them alike")


def _midnight(cell: Any) -> Any:
    return datetime.combine(cell, time()) if _kind(cell) == "date" else cell


def _kind(cell: Any) -> str:
    tests = ((bool, "truth value"), (int | float, "number"), (datetime, "moment"), (date, "date"))
    later = ((time, "time of day"), (timedelta, "duration"), (str, "text"))
    return next((name for type_, name in (*tests, *later) if isinstance(cell, type_)), "other value")


def _text(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


FORMAT = Format(ExcelSource)
