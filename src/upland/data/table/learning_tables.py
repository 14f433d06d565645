"""From tables of normal rows, one after the other, to a schema, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from upland.data.table.frames import TableView, check_shape, check_size
from upland.data.table.layout import BLOCK
from upland.data.table.learning import ColumnLearner
from upland.data.table.matching import find_positions, listed, resolve
from upland.data.table.suspects import (
    index_names,
    result_names,
    warn_of,
    warn_of_dates,
    warn_of_index,
    warn_of_results,
    warn_of_sentinels,
)
from upland.io.cells import CellOptions
from upland.io.schema import Column, Naming, Schema

LEAST_BLOCK = 512
"""Rows that are learned from at a time, at least."""


class SchemaLearner:
    """Learns what the columns are from tables of normal rows: `update` for each, `schema` once; what learners
    have seen of different rows can be merged.

    Args:
        categorical: Columns to treat as categories.
        ignore: Columns to leave out.
        cells: How cells of text are written, and what dates are used as.
        known: Columns as an encoder learned them that was fitted on these rows and more.
        owner: Who asks, for messages.
    """

    def __init__(
        self,
        categorical: Sequence[str | int],
        ignore: Sequence[str | int],
        cells: CellOptions,
        known: Mapping[str, Column],
        owner: str,
    ) -> None:
        self.categorical, self.ignore, self.cells = categorical, ignore, cells
        self.known, self.owner = known, owner
        self.learners: list[ColumnLearner] = []
        self.names: tuple[str, ...] | None = None
        self.naming: Naming = "none"
        self.n_rows = 0

    def update(self, rows: TableView) -> None:
        """Add some rows.

        Raises:
            TypeError: For a column that is no column of a table.
            ValueError: For unknown names, a column that cannot be used.
        """
        if self.names is None:
            check_size(rows)
            self.names, self.naming = rows.names, rows.naming
            self.learners = _learners(rows, self.categorical, self.ignore, self.cells, self.known)
        wanted = [learner.name for learner in self.learners]
        first = Schema((), self.names, self.naming)
        _learn(self.learners, rows, find_positions(rows, first, wanted, self.owner))
        self.n_rows += rows.n_rows

    def merge(self, other: SchemaLearner) -> None:
        """Add the rows that another learner has seen, with the same columns known.

        Raises:
            ValueError: For a column of another kind, or that cannot be used.
        """
        if other.names is None:
            return
        if self.names is None:
            self.names, self.naming, self.learners = other.names, other.naming, other.learners
        else:
            for learner, more in zip(self.learners, other.learners, strict=True):
                learner.merge(more)
        self.n_rows += other.n_rows

    def schema(self, max_levels: int) -> Schema:
        """What the columns are, with a warning for those that may ruin a model.

        Args:
            max_levels: Levels of a categorical column that get a slot each.

        Raises:
            ValueError: For fewer than two rows, no columns in use, a column that cannot be used.
        """
        if self.names is None:
            raise ValueError("there is no batch to fit on")
        check_shape(self.n_rows, len(self.names), least=2)
        columns = [learner.finish(max_levels) for learner in self.learners]
        dates = [column.name for column in columns if column.kind == "date"]
        dropped = dates if self.cells.dates == "drop" else []
        columns = [column for column in columns if column.name not in dropped]
        if not sum(column.width for column in columns):
            wanted = [learner.name for learner in self.learners]
            raise ValueError(f"nothing is left to fit on but dates: {listed(wanted)}")
        _report([learner for learner in self.learners if learner.name not in dropped], dropped)
        return Schema(tuple(columns), self.names, self.naming)


def _learners(
    rows: TableView,
    categorical: Sequence[str | int],
    ignore: Sequence[str | int],
    cells: CellOptions,
    known: Mapping[str, Column],
) -> list[ColumnLearner]:
    categories = resolve(categorical, rows, "categorical")
    ignored = resolve(ignore, rows, "ignore")
    if both := categories & ignored:
        raise ValueError(f"columns both in categorical and in ignore: {listed(sorted(both))}")
    index = [name for name in index_names(rows.names) if name not in ignored | categories]
    results = [name for name in result_names(rows.names) if name not in ignored | categories]
    used = [name for name in rows.names if name not in ignored and name not in [*index, *results]]
    if not used:
        also = " or holds the index of a pandas frame" if index else ""
        raise ValueError(f"every column is ignored{also}: nothing is left to fit on")
    warn_of_index(index)
    warn_of_results(results)
    return [ColumnLearner(name, name in categories, cells, known.get(name)) for name in used]


def _learn(learners: Sequence[ColumnLearner], rows: TableView, positions: Sequence[int]) -> None:
    """One batch into the learners, a matrix in blocks that stay in the processor's cache."""
    step = rows.n_rows if rows.matrix is None else max(BLOCK // max(len(rows.names), 1), LEAST_BLOCK)
    for start in range(0, rows.n_rows, max(step, 1)):
        block = None if rows.matrix is None else np.ascontiguousarray(rows.matrix[start : start + step].T)
        for learner, position in zip(learners, positions, strict=True):
            learner.update(rows.read(position) if block is None else block[position])


def _report(learners: Sequence[ColumnLearner], dropped: Sequence[str]) -> None:
    """Warn of what the columns may do to a model, once for each reason."""
    warn_of_dates(dropped)
    warn_of([found for learner in learners for found in learner.suspicions])
    for learner in learners:
        if learner.sentinels is not None:
            warn_of_sentinels(learner.name, learner.kind, learner.sentinels)
