"""Scoring sequences: each time step of long series in the rows' own order, or each whole sequence.

A step's score rests on the whole past of its sequence, so a file is held in memory while it is scored; its
rows are then written as they stand, batch by batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.cli.inputs import array_in, check_new
from upland.cli.long_series import open_long
from upland.cli.opened import Assessed, Opened
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
)
from upland.scoring.columns import ADDED, texts, with_verdicts
from upland.scoring.episode_list import block_p_values_of, channels_of, found_in, kind_at
from upland.scoring.episodes import Episodes, most_anomalous
from upland.scoring.explained_steps import assessed_steps, explained_steps, explanation_of, portions

if TYPE_CHECKING:
    from upland.data.sequence.container import Sequences
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.detectors.base import Detector
    from upland.io.source import Source

AT_ONCE = 65_536
"""Steps that are explained at a time, or one sequence; rows that are written at a time."""


@dataclass(frozen=True)
class Series:
    """Sequences and where they come from.

    Args:
        encoder: Of the detector.
        sequences: All of them.
        source: The file of rows; None for an array.
        extra: Its columns that the detector does not use.
    """

    encoder: SequenceEncoder
    sequences: Sequences
    source: Source | None
    extra: list[str]


def open_series(detector: Detector, path: Path) -> Series:
    """Read the sequences of a file for a detector of sequences.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Data of another modality, missing columns, equal time stamps; as `as_sequences`.
    """
    from upland.data.sequence.container import as_sequences
    from upland.data.sequence.encoder import SequenceEncoder

    encoder = detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    if check_new(path, "sequence") == "array":
        return Series(encoder, as_sequences(array_in(path), id=encoder.id, time=encoder.time), None, [])
    source = source_of(detector, path)
    table = _typed(source, encoder)
    own = {str(name) for name in (encoder.id, encoder.time) if name is not None}
    extra = [name for name in encoder.table.extra_columns(table) if name not in own and name not in ADDED]
    return Series(
        encoder,
        as_sequences(table, id=encoder.id, time=encoder.time, cells=encoder.table.cells),
        source,
        extra,
    )


def source_of(detector: Detector, path: Path) -> Source:
    """The rows of a file; raises as `open_series`."""
    from upland.data.sequence.encoder import SequenceEncoder
    from upland.io.formats import open_source

    assert isinstance(detector.encoder_, SequenceEncoder)
    return open_source(path, detector.encoder_.table.cells)


def _typed(source: Source, encoder: SequenceEncoder) -> pa.Table:
    """The rows of a file: values as in the fit, ids and time stamps as the file holds them."""
    table = pa.concat_tables(source.batches(encoder.table.schema_))
    if not source.typed:
        for name in (encoder.id, encoder.time):
            if str(name) in source.names:
                place = source.names.index(str(name))
                table = table.set_column(place, str(name), source.read().column(place))
    return table


def open_sequences(detector: Detector, request: Request, path: Path) -> Opened:
    """The steps of sequences, or whole ones, whichever the detector scores; raises as `open_series`."""
    long = (
        None
        if check_new(path, "sequence") == "array"
        else open_long(detector, request, source_of(detector, path))
    )
    if long is not None:
        return long
    series = open_series(detector, path)
    opened = OpenedSteps if detector.plan_.reader.unit(series.sequences) == "step" else OpenedWholes
    return opened(detector, request, path, series)


class OpenedSequences(Assessed):
    """Sequences of a file or an array: abstract. All steps go by once, and those explained once more.

    Args:
        detector: Fitted on sequences.
        request: What is wanted.
        path: The file.
        series: What is in it.
    """

    def __init__(self, detector: Detector, request: Request, path: Path, series: Series) -> None:
        super().__init__(detector, request, path)
        self.series, self.sequences = series, series.sequences
        self.called = "sequence" if self.sequences.ids is None else str(series.encoder.id)
        self.total = self.sequences.n_steps
        rows = series.source if self.unit == "step" else None
        self.columns = [self.called] if rows is None else rows.names
        if series.source is not None:
            self.dialect = dialect_for(request.target, series.source, series.encoder.table.schema_)
        self.owners = np.repeat(np.arange(self.sequences.n_sequences), self.sequences.lengths)
        self.explained: dict[int, Any] = {}

    def assess(self) -> tuple[Floats, Floats]:
        """Anomaly scores and p-values, as the detector arranges them."""
        scores, p_values = self.detector.assess(self.sequences)
        self.seen(self.sequences.n_steps)
        return scores, p_values

    def details(self) -> dict[str, Any]:
        """Columns that the detector does not use."""
        return {"extra_columns": self.series.extra}


class OpenedWholes(OpenedSequences):
    """Sequences, each with one score."""

    unit = "sequence"

    @property
    def names(self) -> list[Any]:  # type: ignore[override]
        """The ids, or numbers from 0."""
        sequences = self.sequences
        return list(range(sequences.n_sequences)) if sequences.ids is None else list(sequences.ids)

    def reasons(self, rows: Indices) -> Reasons:
        """The steps and channels with the largest shares of some sequences."""
        from upland.explanation import explain

        unknown = np.array(sorted(set(rows.tolist()) - self.explained.keys()), dtype=np.int64)
        for part in portions(unknown, self.sequences.lengths[unknown], AT_ONCE):
            piece = self.sequences.take(part)
            self.explained |= zip(part.tolist(), explain(self.detector, piece).top(REASONS), strict=True)
            self.seen(piece.n_steps)
        return [self.explained[n] for n in rows.tolist()]

    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Write one row for each sequence."""
        if write is not None:
            why = texts(self.reasons(np.arange(self.scores.size))) if self.request.why else None
            table = pa.table({self.called: self.names})
            write(with_verdicts(table, self.scores, self.p_values, cut, why))
        return self.counts(cut)


class OpenedSteps(OpenedSequences):
    """The time steps of sequences, each with a score; neighbouring flagged steps are one episode."""

    unit = "step"

    def assess(self) -> tuple[Floats, Floats]:
        """Anomaly scores and p-values, sequence after sequence in the order of time."""
        self.steps = assessed_steps(self.detector, self.sequences)
        self.seen(self.sequences.n_steps)
        return self.steps.scores, self.steps.p_values

    def reasons(self, rows: Indices) -> Reasons:
        """The channels with the largest shares of some steps; each sequence is read up to the last."""
        if not rows.size:
            return []
        return explained_steps(self.detector, self.sequences, rows, AT_ONCE).top(REASONS)

    def process(self, cut: float, write: Write | None) -> tuple[int, int]:
        """Write the rows of the file as they stand, or the numbers of an array's steps."""
        if write is not None:
            why = self._texts() if self.request.why else None
            order = np.argsort(self.sequences.row_numbers, kind="stable")
            first = 0
            for table in self._tables():
                steps = order[first : first + table.num_rows]
                some = (
                    None if why is None else [why[row] for row in self.sequences.row_numbers[steps].tolist()]
                )
                write(with_verdicts(table, self.scores[steps], self.p_values[steps], cut, some))
                first += table.num_rows
        return self.counts(cut)

    def most_anomalous(self, cut: float) -> list[Finding]:
        """The episodes with the highest scores, and single steps where there are too few."""
        blocks, alpha = self.detector.blocks_, self.request.alpha
        self.episodes = found_in(self.steps, self.owners, cut, blocks, alpha)
        worst = most_anomalous(self.episodes, self.owners, self.scores, self.request.top)
        peaks, sequences = worst.peaks, self.sequences
        alone = sequences.ids is None and sequences.n_sequences == 1
        owners = self.owners[peaks].tolist()
        names = [None if alone else sequences.label(owner, 0)[0] for owner in owners]
        reasons, channels = self._why(worst)
        found = findings(names, self.scores[peaks], self.p_values[peaks], cut, reasons)
        parts = zip(owners, *(part.tolist() for part in worst), strict=True)
        spans = [self._span(owner, *span) for owner, *span in parts]
        more = zip(found, spans, self._p_values(worst), channels, strict=True)
        return [replace(one, details=span | p_values | why) for one, span, p_values, why in more]

    def details(self) -> dict[str, Any]:
        """How many episodes there are, and in how many sequences; by which blocks their p-values are; columns
        that are not used.
        """
        hit = np.unique(self.owners[self.episodes.peaks]).size
        counts = {"sequences": self.sequences.n_sequences, "episodes": self.episodes.peaks.size, "hit": hit}
        blocks = self.detector.blocks_
        found = None if blocks is None else blocks.described(self.sequences.lengths, self.request.alpha)
        return counts | {"blocks": found} | super().details()

    def _why(self, worst: Episodes) -> tuple[Reasons, list[dict[str, Any]]]:
        """The reasons of the peaks, and the channels of whole episodes; none where nobody sees them."""
        if not self.request.shown or not worst.peaks.size:
            return [], [{} for _ in worst.peaks]
        spans = [np.arange(first, last + 1) for first, last in zip(worst.firsts, worst.lasts, strict=True)]
        rows = np.unique(np.concatenate(spans))
        whole = explained_steps(self.detector, self.sequences, rows, AT_ONCE)
        at = np.searchsorted(rows, worst.peaks)
        peaks = whole.take(at)
        parts = [channels_of(whole.columns, whole.shares[np.searchsorted(rows, span)]) for span in spans]
        kinds = [
            kind_at(self.detector, self.sequences, (first, last, peak), part[0].column)
            for part, first, last, peak in zip(parts, *(one.tolist() for one in worst), strict=True)
        ]
        more = [
            {"channels": [one._asdict() for one in part], "kind": kind}
            for part, kind in zip(parts, kinds, strict=True)
        ]
        return peaks.top(REASONS), more

    def _p_values(self, worst: Episodes) -> list[dict[str, Any]]:
        """The p-values of episodes, and what follows from them; none where the model has no blocks."""
        blocks = self.detector.blocks_
        if blocks is None:
            return [{"episode_p_value": None} for _ in worst.peaks]
        searched = blocks.blocks_in(self.sequences.lengths)
        return [
            {"episode_p_value": p, "confidence": 1 - p, "expected_false": p * searched}
            for p in block_p_values_of(worst, self.steps)
            if p is not None
        ]

    def _span(self, owner: int, first: int, last: int, peak: int) -> dict[str, Any]:
        began = int(self.sequences.starts[owner])
        start, end, worst = (self.sequences.label(owner, step - began)[1] for step in (first, last, peak))
        return {"start": start, "end": end, "peak": worst, "steps": last - first + 1}

    def _texts(self) -> dict[int, str]:
        """The reasons of each step, by its place among the user's rows."""
        found: dict[int, str] = {}
        for rows in portions(np.arange(self.sequences.n_sequences), self.sequences.lengths, AT_ONCE):
            piece = self.sequences.take(rows)
            why = texts(explanation_of(self.detector, piece).top(REASONS))
            found |= zip(np.sort(piece.row_numbers).tolist(), why, strict=True)
            self.seen(piece.n_steps)
        return found

    def _tables(self) -> Iterator[pa.Table]:
        source, schema = self.series.source, self.series.encoder.table.schema_
        if source is not None:
            rows = rows_for(self.request.target, source, schema)
            yield from (rows(*pair) for pair in source.pairs(schema, AT_ONCE) if pair[0].num_rows)
            return
        numbered: dict[str, Any] = {"sequence": self.owners} if self.sequences.layout == "array" else {}
        steps = np.arange(self.sequences.n_steps) - self.sequences.starts[self.owners]
        yield pa.table(numbered | {"step": steps})
