"""Rows of a small plant to watch, and CSV files of them."""

import csv

import numpy as np

HEADER = ["flow", "pressure", "valve", "running"]


def pump_rows(count, seed, shift=0.0):
    """Pressure follows flow; `shift` breaks that."""
    generator = np.random.default_rng(seed)
    flow = generator.normal(10, 2, count)
    pressure = 2 * flow + generator.normal(0, 0.2, count) + shift
    valve = generator.choice(["open", "shut"], count)
    running = generator.choice(["true", "false"], count)
    return [[f"{a:.4f}", f"{b:.4f}", c, d] for a, b, c, d in zip(flow, pressure, valve, running, strict=True)]


def write_csv(path, rows, header=HEADER):
    with path.open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return path


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))
