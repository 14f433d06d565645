"""Rows a second of the engine ray on one and two workers, beside the plain command on the same partitions.

`seconds` are of the clock, from the call of the command to its end, so that a busy machine changes them:
`load` is how many processes wanted a CPU before. `cpu_seconds` are of the CPU, of all processes of the
command, Ray's own among them, as the system shows them (Linux); less depends on the load. `start` is a call
on one partition of ten rows; `rows_per_cpu_second` are without it.
The parts of a partition's work, in this process and in CPU seconds: `score` writes it at once, as flags at a
false-alarm rate need it; at a false discovery rate `assess` writes the scores and `flag` the partition.
Counting first instead would take the model a second time: `score` twice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.group_draws import generator
from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.synthetic import Surface
from benchmarks.timing import run_parts

KEYS = ("part", "method", "rows", "partitions")
COLUMNS, SITES = 30, 1_000
EVERY = 0.2  # seconds after which the CPU seconds of processes are read again
RUN = ("-c", "from upland.cli import main; main()")


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--train", type=int, default=20_000, help="rows of the fit")
    quick = {"rows": 40_000, "partitions": 4, "train": 2_000}
    parts = {"commands": commands, "partition": partition}
    return run_parts(parser, argv, "ray_scoring", parts, quick, KEYS)


def commands(records: Records, options: argparse.Namespace) -> None:
    """Whole commands, one after another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = prepared(folder, options)
        for what, method, arguments in cases(model, folder):
            sizes = {"rows": options.rows, "partitions": options.partitions}
            if what == "start":
                sizes = {"rows": 10, "partitions": 1}
            if records.find(part=what, method=method, **sizes) is not None:
                continue
            load = os.getloadavg()[0]
            seconds, cpu = run(arguments)
            row = {"part": what, "method": method, **sizes, "seconds": seconds, "cpu_seconds": cpu}
            start = records.find(part="start", method=method, rows=10, partitions=1)
            if start is not None:
                row["rows_per_second"] = sizes["rows"] / seconds
                row["rows_per_cpu_second"] = sizes["rows"] / max(cpu - start["cpu_seconds"], 0.01)
            add(records, {**row, "load": load})


def cases(model: Path, folder: Path) -> list[tuple[str, str, Sequence[str]]]:
    """Part, method and arguments of each command."""
    found: list[tuple[str, str, Sequence[str]]] = []
    engines = {"plain": [], "ray, 1 worker": ["--workers", "1"], "ray, 2 workers": ["--workers", "2"]}
    for what, data, extra in (
        ("start", folder / "ten", []),
        ("score", folder / "data", []),
        ("score, fdr", folder / "data", ["--control", "fdr"]),
        ("groups", folder / "data", ["--by", "site"]),
    ):
        for number, (method, workers) in enumerate(engines.items()):
            verb = what.split(",")[0] if what != "start" else "score"
            target = folder / f"{what}-{number}"
            if verb == "groups" or method == "plain":
                target = target.with_name(f"{target.name}.parquet")
            engine = ["--engine", "ray", *workers] if workers else []
            arguments = [verb, str(model), str(data), "-o", str(target), *extra, *engine]
            found.append((what, method, arguments))
    return found


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds of the clock, and of the CPU of all its processes, of one command."""
    start = time.perf_counter()
    seen: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, *RUN, *arguments], stdout=said, stderr=said)
        while process.poll() is None:
            seen |= cpu_below(process.pid)
            time.sleep(EVERY)
        if process.returncode:
            said.seek(0)
            text = f"{' '.join(arguments)} ended with {process.returncode}: {said.read()[-2000:]}"
            raise RuntimeError(text)
    return time.perf_counter() - start, sum(seen.values())


def cpu_below(root: int) -> dict[int, float]:
    """CPU seconds of a process and of those that it or they have started, by their numbers."""
    parents, seconds = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(entry.name)
        parents[number] = int(fields[1])
        seconds[number] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    inside, size = {root}, 0
    while len(inside) > size:
        size = len(inside)
        inside |= {number for number, parent in parents.items() if parent in inside}
    return {number: seconds[number] for number in inside if number in seconds}


def prepared(folder: Path, options: argparse.Namespace) -> Path:
    """A fitted model, the partitions, and one of ten rows."""
    import upland

    surface = Surface.make(COLUMNS, generator(0), latent=6)
    names = [f"x{number}" for number in range(COLUMNS)]
    detector = upland.EnergyDetector(calibration="split", random_state=0, progress=False)
    train = surface.draw(options.train, generator(1))
    upland.save(detector.fit(pa.table(dict(zip(names, train.T, strict=True)))), folder / "m.safetensors")
    for place, rows, count in (("data", options.rows, options.partitions), ("ten", 10, 1)):
        (folder / place).mkdir()
        for number in range(count):
            size = rows // count
            x = surface.draw(size, generator(2, number))
            site = np.sort(generator(3, number).integers(0, SITES, size))
            table = pa.table(dict(zip(names, x.T, strict=True)) | {"site": site})
            pq.write_table(table, folder / place / f"part-{number:05}.parquet")
    return folder / "m.safetensors"


def partition(records: Records, options: argparse.Namespace) -> None:
    """The work on one partition, task by task."""
    from upland.distributed import tasks
    from upland.distributed.partitions import partitions_at
    from upland.scoring.scorer import Scorer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = options.rows // options.partitions
        scorer = Scorer(prepared(folder, argparse.Namespace(rows=rows, partitions=1, train=options.train)))
        (part,) = partitions_at(folder / "data")
        scores = tasks.Target(folder / "scores.parquet", folder, "stage.parquet")
        final = tasks.Target(folder / "out.parquet", folder, "stage.parquet")
        work = {
            "score": lambda: tasks.score_partition(scorer, part, final),
            "assess": lambda: tasks.assess_partition(scorer, part, scores),
            "flag": lambda: tasks.flag_partition(scorer, part, final, scores.final, 0.01),
        }
        for method, task in work.items():
            key = {"part": "partition", "method": method, "rows": rows, "partitions": 1}
            if records.find(**key) is None:
                start = time.process_time()
                outcome = task()
                if outcome.error:
                    raise RuntimeError(outcome.error)
                add(records, {**key, "cpu_seconds": time.process_time() - start, "load": os.getloadavg()[0]})


def add(records: Records, row: dict[str, Any]) -> None:
    """Write one row and print it."""
    records.add(row)
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
