"""False episodes and the power to find a shift, by block and by step calibration, where steps depend on each
other.

    promise    AR(1) scores of variance 1: a calibration of so many steps, and a new normal series of 20,000.
               `blocks` counts the episodes with a p-value of at most alpha, a block and a day of 1,440 steps;
               `steps` those of flagged steps (at most 3 apart) at the same alpha of steps.
    power      the same with a shift of 1, 2 or 3 standard deviations for 100 steps: how often it is found
               while it lasts, and after how many steps on average where it is
    detector   a SequenceEnergyDetector (max_channel) on two channels of AR(1), calibrated on 40,000 further
               steps, and a new series of as many

`false` is false episodes a block over alpha: the promise is 1 at most, on average over calibrations. `reach`
is what the number of blocks allows of it: multiples of 1 / (k + 1). `warned` is how often the calibration
says that it is too short.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

import upland
from benchmarks.options import command, parsed
from benchmarks.records import Records
from upland.calibration.block_calibration import (
    BlockCalibration,
    Stretches,
    block_calibration,
    memory_of,
)
from upland.calibration.conformal import Calibration
from upland.scoring.episode_list import block_p_values_of, found_in
from upland.scoring.episodes import episodes_of
from upland.scoring.explained_steps import AssessedSteps

Floats = NDArray[np.float64]

PHIS = (0.0, 0.5, 0.9, 0.95, 0.99)
SIZES = (2_000, 10_000, 40_000)
ALPHAS = (0.05, 0.01)
SHIFTS = (1.0, 2.0, 3.0)
NEW, DAY, LASTS, EVERY = 20_000, 1_440, 100, 1_000
FITS = 3
"""Detectors, which take turns."""
PARTS = ("promise", "power", "detector")
KEYS = ("part", "phi", "size")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--redraws", type=int, default=200)
    parser.add_argument("--detector-redraws", type=int, default=15)
    return parsed(parser, argv, "blocks", {"redraws": 3, "detector_redraws": 0})


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for part in options.parts:
        sizes = {"promise": SIZES, "power": (40_000,), "detector": (40_000,)}[part]
        count = options.detector_redraws if part == "detector" else options.redraws
        for phi, size in [(phi, size) for phi in PHIS for size in sizes]:
            if count and records.find(part=part, phi=phi, size=size) is None:
                key = {"benchmark": "blocks", "part": part, "phi": phi, "size": size, "redraws": count}
                records.add(key | means([RUN[part](phi, size, redraw) for redraw in range(count)]))
                print(part, phi, size, flush=True)
    return 0


def autoregressive(rng: np.random.Generator, steps: int, phi: float, channels: int = 1) -> Floats:
    """A stationary series of variance 1: `(steps, channels)`."""
    noise = rng.normal(size=(steps, channels)) * np.sqrt(1 - phi**2)
    noise[0] = rng.normal(size=channels)
    found: Floats = lfilter([1.0], [1.0, -phi], noise, axis=0)
    return found


def calibrated(scores: Floats) -> tuple[Calibration, BlockCalibration]:
    """Of steps, and of episodes."""
    lengths = np.array([scores.size])
    stretches = Stretches(scores, lengths, memory_of(scores, lengths))
    return Calibration(scores), block_calibration([stretches], cross=False)


def counts(steps: AssessedSteps, blocks: BlockCalibration) -> dict[str, float]:
    """False episodes of a normal series, by blocks and by steps, at each alpha."""
    owners = np.zeros(steps.scores.size, dtype=np.int64)
    days, searched = owners.size / DAY, owners.size / blocks.length
    found: dict[str, float] = {"length": blocks.length, "blocks": blocks.count}
    for alpha in ALPHAS:
        episodes = found_in(steps, owners, alpha, blocks, alpha)
        sure = sum(p is not None and p <= alpha for p in block_p_values_of(episodes, steps))
        alarms = episodes_of(steps.p_values <= alpha, owners, steps.scores).peaks.size
        found |= {
            f"false_{alpha}": sure / searched / alpha,
            f"reach_{alpha}": np.floor(alpha * (blocks.count + 1) + 1e-9) / (blocks.count + 1) / alpha,
            f"blocks_a_day_{alpha}": sure / days,
            f"promised_a_day_{alpha}": alpha * DAY / blocks.length,
            f"steps_a_day_{alpha}": alarms / days,
            f"warned_{alpha}": float(bool(blocks.doubts(alpha))),
        }
    return {name: round(float(value), 6) for name, value in found.items()}


def promise(phi: float, size: int, redraw: int) -> dict[str, float]:
    """One calibration and one new series."""
    rng = np.random.default_rng([redraw, int(100 * phi), size])
    of_steps, blocks = calibrated(autoregressive(rng, size, phi)[:, 0])
    scores = autoregressive(rng, NEW, phi)
    steps = AssessedSteps(scores[:, 0], of_steps.p_values(scores), blocks.p_values(scores))
    return counts(steps, blocks)


def power(phi: float, size: int, redraw: int) -> dict[str, Any]:
    """One calibration, and twenty shifts of each size."""
    rng = np.random.default_rng([redraw, int(100 * phi), size])
    of_steps, blocks = calibrated(autoregressive(rng, size, phi)[:, 0])
    normal = autoregressive(rng, NEW, phi)
    found: dict[str, Any] = {}
    inside = np.arange(NEW) % EVERY < LASTS
    for shift in SHIFTS:
        scores = normal + shift * inside[:, None]
        values = {"steps": of_steps.p_values(scores), "blocks": blocks.p_values(scores)}
        for name, p in values.items():
            for alpha in ALPHAS:
                flagged = (p <= alpha).reshape(-1, EVERY)[:, :LASTS]
                hit, first = flagged.any(axis=1), flagged.argmax(axis=1)
                key = f"{name}_{shift:g}_{alpha}"
                found[f"found_{key}"] = round(float(hit.mean()), 4)
                found[f"delay_{key}"] = float(first[hit].mean()) if hit.any() else None
    return found


def detector(phi: float, size: int, redraw: int) -> dict[str, float]:
    """One of a few fits on 6,000 steps, a calibration of its own on others, and a new series."""
    model = fitted(phi, redraw % FITS)
    rng = np.random.default_rng([redraw, int(100 * phi), size])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.calibrate(autoregressive(rng, size, phi, 2))
    (scores, p_values), values, _, _ = model.assess_members(autoregressive(rng, 2 * NEW, phi, 2))
    assert model.blocks_ is not None
    return counts(AssessedSteps(scores, p_values, model.blocks_.p_values(values)), model.blocks_)


@cache
def fitted(phi: float, seed: int) -> upland.SequenceEnergyDetector:
    """A detector of two channels."""
    rng = np.random.default_rng([seed, int(100 * phi)])
    model = upland.SequenceEnergyDetector(
        criterion="max_channel", calibration="split", random_state=seed, progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(autoregressive(rng, 6_000, phi, 2))


RUN = {"promise": promise, "power": power, "detector": detector}


def means(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """The mean of each figure over the redraws that have one, and its standard error."""
    found: dict[str, float | None] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = round(float(np.mean(values)), 4) if values else None
        error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
        found[f"{name}_error"] = None if error is None else round(float(error), 4)
    return found


if __name__ == "__main__":
    sys.exit(main())
