"""The false discovery rate of batches over time: e-LOND beside LOND and LORD++, dependent or not."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.special import ndtr

from benchmarks.guarantees_streams import parts_of, write
from benchmarks.records import Records
from upland.calibration.e_detector import log_e_values, sums
from upland.calibration.online_false_discovery import gamma
from upland.calibration.online_ranks import Urns

ALPHA = 0.1


DISCOVERIES = {
    "own calibrations": (500, 50, 0.1, False),
    "one calibration": (500, 50, 0.1, True),
    "one of 50 rows": (50, 200, 0.1, True),
    "half of batches shifted": (500, 50, 0.5, True),
}
"""Calibration rows, rows of a batch, the share of batches with a shift, and whether one calibrates all."""


def discoveries(records: Records, options: argparse.Namespace) -> None:
    for case, setting in DISCOVERIES.items():
        for shift in (0.5, 0.8, 1.2):
            name = f"{case}, shift {shift:g}"
            if records.find(part="discoveries", case=name, method="e-LOND") is not None:
                continue
            rng = np.random.default_rng(4)
            parts = [batches_of(rng, k, shift, *setting) for k in parts_of(options.few)]
            null, log_e, log_e_online, p = (np.concatenate(part) for part in zip(*parts, strict=True))
            hits = {
                "e-LOND": lond(-log_e, ALPHA),
                "e-LOND, ranks among all before": lond(-log_e_online, ALPHA),
                "LOND": lond(np.log(p), ALPHA),
                "LORD++": lord(p, ALPHA),
                "each p-value at alpha": p <= ALPHA,
            }
            for method, hit in hits.items():
                if setting[-1] or not method.endswith("before"):
                    write(records, "discoveries", name, method, found_of(hit, null))


def found_of(hit: np.ndarray, null: np.ndarray) -> dict[str, Any]:
    """The false discovery rate with its standard error, and the share of shifted batches that are found."""
    share = (hit & null).sum(axis=1) / np.maximum(hit.sum(axis=1), 1)
    power = (hit & ~null).sum(axis=1) / np.maximum((~null).sum(axis=1), 1)
    error = float(share.std() / np.sqrt(len(share)))
    return {"streams": len(share), "fdr": float(share.mean()), "error": error, "power": float(power.mean())}


def batches_of(
    rng: np.random.Generator, k: int, shift: float, n: int, size: int, shifted: float, shared: bool
) -> tuple[np.ndarray, ...]:
    """Whether each of 200 batches is normal, its log e-value by ranks among the calibration and itself, the
    same by ranks among all before, and the p-value of its rank sum, on either side: `(k, 200)` each.
    """
    count = 200
    null = rng.random((k, count)) >= shifted
    found = [np.empty((k, count)) for _ in range(3)]
    calibration = rng.normal(size=(k, n))
    urns = Urns.begin(list(calibration), rng)
    for t in range(count):
        if not shared:
            calibration = rng.normal(size=(k, n))
            urns = Urns.begin(list(calibration), rng)
        values = rng.normal(size=(k, size)) + np.where(null[:, t], 0.0, shift)[:, None]
        ranks, uniform = urns.ranks(values, rng.random(values.shape)), rng.random(values.shape)
        for target, counted in zip(found, (False, True), strict=False):
            target[:, t] = log_e_values(sums(urns.p_values(ranks, uniform, counted=counted)))
        urns.add(ranks)
        above = (calibration[:, :, None] < values[:, None]).sum(axis=(1, 2)) - n * size / 2
        found[2][:, t] = 2 * ndtr(-np.abs(above) / np.sqrt(n * size * (n + size + 1) / 12))
    return (null, *found)


def lond(log_p: np.ndarray, alpha: float) -> np.ndarray:
    """LOND (Javanmard and Montanari 2015) on log p-values, or e-LOND on minus log e-values."""
    hits = np.zeros(log_p.shape, dtype=bool)
    for t in range(log_p.shape[1]):
        level = alpha * gamma(t + 1) * (hits[:, :t].sum(axis=1) + 1)
        hits[:, t] = log_p[:, t] <= np.log(level)
    return hits


def lord(p: np.ndarray, alpha: float) -> np.ndarray:
    """LORD++ (Ramdas, Yang, Wainwright and Jordan 2017) with its usual shares and half of alpha at first."""
    t = np.arange(1, p.shape[1] + 1)
    shares = 0.07720838 * np.log(np.maximum(t, 2)) / (t * np.exp(np.sqrt(np.log(t))))
    levels = np.broadcast_to(alpha / 2 * shares, p.shape).copy()
    hits, earlier = np.zeros(p.shape, dtype=bool), np.zeros(len(p), dtype=bool)
    for i in range(p.shape[1]):
        hits[:, i] = p[:, i] <= levels[:, i]
        gained = np.where(hits[:, i], np.where(earlier, alpha, alpha / 2), 0.0)
        levels[:, i + 1 :] += gained[:, None] * shares[: p.shape[1] - i - 1]
        earlier |= hits[:, i]
    return hits
