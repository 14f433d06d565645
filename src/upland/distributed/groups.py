"""Verdicts on groups whose rows lie in many partitions, equal to those of one process that holds all rows.

A statistic is a function of sums over a group's rows, which partitions could add up. A verdict is more: its
p-value by permutation draws the group's own rows among normal ones, and a large group is tested by 4,096 of
its rows, those at drawn ranks among all of them in the order of their encoded values
(`upland.groups.verdicts`). So rows of one group come together, encoded, 4 bytes a number: each partition is
read once and cut into buckets of groups, and each bucket is then tested by itself, its groups by the same
code and in the same order of rows as in one process.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from upland.calibration.false_discovery import Control, check_rate
from upland.calibration.segments import OF_GROUPS
from upland.detectors.host import usual_settings
from upland.detectors.points import PointDetector
from upland.detectors.segmented import SegmentedDetector
from upland.distributed.cluster import RETRIES, cluster, completed, cpus
from upland.distributed.partitions import Partition, partitions_at
from upland.distributed.scoring import Progress, failed
from upland.distributed.tasks import Outcome, batches_of, guarded, with_keys
from upland.groups.labels import grouped
from upland.groups.verdicts import Finding, GroupVerdicts, findings_on, verdicts_of
from upland.io.advice import text_of
from upland.io.locks import warnings_apart
from upland.scoring.scorer import Scorer

BUCKET = 1 << 26
"""Bytes of Parquet files for each bucket of groups; encoded rows take several times that."""

MOST_BLOCKS = 1 << 17
"""Blocks of partitions and buckets that Ray is given to keep."""

Indices = NDArray[np.int64]


class Block(NamedTuple):
    """Rows of some groups in one partition.

    Args:
        names: Of the groups, in order of first appearance.
        numbers: `(n,)` which of them each row is in.
        rows: `(n, ...)` encoded.
    """

    names: list[Any]
    numbers: Indices
    rows: NDArray[Any]


@dataclass(frozen=True)
class Question:
    """What is asked of the groups.

    Args:
        by: The columns that name them.
        alpha: The rate to keep.
        control: Whose.
        statistic: What is measured.
        reasons: Whether contributing columns are sought.
    """

    by: tuple[str, ...]
    alpha: float
    control: Control
    statistic: str
    reasons: bool


def score_groups(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    by: str | Sequence[str],
    *,
    alpha: float = 0.05,
    control: Control = "fdr",
    statistic: str = "auto",
    reasons: bool = True,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, of: None,
) -> GroupVerdicts:
    """Verdicts on the groups of rows in the Parquet files at a place, by Ray.

    They are those of `detector.score_groups` on all rows: in the same order, whatever the partitions.

    Args:
        model: the path of a model file.
        data: a file, a folder or a pattern such as `data/**/*.parquet`, which every machine finds there.
        by: the column that names groups, or several.
        alpha: the rate that is kept, in (0, 1).
        control: "fdr" keeps the share of flagged groups that are normal; "false_alarm" the share of normal
            groups that are flagged.
        statistic: a name of `upland.catalogue.STATISTICS`.
        reasons: whether verdicts say which columns contribute.
        address: of a Ray cluster, `auto` or HOST:PORT; None takes the one that the program is connected to,
            or starts one on this machine.
        workers: tasks at a time; None takes all CPUs.
        progress: called with how many partitions and buckets are done, and of how many.

    Raises:
        ImportError: Ray is not installed; the message says what to install.
        FileNotFoundError: there is no model file, or no data.
        TypeError: the model is of no table, or the statistic is of latents and the model has none.
        ValueError: a partition could not be read, or a row has no group; all such partitions are named.
    """
    check_rate(alpha, control)
    partitions = partitions_at(data)
    with warnings_apart():
        warnings.simplefilter("ignore")  # of flags of rows, which nobody asks for
        scorer = Scorer(model)
    detector = scorer.detector
    if not isinstance(detector, PointDetector) or detector.modality != "table":
        raise TypeError(
            f"the engine ray tests groups of rows of tables, and the model is of {detector.modality}s"
        )
    detector.group_tester_.check(statistic)
    asked = Question((by,) if isinstance(by, str) else tuple(by), alpha, control, statistic, reasons)
    with cluster(address, workers) as ray:
        names, sizes, found = _Run(ray, scorer, asked, workers, progress).tested(partitions)
    held_out = detector.group_tester_.held_out()
    verdicts = verdicts_of(names, sizes, found, alpha, control, len(held_out))
    if isinstance(detector, SegmentedDetector):
        warnings.warn(OF_GROUPS, stacklevel=2)
    return verdicts


class _Run:
    """The tasks of one call.

    Args:
        ray: The module, connected.
        scorer: Of the model.
        asked: What is asked.
        workers: Tasks at a time.
        progress: Called with how much is done.
    """

    def __init__(
        self, ray: Any, scorer: Scorer, asked: Question, workers: int | None, progress: Progress
    ) -> None:
        self.ray, self.model, self.asked = ray, ray.put(scorer), asked
        self.workers, self.progress = workers, progress

    def tested(self, partitions: Sequence[Partition]) -> tuple[NDArray[Any], Indices, list[Finding]]:
        """The groups in order of first appearance, their sizes, and what is found of each."""
        count = self._buckets(partitions)
        metas, blocks = self._encoded(partitions, count)
        names = _names_in_order([meta for _, meta in metas])
        if not len(names):
            raise ValueError("there are no rows, and so no group to test")
        of = np.array([bucket_of(name, count) for name in names], dtype=np.int64)
        wanted = [bucket for bucket in range(count) if (of == bucket).any()]

        def test(bucket: int) -> Any:
            own = list(names[of == bucket])
            parts = [references[bucket] for references in blocks]
            task = self.ray.remote(num_cpus=1, max_retries=RETRIES)(tested_bucket)
            return task.remote(self.model, parts, own, len(names), self.asked)

        sizes = np.zeros(len(names), dtype=np.int64)
        found: list[Any] = [None] * len(names)
        for step, (bucket, result) in enumerate(completed(self.ray, wanted, test, self.workers), start=1):
            if isinstance(result, str):
                raise ValueError(f"some groups could not be tested: {result}")
            places = np.flatnonzero(of == bucket)
            sizes[places] = result[0]
            for place, finding in zip(places.tolist(), result[1], strict=True):
                found[place] = finding
            self.progress(len(partitions) + step, len(partitions) + len(wanted))
        return names, sizes, found

    def _buckets(self, partitions: Sequence[Partition]) -> int:
        """How many buckets groups are put into: enough that each fits into memory, at least one for each
        task, but not too many blocks.
        """
        by_size = -(-sum(part.size for part in partitions) // BUCKET)
        return int(
            max(min(max(by_size, self.workers or cpus(self.ray)), MOST_BLOCKS // max(1, len(partitions))), 1)
        )

    def _encoded(
        self, partitions: Sequence[Partition], count: int
    ) -> tuple[list[tuple[Partition, list[Any]]], list[list[Any]]]:
        """The names of groups in each partition, and references to its blocks, in the order of partitions."""
        task = self.ray.remote(num_cpus=1, max_retries=RETRIES, num_returns=1 + count)(encoded_partition)
        blocks: dict[int, list[Any]] = {}

        def encode(part: Partition) -> Any:
            first, *blocks[part.number] = task.remote(self.model, part, self.asked.by, count)
            return first

        found: dict[int, tuple[Partition, list[Any]]] = {}
        errors: dict[Partition, str] = {}
        for step, (part, result) in enumerate(completed(self.ray, partitions, encode, self.workers), start=1):
            outcome, names = result if isinstance(result, tuple) else (Outcome(error=result), [])
            for text in outcome.warnings:
                warnings.warn(text, stacklevel=2)
            if outcome.error:
                errors[part] = outcome.error
            found[part.number] = part, names
            self.progress(step, len(partitions) + count)
        if errors:
            raise failed(errors, len(partitions), kept=False)
        return [found[number] for number in sorted(found)], [blocks[number] for number in sorted(blocks)]


def encoded_partition(scorer: Scorer, part: Partition, by: tuple[str, ...], count: int) -> tuple[Any, ...]:
    """What came of it and the names of its groups; and of each bucket the encoded rows.

    Args:
        scorer: Of the model.
        part: The partition.
        by: The columns that name groups.
        count: Of buckets.
    """
    blocks: list[Block | None] = [None] * count
    names: list[Any] = []

    def work() -> Outcome:
        detector = scorer.detector
        assert isinstance(detector, PointDetector)
        rows, labels = [], []
        for table in batches_of(part.path):
            if table.num_rows:
                x, some = detector.encoded_with_labels(with_keys(detector, part, table), by)
                rows.append(x.numpy())
                labels += some
        if not labels:
            return Outcome()
        found, numbers = grouped(labels, len(labels))
        names.extend(found)
        _fill(blocks, Block(names, numbers, np.concatenate(rows)), count)
        return Outcome(len(labels))

    return (guarded(work), names), *blocks


def _fill(blocks: list[Block | None], whole: Block, count: int) -> None:
    """Cut the rows of a partition into blocks of the buckets that their groups are in."""
    buckets = np.array([bucket_of(name, count) for name in whole.names], dtype=np.int64)
    of_rows = buckets[whole.numbers]
    for bucket in np.unique(buckets).tolist():
        own, rows = np.flatnonzero(buckets == bucket), np.flatnonzero(of_rows == bucket)
        numbers = np.searchsorted(own, whole.numbers[rows])
        blocks[bucket] = Block([whole.names[n] for n in own.tolist()], numbers, whole.rows[rows])


def tested_bucket(
    scorer: Scorer, references: list[Any], names: list[Any], groups: int, asked: Question
) -> tuple[Indices, list[Finding]] | str:
    """The sizes of the groups of a bucket, and what is found of each; or what is wrong with them.

    Args:
        scorer: Of the model.
        references: Of the blocks of all partitions, in their order.
        names: Of the groups.
        groups: How many are tested together, those of other buckets among them.
        asked: What is asked.
    """
    import ray

    place = {name: number for number, name in enumerate(names)}
    blocks = [block for block in ray.get(references) if block is not None]
    rows = torch.from_numpy(np.concatenate([block.rows for block in blocks]))
    numbers = np.concatenate(
        [np.array([place[name] for name in block.names], dtype=np.int64)[block.numbers] for block in blocks]
    )
    del blocks
    sizes = np.bincount(numbers, minlength=len(names)).astype(np.int64)
    try:
        with usual_settings():
            tester = scorer.detector.group_tester_
            comparison = tester.comparison(asked.statistic)
            null = comparison.null(groups, asked.alpha, asked.control)
            why = tester.reasons() if asked.reasons else None
            return sizes, findings_on(rows, numbers, sizes, comparison, null, why)
    except (ValueError, FloatingPointError) as error:
        return text_of(error)


def bucket_of(name: Any, count: int) -> int:
    """The bucket of a group, the same in every process; of equal numbers of other types too.

    Args:
        name: Of the group.
        count: Of buckets.
    """
    text = repr(float(name)) if isinstance(name, Number) else repr(name)  # type: ignore[arg-type]
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % count


def _names_in_order(parts: Sequence[list[Any]]) -> NDArray[Any]:
    """The names of all groups in order of first appearance."""
    found = list(dict.fromkeys(name for names in parts for name in names))
    names = np.empty(len(found), dtype=object)
    names[:] = found
    return names
