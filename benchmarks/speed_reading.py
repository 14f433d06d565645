"""Reading and scoring files of rows, beside an earlier state of the source: CPU seconds in turns.

Two workers, one with each state, do the same task in turns; a row is the ratio of their median times. The
earlier state is a folder with the package, such as the `src` of another checkout.

    python -m benchmarks.speed_reading --before ../before/src
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.options import HERE
from benchmarks.records import Records

NOW = HERE.parent / "src"
FILES = (
    "numbers.csv",
    "mixed.csv",
    "quoted.csv",
    "mixed.csv.gz",
    "numbers.parquet",
    "mixed.parquet",
    "mixed.arrow",
)
TASKS = ("read", "score")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, default=NOW, help="folder of the earlier state")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "speed_reading.json")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        work(options.worker)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.rows)
        records = Records.open(options.output, ("file", "task"))
        states = {"before": options.before.resolve(), "now": NOW}
        workers = {name: worker(source, Path(folder)) for name, source in states.items()}
        for file in FILES:
            for task in TASKS:
                if records.find(file=file, task=task) is None:
                    found = compared(workers, file, task, options.repeats)
                    key = {"benchmark": "speed_reading", "file": file, "task": task}
                    records.add({**key, "rows": options.rows, **found})
                    print(records.rows[-1], flush=True)
        for started in workers.values():
            started.communicate("")
    return 0


def compared(
    workers: dict[str, subprocess.Popen[str]], file: str, task: str, repeats: int
) -> dict[str, float]:
    """Median CPU seconds of both states, in turns after one of warming up, and their ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for turn in range(repeats + 1):
        order = list(workers) if turn % 2 else list(workers)[::-1]
        for name in order:
            taken = asked(workers[name], f"{task} {file}")
            if turn:
                seconds[name].append(taken)
    median = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    best = {f"{name}_best": min(values) for name, values in seconds.items()}
    return {**median, **best, "ratio": median["now_seconds"] / median["before_seconds"],
            "ratio_of_best": best["now_best"] / best["before_best"]}  # fmt: skip


def asked(started: subprocess.Popen[str], line: str) -> float:
    """What a worker answers."""
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.write(line + "\n")
    started.stdin.flush()
    return float(started.stdout.readline())


def worker(source: Path, folder: Path) -> subprocess.Popen[str]:
    """A process that does tasks with one state of the source."""
    paths = os.pathsep.join([str(source), str(HERE.parent)])
    command = [sys.executable, "-m", "benchmarks.speed_reading", "--worker", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"})  # fmt: skip


def work(folder: Path) -> None:
    """Do the tasks that standard input names; answer with CPU seconds of all threads."""
    import torch

    from upland import EnergyDetector
    from upland.io.formats import open_source

    torch.set_num_threads(1)
    options = {"epochs": 1, "n_nets": 1, "hidden": [32], "random_state": 0, "progress": False}
    detectors = {}
    for file in FILES:
        normal = open_source(folder / file).read().slice(0, 2000)
        detectors[file] = EnergyDetector(**options).fit(normal)
    tasks = {
        "read": lambda file: open_source(folder / file).read(),
        "score": lambda file: detectors[file].anomaly_score(folder / file),
    }
    for line in sys.stdin:
        task, file = line.split()
        start = time.process_time()
        tasks[task](file)
        print(time.process_time() - start, flush=True)


def write_files(folder: Path, rows: int) -> None:
    """Files of numbers, and of numbers, text and dates, in every format."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    numbers = pa.table({f"x{number}": rng.normal(size=rows) for number in range(10)})
    sites = np.array([f"site {number}" for number in range(40)])
    mixed = numbers.select([0, 1, 2, 3]).append_column("site", pa.array(sites[rng.integers(0, 40, rows)]))
    mixed = mixed.append_column("count", pa.array(rng.integers(0, 1000, rows)))
    mixed = mixed.append_column("at", pa.array(rng.integers(0, 10**9, rows), pa.timestamp("s")))
    plain = pyarrow.csv.WriteOptions(quoting_style="needed")
    for name, table in {"numbers": numbers, "mixed": mixed}.items():
        pyarrow.csv.write_csv(table, folder / f"{name}.csv", plain)
        pq.write_table(table, folder / f"{name}.parquet")
    pyarrow.csv.write_csv(mixed, folder / "quoted.csv", pyarrow.csv.WriteOptions(quoting_style="all_valid"))
    (folder / "mixed.csv.gz").write_bytes(gzip.compress((folder / "mixed.csv").read_bytes(), 1))
    with pa.OSFile(str(folder / "mixed.arrow"), "wb") as file, pa.ipc.new_file(file, mixed.schema) as writer:
        writer.write_table(mixed, max_chunksize=65_536)


if __name__ == "__main__":
    sys.exit(main())
