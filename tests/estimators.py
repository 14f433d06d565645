"""Every estimator with a small example: arguments that fit in a fraction of a second, and data."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import upland

COMMON = {"calibration": "split", "random_state": 0, "progress": False}


class Example(NamedTuple):
    """An estimator's class name, arguments, normal data and new data."""

    name: str
    params: dict[str, Any]
    rows: Any
    new: Any

    def make(self, **params):
        return getattr(upland, self.name)(**COMMON | self.params | params)

    def fit(self, **params):
        return self.make(**params).fit(self.rows)


def table(count, seed):
    """Two numbers that depend on each other, and a category."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    pressure = 2 * flow + rng.normal(0, 0.2, count)
    return pd.DataFrame({"flow": flow, "pressure": pressure, "valve": rng.choice(["open", "shut"], count)})


def series(seed, machines=("a", "b"), steps=120):
    """A long frame: two channels and a category of some machines, one row a step."""
    rng, time = np.random.default_rng(seed), np.arange(steps)
    frames = []
    for number, machine in enumerate(machines):
        wave = np.sin(time / 4 + number) + rng.normal(0, 0.1, steps)
        load, mode = 0.5 * wave + rng.normal(0, 0.1, steps), np.where(wave > 0, "up", "down")
        frames.append(
            pd.DataFrame({"machine": machine, "time": time, "wave": wave, "load": load, "mode": mode})
        )
    return pd.concat(frames, ignore_index=True)


def pictures(count, seed):
    """Grey pictures `(count, 8, 8)` that grow brighter from left to right."""
    rng = np.random.default_rng(seed)
    ramp = 20 * np.arange(8) + rng.uniform(0, 40, (count, 8, 1))
    return np.rint(ramp + rng.normal(0, 4, (count, 8, 8))).clip(0, 255).astype(np.uint8)


EXPERTS = "EnergyDetector of experts"
"""The example of `EnergyDetector` without an argument of nets; the other one is of nets."""

FEATURES = "ImageEnergyDetector of features"
"""The example of `ImageEnergyDetector` without an argument of nets."""

_COLUMNS = {"categorical": ["valve"], "keep_rows": 16}
_NETS = {"epochs": 2}
_TABLE = _NETS | _COLUMNS | {"hidden": [4]}
_IMAGE = _NETS | {"keep_rows": 12}

_SERIES = {"id": "machine", "time": "time", "window": 16, "stride": 8, "categorical": ["mode"]}

EXAMPLES = {
    "EnergyDetector": _TABLE,
    EXPERTS: _COLUMNS,
    "FlowDetector": _TABLE | {"layers": 2, "fallback": "none"},
    "VAEDetector": _TABLE | {"latent": 2},
    "SequenceEnergyDetector": _NETS | _SERIES | {"hidden": [4], "frame": 3},
    "SequenceFlowDetector": _NETS | _SERIES | {"hidden": [4], "lags": 3, "keep_rows": 100},
    "ImageEnergyDetector": _IMAGE | {"hidden": [4], "filters": [2], "kernel_size": 3, "n_centres": 4},
    FEATURES: {"keep_rows": 12},
    "ImageFlowDetector": _IMAGE | {"levels": 1, "depth": 1, "filters": 2},
    "ImageVAEDetector": _IMAGE | {"filters": [2], "latent": 2},
}
DATA = {
    "table": (table(120, 0), table(20, 1)),
    "sequence": (series(0), series(1, steps=30)),
    "image": (pictures(120, 0), pictures(10, 1)),
}


def _example(label, params):
    name = label.split(" of ")[0]
    return Example(name, params, *DATA[getattr(upland, name).modality])


EXAMPLES = {label: _example(label, params) for label, params in EXAMPLES.items()}
"""By a label, which is the class name but of `EXPERTS` and `FEATURES`."""
