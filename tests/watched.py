"""Detectors of every modality with streams of batches, for the tests of the watch."""

import sqlite3
from contextlib import closing
from functools import cache

import numpy as np
import pandas as pd

import upland
from estimators import EXAMPLES, pictures, series, table


def numbers(count, seed, shift=0.0, columns=4):
    """Independent normal columns x0, x1, ..., all moved by as much."""
    rng = np.random.default_rng(seed)
    return {f"x{i}": rng.normal(shift, 1, count) for i in range(columns)}


def shops(count, seed):
    rng = np.random.default_rng(seed)
    shop = rng.choice(["north", "south"], count)
    return pd.DataFrame({"shop": shop, "sales": rng.normal(5, 1, count) + 9 * (shop == "south")})


def curves(count, seed):
    """Sequences as an array (N, T, 1)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, (count, 1, 1))
    return np.sin(np.arange(24)[:, None] / 3 + phase) + rng.normal(0, 0.1, (count, 24, 1))


_SEQUENCES = {"epochs": 2, "hidden": [4], "frame": 3, "random_state": 0, "progress": False}

CASES = {
    "experts": (EXAMPLES["EnergyDetector of experts"].make, table),
    "flow": (EXAMPLES["FlowDetector"].make, table),
    "cross": (lambda: EXAMPLES["EnergyDetector of experts"].make(calibration="cross"), table),
    "segments": (
        lambda: upland.SegmentedDetector(upland.EnergyDetector(random_state=0, progress=False), by="shop"),
        shops,
    ),
    "images": (EXAMPLES["ImageEnergyDetector"].make, pictures),
    "series": (
        EXAMPLES["SequenceEnergyDetector"].make,
        lambda count, seed: series(seed, steps=max(count // 2, 10)),
    ),
    "sequences": (lambda: upland.SequenceEnergyDetector(**_SEQUENCES, window=None), curves),
    "sequences cross": (
        lambda: upland.SequenceEnergyDetector(**_SEQUENCES, window=None, calibration="cross"),
        curves,
    ),
}
"""By a label: what makes an estimator, and what makes so many rows from a seed."""


@cache
def fitted(label):
    """A fitted detector of a case."""
    make, rows = CASES[label]
    return make().fit(rows(120, 0))


def batches(label):
    """Batches of a case, of sizes that differ; the last ones are of other rows than the fit's."""
    _, rows = CASES[label]
    return [rows(size, 10 + size) for size in (20, 7, 33, 20 + 1, 12)]


@cache
def plain_detector():
    """A detector of four independent columns, with 1,000 calibration rows."""
    return upland.EnergyDetector(random_state=0, progress=False).fit(numbers(3000, 0))


def dump(path):
    """Everything in a history but its own name, as text, to be compared bit for bit."""
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if 'INSERT INTO "identity"' not in line]


def rows_of(path, query, *values):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()
