"""Fit and scoring at 100,000 training rows of 30 columns, one thread, one run, beside peers and bounds.

    table    for each method, in a process of its own: CPU seconds of the fit on normal rows; rows scored per
             CPU second and AUROC on as many other rows, 2 % of them planted anomalies; peak memory of the
             process, imports and tables included (`no detector` has these alone); size of the model file
    bounds   rows scored per CPU second by a detector of upland, beside what the operations that its scoring
             needs would allow if there were nothing else: matrix products; these, transcendental functions
             and selections; and the bytes that all operations move, at the rate of copying a large array

Bounds are found by recording the scoring of some blocks (`recorded.py`), whatever the model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import peers
from benchmarks.options import command
from benchmarks.peers import Array, Fit
from benchmarks.recorded import Recorded
from benchmarks.records import Records
from benchmarks.synthetic import Surface, planted
from benchmarks.timing import Part, interleaved, measured_command, note, run_parts
from benchmarks.upland_methods import MULTISCALE, PAPER

DETECTORS: dict[str, Mapping[str, Any]] = {  # of upland, by their arguments
    "upland": {},
    "upland fast": {"speed": "fast"},
    "upland multi-scale": MULTISCALE,
    "upland paper": {**PAPER, "criterion": "energy"},
}
PEERS: dict[str, Fit] = {
    "IForest": peers.isolation_forest,
    "PyOD AutoEncoder": peers.autoencoder,
}
ALONE = "no detector"
METHODS = (*DETECTORS, *PEERS, ALONE)
COLUMNS, SHARE, REPEATS = 30, 0.02, 3
RECORDED_ROWS = 8192
COPIED_BYTES = 2**28
BOUNDS = f"bounds of scoring, {COLUMNS} columns"


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows that train, and rows that are scored")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    given = sys.argv[1:] if argv is None else argv
    if "--worker" in given:
        options = parser.parse_args(given)
        options.worker.write_text(json.dumps(measured(options.methods[0], options.rows)))
        return 0
    return run_parts(parser, argv, "speed_tables", PARTS, {"rows": 5000, "methods": ["upland", "IForest"]})


# -- table ---------------------------------------------------------------------------------------------------


def table(records: Records, options: argparse.Namespace) -> None:
    """Every method in a process of its own, so that its peak memory is its own."""
    part = f"{options.rows:,} rows x {COLUMNS} columns"
    for method in options.methods:
        if records.find(part=part, method=method) is None:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "measured.json"
                own = ["--worker", str(file), "--methods", method, "--rows", str(options.rows)]
                peak, _ = measured_command([sys.executable, "-m", "benchmarks.speed_tables", *own])
                note(records, part, method, json.loads(file.read_text()) | {"peak_megabytes": peak})


def measured(method: str, rows: int) -> dict[str, Any]:
    """What one method takes, in this process."""
    torch.set_num_threads(1)
    train, test, labels = train_and_test(rows)
    if method == ALONE:
        return {}
    fit = PEERS.get(method) or partial(fitted, arguments=DETECTORS[method])
    peers.warm_up(fit)
    start = time.process_time()
    score = fit(train, 0)
    fit_seconds = time.process_time() - start
    seconds, scores = [], np.empty(0)
    for _ in range(REPEATS):
        start = time.process_time()
        scores = np.asarray(score(test))
        seconds.append(max(time.process_time() - start, 1e-9))
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "fit_seconds": fit_seconds,
        "score_seconds": statistics.median(seconds),
        "rows_per_second": rows / statistics.median(seconds),
        **model_file(getattr(score, "__self__", None)),
    }


def train_and_test(rows: int) -> tuple[Array, Array, Any]:
    """Normal rows, as many others with planted anomalies, and the labels of these."""
    generator = np.random.default_rng(0)
    surface = Surface.make(COLUMNS, generator)
    return surface.draw(rows, generator), *planted(surface, rows, SHARE, generator)


def fitted(train: Array, seed: int, arguments: Mapping[str, Any]) -> Callable[[Any], Any]:
    """The `anomaly_score` of a fitted detector of upland."""
    from upland import EnergyDetector

    return EnergyDetector(random_state=seed, progress=False, **arguments).fit(train).anomaly_score


def model_file(detector: object) -> dict[str, float]:
    """Size of the file of a detector of upland; nothing of others."""
    import upland
    from upland.detectors.base import Detector

    if not isinstance(detector, Detector):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        upland.save(detector, file)
        return {"file_megabytes": file.stat().st_size / 2**20}


# -- bounds --------------------------------------------------------------------------------------------------


def bounds(records: Records, options: argparse.Namespace) -> None:
    """How near scoring comes to the operations that it cannot do without."""
    train, test, _ = train_and_test(options.rows)
    for method in options.methods:
        name = f"{method}, scoring"
        if method in DETECTORS and records.find(part=BOUNDS, method=name) is None:
            for bound, values in bounded(fitted(train, 0, DETECTORS[method]), test).items():
                note(records, BOUNDS, f"{method}, {bound}", values)


def bounded(score: Callable[[Any], Any], test: Array) -> dict[str, dict[str, float]]:
    """Rows per CPU second: of the scoring, and of each bound alone; the share of it that scoring reaches."""
    some = test[:RECORDED_ROWS]
    with Recorded() as found:
        score(some)
    whole = found.again("products", "transcendental", "selection")
    tasks = {"scoring": lambda: score(some), "matrix products alone": found.again("products")}
    tasks["products, transcendental functions and selections"] = whole
    source = torch.zeros(COPIED_BYTES // 4, dtype=torch.float32)
    target = torch.empty_like(source)
    seconds = interleaved({**tasks, "copy": lambda: target.copy_(source)}, repeats=9)
    copied = seconds.pop("copy") / (2 * COPIED_BYTES)  # seconds a byte, each read and written
    seconds["bytes moved"] = copied * found.moved
    return {
        name: {"rows_per_second": len(some) / taken, "share_reached": taken / seconds["scoring"]}
        for name, taken in seconds.items()
        if taken > 0
    }


PARTS: dict[str, Part] = {"table": table, "bounds": bounds}

if __name__ == "__main__":
    sys.exit(main())
