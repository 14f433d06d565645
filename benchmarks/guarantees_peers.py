"""River's drift detectors: the row of the first alarm, and settings that alarm on few normal streams.

Each reads the calibration scores first. What it says of them does not count.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from river import drift

Peer = Callable[[np.ndarray, float, int], int]

GRID = {
    "Page-Hinkley": np.geomspace(5, 2_000, 60),
    "ADWIN": np.geomspace(0.5, 1e-12, 60),
    "KSWIN": np.geomspace(0.05, 1e-12, 60),
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


def kswin(values: np.ndarray, alpha: float, burn_in: int) -> int:
    """It remembers 100 values alone, so that it reads so many of the calibration."""
    return first_alarm(drift.KSWIN(alpha=alpha, seed=0), values[burn_in - 100 :], 100)


PEERS: dict[str, Peer] = {"Page-Hinkley": page_hinkley, "ADWIN": adwin, "KSWIN": kswin}


def tuned(name: str, null: np.ndarray, burn_in: int, budget: float) -> float:
    """The setting of the grid that alarms most of those whose share of streams with an alarm is in budget."""
    if name == "KSWIN":
        least = np.array([least_p_value(row[burn_in - 100 :]) for row in null])
        fits = [value for value in GRID[name] if np.mean(least <= value) <= budget]
        return float(fits[0])
    low, high = 0, len(GRID[name]) - 1  # bisection: the share falls along the grid
    while low < high:
        middle = (low + high) // 2
        ends = [PEERS[name](row, float(GRID[name][middle]), burn_in) for row in null]
        if np.mean(np.array(ends) < null.shape[1] - burn_in) <= budget:
            high = middle
        else:
            low = middle + 1
    return float(GRID[name][low])


def least_p_value(values: np.ndarray) -> float:
    """The smallest p-value of KSWIN while it does not alarm."""
    detector, least = drift.KSWIN(alpha=0.0, seed=0), 1.0
    for number, value in enumerate(values.tolist()):
        detector.update(value)
        if number >= 100:
            least = min(least, float(detector.p_value))
    return least
