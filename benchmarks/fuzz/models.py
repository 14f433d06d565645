"""Mutated model files: each is refused with a `TensorFileError`, or loads and scores finite numbers.

A file passes where `load` raises `TensorFileError`; or where the detector that it gives scores ordinary rows
by finite numbers, and these and a gross outlier with p-values in (0, 1] that follow from the scores and the
calibration; or where it refuses these rows, as being of other columns or as giving no number (ValueError,
FloatingPointError). Everything else is a failure: another exception, NaN or an infinity among the scores, a
process that dies or hangs, more memory than `bound` of the file's size.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import upland
from benchmarks.fuzz.forging import Sound, mutated
from benchmarks.fuzz.watched import Record, watched
from upland.calibration.conformal import Calibration
from upland.io.modelfile import TensorFileError

STORED = Path(__file__).parents[2] / "tests" / "stored" / "format-2"
GOOD = ("equal", "loaded", "refused", "rows refused", "no number")
"""Outcomes of files that pass."""
BASE_MIB, FACTOR = 64, 16
"""The bound of memory in MiB for any file, and how many times the file's size there may be beyond it."""


def bound(size: int) -> float:
    """The most memory that loading and scoring a file may take, in MiB."""
    return BASE_MIB + FACTOR * size / (1 << 20)


def run(count: int, seed: int) -> list[Record]:
    """What came of so many mutated files."""
    return list(records(range(count), seed))


def records(numbers: range, seed: int) -> Iterator[Record]:
    """What came of the mutated files of these numbers, one after another."""
    warnings.simplefilter("ignore")
    sounds = {sound.name: sound for sound in all_sound()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"

        def prepare(number: int) -> Record:
            kind, sound, data = mutated(seed, number, list(sounds.values()))
            path.write_bytes(data)
            return {"kind": kind, "file": sound.name, "bytes": len(data)}

        yield from map(
            _checked, watched(prepare, lambda case: outcome_of(path, sounds[case["file"]]), numbers)
        )


def _checked(record: Record) -> Record:
    if record["outcome"] in GOOD and record["mib"] > bound(record["bytes"]):
        record["outcome"] = "too much memory"
    return record


def outcome_of(path: Path, sound: Sound) -> Record:
    """What comes of one file, which was made out of a sound one."""
    try:
        detector = upland.load(path)
    except TensorFileError as error:
        return {"outcome": "refused", "why": error.reason}
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        return {"outcome": "another exception", "why": _named(error)}
    return _scored(detector, sound)


def _scored(detector: Any, sound: Sound) -> Record:
    try:
        found = detector.assess(sound.rows)
    except (ValueError, FloatingPointError) as error:
        refused = "no number" if isinstance(error, FloatingPointError) else "rows refused"
        return {"outcome": refused, "why": _named(error)}
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        return {"outcome": "another exception when scoring", "why": _named(error)}
    scores, p = found.anomaly_score, found.p_value
    if not np.isfinite(scores.reshape(-1)[:-1]).all() or not ((p > 0) & (p <= 1)).all():
        return {"outcome": "nonsense", "why": "scores or p-values"}
    expected = sound.assessment
    if np.array_equal(scores, expected.anomaly_score) and np.array_equal(p, expected.p_value):
        return {"outcome": "equal"}
    calibration: Calibration = detector.calibration_
    if calibration.folds is None and not np.array_equal(
        p, calibration.p_values(scores.reshape(-1, 1)).reshape(p.shape)
    ):
        return {"outcome": "nonsense", "why": "p-values of other scores"}
    return {"outcome": "loaded", "flags": bool(p.min() < 1)}


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:160]}"


# -- sound files ---------------------------------------------------------------------------------------------


def all_sound() -> list[Sound]:
    """The stored files of every estimator, and fresh ones with what these do not have."""
    return [*map(_stored, sorted(STORED.glob("*.safetensors"))), *map(_fresh, FRESH)]


def _stored(path: Path) -> Sound:
    rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    if isinstance(rows, dict):
        frame = pd.DataFrame(rows)
        last = frame.iloc[[-1]].copy()
        for name in frame.select_dtypes("number").columns.drop("time", errors="ignore"):
            last[name] = 1_000 * (1 + frame[name].abs().max())
        if "time" in frame:
            last["time"] = frame["time"].max() + 1
        rows = pd.concat([frame, last], ignore_index=True).astype(
            frame.dtypes.drop(list(frame.select_dtypes("number").columns)).to_dict()
        )
    else:
        pictures = np.array(rows, dtype=np.uint8)
        rows = np.concatenate([pictures, 255 - pictures[:1]])
    return Sound(path.stem, path.read_bytes(), rows, upland.load(path).assess(rows))


def _table() -> Any:
    random = np.random.default_rng(0)
    return np.concatenate([random.normal(size=(80, 3)), np.full((1, 3), 1e3)])


def _words() -> Any:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"a": random.normal(size=900), "code": [f"w{n}" for n in random.integers(0, 400, 900)]}
    )
    frame.loc[899, "a"] = 1e3
    return frame


def _pictures() -> Any:
    pictures = np.random.default_rng(2).integers(0, 200, (40, 5, 4, 3))
    return np.concatenate([pictures, 255 * (np.indices((1, 5, 4, 3)).sum(0) % 2)]).astype(np.uint8)


def _series() -> Any:
    series = np.random.default_rng(3).normal(size=(30, 12, 2))
    series[-1] = 1e3
    return series


SHORT = {"epochs": 1, "random_state": 0, "calibration": "split", "progress": False}
FRESH: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "mixture": (upland.EnergyDetector, SHORT | {"hidden": [6, 5], "prior": "mixture"}, _table),
    "kernel, cross": (
        upland.EnergyDetector,
        SHORT | {"hidden": [4], "n_nets": 2, "calibration": "cross"},
        _table,
    ),
    "dense": (upland.EnergyDetector, SHORT | {"hidden": [4, 3], "objective": "sliced"}, _table),
    "words": (upland.FlowDetector, SHORT | {"hidden": [3], "layers": 1, "categorical": ["code"]}, _words),
    "spline": (upland.FlowDetector, SHORT | {"hidden": [5], "layers": 2, "coupling": "spline"}, _table),
    "vae": (upland.VAEDetector, SHORT | {"hidden": [5, 4], "latent": 2, "contamination": 0.1}, _table),
    "glow": (upland.ImageFlowDetector, SHORT | {"filters": 2, "depth": 1, "levels": 2}, _pictures),
    "centres": (
        upland.ImageEnergyDetector,
        SHORT | {"filters": [3], "hidden": [4], "n_centres": 2},
        _pictures,
    ),
    "convolutional vae": (upland.ImageVAEDetector, SHORT | {"filters": [2, 3], "latent": 2}, _pictures),
    "sequences": (upland.SequenceEnergyDetector, SHORT | {"hidden": [4], "frame": 2}, _series),
}
"""Estimators, arguments and data of the fresh files."""


def _fresh(name: str) -> Sound:
    made, arguments, data = FRESH[name]
    rows = data()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.safetensors"
        upland.save(made(**arguments).fit(rows[:-1]), path)
        return Sound(name, path.read_bytes(), rows[-21:], upland.load(path).assess(rows[-21:]))
