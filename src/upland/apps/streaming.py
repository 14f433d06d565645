"""Scoring a file in constant memory: read a batch, judge it, write it, forget it.

The false-alarm control judges each row alone, so one pass does. The false-discovery control of Benjamini and
Hochberg needs all p-values of the file; but a conformal p-value is a multiple of 1/(n + 1), so a first pass
that counts how often each value occurs is all it takes, and a second pass writes the flags that the whole
list would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from upland.apps.console import writing

if TYPE_CHECKING:
    from upland.calibration import Control
    from upland.data.sources import Source
    from upland.detection import Detector
    from upland.explanation import Reason

ADDED = ("anomaly_score", "p_value", "is_anomaly", "why")


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
    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]


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
    target: Path | None = None,
    *,
    alpha: float = 0.05,
    control: Control = "false_alarm",
    why: bool = False,
    overwrite: bool = False,
    replace_columns: bool = False,
    top: int = 10,
    batch_size: int = 65_536,
    seen: Callable[[int], None] = lambda rows: None,
) -> Outcome:
    """Score a file, and write its rows with their verdicts if there is a target.

    Args:
        detector: A fitted detector.
        source: The opened file.
        target: The file to write, CSV or Parquet by its suffix; None writes nothing.
        alpha: The false-alarm or false-discovery rate.
        control: `false_alarm` or `fdr`.
        why: Whether the written rows say which columns are to blame.
        overwrite: Whether an existing target may be replaced.
        replace_columns: Whether columns named like the added ones may be replaced.
        top: How many of the strangest rows to keep for the outcome.
        batch_size: Rows held in memory at a time.
        seen: Told the number of rows after each batch.

    Raises:
        ValueError: The file has no rows, lacks a column, or has columns named like the added ones.
        OutputError: The target exists or cannot be written.
    """
    detector.check_alpha(alpha, control)
    added = [name for name in ADDED if why or name != "why"]
    if target is not None and not replace_columns:
        _check_clash(source, added)
    cut = alpha if control == "false_alarm" else _discovery_cut(detector, source, alpha, batch_size, seen)
    strangest, rows, flagged = Strangest(top), 0, 0
    extra: list[str] = []
    with _writer(target, overwrite) as write:
        for batch in _judged(detector, source, batch_size):
            flags = batch.p_values <= cut
            if write is not None:
                write(_with_verdicts(detector, batch, flags, why))
            extra = extra or [
                name for name in detector.encoder_.extra_columns(batch.table) if name not in ADDED
            ]
            strangest.see(batch, list(detector.encoder_.column_names))
            rows, flagged = rows + len(flags), flagged + int(flags.sum())
            seen(len(flags))
        if rows == 0:
            raise ValueError(f"{source.path} has no rows")
    return Outcome(rows, flagged, cut, extra, _strange_rows(detector, strangest, cut))


def reason_text(reason: Reason) -> str:
    """One reason in words: column, part of the whole, value seen and value expected."""
    value, expected = cell_text(reason.value), cell_text(reason.expected)
    return f"{reason.column} {reason.part:.0%} ({value}, expected {expected})"


def cell_text(value: object) -> str:
    """A cell in words: numbers to four digits, times to the second, a missing one by name."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:  # NaN differs from itself
        return "missing"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.4g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return (
        str(timedelta(seconds=round(value.total_seconds()))) if isinstance(value, timedelta) else str(value)
    )


def _check_clash(source: Source, added: list[str]) -> None:
    clash = [name for name in source.names if name in added]
    if clash:
        raise ValueError(
            f"{source.path} has columns with the names that scoring adds: {', '.join(clash)}; "
            "rename them, or say --replace-columns"
        )


def _judged(detector: Detector, source: Source, batch_size: int) -> Iterator[Judged]:
    first = 0
    for raw, table in source.pairs(detector.encoder_.schema_, batch_size):
        if table.num_rows:
            yield Judged(first, raw, table, *detector.assess(table))
            first += table.num_rows


def _discovery_cut(
    detector: Detector, source: Source, alpha: float, batch_size: int, seen: Callable[[int], None]
) -> float:
    """First pass: how often each rank (n + 1) p occurs, hence the largest p-value that is a discovery."""
    n = detector.calibration_.size
    counts = np.zeros(n + 2, dtype=np.int64)
    for table in source.batches(detector.encoder_.schema_, batch_size):
        ranks = np.rint(detector.p_values(table) * (n + 1)).astype(np.int64)
        counts += np.bincount(ranks, minlength=n + 2)
        seen(table.num_rows)
    return detector.calibration_.discovery_cut(counts, alpha)


def _with_verdicts(detector: Detector, batch: Judged, flags: NDArray[np.bool_], why: bool) -> pa.Table:
    table = batch.raw.select(
        [name for name in batch.raw.column_names if name not in ADDED[: 4 if why else 3]]
    )
    for name, values in zip(ADDED, (batch.scores, batch.p_values, flags), strict=False):
        table = table.append_column(name, pa.array(values))
    if why:
        reasons = ["; ".join(map(reason_text, row)) for row in _reasons(detector, batch.table)]
        table = table.append_column("why", pa.array(reasons, type=pa.string()))
    return table


def _reasons(detector: Detector, table: pa.Table) -> list[list[Reason]]:
    from upland.explanation import explain

    return explain(detector, table).top(3)


def _strange_rows(detector: Detector, strangest: Strangest, cut: float) -> list[Row]:
    reasons = _reasons(detector, strangest.table)
    found = zip(strangest.places, strangest.scores, strangest.p_values, reasons, strict=True)
    return [
        Row(int(place) + 1, float(score), float(p), bool(p <= cut), why) for place, score, p, why in found
    ]


@contextmanager
def _writer(target: Path | None, overwrite: bool) -> Iterator[Callable[[pa.Table], None] | None]:
    """A function that writes into the target, which appears whole at the end; None without a target."""
    if target is None:
        yield None
        return
    from upland.data.sources import TableWriter

    with ExitStack() as stack:
        with writing(target):
            writer = stack.enter_context(TableWriter(target, overwrite=overwrite))

        def write(table: pa.Table) -> None:
            with writing(target):
                writer.write(table)

        yield write
        with writing(target):
            stack.close()
