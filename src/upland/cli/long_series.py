"""Scoring a file of long series piece by piece: memory holds a piece, the state of each series, and what is
flagged just now.

It takes a file in which the steps of each series stand in the order of time; any other one is held in memory
as a whole (`upland.cli.sequences`), as is one whose steps are all explained. A step that is named is
explained by the steps before it, `CONTEXT` of them at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.cli.opened import Opened
from upland.cli.results import (
    REASONS,
    Finding,
    Reasons,
    Request,
    Write,
    dialect_for,
    findings,
    rows_for,
)
from upland.io.threads import read_ahead
from upland.scoring.columns import ADDED, with_verdicts

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.detectors.base import Detector
    from upland.io.source import Source
    from upland.scoring.long_series import Found, LongFile, Series, Steps

LONG = 500_000
"""Rows of a file that is not held in memory as a whole."""

LONG_TEXT = 1 << 15
"""Bytes of a file of text, compressed or not, that may have so many rows: they are counted."""

CONTEXT = 4_096
"""Steps before one that is explained."""


def open_long(detector: Detector, request: Request, source: Source) -> OpenedLong | None:
    """A file that is scored piece by piece; None for one that has to be held in memory, or may be.

    Args:
        detector: Fitted on sequences.
        request: What is wanted.
        source: The file.
    """
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.data.sequence.reader import SequenceReader
    from upland.scoring.long_series import LongFile, series_in_order

    reader, known = detector.plan_.reader, source.n_rows
    assert isinstance(reader, SequenceReader)
    size = source.path.stat().st_size if known is None and source.path.is_file() else 0
    if request.why or reader.per == "sequence" or (size < LONG_TEXT if known is None else known < LONG):
        return None
    encoder = detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    if encoder.clock.width:  # its reasons need the time stamps of the steps before
        return None
    file = LongFile(source, encoder)
    series = series_in_order(file)
    if series is None or series.lengths.sum() < LONG:
        return None
    return OpenedLong(detector, request, file, series)


class OpenedLong(Opened):
    """The time steps of long series, which go by once; for the false discovery rate twice.

    Args:
        detector: Fitted on sequences.
        request: What is wanted.
        file: The rows.
        series: The series in it.
    """

    unit = "step"

    def __init__(self, detector: Detector, request: Request, file: LongFile, series: Series) -> None:
        from upland.scoring.long_series import Remembered

        super().__init__(detector, request, file.source.path)
        self.file, self.series = file, series
        encoder, source = file.encoder, file.source
        self.called = "sequence" if series.ids == (None,) else str(encoder.id)
        self.columns = source.names
        self.dialect = dialect_for(request.target, source, encoder.table.schema_)
        self.total = int(series.lengths.sum()) * (2 if request.control == "fdr" else 1)
        self.extra = [name for name in source.names if self._is_extra(name)]
        length = None if detector.blocks_ is None else detector.blocks_.length
        self.remembered = Remembered(series.starts, request.top, request.alpha, length)

    def _is_extra(self, name: str) -> bool:
        return name not in {*self.file.encoder.inputs, *self.file.own, *ADDED}

    def cut(self) -> float:
        """The rate itself, or the largest p-value that Benjamini and Hochberg reject."""
        from upland.calibration.false_discovery import added_counts, discovery_cut

        if self.request.control == "false_alarm":
            return self.request.alpha
        values, counts = np.empty(0), np.empty(0, dtype=np.int64)
        for _, _, steps, _ in self._scored():
            values, counts = added_counts(values, counts, steps.p_values)
        return discovery_cut(values, counts, self.request.alpha)

    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Score and write the rows piece by piece."""
        flagged = 0
        rows = rows_for(self.request.target, self.file.source, self.file.encoder.table.schema_)
        for raw, table, steps, order in self._scored():
            flagged += int((steps.p_values <= cut).sum())
            self.remembered.see(steps, cut)
            if write is not None:
                scores, p_values = steps.scores[order], steps.p_values[order]
                write(with_verdicts(rows(raw, table), scores, p_values, cut, None))
        return int(self.series.lengths.sum()), flagged

    def _scored(self) -> Iterator[tuple[pa.Table, pa.Table, Steps, Any]]:
        """Pieces of rows as they stand in the file and as the detector takes them; their steps, series after
        series; and where among these the step of each row is.
        """
        from upland.detectors.sequence import SequenceDetector
        from upland.scoring.long_series import Steps

        assert isinstance(self.detector, SequenceDetector)
        state = None
        numbers = {name: number for number, name in enumerate(self.series.ids)}
        seen = np.zeros(len(numbers), dtype=np.int64)
        with read_ahead(self.file.pieces()) as pieces:
            for raw, table in pieces:
                sequences = self.file.steps(table)
                found = self.detector.advance(state, sequences)
                state = found.state
                rows = np.array([numbers[name] for name in sequences.ids or ()], dtype=np.int64)
                inside = np.arange(sequences.n_steps) - np.repeat(sequences.starts, sequences.lengths)
                owners = np.repeat(rows, sequences.lengths)
                places = seen[owners] + inside
                seen[rows] += sequences.lengths
                stamps = places if sequences.stamps is None else sequences.stamps
                blocks = self.detector.blocks_
                of_blocks = (
                    np.full(owners.size, np.nan) if blocks is None else blocks.p_values(found.compared)
                )
                steps = Steps(owners, places, *found[:2], stamps, of_blocks)
                yield raw, table, steps, np.argsort(sequences.row_numbers, kind="stable")
                self.seen(table.num_rows)

    # -- what is found ---------------------------------------------------------------------------------------

    def most_anomalous(self, cut: float) -> list[Finding]:
        """The episodes with the highest scores, and single steps where there are too few."""
        found = self.remembered.found()
        reasons, channels = self._why(found)
        names = [self.series.ids[owner] for owner in found.owners.tolist()]
        made = findings(names, found.scores, found.p_values, cut, reasons)
        blocks = self.detector.blocks_
        searched = 0 if blocks is None else blocks.blocks_in(self.series.lengths)
        details = []
        for row, why in enumerate(channels):
            start, end, peak = (_plain(stamp) for stamp in found.stamps[row])
            steps, p = int(found.lasts[row] - found.firsts[row]) + 1, float(found.block_p_values[row])
            of_blocks = {"episode_p_value": p, "confidence": 1 - p, "expected_false": p * searched}
            own = {"episode_p_value": None} if blocks is None else of_blocks
            details.append({"start": start, "end": end, "peak": peak, "steps": steps} | own | why)
        return [replace(one, details=detail) for one, detail in zip(made, details, strict=True)]

    def _why(self, found: Found) -> tuple[Reasons, list[dict[str, Any]]]:
        """The reasons of the peaks, and the channels of episodes, of long ones about the peak; none where
        nobody sees them.
        """
        from upland.data.sequence.container import Sequences
        from upland.scoring.episode_list import channels_of, kind_at
        from upland.scoring.explained_steps import explanation_of

        if not self.request.shown or not found.owners.size:
            return [], [{} for _ in found.owners]
        firsts = np.maximum(found.firsts, found.peaks - CONTEXT)
        lasts = np.minimum(found.lasts, found.peaks + CONTEXT)
        begins = np.maximum(firsts - CONTEXT + 1, 0)
        parts = self._rows(found.owners.tolist(), begins.tolist(), lasts.tolist())
        lengths = lasts - begins + 1
        stamps = None if parts[0].stamps is None else np.concatenate([part.stamps for part in parts])
        table = pa.concat_tables([part.table for part in parts])
        stretches = Sequences(table, lengths, "frame", stamps=stamps)
        whole = explanation_of(self.detector, stretches)
        offsets = np.cumsum(lengths) - lengths - begins
        shown = whole.take(offsets + found.peaks)
        spans = zip(*((offsets + part).tolist() for part in (firsts, lasts, found.peaks)), strict=True)
        more = []
        for first, last, peak in spans:
            channels = channels_of(whole.columns, whole.shares[first : last + 1])
            kind = kind_at(self.detector, stretches, (first, last, peak), channels[0].column)
            more.append({"channels": [one._asdict() for one in channels], "kind": kind})
        return shown.top(REASONS), more

    def _rows(self, owners: list[int], begins: list[int], lasts: list[int]) -> list[Sequences]:
        """Stretches of series, in the order of time.

        Args:
            owners: the series of each.
            begins: its first step.
            lasts: its last step.
        """
        found: list[list[Sequences]] = [[] for _ in owners]
        numbers = {name: number for number, name in enumerate(self.series.ids)}
        seen = np.zeros(len(numbers), dtype=np.int64)
        with read_ahead(self.file.pieces()) as pieces:
            for _, table in pieces:
                steps = self.file.steps(table)
                rows = {numbers[name]: row for row, name in enumerate(steps.ids or ())}
                for parts, owner, begin, last in zip(found, owners, begins, lasts, strict=True):
                    if (row := rows.get(owner)) is None:
                        continue
                    first = max(begin - int(seen[owner]), 0)
                    stop = min(last + 1 - int(seen[owner]), int(steps.lengths[row]))
                    if first < stop:
                        place, count = np.array([steps.starts[row] + first]), np.array([stop - first])
                        parts.append(steps.cut(np.array([row]), place, count))
                for owner, row in rows.items():
                    seen[owner] += steps.lengths[row]
        return [_joined(parts) for parts in found]

    def details(self) -> dict[str, Any]:
        """How many episodes there are, and in how many sequences; by which blocks their p-values are; columns
        that are not used.
        """
        seen, n_sequences = self.remembered, len(self.series.ids)
        counts = {"sequences": n_sequences, "episodes": seen.n_episodes, "hit": len(seen.hit)}
        blocks = self.detector.blocks_
        found = None if blocks is None else blocks.described(self.series.lengths, self.request.alpha)
        return counts | {"blocks": found, "extra_columns": self.extra}


def _joined(parts: list[Sequences]) -> Sequences:
    """Stretches of one series that follow each other as one."""
    table = pa.concat_tables([part.table for part in parts])
    stamps = None if parts[0].stamps is None else np.concatenate([part.stamps for part in parts])
    return replace(parts[0], table=table, lengths=np.array([table.num_rows]), order=None, stamps=stamps)


def _plain(stamp: Any) -> Any:
    """A time stamp as `Sequences.label` has it."""
    return stamp if stamp.dtype.kind in "mM" else stamp.item()
