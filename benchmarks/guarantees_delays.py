"""Delays after changes, beside peers that alarm as often on streams without one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.guarantees_peers import PEERS, kswin_distances, tuned
from benchmarks.guarantees_streams import (
    BATCH,
    TOGETHER,
    batch_distances,
    detector_paths,
    online_p,
    rate,
    write,
)
from benchmarks.records import Records
from upland.calibration.martingales import Martingales

BURN_IN, BEFORE, AFTER, BUDGET = 1_000, 1_000, 4_000, 0.05
CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "mean + 0.25": lambda z, rng: z + 0.25,
    "mean + 0.5": lambda z, rng: z + 0.5,
    "mean + 1": lambda z, rng: z + 1,
    "mean - 0.5": lambda z, rng: z - 0.5,
    "deviation x 1.5": lambda z, rng: 1.5 * z,
    "deviation x 0.7": lambda z, rng: 0.7 * z,
    "5 % of rows + 4": lambda z, rng: z + 4 * (rng.random(z.shape) < 0.05),
    "mean to + 1 in 2000 rows": lambda z, rng: z + np.minimum(np.arange(z.shape[1]) / 2_000, 1),
}


def scores(rng: np.random.Generator, k: int, change: str | None) -> np.ndarray:
    """Calibration, rows before a change, and rows after it."""
    found = rng.normal(size=(k, BURN_IN + BEFORE + AFTER))
    if change is not None:
        found[:, BURN_IN + BEFORE :] = CHANGES[change](found[:, BURN_IN + BEFORE :], rng)
    return found


def own_statistics(values: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What is compared with a threshold at each row, of the methods that need no river: `(k, rows)` each."""
    found: dict[str, list[np.ndarray]] = {"martingale": [], "e-detector": []}
    for start in range(0, len(values), TOGETHER):
        part = values[start : start + TOGETHER]
        p = online_p(list(part[:, :BURN_IN]), part[:, BURN_IN:], rng)
        found["martingale"].append(Martingales.begin(len(p)).update(p))
        found["e-detector"].append(of_rows(detector_paths(p, BATCH)))
    distances = batch_distances(values[:, :BURN_IN], values[:, BURN_IN:], BATCH)
    windows = kswin_distances(values[:, BURN_IN - 100 :])[:, 100:]
    peers = {"KS test": of_rows(distances), "KSWIN": windows}
    return {name: np.concatenate(part) for name, part in found.items()} | peers


def of_rows(batches: np.ndarray) -> np.ndarray:
    """Statistics of batches at their last rows, minus infinity at the others."""
    found = np.full((len(batches), batches.shape[1] * BATCH), -np.inf)
    found[:, BATCH - 1 :: BATCH] = batches
    return found


def delays(records: Records, options: argparse.Namespace) -> None:
    if records.find(part="delays", case="mean to + 1 in 2000 rows", method="ADWIN") is not None:
        return
    rng = np.random.default_rng(5)
    null = scores(rng, 4 * options.others, None)
    own = {name: part.max(axis=1) for name, part in own_statistics(null, rng).items()}
    # the smallest that no more than the budget reaches; distances have few values
    thresholds = {
        name: float(np.nextafter(np.quantile(peak, 1 - BUDGET, method="higher"), np.inf))
        for name, peak in own.items()
    }
    settings = {name: tuned(name, null, BURN_IN, BUDGET) for name in PEERS}
    promised = {"martingale": -np.log(BUDGET), "e-detector": np.log((BEFORE + AFTER) / BATCH / BUDGET)}
    for case in [None, *CHANGES]:
        values = scores(rng, options.others * (4 if case is None else 1), case)
        found = own_statistics(values, rng)
        first = {name: first_at(found[name] >= level) for name, level in thresholds.items()}
        first |= {f"{name}, as promised": first_at(found[name] >= at) for name, at in promised.items()}
        for name, peer in PEERS.items():
            first[name] = np.array([peer(row, settings[name], BURN_IN) for row in values])
        for name, at in first.items():
            if case is None:
                share, error = rate(at < BEFORE + AFTER)
                result = {
                    "ever": share,
                    "error": error,
                    "setting": float((thresholds | settings).get(name, 0.0)),
                }
                write(records, "delays", "no change", name, {"streams": len(at), **result})
            else:
                write(records, "delays", case, name, {"streams": len(at), **summary(at)})


def first_at(hits: np.ndarray) -> np.ndarray:
    """The row of the first alarm of each stream; their number where there is none."""
    return np.where(hits.any(axis=1), hits.argmax(axis=1), hits.shape[1])


def summary(at: np.ndarray) -> dict[str, Any]:
    """Delays of the streams without an alarm before the change."""
    late = at[at >= BEFORE] - BEFORE + 1
    return {
        "median": float(np.median(late)),
        "quantile_90": float(np.quantile(late, 0.9)),
        "missed": float(np.mean(late > AFTER)),
    }
