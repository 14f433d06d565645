"""What a task does with one partition: score it, or put flags to scores that are there, and write it whole.

A task returns what is wrong with its data as words, so that one bad partition stops no other.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from upland.data.sequence.reader import SequenceReader
from upland.detectors.base import Detector
from upland.distributed.partitions import Partition
from upland.io.advice import Advice, Wording, text_of
from upland.io.formats import TableWriter, open_source
from upland.io.locks import warnings_apart
from upland.scoring.columns import ADDED
from upland.scoring.scorer import Scorer

AT_ONCE = 65_536
"""Rows that are in memory at a time; where all are explained, an eighth of that. A sequence model reads a
partition at once.
"""

SCORE, P_VALUE, FLAG, _ = ADDED

Counts = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Outcome:
    """What came of a task.

    Args:
        rows: Of the partition.
        units: What is scored: its rows, or of a model of whole sequences the sequences.
        flagged: How many of them are flagged.
        size: Bytes of the file that was written.
        counts: The p-values that occur and how often each does, where flags are of all rows together.
        warnings: What was warned of.
        error: What is wrong with the partition.
        process: The number of the process that did it.
    """

    rows: int = 0
    units: int = 0
    flagged: int = 0
    size: int = 0
    counts: Counts | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    process: int = 0


@dataclass(frozen=True)
class Target:
    """Where the file of a partition is written.

    Args:
        final: Its path in the end.
        folder: The folder in which it is made, on the same disk; each call has its own, and deletes that of
            the call before, whose tasks may still run.
        name: Its path in that folder.
    """

    final: Path
    folder: Path
    name: str

    @property
    def stage(self) -> Path:
        """The path at which it is made."""
        return self.folder / self.name


def guarded(work: Callable[[], Outcome]) -> Outcome:
    """What came of some work, its warnings and errors as words.

    Args:
        work: On a partition.
    """
    with warnings_apart(record=True) as caught:
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        try:
            outcome = work()
        except (ValueError, TypeError, OSError, FloatingPointError, pa.ArrowException, MemoryError) as error:
            outcome = Outcome(error=text_of(error) or type(error).__name__)
    said = tuple(dict.fromkeys(text_of(one.message) for one in caught if isinstance(one.message, Warning)))
    return replace(outcome, warnings=said, process=os.getpid())


def score_partition(scorer: Scorer, part: Partition, target: Target) -> Outcome:
    """Write a partition with its scores, p-values and flags; the false-alarm rate is that of the scorer."""

    def work() -> Outcome:
        rows = units = flagged = 0
        with _Writer(target) as writer:
            for raw, scored in _scored(scorer, part):
                writer.write(scored)
                rows, units = rows + raw, units + scored.num_rows
                flagged += scored.column(FLAG).to_numpy().sum()
        return _checked(part, target, Outcome(rows, units, int(flagged)), scorer.detector)

    return guarded(work)


def assess_partition(scorer: Scorer, part: Partition, target: Target) -> Outcome:
    """Write the scores of a partition alone, without flags, and count its p-values."""

    def work() -> Outcome:
        rows = units = 0
        counts = (np.empty(0), np.empty(0, dtype=np.int64))
        with _Writer(target) as writer:
            for raw, scored in _scored(scorer, part):
                found = scored.select([name for name in scorer.added if name != FLAG])
                counts = added(counts, found)
                writer.write(found)
                rows, units = rows + raw, units + scored.num_rows
        outcome = Outcome(rows, units, counts=counts)
        return _checked(part, target, outcome, scorer.detector)

    return guarded(work)


def count_partition(part: Partition, scores: Path) -> Outcome:
    """Count the p-values of a partition whose scores are there."""

    def work() -> Outcome:
        counts = (np.empty(0), np.empty(0, dtype=np.int64))
        file = pq.ParquetFile(scores)
        for batch in file.iter_batches(AT_ONCE, columns=[P_VALUE]):
            counts = added(counts, batch)
        return Outcome(file.metadata.num_rows, file.metadata.num_rows, counts=counts)

    return guarded(work)


def flag_partition(scorer: Scorer, part: Partition, target: Target, scores: Path, cut: float) -> Outcome:
    """Write a partition with the scores that are there, and flags by the largest p-value that is flagged."""

    def work() -> Outcome:
        found, rows, flagged = pq.read_table(scores, partitioning=None), 0, 0
        detector = scorer.detector
        with _Writer(target) as writer:
            for table in _tables(scorer, part, _at_once(scorer)):
                some = found.slice(rows, table.num_rows)
                flags = some.column(P_VALUE).to_numpy() <= cut
                columns = {name: some.column(name) for name in some.column_names}
                for name in scorer.added:
                    table = table.append_column(name, columns.get(name, pa.array(flags)))
                writer.write(table)
                rows, flagged = rows + table.num_rows, flagged + int(flags.sum())
        if found.num_rows != rows:
            raise ValueError(f"{part.path} has {rows:,} rows, but {found.num_rows:,} were scored")
        return _checked(part, target, Outcome(rows, rows, flagged), detector)

    return guarded(work)


def names_of_sequences(part: Partition, column: str) -> Outcome | list[str]:
    """The names of the sequences of a partition, each once."""
    found: list[str] = []

    def work() -> Outcome:
        if column in part.keys:
            found.append(str(part.keys[column]))
        elif column in pq.read_schema(part.path).names:
            values = pq.read_table(part.path, columns=[column], partitioning=None).column(column)
            found.extend(map(str, values.unique().to_pylist()))
        return Outcome()

    outcome = guarded(work)
    return outcome if outcome.error else found


def added(counts: Counts, table: pa.Table | pa.RecordBatch) -> Counts:
    """A histogram of p-values with those of some rows."""
    from upland.calibration.false_discovery import added_counts

    p_values = table.column(P_VALUE).to_numpy()
    return added_counts(*counts, p_values) if len(p_values) else counts


# -- reading -------------------------------------------------------------------------------------------------


def _scored(scorer: Scorer, part: Partition) -> Iterator[tuple[int, pa.Table]]:
    """Rows of a partition with the added columns, and how many rows they are of."""
    for table in _tables(scorer, part, _at_once(scorer)):
        scored = scorer(with_keys(scorer.detector, part, table))
        given = [name for name in part.keys if name not in table.column_names]
        yield table.num_rows, scored.drop_columns([name for name in given if name in scored.column_names])


def _tables(scorer: Scorer, part: Partition, size: int | None) -> Iterator[pa.Table]:
    """The rows of a partition as they stand, at least one table; columns named like those that are added
    give way.
    """
    for table in batches_of(part.path, size):
        clash = [name for name in table.column_names if name in scorer.added]
        if clash and not scorer.replace_columns:
            raise ValueError(
                Advice(
                    f"{part.path} has columns with the names that scoring adds: {', '.join(clash)}; "
                    "rename them, or say ",
                    Wording("replace_columns=True", "--replace-columns"),
                )
            )
        yield table.drop_columns(clash) if clash else table


def batches_of(path: str, size: int | None = AT_ONCE) -> Iterator[pa.Table]:
    """The rows of a Parquet file as they stand, at least one table.

    Args:
        path: Of the file.
        size: Rows of a table at most; None gives all in one.

    Raises:
        ValueError: It is damaged.
    """
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise damaged(path, error) from error
    if not file.metadata.num_rows:
        yield file.schema_arrow.empty_table()
        return
    pieces = (raw for raw, _ in open_source(path).pairs(size=size or AT_ONCE))
    if size is None:
        yield pa.concat_tables(pieces)
    else:
        yield from pieces


def _at_once(scorer: Scorer) -> int | None:
    """Rows of a batch; None where a partition is read at once."""
    if scorer.detector.modality == "sequence":
        return None
    return AT_ONCE // 8 if scorer.explain else AT_ONCE


def with_keys(detector: Detector, part: Partition, table: pa.Table) -> pa.Table:
    """Rows of a partition with the columns that its folders give, as the model reads them."""
    from upland.data.table.encoder import TableEncoder

    encoder = detector.encoder_
    schema = encoder.schema_ if isinstance(encoder, TableEncoder) else None
    texts = {column.name for column in schema.columns if column.kind == "categorical"} if schema else set()
    for name, value in part.keys.items():
        if name not in table.column_names:
            cell = pa.scalar(str(value) if name in texts and value is not None else value)
            table = table.append_column(name, pa.repeat(cell, table.num_rows))
    return table


def damaged(path: str, error: Exception) -> ValueError:
    """The error of a file that is no whole Parquet file."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return ValueError(f"{path} cannot be read as Parquet, it is damaged or cut off: {first}")


# -- writing -------------------------------------------------------------------------------------------------


class _Writer:
    """Writes a file at its stage and moves it to its place at the end; a context manager."""

    def __init__(self, target: Target) -> None:
        if not target.folder.is_dir():
            raise FileNotFoundError(f"{target.folder} is gone: the call that made it has ended")
        for path in (target.stage, target.final):
            path.parent.mkdir(parents=True, exist_ok=True)
        target.stage.unlink(missing_ok=True)
        self.made = TableWriter(target.stage)

    def __enter__(self) -> TableWriter:
        return self.made.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self.made.__exit__(kind, error, trace)


def _checked(part: Partition, target: Target, outcome: Outcome, detector: Detector) -> Outcome:
    """Move a file that was written to its place, if it has as many rows as were read, and these are all that
    the partition has.
    """
    before, after = pq.read_metadata(part.path).num_rows, pq.read_metadata(target.stage).num_rows
    lost = before != outcome.rows or after != outcome.units
    if lost or (keeps_rows(detector) and outcome.rows != outcome.units):
        target.stage.unlink(missing_ok=True)
        raise ValueError(
            f"{part.path} has {before:,} rows, of which {outcome.rows:,} were read and {after:,} written"
        )
    now = os.stat(part.path)
    if (now.st_size, now.st_mtime_ns) != (part.size, part.changed):
        raise ValueError(f"{part.path} has changed while it was read")
    size = target.stage.stat().st_size
    os.replace(target.stage, target.final)
    return replace(outcome, size=size)


def keeps_rows(detector: Detector) -> bool:
    """Whether scores are of rows, steps or images, and not of whole sequences."""
    reader = detector.plan_.reader
    return not (isinstance(reader, SequenceReader) and reader.per == "sequence")
