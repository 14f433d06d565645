"""Normal data of every modality, in every container, and quick detectors for them."""

import copy
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from pyarrow import csv, parquet

import upland


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


def waves(count=24, steps=14, channels=2, seed=0):
    """Noisy sines of random phase, each channel a little later than the one before: `(count, steps, D)`."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1)) + np.arange(channels)
    return np.sin(0.7 * np.arange(steps)[:, None] + phase) + 0.1 * rng.normal(size=(count, steps, channels))


def slopes(count=24, height=8, width=7, channels=1, seed=0):
    """Images that grow brighter in a random direction: `(count, H, W)` uint8, or `(count, H, W, C)`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi, (count, 1, 1, channels))
    slope = np.cos(angle) * x[..., None] + np.sin(angle) * y[..., None]
    shades = 120 + 50 * slope + rng.normal(0, 4, slope.shape)
    return np.clip(shades, 0, 255).astype(np.uint8).squeeze(3 if channels == 1 else ())


NORMAL = {"table": numbers, "sequence": waves, "image": slopes}
"""Normal data of each modality, `(count=..., seed=...)`."""

QUIET = {"calibration": "split", "random_state": 0, "progress": False}
COMMON = {"epochs": 2} | QUIET

SIZES = {
    upland.EnergyDetector: {"hidden": (16, 8)},
    upland.FlowDetector: {"layers": 2, "hidden": (8,), "fallback": "none"},
    upland.VAEDetector: {"hidden": (8,), "latent": 2},
    upland.SequenceEnergyDetector: {"hidden": (8,), "frame": 3},
    upland.SequenceFlowDetector: {"hidden": (8,), "lags": 3},
    upland.ImageEnergyDetector: {"hidden": (16, 8)},
    upland.ImageFlowDetector: {"depth": 1, "filters": 4},
    upland.ImageVAEDetector: {"filters": (4,), "latent": 2},
}
"""Every estimator, and the sizes of a small model."""


def small(made, **options):
    """An estimator of this class that fits in a fraction of a second; experts have no arguments of nets."""
    usual = QUIET if is_of_experts(options) else COMMON | SIZES[made]
    return made(**usual | options)


def is_of_experts(options):
    """Whether arguments ask for a product of experts."""
    return isinstance(options.get("energy"), str) and options["energy"] == "experts"


def with_criterion(criterion):
    """The arguments of a model that has a criterion."""
    return {"criterion": criterion} | ({"energy": "experts"} if criterion == "experts" else {})


def quick(**options):
    """A small detector of tables."""
    return small(upland.EnergyDetector, **_length(options) | options)


def _length(options):
    return {} if is_of_experts(options) else {"epochs": 5}


@cache
def _fitted(made, options):
    return small(made, **dict(options)).fit(NORMAL[made.modality]())


def fitted(made=upland.EnergyDetector, **options):
    """A small detector fitted on normal data of its modality: a copy, so that it may be changed."""
    if made is upland.EnergyDetector:
        options = _length(options) | options
    return copy.copy(_fitted(made, tuple(sorted(options.items()))))


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
