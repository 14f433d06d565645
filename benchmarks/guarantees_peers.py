"""River's drift detectors: the row of the first alarm, and settings that alarm on few normal streams.

Each reads the calibration scores first. What it says of them does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from river import drift

Peer = Callable[[np.ndarray, float, int], int]

GRID = {
    "Page-Hinkley": np.geomspace(5, 2_000, 60),
    "ADWIN": np.geomspace(0.5, 1e-12, 60),
}
"""Settings from the one that alarms most to the one that alarms least."""


def first_alarm(detector: drift.base.DriftDetector, values: np.ndarray, burn_in: int) -> int:
    """The row after the calibration at which it first alarms; their number if it does not."""
    for number, value in enumerate(values.tolist()):
        detector.update(value)
        if number >= burn_in and detector.drift_detected:
            return number - burn_in
    return len(values) - burn_in


def page_hinkley(values: np.ndarray, threshold: float, burn_in: int) -> int:
    return first_alarm(drift.PageHinkley(threshold=threshold), values, burn_in)


def adwin(values: np.ndarray, delta: float, burn_in: int) -> int:
    return first_alarm(drift.ADWIN(delta=delta), values, burn_in)


PEERS: dict[str, Peer] = {"Page-Hinkley": page_hinkley, "ADWIN": adwin}


def tuned(name: str, null: np.ndarray, burn_in: int, budget: float) -> float:
    """The setting of the grid that alarms most of those whose share of streams with an alarm is in budget."""
    low, high = 0, len(GRID[name]) - 1  # bisection: the share falls along the grid
    while low < high:
        middle = (low + high) // 2
        ends = [PEERS[name](row, float(GRID[name][middle]), burn_in) for row in null]
        if np.mean(np.array(ends) < null.shape[1] - burn_in) <= budget:
            high = middle
        else:
            low = middle + 1
    return float(GRID[name][low])


def kswin_distances(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """The Kolmogorov-Smirnov distances by which river's KSWIN decides, until its first alarm: `(K, N)`.

    Of the last 100 values, 30 of the first 70 at random are compared with the last 30; the draws are river's.
    A detector of river takes a second for 5,000 values, this a hundredth of it.
    """
    size, recent, draws = 100, 30, random.Random(seed)
    found = np.full(values.shape, -np.inf)
    for t in range(size - 1, values.shape[1]):
        window = values[:, t + 1 - size : t + 1]
        drawn = window[:, draws.sample(range(size - recent), recent)]
        order = np.argsort(np.concatenate([drawn, window[:, -recent:]], axis=1), axis=1)
        steps = np.where(order < recent, 1, -1).cumsum(axis=1)
        found[:, t] = abs(steps).max(axis=1) / recent
    return found
