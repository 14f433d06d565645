"""Scoring a file of long series piece by piece: memory holds a piece, the state of each series, and the steps
that are flagged.

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
from upland.scoring.episodes import Episodes

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.io.source import Source
    from upland.scoring.long_series import LongFile, Series, Steps

LONG = 500_000
"""Rows of a file that is not held in memory as a whole."""

LONG_TEXT = 1 << 24
"""Bytes of a file of text that may have so many rows: they are counted."""

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
        self.remembered = Remembered(max(request.top, 1))
        self.n_episodes, self.hit, self.extra = 0, 0, [name for name in source.names if self._is_extra(name)]

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
                scores, p_values, state = self.detector.score_steps(state, sequences)
                rows = np.array([numbers[name] for name in sequences.ids or ()], dtype=np.int64)
                inside = np.arange(sequences.n_steps) - np.repeat(sequences.starts, sequences.lengths)
                owners = np.repeat(rows, sequences.lengths)
                places = seen[owners] + inside
                seen[rows] += sequences.lengths
                stamps = places if sequences.stamps is None else sequences.stamps
                order = sequences.row_numbers
                steps = Steps(owners, places, scores[order], p_values[order], stamps)
                yield raw, table, steps, np.argsort(order, kind="stable")
                self.seen(table.num_rows)

    # -- what is found ---------------------------------------------------------------------------------------

    def most_anomalous(self, cut: float) -> list[Finding]:
        """The episodes with the highest scores, and single steps where there are too few."""
        from upland.scoring.long_series import joined_steps

        starts, top = self.series.starts, self.request.top
        flagged, episodes = self.remembered.episodes(starts)
        numbers = starts[flagged.owners] + flagged.places
        peaks = flagged.take(np.searchsorted(numbers, episodes.peaks))
        self.n_episodes, self.hit = episodes.peaks.size, np.unique(peaks.owners).size
        order = np.argsort(-peaks.scores, kind="stable")[:top]
        worst, peaks = episodes.select(order), peaks.take(order)
        more = self.remembered.quiet(starts, worst, peaks.owners, top - order.size)
        peaks = joined_steps([peaks, more])
        reasons = self._reasons(peaks) if self.request.shown and peaks.owners.size else []
        names = [self.series.ids[owner] for owner in peaks.owners.tolist()]
        found = findings(names, peaks.scores, peaks.p_values, cut, reasons)
        spans = self._spans(flagged.take, numbers, worst, peaks)
        return [replace(finding, details=span) for finding, span in zip(found, spans, strict=True)]

    def _spans(self, take: Any, numbers: Any, worst: Episodes, peaks: Steps) -> list[dict[str, Any]]:
        """When each finding begins and ends; a single step at itself."""
        firsts, lasts = (take(np.searchsorted(numbers, part)).stamps for part in (worst.firsts, worst.lasts))
        counts = (worst.lasts - worst.firsts + 1).tolist()
        alone = peaks.stamps[len(counts) :]
        parts = zip(
            (*firsts, *alone), (*lasts, *alone), peaks.stamps, [*counts, *[1] * len(alone)], strict=True
        )
        return [
            {"start": _plain(first), "end": _plain(last), "peak": _plain(peak), "steps": count}
            for first, last, peak, count in parts
        ]

    def _reasons(self, peaks: Steps) -> Reasons:
        """The channels with the largest shares of some steps, by the steps before them."""
        from upland.data.sequence.container import Sequences
        from upland.explanation import Explanation, explain

        tables, lengths = [], []
        for table in self._before(peaks):
            tables.append(table)
            lengths.append(table.num_rows)
        steps = Sequences(pa.concat_tables(tables), np.array(lengths, dtype=np.int64), "frame")
        whole = explain(self.detector, steps)
        assert isinstance(whole, Explanation)
        at = np.cumsum(lengths) - 1
        return whole.take(at).top(REASONS)

    def _before(self, peaks: Steps) -> list[pa.Table]:
        """Each step with the steps before it, in the order of time."""
        found: list[list[pa.Table]] = [[] for _ in peaks.owners]
        numbers = {name: number for number, name in enumerate(self.series.ids)}
        seen = np.zeros(len(numbers), dtype=np.int64)
        wanted = list(zip(peaks.owners.tolist(), peaks.places.tolist(), strict=True))
        with read_ahead(self.file.pieces()) as pieces:
            for _, table in pieces:
                sequences = self.file.steps(table)
                rows = {numbers[name]: row for row, name in enumerate(sequences.ids or ())}
                for parts, (owner, place) in zip(found, wanted, strict=True):
                    row = rows.get(owner)
                    if row is None:
                        continue
                    first = max(place - CONTEXT + 1 - int(seen[owner]), 0)
                    stop = min(place + 1 - int(seen[owner]), int(sequences.lengths[row]))
                    if first < stop:
                        start = int(sequences.starts[row])
                        parts.append(sequences.table.slice(start + first, stop - first))
                for owner, row in rows.items():
                    seen[owner] += sequences.lengths[row]
        return [pa.concat_tables(parts) for parts in found]

    def details(self) -> dict[str, Any]:
        """How many episodes there are, and in how many sequences; columns that are not used."""
        counts = {"sequences": len(self.series.ids), "episodes": self.n_episodes, "hit": self.hit}
        return counts | {"extra_columns": self.extra}


def _plain(stamp: Any) -> Any:
    """A time stamp as `Sequences.label` has it."""
    return stamp if stamp.dtype.kind in "mM" else stamp.item()
