"""Scoring a file of rows in constant memory: read a batch, score it, write it, forget it.

The false-alarm control flags each row by itself, so one pass does. The false discovery control of Benjamini
and Hochberg needs all p-values of the file; but a conformal p-value takes few values, so a first pass counts
how often each occurs, and a second pass writes the flags that the whole list would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upland.cli.inputs import check_new
from upland.cli.opened import Opened
from upland.cli.results import (
    REASONS,
    Finding,
    Floats,
    Indices,
    Reasons,
    Request,
    Write,
    dialect_for,
    findings,
    rows_for,
    worst_first,
)
from upland.cli.words import change_text
from upland.io.threads import read_ahead
from upland.scoring.columns import ADDED, COUNTERFACTUAL, texts, with_verdicts

if TYPE_CHECKING:
    from upland.detectors.base import Detector

AT_ONCE = 65_536
"""Rows that are held in memory at a time; where all are explained, an eighth of that."""


class OpenedTable(Opened):
    """A file of rows.

    Args:
        detector: Fitted on a table.
        request: What is wanted.
        path: The file.

    Raises:
        ValueError, OSError: The file cannot be read.
    """

    unit = "row"
    called = "row"

    def __init__(self, detector: Detector, request: Request, path: Path) -> None:
        from upland.data.table.encoder import TableEncoder
        from upland.detectors.segmented import SegmentedDetector
        from upland.io.formats import open_source

        super().__init__(detector, request, path)
        check_new(path, "table")
        assert isinstance(detector.encoder_, TableEncoder)
        self.encoder = detector.encoder_
        self.source = open_source(path, self.encoder.cells)
        self.columns = self.source.names
        self.dialect = dialect_for(request.target, self.source, self.encoder.schema_)
        self.extra: list[str] = []
        self.by = detector.by_ if isinstance(detector, SegmentedDetector) else None
        kept = [*self.encoder.column_names, *([] if self.by is None else [self.by])]
        self.worst = _Worst(request.top, kept)
        passes = 2 if request.control == "fdr" else 1
        self.total = None if self.source.n_rows is None else passes * self.source.n_rows
        explained = request.why or request.counterfactual is not None
        self.at_once = AT_ONCE // 8 if explained else AT_ONCE

    def cut(self) -> float:
        """The rate itself; or, after a pass that counts how often each p-value occurs, the largest that is a
        discovery.
        """
        from upland.calibration.false_discovery import added_counts, discovery_cut

        if self.request.control == "false_alarm":
            return self.request.alpha
        values, counts = np.empty(0), np.empty(0, dtype=np.int64)
        with read_ahead(map(self._whole, self.source.batches(self.encoder.schema_, self.at_once))) as batches:
            for table in batches:
                if table.num_rows:
                    values, counts = added_counts(values, counts, self.detector.p_values(table))
                self.seen(table.num_rows)
        return discovery_cut(values, counts, self.request.alpha)

    def _whole(self, table: pa.Table) -> pa.Table:
        """The table with missing names of segments as such, where cells are text."""
        if self.by is None or not self.source.nulls or self.by not in table.column_names:
            return table
        names = table[self.by]
        names = pc.if_else(pc.is_in(names, value_set=pa.array(self.source.nulls)), None, names)
        return table.set_column(table.column_names.index(self.by), self.by, names)

    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Score the rows batch by batch; raises ValueError where there are none."""
        count = flagged = 0
        rows = rows_for(self.request.target, self.source, self.encoder.schema_)
        with read_ahead(self._read(rows)) as read:
            for raw, table in read:
                scores, p_values = self.detector.assess(table)
                if write is not None:
                    why = texts(self._reasons(table)) if self.request.why else None
                    changes = self._changes(table, p_values, cut)
                    write(with_verdicts(raw, scores, p_values, cut, why, changes))
                added = {*ADDED, *self.request.added}
                self.extra = self.extra or [n for n in self.encoder.extra_columns(table) if n not in added]
                self.worst.see(table, scores, p_values, count)
                count, flagged = count + table.num_rows, flagged + int((p_values <= cut).sum())
                self.seen(table.num_rows)
        if not count:
            raise ValueError(f"{self.path} has no rows")
        return count, flagged

    def _read(self, rows: Callable[[pa.Table, pa.Table], pa.Table]) -> Iterator[tuple[pa.Table, pa.Table]]:
        """Batches of rows, as they are written and as the model reads them."""
        for raw, table in self.source.pairs(self.encoder.schema_, self.at_once):
            if table.num_rows:
                yield rows(raw, table), self._whole(table)

    def most_anomalous(self, cut: float) -> list[Finding]:
        """The rows with the highest scores; their numbers are counted from 1, a header not counted."""
        worst = self.worst
        reasons = self._reasons(worst.table) if self.request.shown else []
        found = findings((worst.rows + 1).tolist(), worst.scores, worst.p_values, cut, reasons)
        changes = self._changes(worst.table, worst.p_values, cut) if self.request.shown else None
        if changes is None:
            return found
        return [
            replace(row, details={COUNTERFACTUAL: words or None})
            for row, words in zip(found, changes, strict=True)
        ]

    def details(self) -> dict[str, Any]:
        """Columns that the detector does not use, carried through."""
        return {"extra_columns": self.extra}

    def _changes(self, table: pa.Table, p_values: Floats, cut: float) -> list[str] | None:
        """The counterfactual of each flagged row in words, empty for the others; None where none are wanted.

        With the false discovery control a row becomes normal that is no discovery among the p-values of the
        file.
        """
        if self.request.counterfactual is None:
            return None
        from upland.explanation import explain

        words = [""] * table.num_rows
        flagged = np.flatnonzero(p_values <= cut)
        if flagged.size:
            some = table.take(pa.array(flagged))
            made = explain(self.detector, some, "counterfactual", k=self.request.counterfactual, alpha=cut)
            parts = zip(made.changes, made.found.tolist(), made.p_after.tolist(), strict=True)
            for row, part in zip(flagged.tolist(), parts, strict=True):
                words[row] = change_text(*part)
        return words

    def _reasons(self, table: pa.Table) -> Reasons:
        from upland.explanation import explain

        return explain(self.detector, table).top(REASONS)


class _Worst:
    """The rows with the highest anomaly scores seen so far, with their cells; of equals, the earlier row.

    Args:
        size: How many.
        columns: Those that are kept.
    """

    def __init__(self, size: int, columns: list[str]) -> None:
        self.size, self.columns = size, columns
        self.scores: Floats = np.empty(0)
        self.p_values: Floats = np.empty(0)
        self.rows: Indices = np.empty(0, dtype=np.int64)
        self.table: pa.Table = None

    def see(self, table: pa.Table, scores: Floats, p_values: Floats, first: int) -> None:
        """Take in a batch, the first row of which has this number in the file."""
        table = table.select(self.columns)
        least = self.scores[-1] if 0 < self.size == self.scores.size else -np.inf
        here = np.flatnonzero(scores > least)
        if not here.size and self.table is not None and table.schema.equals(self.table.schema):
            return
        parts = [part for part in (self.table, table.take(here)) if part is not None]
        scores = np.concatenate([self.scores, scores[here]])
        keep = worst_first(scores, self.size)
        rows = np.concatenate([self.rows, first + here])
        self.p_values = np.concatenate([self.p_values, p_values[here]])[keep]
        self.scores, self.rows = scores[keep], rows[keep]
        self.table = pa.concat_tables(parts, promote_options="permissive").take(keep)
