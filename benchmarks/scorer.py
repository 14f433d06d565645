"""What `upland.Scorer` costs beside `assess` of the same data: CPU seconds in turns, on one thread.

A row is a container and a number of rows: the median CPU time of a call of the Scorer, of `assess`, their
ratio, and the difference for a call. The model is the default for tables, fitted on 2,000 rows of 30 columns.

    python -m benchmarks.scorer --output benchmarks/results/scorer.json
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import torch

import upland
from benchmarks.options import command, parsed
from benchmarks.records import Records
from benchmarks.timing import interleaved

COLUMNS, NORMAL = 30, 2_000
REPEATS = {1: 300, 100: 300, 10_000: 25, 65_536: 5}
"""Turns for each number of rows."""
CONTAINERS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "arrow table": lambda rows: pa.Table.from_pandas(rows),
    "record batch": lambda rows: pa.RecordBatch.from_pandas(rows),
    "pandas": lambda rows: rows,
    "polars": lambda rows: pl.from_pandas(rows),
    "dict of arrays": lambda rows: {name: rows[name].to_numpy() for name in rows},
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, nargs="+", choices=REPEATS, default=list(REPEATS))
    options = parsed(parser, argv, "scorer", {"rows": [1, 100]}, is_bundled=True)
    torch.set_num_threads(1)
    records = Records.open(options.output, ("container", "rows"))
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        scorer = fitted(rng, Path(folder) / "model.safetensors")
    for count in options.rows:
        rows = table(rng, count)
        for name, made in CONTAINERS.items():
            if records.find(container=name, rows=count) is None:
                records.add(
                    {
                        "benchmark": "scorer",
                        "container": name,
                        "rows": count,
                        **cost(scorer, made(rows), REPEATS[count]),
                    }
                )
                print(records.rows[-1], flush=True)
    return 0


def table(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Rows of numbers."""
    return pd.DataFrame(rng.normal(size=(count, COLUMNS)), columns=[f"x{n}" for n in range(COLUMNS)])


def fitted(rng: np.random.Generator, path: Path) -> upland.Scorer:
    """A Scorer of the default for tables."""
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(table(rng, NORMAL))
    upland.save(detector, path)
    return upland.Scorer(path)


def cost(scorer: upland.Scorer, data: Any, repeats: int) -> dict[str, float]:
    """Median CPU times in microseconds, taken in turns, and their ratio."""
    tasks = {"scorer": lambda: scorer(data), "assess": lambda: scorer.detector.assess(data)}
    seconds = interleaved(tasks, repeats)
    found = {f"{name}_us": round(value * 1e6, 1) for name, value in seconds.items()}
    added = found["scorer_us"] - found["assess_us"]
    return {**found, "ratio": round(found["scorer_us"] / found["assess_us"], 4), "added_us": round(added, 1)}


if __name__ == "__main__":
    sys.exit(main())
