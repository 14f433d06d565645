"""Rows of a small plant to watch, and CSV files of them."""

import csv

import numpy as np
import pyarrow as pa

SHIFTS = ["early", "late", "night", "broken"]
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


def pump_series(seed, broken=None, steps=80):
    """A long table of three pumps, a row a minute; pressure follows flow, but for a pump and its minutes."""
    generator = np.random.default_rng(seed)
    minutes = np.arange(steps)
    parts = []
    for number, pump in enumerate("abc"):
        flow = 10 + 3 * np.sin(minutes / 5 + number) + generator.normal(0, 0.3, steps)
        pressure = 2 * flow + generator.normal(0, 0.3, steps)
        if broken and broken[0] == pump:
            pressure[list(broken[1])] += 12
        stamps = np.datetime64("2026-03-02T08:00:00", "s") + minutes.astype("m8[m]")
        columns = {"pump": [pump] * steps, "time": stamps, "flow": flow, "pressure": pressure}
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def waves(count, seed):
    """Short sequences `(count, 12, 2)` of two waves."""
    generator = np.random.default_rng(seed)
    phase = generator.uniform(0, 6, (count, 1, 1))
    time = np.arange(12)[None, :, None] + np.array([0.0, 2.0])
    return np.sin(time / 2 + phase) + generator.normal(0, 0.1, (count, 12, 2))


def ramps(count, seed):
    """Grey images `(count, 12, 12)` that grow brighter from the left to the right."""
    generator = np.random.default_rng(seed)
    ramp = 10 * np.arange(12) + generator.uniform(0, 40, (count, 12, 1))
    return np.rint(ramp + generator.normal(0, 4, (count, 12, 12))).clip(0, 255).astype(np.uint8)


def related(count, seed):
    """Two columns that go together and an independent one."""
    generator = np.random.default_rng(seed)
    a = generator.normal(0, 1, count)
    b = a + generator.normal(0, 0.3, count)
    return {"a": a, "b": b, "c": generator.normal(0, 1, count)}


def shifts(each=40, seed=1):
    """Rows of four shifts; in the last one b no longer goes with a, though each value is as before."""
    found = related(len(SHIFTS) * each, seed)
    last = slice(-each, None)
    found["b"][last] = np.random.default_rng(2).permutation(found["b"][last])
    return pa.table({**found, "shift": np.repeat(SHIFTS, each)})
