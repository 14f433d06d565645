"""Normal rows of mixed columns, in every container, and quick detectors for them."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import csv, parquet

from upland import EnergyDetector


def mixed(count=120, seed=0):
    """A frame of numbers, a boolean and categories; pressure follows flow."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    return pd.DataFrame(
        {
            "flow": flow,
            "pressure": 2 * flow + rng.normal(0, 0.2, count),
            "valve": rng.choice(["open", "shut", "half"], count),
            "running": rng.random(count) < 0.7,
            "steps": rng.integers(0, 9, count),
        }
    )


def numbers(count=120, columns=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, columns))


def quick(**options):
    """A small detector that fits in a fraction of a second."""
    settings = {"hidden": (16, 8), "epochs": 5, "calibration": "split", "random_state": 0, "progress": False}
    return EnergyDetector(**settings | options)


def as_csv(frame, folder):
    csv.write_csv(pa.Table.from_pandas(frame, preserve_index=False), folder / "rows.csv")
    return folder / "rows.csv"


def as_parquet(frame, folder, row_group_size=None):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    parquet.write_table(table, folder / "rows.parquet", row_group_size=row_group_size)
    return folder / "rows.parquet"


CONTAINERS = {
    "pandas": lambda frame, folder: frame,
    "polars": lambda frame, folder: pl.from_pandas(frame),
    "lazy polars": lambda frame, folder: pl.from_pandas(frame).lazy(),
    "arrow": lambda frame, folder: pa.Table.from_pandas(frame, preserve_index=False),
    "record batch": lambda frame, folder: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    "csv": as_csv,
    "csv by text": lambda frame, folder: str(as_csv(frame, folder)),
    "parquet": as_parquet,
}
