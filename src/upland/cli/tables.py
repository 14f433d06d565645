"""Scoring a file in constant memory: read a batch, judge it, write it, forget it.

The false-alarm control judges each row alone, so one pass does. The false-discovery control of Benjamini and
Hochberg needs all p-values of the file; but a conformal p-value is a multiple of 1/(n + 1), so a first pass
that counts how often each value occurs is all it takes, and a second pass writes the flags that the whole
list would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.cli.verdicts import (
    ADDED,
    REASONS,
    Asked,
    Bools,
    Floats,
    Seen,
    Verdicts,
    check_clash,
    said,
    with_verdicts,
    writer,
)

if TYPE_CHECKING:
    from upland.data.table.encoder import TableEncoder
    from upland.detectors.base import Detector
    from upland.explanation import Reason
    from upland.io.source import Source


@dataclass(frozen=True)
class Row:
    """One row that stands out.

    Args:
        number: Its place in the file, counted from 1, a header not counted.
        anomaly_score: Higher is worse.
        p_value: Conformal p-value.
        is_anomaly: Whether it is flagged.
        reasons: The columns to blame, worst first.
    """

    number: int
    anomaly_score: float
    p_value: float
    is_anomaly: bool
    reasons: list[Reason]


@dataclass(frozen=True)
class Outcome:
    """What scoring a file came to.

    Args:
        rows: Number of rows scored.
        flagged: Number of rows flagged.
        cut: The largest p-value that is flagged.
        extra: Columns that the detector does not use, carried through.
        strangest: The rows with the highest anomaly scores, worst first.
    """

    rows: int
    flagged: int
    cut: float
    extra: list[str]
    strangest: list[Row]


@dataclass(frozen=True)
class Judged:
    """One batch with its verdicts.

    Args:
        first: The place of its first row in the file, counted from 0.
        raw: The rows as they stand in the file.
        table: The same rows, typed for the encoder.
        scores: `(N,)` anomaly scores.
        p_values: `(N,)`.
    """

    first: int
    raw: pa.Table
    table: pa.Table
    scores: Floats
    p_values: Floats


@dataclass
class Strangest:
    """The `size` rows with the highest anomaly scores seen so far, with their cells."""

    size: int
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    p_values: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    places: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    table: pa.Table | None = None

    def see(self, batch: Judged, columns: list[str]) -> None:
        """Take in a batch and keep the worst; of equals, the earlier row."""
        fresh = batch.table.select(columns)
        table = (
            fresh
            if self.table is None
            else pa.concat_tables([self.table, fresh], promote_options="permissive")
        )
        scores = np.concatenate([self.scores, batch.scores])
        keep = np.argsort(-scores, kind="stable")[: self.size]
        places = np.concatenate([self.places, np.arange(batch.first, batch.first + len(batch.scores))])
        self.p_values = np.concatenate([self.p_values, batch.p_values])[keep]
        self.scores, self.places, self.table = scores[keep], places[keep], table.take(keep)


def score_file(
    detector: Detector,
    source: Source,
    asked: Asked | None = None,
    *,
    batch_size: int = 65_536,
    seen: Seen = lambda rows: None,
) -> Outcome:
    """Score a file, and write its rows with their verdicts if there is a target.

    Args:
        detector: Fitted on a table.
        source: The opened file.
        asked: What is wanted.
        batch_size: Rows held in memory at a time.
        seen: Told the number of rows after each batch.

    Raises:
        ValueError: The file has no rows, lacks a column, or has columns named like the added ones.
        OutputError: The target exists or cannot be written.
    """
    asked = asked or Asked()
    detector.check_alpha(asked.alpha, asked.control)
    check_clash(source, asked)
    fdr = asked.control == "fdr"
    cut = _discovery_cut(detector, source, asked.alpha, batch_size, seen) if fdr else asked.alpha
    encoder = _encoder(detector)
    strangest, rows, flagged = Strangest(asked.top), 0, 0
    extra: list[str] = []
    with writer(asked.target, asked.overwrite) as write:
        for batch in _judged(detector, source, batch_size):
            flags = batch.p_values <= cut
            if write is not None:
                write(_with_verdicts(detector, batch, flags, asked.why))
            extra = extra or [name for name in encoder.extra_columns(batch.table) if name not in ADDED]
            strangest.see(batch, list(encoder.column_names))
            rows, flagged = rows + len(flags), flagged + int(flags.sum())
            seen(len(flags))
        if rows == 0:
            raise ValueError(f"{source.path} has no rows")
    return Outcome(rows, flagged, cut, extra, _strange_rows(detector, strangest, cut))


def _encoder(detector: Detector) -> TableEncoder:
    from upland.data.table.encoder import TableEncoder

    assert isinstance(detector.encoder_, TableEncoder)
    return detector.encoder_


def _judged(detector: Detector, source: Source, batch_size: int) -> Iterator[Judged]:
    first = 0
    for raw, table in source.pairs(_encoder(detector).schema_, batch_size):
        if table.num_rows:
            yield Judged(first, raw, table, *detector.assess(table))
            first += table.num_rows


def _discovery_cut(detector: Detector, source: Source, alpha: float, batch_size: int, seen: Seen) -> float:
    """First pass: how often each rank (n + 1) p occurs, hence the largest p-value that is a discovery."""
    from upland.calibration.false_discovery import discovery_cut

    n = detector.calibration_.size
    counts = np.zeros(n + 2, dtype=np.int64)
    for table in source.batches(_encoder(detector).schema_, batch_size):
        ranks = np.rint(detector.p_values(table) * (n + 1)).astype(np.int64)
        counts += np.bincount(ranks, minlength=n + 2)
        seen(table.num_rows)
    return discovery_cut(counts, alpha)


def _with_verdicts(detector: Detector, batch: Judged, flags: Bools, why: bool) -> pa.Table:
    reasons = said(_reasons(detector, batch.table)) if why else None
    return with_verdicts(batch.raw, Verdicts(batch.scores, batch.p_values, flags), reasons)


def _reasons(detector: Detector, table: pa.Table) -> list[list[Reason]]:
    from upland.explanation import explain

    return explain(detector, table).top(REASONS)


def _strange_rows(detector: Detector, strangest: Strangest, cut: float) -> list[Row]:
    reasons = _reasons(detector, strangest.table)
    found = zip(strangest.places, strangest.scores, strangest.p_values, reasons, strict=True)
    return [
        Row(int(place) + 1, float(score), float(p), bool(p <= cut), why) for place, score, p, why in found
    ]
