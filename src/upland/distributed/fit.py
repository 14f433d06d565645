"""A fit on more rows than one machine holds, equal in distribution to one that reads them all.

What a fit needs of all rows are statistics of columns: how many cells are missing, moments, levels, the range
of dates. Those of partitions are merged, in the order of the partitions. All else, here as in one process,
is by a uniform sample of bounded size: support points, counted values, calibration rows. The sample is drawn
first (`upland.distributed.reservoir`) and says how columns are read; the rows of it that calibrate are left
out of the statistics, so that p-values keep their guarantee.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from upland.data.rows import SampledRows
from upland.data.table.encoder import TableEncoder
from upland.data.table.learning_tables import SchemaLearner
from upland.detectors.arguments import seed_of
from upland.detectors.base import Detector
from upland.detectors.table import TableDetector
from upland.distributed.cluster import RETRIES, cluster, completed
from upland.distributed.partitions import Partition, partitions_at
from upland.distributed.reservoir import Indices, Reservoir, bound_of
from upland.distributed.scoring import Progress, failed
from upland.distributed.tasks import AT_ONCE, damaged
from upland.distributed.training import Crew
from upland.io.advice import Advice, text_of
from upland.io.folders import ManySource
from upland.io.formats import open_source
from upland.io.locks import warnings_apart
from upland.io.places import RowFile

T = TypeVar("T")

SAMPLE, TRAINED = 50_000, 500_000
"""Rows of the sample: those of a split calibration are then 10,000 at their most, and more are left than a
model in closed form starts from; where a model is trained, more.
"""


@dataclass(frozen=True)
class Rows:
    """The rows of one partition that are there to be read.

    Args:
        part: The partition.
        count: How many rows it has.
        types: The columns of all partitions and the types that all can be brought to.
    """

    part: Partition
    count: int
    types: pa.Schema

    def typed(self, table: pa.Table) -> pa.Table:
        """Rows as they stand, with the columns that folders give and the common types."""
        for name, value in self.part.keys.items():
            if name not in table.column_names:
                cell = pa.scalar(value, self.types.field(name).type)
                table = table.append_column(name, pa.repeat(cell, table.num_rows))
        return table.select(self.types.names).cast(self.types)


class Fault(str):
    """What is wrong with a partition."""


def fit(
    detector: Detector,
    data: str | os.PathLike[str],
    *,
    sample: int | None = None,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, of: None,
) -> Detector:
    """The detector, fitted on the Parquet files at a place by Ray.

    Args:
        detector: of rows of tables.
        data: a file, a folder or a pattern such as `data/**/*.parquet`, which every machine finds there.
        sample: rows that the model and its calibration are fitted on; None is 50,000, or 500,000 where the
            model is trained.
        address: of a Ray cluster, `auto` or HOST:PORT; None takes the one that the program is connected to,
            or starts one on this machine.
        workers: tasks at a time; None takes all CPUs.
        progress: called with how many readings of partitions are done, and of how many.

    Raises:
        ImportError: Ray is not installed; the message says what to install.
        FileNotFoundError: there is no data.
        TypeError: the detector is of no table.
        ValueError: a partition could not be read, or a column not be used; partitions are named.
        FloatingPointError: the training diverged.
    """
    at_once = _in_closed_form(detector)
    size = sample or (SAMPLE if at_once else TRAINED)
    everything = rows_at(data)
    with cluster(address, workers) as ray:
        run = _Run(ray, everything, workers, progress)
        drawn, table = run.sampled(size, seed_of(detector.random_state))

        def learn(encoder: TableEncoder, held_out: Indices) -> None:
            encoder.fit_summary(run.summary(encoder, drawn, held_out))

        train = None if at_once else Crew(ray, workers).train
        return detector.fit_sample(table, SampledRows(table, run.n_all, learn, train))


def _in_closed_form(detector: Detector) -> bool:
    """Whether the model is fitted without training; raises TypeError for what is not fitted by Ray."""
    if not isinstance(detector, TableDetector):
        raise TypeError(
            f"the engine ray fits detectors of rows of tables, and {type(detector).__name__} is none: "
            "fit it without the engine"
        )
    return bool(detector._architecture("split").in_closed_form)


def rows_at(place: str | os.PathLike[str]) -> list[Rows]:
    """The partitions at a place that have rows, in the order of their names.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: There are no rows; a file is damaged, or has other columns or types than the first.
    """
    counts = {part: _count(part) for part in partitions_at(place)}
    parts = [part for part, count in counts.items() if count]
    if not parts:
        raise ValueError(f"{place}: there are no rows in it")
    files = [RowFile(Path(part.path), _texts(part)) for part in parts]
    types = ManySource(Path(place), files, open_source).types
    assert types is not None
    return [Rows(part, counts[part], types) for part in parts]


def _count(part: Partition) -> int:
    try:
        return int(pq.read_metadata(part.path).num_rows)
    except pa.ArrowException as error:
        raise damaged(part.path, error) from error


def _texts(part: Partition) -> dict[str, str | None]:
    """The columns that folders give as they are written there."""
    return {name: None if value is None else str(value) for name, value in part.keys.items()}


class _Run:
    """The tasks of one fit.

    Args:
        ray: The module, connected.
        everything: The partitions with rows.
        workers: Tasks at a time.
        progress: Called with how many readings of partitions are done.
    """

    def __init__(self, ray: Any, everything: Sequence[Rows], workers: int | None, progress: Progress) -> None:
        self.ray, self.everything, self.workers = ray, everything, workers
        self.progress = progress
        self.n_all = sum(rows.count for rows in everything)
        self.done, self.of = 0, 2 * len(everything)

    def sampled(self, size: int, seed: int) -> tuple[Reservoir, pa.Table]:
        """Which rows a sample is of, and these in the order of partitions."""
        bound = bound_of(size, self.n_all)
        parts = list(self._each(sampled_rows, lambda rows: (size, seed, bound)))
        drawn = Reservoir.merged([offered for offered, _ in parts])
        tables = []
        for rows, (offered, table) in zip(self.everything, parts, strict=True):
            kept = np.isin(offered.rows, drawn.rows_in(rows.part.number))
            tables.append(table.filter(pa.array(kept)))
        return drawn, pa.concat_tables(tables).combine_chunks()

    def summary(self, encoder: TableEncoder, drawn: Reservoir, held_out: Indices) -> SchemaLearner:
        """What there is to learn of all rows but those of the sample that are held out."""
        out = Reservoir(drawn.size, drawn.keys[held_out], drawn.partitions[held_out], drawn.rows[held_out])
        whole = encoder.summary([])
        sent = self.ray.put(encoder)
        self.of += max(0, self.done + len(self.everything) - self.of)
        summaries = self._each(summarised_rows, lambda rows: (sent, out.rows_in(rows.part.number)))
        for rows, summary in zip(self.everything, summaries, strict=True):
            try:
                whole.merge(summary)
            except ValueError as error:
                text = f"{rows.part.path} does not go with those before it: "
                raise ValueError(Advice(text, text_of(error))) from error
        return whole

    def _each(self, function: Callable[..., T], arguments: Callable[[Rows], tuple[Any, ...]]) -> Iterator[T]:
        """What a function gives of each partition, in their order; raises ValueError where some have faults,
        when all others are done.
        """
        name = function.__name__
        task = self.ray.remote(num_cpus=1, max_retries=RETRIES)(guarded).options(name=name)
        errors: dict[Partition, str] = {}
        waiting: dict[int, T] = {}
        place = 0

        def submit(item: tuple[int, Rows]) -> Any:
            return task.remote(function, item[1], *arguments(item[1]))

        for (number, rows), found in completed(self.ray, enumerate(self.everything), submit, self.workers):
            self.done += 1
            self.progress(self.done, self.of)
            if isinstance(found, str):
                errors[rows.part] = found
            else:
                waiting[number] = found
            while place in waiting and not errors:
                yield waiting.pop(place)
                place += 1
        if errors:
            raise failed(errors, len(self.everything), kept=False)


def guarded(function: Callable[..., T], rows: Rows, *arguments: Any) -> T | Fault:
    """What a function gives of a partition, or what is wrong with that.

    Args:
        function: Given the rows and the arguments.
        rows: Of the partition.
        *arguments: More.
    """
    with warnings_apart():
        warnings.simplefilter("ignore")  # the sample has been warned of
        try:
            return function(rows, *arguments)
        except (ValueError, TypeError, OSError, pa.ArrowException, MemoryError) as error:
            return Fault(text_of(error) or type(error).__name__)


def sampled_rows(rows: Rows, size: int, seed: int, bound: float) -> tuple[Reservoir, pa.Table]:
    """Those rows of a partition that may be in a sample, by number and as a table.

    Args:
        rows: Of the partition.
        size: Rows of the sample.
        seed: Of the sample.
        bound: Of the keys.
    """
    offered = Reservoir.of(size, seed, rows.part.number, rows.count, bound)
    return offered, rows.typed(open_source(rows.part.path).take(offered.rows))


def summarised_rows(rows: Rows, encoder: TableEncoder, left_out: Indices) -> SchemaLearner:
    """What there is to learn of a partition.

    Args:
        rows: Of the partition.
        encoder: That is to learn, and knows the columns.
        left_out: Sorted numbers of rows that it must not see.
    """

    def seen() -> Iterator[pa.Table]:
        start = 0
        for table in open_source(rows.part.path).batches(size=AT_ONCE):
            keep = np.ones(table.num_rows, dtype=bool)
            first, last = np.searchsorted(left_out, [start, start + table.num_rows])
            keep[left_out[first:last] - start] = False
            start += table.num_rows
            if keep.any():
                yield rows.typed(table if keep.all() else table.filter(pa.array(keep)))

    return encoder.summary(seen())
