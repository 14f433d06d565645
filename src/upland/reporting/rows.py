"""Rows of a table in batches, whatever holds them; those that are kept, as the detector reads them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import TableView, arrow_table, held, view_table
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector
from upland.io.arrays import is_array_file, read_array
from upland.io.formats import open_source
from upland.io.places import is_place
from upland.reporting.base import Indices

AT_ONCE = 65_536
"""Rows that are held in memory at a time."""

CELLS_AT_ONCE = 1 << 24
"""Cells likewise."""


def batches(detector: ScoringDetector, data: Any) -> Iterator[Any]:
    """Rows as the detector takes them, some at a time.

    Args:
        detector: Fitted on a table.
        data: An array, a frame, a container of either, or the path of a file or several.

    Raises:
        ValueError, TypeError, OSError: The data cannot be read.
    """
    encoder = detector.encoder_
    assert isinstance(encoder, TableEncoder)
    size = max(min(AT_ONCE, CELLS_AT_ONCE // max(encoder.width, 1)), 1)
    if isinstance(data, np.ndarray) or not is_place(data):
        yield from _in_memory(view_table(held(data)), size)
    elif is_array_file(data):
        yield from _in_memory(view_table(read_array(Path(data))), size)
    else:
        source = open_source(data, encoder.cells)
        by = detector.by_ if isinstance(detector, SegmentedDetector) else None
        for table in source.batches(encoder.schema_, size):
            if table.num_rows:
                yield _with_missing_names(table, by, source.nulls)


def _in_memory(rows: TableView, size: int) -> Iterator[TableView]:
    for start in range(0, rows.n_rows, size):
        whole = rows.n_rows <= size
        yield rows if whole else rows.take(np.arange(start, min(start + size, rows.n_rows)))


def _with_missing_names(table: pa.Table, by: str | None, blanks: Sequence[str]) -> pa.Table:
    """The table with missing names of segments as such, where cells are text."""
    if by is None or not blanks or by not in table.column_names:
        return table
    names = table[by]
    names = pc.if_else(pc.is_in(names, value_set=pa.array(blanks)), None, names)
    return table.set_column(table.column_names.index(by), by, names)


def taken(table: Any, rows: Indices, columns: Sequence[str]) -> Any:
    """Some rows of a batch: an array, or an Arrow table of some columns.

    Args:
        table: A batch.
        rows: Their numbers in it.
        columns: Those that are kept, where they have names.
    """
    view = view_table(table)
    if view.naming != "names":
        return view.take(rows)
    return arrow_table(view.take(rows), [name for name in columns if name in view.names])


def joined(parts: Sequence[Any]) -> Any:
    """Rows of several batches together, in order."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], pa.Table):
        return pa.concat_tables(parts, promote_options="permissive")
    return view_table(iter(parts))
