"""Scoring a data set on many machines: a file of scores for each file of rows, and nothing done twice.

Flags at a false-alarm rate are of each row alone, and a partition is written at once. Flags at a false
discovery rate (Benjamini and Hochberg) are of all rows together, and take two passes: the first writes the
scores alone and counts the p-values, which are few values, so that the counts give the cut exactly; the
second writes each partition with the scores that are there. The model is asked once for each row.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from upland import __version__
from upland.calibration.false_discovery import Control, check_rate, discovery_cut
from upland.catalogue import Unit
from upland.distributed import tasks
from upland.distributed.cluster import RETRIES, cluster, completed
from upland.distributed.manifest import Manifest
from upland.distributed.partitions import Partition, check_apart, listed, partitions_at
from upland.distributed.plan import missing
from upland.distributed.tasks import Outcome, Target
from upland.io.advice import Advice
from upland.scoring.scorer import Scorer

FAULTS = 5
"""How many faults of partitions a message tells."""

SCORES, PARTS = "scores", "parts"
"""Folders beside the manifest: scores that wait for their flags, and files that are being written."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scored:
    """What scoring a data set came to.

    Args:
        unit: What a score is of.
        partitions: How many there are.
        fresh: How many of them were scored by this call.
        count: Rows of all, steps, images, or sequences where a score is of a whole one.
        flagged: How many are flagged.
        alpha: The rate that flags keep.
        cut: The largest p-value that is flagged.
    """

    unit: Unit
    partitions: int
    fresh: int
    count: int
    flagged: int
    alpha: float
    cut: float


def score(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    alpha: float | None = None,
    control: Control = "false_alarm",
    explain: int = 0,
    replace_columns: bool = False,
    overwrite: bool = False,
    address: str | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, of: None,
) -> Scored:
    """Score the Parquet files at a place with Ray; each gets a file of the same name, rows in their order.

    What was done before by the same model, with the same options and of the same files is not done again.

    Args:
        model: the path of a model file.
        data: a file, a folder or a pattern such as `data/**/*.parquet`, which every machine finds there.
        output: the folder to write into, which every machine finds there.
        alpha: the rate that flags keep, in (0, 1); None is the model's own.
        control: "false_alarm" keeps the share of normal rows flagged at alpha; "fdr" the share of flags that
            are false, over the rows of all partitions together.
        explain: how many reasons a column `reason` gives for each row; 0 adds no such column.
        replace_columns: whether columns named like those that are added may be replaced.
        overwrite: whether files in the output may be replaced where the model, an option or a partition has
            changed, or that are of no run.
        address: of a Ray cluster, `auto` or HOST:PORT; None takes the one that the program is connected to,
            or starts one on this machine.
        workers: tasks at a time; None takes all CPUs.
        progress: called with how many partitions are done, and of how many.

    Raises:
        ImportError: Ray is not installed; the message says what to install.
        FileExistsError: the output holds what may not be replaced.
        FileNotFoundError: there is no model file, or no data.
        ValueError: a partition could not be scored; the others are. All are named.
    """
    check_rate(0.5 if alpha is None else alpha, control)
    output = Path(os.path.abspath(output))
    partitions = partitions_at(data)
    check_apart(partitions, data, output)
    scorer = Scorer(model, alpha, explain, replace_columns=replace_columns)
    _check_fits(scorer, partitions, control)
    with Manifest(output) as manifest:
        run = _run_of(scorer, partitions, control)
        todo = missing(manifest, run, partitions, overwrite)
        if todo:
            with cluster(address, workers) as ray:
                _Run(ray, scorer, manifest, workers, progress).score(partitions, todo, control)
        for name in (SCORES, PARTS):
            shutil.rmtree(manifest.folder / name, ignore_errors=True)
        return _sum(scorer, manifest, partitions, len(todo), control)


def _run_of(scorer: Scorer, partitions: Sequence[Partition], control: Control) -> dict[str, Any]:
    """What decides the numbers; where flags are of all rows together, all partitions do."""
    run: dict[str, Any] = {"upland": __version__, "model": scorer.digest, "alpha": scorer.alpha}
    run |= {"control": control, "explain": scorer.explain, "replace_columns": scorer.replace_columns}
    if control == "fdr":
        stamps = json.dumps([[part.name, part.stamp()] for part in partitions])
        run["partitions"] = hashlib.sha256(stamps.encode()).hexdigest()
    return run


def _check_fits(scorer: Scorer, partitions: Sequence[Partition], control: Control) -> None:
    """Refuse what cannot be scored partition by partition."""
    detector = scorer.detector
    if detector.modality != "sequence":
        return
    if len(partitions) > 1 and _id_of(scorer) is None:
        raise ValueError(
            f"the model is of one series without ids, and there are {len(partitions)} partitions: a series "
            "is scored as a whole, so that it lies in one file"
        )
    if control == "fdr" and not tasks.keeps_rows(detector):
        raise ValueError("the false discovery rate of whole sequences is not kept over partitions")


def _id_of(scorer: Scorer) -> str | None:
    """The column that names sequences."""
    from upland.data.sequence.encoder import SequenceEncoder

    encoder = scorer.detector.encoder_
    assert isinstance(encoder, SequenceEncoder)
    return None if encoder.id is None else str(encoder.id)


def _sum(
    scorer: Scorer, manifest: Manifest, partitions: Sequence[Partition], fresh: int, control: Control
) -> Scored:
    records = [manifest.done[part.name] for part in partitions]
    unit = scorer.detector.unit_
    cut = scorer.alpha if manifest.cut is None else manifest.cut
    count, flagged = (sum(record[name] for record in records) for name in ("units", "flagged"))
    return Scored(unit, len(partitions), fresh, count, flagged, scorer.alpha, cut)


class _Run:
    """The tasks of one call.

    Args:
        ray: The module, connected.
        scorer: Of the model.
        manifest: Of the output, open.
        workers: Tasks at a time.
        progress: Called with how many partitions are done.
    """

    def __init__(
        self, ray: Any, scorer: Scorer, manifest: Manifest, workers: int | None, progress: Progress
    ) -> None:
        self.ray, self.manifest, self.workers, self.progress = ray, manifest, workers, progress
        self.scorer, self.model = scorer, ray.put(scorer)
        self.folder = manifest.folder
        shutil.rmtree(self.folder / PARTS, ignore_errors=True)
        self.parts = self.folder / PARTS / secrets.token_hex(4)
        self.parts.mkdir(parents=True)
        self.functions: dict[Callable[..., Any], Any] = {}

    def score(self, partitions: Sequence[Partition], todo: Sequence[Partition], control: Control) -> None:
        """Write the partitions that are to be done."""
        self._check_sequences(partitions)
        if control == "fdr":
            cut = self._cut(partitions, todo)

            def flag(part: Partition) -> tuple[Any, ...]:
                return tasks.flag_partition, self.model, part, self._target(part), self._scores(part), cut

            self._write(todo, flag, len(todo))
        else:

            def whole(part: Partition) -> tuple[Any, ...]:
                return tasks.score_partition, self.model, part, self._target(part)

            self._write(todo, whole, 0)

    def _write(
        self, todo: Sequence[Partition], call: Callable[[Partition], tuple[Any, ...]], done: int
    ) -> None:
        def submitted(part: Partition) -> Any:
            self.manifest.add("begun", partition=part.name)
            return self._submit(*call(part))

        self._run(todo, submitted, "done", done, len(todo) + done)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start a task; Ray starts it again where its process dies."""
        if function not in self.functions:
            self.functions[function] = self.ray.remote(num_cpus=1, max_retries=RETRIES)(function)
        return self.functions[function].remote(*arguments)

    def _run(
        self,
        todo: Sequence[Partition],
        submit: Callable[[Partition], Any],
        kind: Literal["done", "scored"],
        done: int,
        of: int,
        counts: _Counts | None = None,
    ) -> None:
        """Run a task for each partition, and note each as it ends; raises ValueError where some have failed,
        when all others are done.
        """
        errors: dict[Partition, str] = {}
        for part, found in completed(self.ray, todo, submit, self.workers):
            outcome = found if isinstance(found, Outcome) else Outcome(error=found)
            for text in outcome.warnings:
                warnings.warn(text, stacklevel=2)
            error = outcome.error or self._not_there(part, outcome, kind)
            if error is None:
                values = {"rows": outcome.rows, "units": outcome.units, "flagged": outcome.flagged}
                self.manifest.add(kind, partition=part.name, **part.stamp(), **values, written=outcome.size)
                if counts is not None:
                    counts.add(outcome.counts)
            else:
                errors[part] = error
            done += 1
            self.progress(done, of)
        if errors:
            raise failed(errors, len(todo))

    def _not_there(self, part: Partition, outcome: Outcome, kind: str) -> str | None:
        """What is said of a file that a task has written and that this machine does not find."""
        path = self._target(part).final if kind == "done" else self._scores(part)
        if path.is_file() and path.stat().st_size == outcome.size:
            return None
        return f"{path} was written on another machine and is not found on this one"

    def _target(self, part: Partition) -> Target:
        return Target(self.manifest.output / part.name, self.parts, part.name)

    def _scores(self, part: Partition) -> Path:
        return self.folder / SCORES / part.name

    def _cut(self, partitions: Sequence[Partition], todo: Sequence[Partition]) -> float:
        """The largest p-value that is a discovery among all rows; scores that are there are kept."""
        there = [part for part in todo if self._is_scored(part)]
        rest = [part for part in todo if not self._is_scored(part)]

        def assess(part: Partition) -> Any:
            target = Target(self._scores(part), self.parts, part.name)
            return self._submit(tasks.assess_partition, self.model, part, target)

        def count(part: Partition) -> Any:
            return self._submit(tasks.count_partition, part, self._scores(part))

        counts = _Counts()
        self._run(rest, assess, "scored", len(there), 2 * len(todo), counts)
        if self.manifest.cut is None:
            for part, found in completed(self.ray, there, count, self.workers):
                if not isinstance(found, Outcome) or found.error:
                    raise ValueError(f"{part.path}: its scores cannot be read again: {found}")
                counts.add(found.counts)
            self.manifest.add("cut", cut=discovery_cut(counts.values, counts.often, self.scorer.alpha))
        assert self.manifest.cut is not None
        return self.manifest.cut

    def _is_scored(self, part: Partition) -> bool:
        record, path = self.manifest.scored.get(part.name), self._scores(part)
        return record is not None and path.is_file() and path.stat().st_size == record["written"]

    def _check_sequences(self, partitions: Sequence[Partition]) -> None:
        """Refuse partitions that share a sequence."""
        if self.scorer.detector.modality != "sequence" or len(partitions) < 2:
            return
        column = _id_of(self.scorer)
        owner: dict[str, str] = {}

        def names(part: Partition) -> Any:
            return self._submit(tasks.names_of_sequences, part, column)

        for part, found in completed(self.ray, partitions, names, self.workers):
            for name in found if isinstance(found, list) else ():
                if (other := owner.setdefault(name, part.path)) != part.path:
                    first, second = sorted([other, part.path])
                    raise ValueError(
                        f"the sequence {name!r} is in {first} and in {second}: a sequence is scored as a "
                        "whole, so that it lies in one partition"
                    )


class _Counts:
    """How often each p-value occurs."""

    def __init__(self) -> None:
        self.values = np.empty(0)
        self.often = np.empty(0, dtype=np.int64)

    def add(self, more: tasks.Counts | None) -> None:
        """Add those of a partition."""
        if more is None:
            return
        both = np.union1d(self.values, more[0])
        total = np.zeros(both.size, dtype=np.int64)
        total[np.searchsorted(both, self.values)] += self.often
        total[np.searchsorted(both, more[0])] += more[1]
        self.values, self.often = both, total


def failed(errors: Mapping[Partition, str], of: int, kept: bool = True) -> ValueError:
    """The error that says which partitions were not done; those with the same fault together.

    Args:
        errors: What is wrong with each.
        of: How many there were.
        kept: Whether what was done of the others stays.
    """
    alike: dict[str, list[Partition]] = {}
    for part in sorted(errors, key=lambda part: part.number):
        alike.setdefault(errors[part], []).append(part)
    parts: list[Any] = [f"{len(errors):,} of {of:,} partitions could not be done: "]
    for number, (error, found) in enumerate(list(alike.items())[:FAULTS]):
        paths = listed([part.path for part in found])
        parts += ["; " if number else "", "" if paths in error else f"{paths}: ", error]
    more = f"; and {len(alike) - FAULTS:,} other faults" if len(alike) > FAULTS else ""
    rest = of - len(errors)
    end = f". The other {rest:,} are done, and the same call takes up the rest" if kept and rest else ""
    return ValueError(Advice(*parts, f"{more}{end}"))
