"""What the simulations of the watch share: streams together, online p-values, shares with their errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.records import Records
from upland.calibration.e_detector import EDetector, log_products, sums
from upland.calibration.online_ranks import Ranks, Urns

DELTAS = (0.01, 0.05)
TOGETHER = 100
"""Streams that are computed at once."""
ROWS_AT_ONCE = 1_000
BATCH = 50


def write(records: Records, part: str, case: str, method: str, values: dict[str, Any]) -> None:
    records.add({"benchmark": "guarantees", "part": part, "case": case, "method": method, **values})
    shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
    print(f"{part:12} {case:24} {method:28} {shown}", flush=True)


def rate(hits: np.ndarray) -> tuple[float, float]:
    """The share and its standard error."""
    share = float(np.mean(hits))
    return share, float(np.sqrt(share * (1 - share) / len(hits)))


def parts_of(streams: int) -> Iterator[int]:
    return (min(TOGETHER, streams - start) for start in range(0, streams, TOGETHER))


def online_p(calibrations: list[np.ndarray], values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Online p-values `(K, N)` of K calibrations and streams `(K, N)`."""
    urns, found = Urns.begin(calibrations, rng), np.empty(values.shape)
    for start in range(0, values.shape[1], ROWS_AT_ONCE):
        part = values[:, start : start + ROWS_AT_ONCE]
        ranks = urns.ranks(part, rng.random(part.shape))
        found[:, start : start + ROWS_AT_ONCE] = urns.p_values(ranks, rng.random(part.shape))
        urns.add(ranks)
    return found


def fixed_p(calibrations: list[np.ndarray], values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """p-values against the calibration alone: each uniform, all dependent."""
    urns = Urns.begin(calibrations, rng)
    found = urns.ranks(values, rng.random(values.shape))
    none = np.zeros_like(found.gaps)
    return urns.p_values(Ranks(found.gaps, found.urns, none, none, none), rng.random(values.shape))


def batch_distances(calibration: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Kolmogorov-Smirnov distances of batches from the calibration: `(K, n)`, `(K, N) -> (K, N / size)`."""
    found = np.empty((len(values), values.shape[1] // size))
    for k, (old, row) in enumerate(zip(np.sort(calibration, axis=1), values, strict=True)):
        new = np.sort(row[: found.shape[1] * size].reshape(-1, size), axis=1)
        above = np.searchsorted(old, new, side="right") / old.size
        below = np.searchsorted(old, new, side="left") / old.size
        steps = np.arange(size) / size
        found[k] = np.maximum(steps + 1 / size - below, above - steps).max(axis=1)
    return found


def ever(peaks: np.ndarray) -> dict[str, Any]:
    """Shares of streams on which a martingale has reached 1 / delta."""
    found: dict[str, Any] = {"streams": len(peaks)}
    for delta in DELTAS:
        found |= named(delta, peaks >= -np.log(delta))
    return found


def named(delta: float, hits: np.ndarray) -> dict[str, float]:
    share, error = rate(hits)
    return {f"ever_{delta}": share, f"error_{delta}": error}


def detector_paths(p: np.ndarray, size: int) -> np.ndarray:
    """log R after each batch, without restarts: `(K, N) -> (K, N / size)`."""
    detector = EDetector.begin(len(p))
    found = []
    for start in range(0, p.shape[1] - size + 1, size):
        detector.update(log_products(sums(p[:, start : start + size])))
        found.append(detector.log_values)
    return np.stack(found, axis=1)
