"""Bets that put in their wealth by and by, beside the like that put in all of it at the start."""

from __future__ import annotations

import argparse

import numpy as np
from scipy.special import gammainc, gammaln, ndtr

from benchmarks.guarantees_delays import CHANGES
from benchmarks.guarantees_streams import write
from benchmarks.records import Records
from upland.calibration.martingales import Martingales

SOME = (
    "mean + 0.25",
    "mean + 0.5",
    "mean + 1",
    "mean - 0.5",
    "deviation x 1.5",
    "deviation x 0.7",
    "5 % of rows + 4",
)
RATES = np.array([0.01, 0.1, 1.0])
AFTER = 3_000


def bets(records: Records, options: argparse.Namespace) -> None:
    """Independent p-values: medians of the rows from a change to an alarm at 1 / 0.01."""
    for before in (0, 1_000, 10_000):
        for change in SOME:
            case = f"{change}, after {before}"
            if records.find(part="bets", case=case, method="all at the start") is not None:
                continue
            rng = np.random.default_rng(8)
            z = rng.normal(size=(max(options.others // 3, 10), before + AFTER))
            z[:, before:] = CHANGES[change](z[:, before:], rng)
            p = ndtr(-z)
            paths = {"by and by": Martingales.begin(len(p)).update(p), "all at the start": at_the_start(p)}
            for method, path in paths.items():
                hit = path[:, before:] >= np.log(100)
                delay = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, AFTER + 1)
                found = {"median": float(np.median(delay)), "missed": float(np.mean(delay > AFTER))}
                write(records, "bets", case, method, {"streams": len(p), **found})


def at_the_start(p: np.ndarray) -> np.ndarray:
    """Log wealth `(K, N)` of the mixture of all powers (Vovk, Nouretdinov and Gammerman 2003) and the mean of
    simple jumpers (Vovk et al. 2021), half and half.
    """
    count, total = np.arange(1, p.shape[1] + 1), -np.cumsum(np.log(p), axis=1)
    with np.errstate(divide="ignore"):
        below = np.log(gammainc(count + 1, total))
    powers = total + gammaln(count + 1) + below - (count + 1) * np.log(total)
    jumpers = np.empty(p.shape)
    wealth, log = np.full((len(p), RATES.size, 3), 1 / 9), np.zeros(len(p))
    for t in range(p.shape[1]):
        mean = wealth.mean(axis=2, keepdims=True)
        wealth = (1 - RATES[:, None]) * wealth + RATES[:, None] * mean
        wealth *= 1 + np.array([-1.0, 0.0, 1.0]) * (p[:, t, None, None] - 0.5)
        scale = wealth.sum(axis=(1, 2))
        wealth /= scale[:, None, None]
        log += np.log(scale)
        jumpers[:, t] = log
    found: np.ndarray = np.logaddexp(powers, jumpers) - np.log(2)
    return found
