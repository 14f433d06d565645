"""Time and memory against peers and against the hardware's own bound; one thread, one run.

    step      one training step (120 inputs, 512-512, batch 1024) over its own matrix products: of the
              paper's model, also by autograd's double backward, and of two nets at all scales
    help      seconds until `upland --help` is back
    scoring   rows scored per CPU second over the products of scoring
    memory    peak memory and rate of `upland score` on a Parquet file of 1 and of 10 million rows; the rate
              of the library on a table of the same columns in memory
    cli       `upland score` on CSV and Parquet files of 1 and of 10 million rows x 30: rows per second of
              wall clock and of CPU over those of the library on an array, peak memory
    table     fit and score 100,000 x 30 with 2 % planted anomalies: CPU seconds and AUROC beside PyOD's
              AutoEncoder and IsolationForest

Times are CPU seconds of this process, so that a busy machine changes them little (wall seconds for `help`,
both for `cli`).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks import peers
from benchmarks.options import command
from benchmarks.products import (
    Products,
    batched_products,
    multiscale_products,
    scoring_products,
    training_products,
)
from benchmarks.records import Records
from benchmarks.synthetic import planted_table
from benchmarks.timing import Part, interleaved, measured_command, note, run_parts
from benchmarks.upland_methods import PAPER, UPLAND
from upland.models.multiscale import MultiscaleEnergy

TABLE = {"upland": UPLAND["upland"], "IForest": peers.isolation_forest, "PyOD AutoEncoder": peers.autoencoder}
STEP_WIDTH, STEP_HIDDEN, STEP_BATCH, STEP_NETS = 120, (512, 512), 1024, 2
ROUTES = (("csv", "csv"), ("csv", "parquet"), ("parquet", "parquet"))
LIBRARY = "200,000 rows in memory, by the library"
CLI = (sys.executable, "-c", "from upland.cli import main; main()")  # what the `upland` script does


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table")
    parser.add_argument("--file-rows", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--scratch", type=Path, help="folder for large files; a temporary one if left out")
    return run_parts(parser, argv, "speed", PARTS, {"parts": ["step", "help", "scoring"], "rows": 10_000})


# -- table ---------------------------------------------------------------------------------------------------


def table(records: Records, options: argparse.Namespace) -> None:
    """Fit on the whole table, anomalies included, and score it."""
    x, labels = planted_table(options.rows, 30, 0.02, seed=0)
    for name, fit in TABLE.items():
        if records.find(part="table", method=name) is None:
            peers.warm_up(fit)
            torch.set_num_threads(1)
            result = peers.run(fit, x, x, 0)
            note(records, "table", name, {
                "auroc": float(roc_auc_score(labels, result.scores)),
                "fit_seconds": result.fit_seconds,
                "score_seconds": result.score_seconds,
                "rows_per_second": len(x) / result.score_seconds,
            })  # fmt: skip


# -- step ----------------------------------------------------------------------------------------------------


def step(records: Records, options: argparse.Namespace) -> None:
    """Noise, loss, backward pass and optimiser; the same by autograd's second derivative; the products."""
    sizes = (STEP_WIDTH, *STEP_HIDDEN)
    tasks = {
        "matrix products alone": training_products(STEP_BATCH, sizes),
        "upland": training_step(explicit=True),
        "autograd double backward": training_step(explicit=False),
    }
    several = {
        "matrix products alone, two nets": batched_products(STEP_BATCH, sizes, STEP_NETS),
        "upland, two nets at all scales": multiscale_step(),
    }
    for part in (tasks, several):
        seconds = interleaved(part)
        bound = next(iter(seconds.values()))
        for name, value in seconds.items():
            if records.find(part="step", method=name) is None:
                note(records, "step", name, {"milliseconds": 1000 * value, "over_bound": value / bound})


def multiscale_step() -> Callable[[], object]:
    """A step of the training of two nets at all scales, on a fixed batch."""
    from upland.training.loop import Settings, Training
    from upland.training.objectives import conditional

    generator = torch.Generator().manual_seed(0)
    model = MultiscaleEnergy(STEP_WIDTH, STEP_HIDDEN, n_nets=STEP_NETS, prior="centre", generator=generator)
    settings = Settings(steps=1000, checks=1, patience=1, learning_rate=1e-3, batch=STEP_BATCH, seed=0)
    training = Training(model, lambda m, x, noise: conditional(m, x, 1.0, noise), settings)
    batch = torch.randn(STEP_BATCH, STEP_WIDTH, generator=generator)
    return lambda: training._update(batch, generator)


def training_step(explicit: bool) -> Callable[[], object]:
    """One step of the training loop itself, on a fixed batch."""
    from upland.models.base import ModuleEnergy
    from upland.models.energies import DenseEnergy
    from upland.training.loop import Settings, Training
    from upland.training.objectives import denoising

    generator = torch.Generator().manual_seed(0)
    dense = DenseEnergy(STEP_WIDTH, STEP_HIDDEN, generator=generator)
    settings = Settings(steps=1000, checks=1, patience=1, learning_rate=1e-3, batch=STEP_BATCH, seed=0)
    training = Training(
        dense if explicit else ModuleEnergy(dense),
        lambda model, x, noise: denoising(model, x, 0.5, noise),
        settings,
    )
    batch = torch.randn(STEP_BATCH, STEP_WIDTH, generator=generator)
    return lambda: training._update(batch, generator)


# -- scoring -------------------------------------------------------------------------------------------------


def scoring(records: Records, options: argparse.Namespace) -> None:
    """The whole way from a row of numbers to its score, over the products of every net that it passes.

    Once with the net of the training step, once with the default detector, whose products are so small
    that the softplus between them and the encoding count for more.
    """
    wide, _ = planted_table(options.rows // 5, STEP_WIDTH, 0.02, seed=0)
    narrow, _ = planted_table(options.rows, 30, 0.02, seed=0)
    score_over_products(records, "120 inputs, 512-512, the paper's model", wide, hidden=STEP_HIDDEN, **PAPER)
    score_over_products(records, "120 inputs, 512-512, all scales", wide, hidden=STEP_HIDDEN)
    score_over_products(records, "30 inputs, default", narrow)


def score_over_products(records: Records, name: str, x: Any, **settings: Any) -> None:
    from upland import EnergyDetector

    detector = EnergyDetector(random_state=0, progress=False, epochs=1, **settings).fit(x)
    blocks = [products_of(model) for model in detector.models_]
    once = interleaved({"products": lambda: [products() for products in blocks]})["products"]
    bound = once * len(x) / detector.models_[0].block_rows
    whole = interleaved({"whole": lambda: detector.anomaly_score(x)}, repeats=5)["whole"]
    for method, seconds in {"matrix products alone": bound, "upland": whole}.items():
        if records.find(part="scoring", method=f"{method} ({name})") is None:
            share = {"rows_per_second": len(x) / seconds, "share_of_bound": bound / seconds}
            note(records, "scoring", f"{method} ({name})", share)


def products_of(model: Any) -> Products:
    """The products of scoring a block of rows."""
    if isinstance(model, MultiscaleEnergy):
        return multiscale_products(model.block_rows, model)
    return scoring_products(model.block_rows, layer_sizes(model), decode=True)


def layer_sizes(model: Any) -> tuple[int, ...]:
    """(inputs, units of each layer) of a `DenseEnergy` or, of one net of it, a `MultiscaleEnergy`."""
    inner, outer = (1, 2) if isinstance(model, MultiscaleEnergy) else (1, 0)
    weights = list(model.weights)
    return (weights[0].shape[inner], *(w.shape[outer] for w in weights))


# -- memory, help --------------------------------------------------------------------------------------------


def memory(records: Records, options: argparse.Namespace) -> None:
    """Fit a detector by the command line, then score files of growing length with it."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        model = Path(folder) / "model.safetensors"
        normal = write_parquet(Path(folder) / "normal.parquet", 20_000)
        measured_command([*CLI, "fit", str(normal), "-o", str(model)])
        for rows in options.file_rows:
            if records.find(part="memory", method=f"{rows:,} rows") is None:
                note(records, "memory", f"{rows:,} rows", scored_file(Path(folder), model, rows))
        if records.find(part="memory", method=LIBRARY) is None:
            note(records, "memory", LIBRARY, scored_table(Path(folder), model, 200_000))


def scored_table(folder: Path, model: Path, rows: int) -> dict[str, float]:
    """CPU seconds of scores and p-values of a table in memory, of the same columns."""
    import pyarrow.parquet as pq

    import upland

    detector, x = upland.load(model), pq.read_table(write_parquet(folder / "table.parquet", rows))
    detector.assess(x.slice(0, 1000))
    start = time.process_time()
    detector.assess(x)
    seconds = time.process_time() - start
    return {"cpu_seconds": seconds, "rows_per_second": rows / seconds}


def scored_file(folder: Path, model: Path, rows: int) -> dict[str, float]:
    """Peak memory and seconds of one scoring command."""
    source, target = write_parquet(folder / "rows.parquet", rows), folder / "scored.parquet"
    peak, cpu = measured_command([*CLI, "score", str(model), str(source), "-o", str(target)])
    size = source.stat().st_size
    source.unlink()
    target.unlink()
    return {
        "file_megabytes": size / 2**20,
        "peak_megabytes": peak,
        "cpu_seconds": cpu,
        "rows_per_second": rows / cpu,
    }


def cli(records: Records, options: argparse.Namespace) -> None:
    """The command on files over the library on the same rows as an array, measured just before."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        normal = write_parquet(folder / "normal.parquet", options.rows, 30)
        model = folder / "model.safetensors"
        measured_command([*CLI, "fit", str(normal), "-o", str(model)])
        for rows, (source, target) in product(options.file_rows, ROUTES):
            name = f"{source} to {target}, {rows:,} rows"
            if records.find(part="cli", method=name) is None:
                note(records, "cli", name, command_over_library(folder, model, rows, source, target))


def command_over_library(folder: Path, model: Path, rows: int, source: str, target: str) -> dict[str, float]:
    """Rates of both, and what the command takes, its start included."""
    data = write_parquet(folder / "rows.parquet", rows, 30)
    library = library_rate(model, data)
    if source == "csv":
        data = as_csv(data)
    scored = folder / f"scored.{target}"
    start = time.perf_counter()
    peak, cpu = measured_command([*CLI, "score", str(model), str(data), "-o", str(scored), "-q"])
    rates = rows / (time.perf_counter() - start), rows / cpu
    sizes = {"file_megabytes": data.stat().st_size / 2**20, "peak_megabytes": peak}
    data.unlink()
    scored.unlink()
    found = {}
    for clock, rate, bound in zip(("second", "cpu_second"), rates, library, strict=True):
        found |= {f"rows_per_{clock}": rate, f"library_rows_per_{clock}": bound}
        found |= {f"share_by_{clock}": rate / bound}
    return found | sizes


def library_rate(model: Path, data: Path, rows: int = 200_000) -> tuple[float, float]:
    """Rows of an array that the library scores per second of wall clock, and of CPU: the best of three."""
    import pyarrow.parquet as pq

    from upland import load

    detector = load(model)
    wall, cpu = [], []
    table = next(pq.ParquetFile(data).iter_batches(rows))
    x = np.column_stack([column.to_numpy() for column in table.columns])
    with warnings.catch_warnings(action="ignore"):  # an array has no names
        for _ in range(4):
            start = time.perf_counter(), time.process_time()
            detector.anomaly_score(x)
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
    return len(x) / min(wall[1:]), len(x) / min(cpu[1:])


def as_csv(path: Path) -> Path:
    """The same rows as a CSV file; the Parquet file is removed."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    file, target = pq.ParquetFile(path), path.with_suffix(".csv")
    with pyarrow.csv.CSVWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches():
            writer.write_batch(batch)
    path.unlink()
    return target


def write_parquet(path: Path, rows: int, columns: int = 10, batch: int = 100_000) -> Path:
    """A file of normal rows, written in row groups of `batch`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    generator = np.random.default_rng(rows)
    schema = pa.schema([(f"x{i}", pa.float32()) for i in range(columns)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, batch):
            x = generator.normal(size=(columns, min(batch, rows - start))).astype(np.float32)
            writer.write_table(pa.table(list(x), schema=schema))
    return path


def help_time(records: Records, options: argparse.Namespace) -> None:
    """Median wall seconds of `upland --help` over nine calls."""
    if records.find(part="help", method="upland --help") is None:
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            shown = subprocess.run([*CLI, "--help"], check=True, capture_output=True, text=True).stdout
            seconds.append(time.perf_counter() - start)
            assert "score" in shown, "the help names no command"
        note(records, "help", "upland --help", {"seconds": statistics.median(seconds), "best": min(seconds)})


PARTS: dict[str, Part] = {
    "step": step,
    "help": help_time,
    "scoring": scoring,
    "memory": memory,
    "cli": cli,
    "table": table,
}

if __name__ == "__main__":
    sys.exit(main())
