"""The fit by Ray beside the local one on the same partitions, and the rates of its two readings.

`equality`: half of the normal rows of a set, cut into partitions of different size, are fitted on by both;
AUROC on other normal rows and the anomalies. Both read the same rows with the same seeds, so that a
difference comes from the sample; sets are larger than it. `rates`: CPU seconds of the readings of one
partition in this process, rows a second. `fit`: whole fits on one and two workers in seconds of the clock,
which a busy machine changes: `load` is how many processes wanted a CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

import upland
from benchmarks import protocols
from benchmarks.options import command, data_argument
from benchmarks.records import Records
from benchmarks.synthetic import Surface
from benchmarks.timing import run_parts
from upland.distributed.cluster import cluster
from upland.distributed.fit import SAMPLE, fit, rows_at, sampled_rows, summarised_rows
from upland.distributed.reservoir import bound_of

KEYS = ("part", "set", "method", "seed", "sample")
COLUMNS = 30
TEST_ROWS = 20_000
SETS = {"donors": SAMPLE, "cover": SAMPLE, "aloi": 20_000}
"""Sets and rows of the sample."""


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--partitions", type=int, default=12)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the fit that is timed")
    quick = {"parts": ["rates", "fit"], "rows": 60_000}
    parts = {"equality": equality, "rates": rates, "fit": fits}
    return run_parts(parser, argv, "ray_fit", parts, quick, KEYS)


def equality(records: Records, options: argparse.Namespace) -> None:
    """AUROC of both fits for each set and seed."""
    with cluster(workers=2):
        of_sets(records, options)


def of_sets(records: Records, options: argparse.Namespace) -> None:
    for name in options.sets:
        X, y = protocols.load_adbench(options.data, name)
        for seed in options.seeds:
            draw = np.random.default_rng([list(SETS).index(name), seed])
            normal = draw.permutation(np.flatnonzero(y == 0))
            anomalies = draw.permutation(np.flatnonzero(y == 1))[:TEST_ROWS]
            train, rest = normal[: len(normal) // 2], normal[len(normal) // 2 :][:TEST_ROWS]
            test = X[np.concatenate([rest, anomalies])].astype(np.float64)
            labels = np.repeat([0, 1], [len(rest), len(anomalies)])
            with tempfile.TemporaryDirectory() as place:
                write(Path(place), X[train].astype(np.float64), options.partitions, draw)
                for method in ("local", "ray"):
                    key = {"part": "equality", "set": name, "method": method, "seed": seed}
                    key["sample"] = SETS[name] if method == "ray" else 0
                    if records.find(**key) is None:
                        detector = fitted(method, place, seed, SETS[name])
                        auroc = roc_auc_score(labels, scores_of(detector, test))
                        show(records, {**key, "rows": len(train), "auroc": auroc})


def fitted(method: str, place: str, seed: int, sample: int) -> Any:
    detector = upland.EnergyDetector(random_state=seed, progress=False)
    return detector.fit(place) if method == "local" else fit(detector, place, sample=sample, workers=2)


def scores_of(detector: Any, test: Any) -> Any:
    return -detector.score_samples(pa.table({f"c{n}": column for n, column in enumerate(test.T)}))


def write(folder: Path, x: Any, partitions: int, draw: np.random.Generator) -> None:
    """Partitions of different size."""
    cuts = np.sort(draw.choice(np.arange(1, len(x)), partitions - 1, replace=False))
    for number, rows in enumerate(np.split(x, cuts)):
        table = pa.table({f"c{n}": column for n, column in enumerate(rows.T)})
        pq.write_table(table, folder / f"part-{number:03}.parquet")


def surface(folder: Path, rows: int, partitions: int) -> None:
    draw = np.random.default_rng(0)
    whole = Surface.make(COLUMNS, draw)
    for number in range(partitions):
        write(folder / f"of={number}", whole.draw(rows // partitions, draw), 1, draw)


def rates(records: Records, options: argparse.Namespace) -> None:
    """CPU seconds of both readings, the best of three."""
    key = {"part": "rates", "set": "surface", "seed": 0, "sample": SAMPLE}
    with tempfile.TemporaryDirectory() as place:
        Path(place, "of=0").mkdir()
        surface(Path(place), options.rows // 5, 1)
        rows = rows_at(place)[0]
        encoder = upland.data.table.encoder.TableEncoder().fit(sampled_rows(rows, 20_000, 0, np.inf)[1])
        encoder.read_as(encoder)
        works = {
            # of a partition of a large data set hardly any row is in the sample
            "sample": lambda: sampled_rows(rows, SAMPLE, 0, bound_of(SAMPLE, 10**10)),
            "summary": lambda: summarised_rows(rows, encoder, np.empty(0, dtype=np.int64)),
        }
        for method, work in works.items():
            if records.find(**key, method=method) is None:
                seconds = min(cpu_seconds(work) for _ in range(3))
                sizes = {"rows": rows.count, "bytes": rows.part.size, "columns": COLUMNS}
                show(records, {**key, "method": method, **sizes, "rows_per_second": rows.count / seconds})


def cpu_seconds(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def fits(records: Records, options: argparse.Namespace) -> None:
    """Seconds of whole fits."""
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.partitions):
            Path(place, f"of={number}").mkdir()
        surface(Path(place), options.rows, options.partitions)
        for method, workers in (("local", 0), ("ray, 1 worker", 1), ("ray, 2 workers", 2)):
            key = {"part": "fit", "set": "surface", "method": method, "seed": 0, "sample": SAMPLE}
            if records.find(**key) is not None:
                continue
            detector = upland.EnergyDetector(random_state=0, progress=False, ignore=["of"])
            load, started = os.getloadavg()[0], time.perf_counter()
            if workers:
                fit(detector, place, workers=workers)
            else:
                detector.fit(place)
            seconds = time.perf_counter() - started
            show(records, {**key, "rows": options.rows, "seconds": seconds, "load": load})


def show(records: Records, row: dict[str, Any]) -> None:
    records.add(row)
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
