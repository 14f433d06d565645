"""Does the watch keep what it promises? Streams without a change, and delays after changes beside peers.

`alarms`: shares of 2,000 streams of 5,000 normal rows on which the test martingale ever reaches 1 / delta, by
size and method of the calibration; of cross calibration members are fitted on folds of new rows for each
stream. Beside it the same bets on p-values against the calibration alone, and a Kolmogorov-Smirnov test of
every batch of 50 at level delta. `bets`: delays of the martingale beside one that bets all its wealth from
the start. `run_length`: batches until a false alarm of the e-detector beside its bounds. `discoveries`:
online false discovery rate and power over 500 streams of 200 batches, some with a shift, where each batch has
a calibration of its own or all share one. `delays`: rows from a change to the alarm, at an equal number of
false alarms. `dependence`: false alarms on AR(1) streams, by block. `series`: the same on channels of
spacecraft telemetry. `cost`: CPU milliseconds for 1,000 rows beside scoring them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.guarantees_bets import bets
from benchmarks.guarantees_cost import cost
from benchmarks.guarantees_delays import delays
from benchmarks.guarantees_dependence import dependence, series
from benchmarks.guarantees_discoveries import discoveries
from benchmarks.guarantees_streams import (
    BATCH,
    DELTAS,
    batch_distances,
    detector_paths,
    ever,
    fixed_p,
    named,
    online_p,
    parts_of,
    rate,
    write,
)
from benchmarks.options import command, data_argument
from benchmarks.records import Records
from benchmarks.timing import run_parts
from upland.calibration.martingales import Martingales

KEYS = ("part", "case", "method")
Draw = Callable[[np.random.Generator, int, int], tuple[list[np.ndarray], np.ndarray]]


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--streams", type=int, default=2_000, help="of `alarms`")
    parser.add_argument("--rows", type=int, default=5_000, help="of a stream of `alarms` and `dependence`")
    parser.add_argument("--few", type=int, default=500, help="streams of `run_length` and `discoveries`")
    parser.add_argument("--others", type=int, default=300, help="streams of the other parts")
    data_argument(parser)
    parts = {
        "alarms": alarms,
        "bets": bets,
        "run_length": run_length,
        "discoveries": discoveries,
        "delays": delays,
        "dependence": dependence,
        "series": series,
        "cost": cost,
    }
    quick = {"streams": 60, "rows": 1_000, "few": 20, "others": 20}
    return run_parts(parser, argv, "guarantees", parts, quick, KEYS)


# -- false alarms --------------------------------------------------------------------------------------------


def split(size: int, ties: bool = False) -> Draw:
    def draw(rng: np.random.Generator, k: int, rows: int) -> tuple[list[np.ndarray], np.ndarray]:
        scores = rng.gamma(2.0, size=(k, size + rows))
        scores = np.rint(scores) if ties else scores
        return list(scores[:, :size]), scores[:, size:]

    return draw


def alarms(records: Records, options: argparse.Namespace) -> None:
    cases = {
        "split, n = 100": split(100),
        "split, n = 500": split(500),
        "split, n = 2000": split(2_000),
        "split, n = 500, ties": split(500, ties=True),
    }
    for case, draw in cases.items():
        if records.find(part="alarms", case=case, method="martingale") is not None:
            continue
        peaks: dict[str, list[np.ndarray]] = {"martingale": [], "p-values of the calibration alone": []}
        batches = []
        rng = np.random.default_rng(1)
        for k in parts_of(options.streams):
            calibrations, values = draw(rng, k, options.rows)
            for method, p_values in zip(peaks, (online_p, fixed_p), strict=True):
                path = Martingales.begin(k).update(p_values(calibrations, values, rng))
                peaks[method].append(path.max(axis=1))
            batches.append(batch_distances(np.stack(calibrations), values, BATCH).max(axis=1))
        for method, found in peaks.items():
            write(records, "alarms", case, method, ever(np.concatenate(found)))
        if case.endswith("ties"):
            continue
        distances, n = np.concatenate(batches), calibrations[0].size
        found = {}
        for delta in DELTAS:
            found |= named(delta, distances >= np.sqrt(-np.log(delta / 2) / 2 * (n + BATCH) / (n * BATCH)))
        write(records, "alarms", case, "a KS test of each batch", {"streams": len(distances), **found})
    cross(records, options)


def cross(records: Records, options: argparse.Namespace) -> None:
    """Five folds of 60 rows of three columns: a mean and a covariance are fitted without each, the score is
    the Mahalanobis distance.
    """
    case, folds, size, columns = "cross, K = 5, n = 60", 5, 12, 3
    if records.find(part="alarms", case=case, method="martingale") is not None:
        return
    rng, peaks, single = np.random.default_rng(2), [], []
    for k in parts_of(options.streams):
        normal, new = (rng.standard_t(5, size=(k, n, columns)) for n in (folds * size, options.rows))
        members = []
        for fold in range(folds):
            held = slice(fold * size, (fold + 1) * size)
            rest = np.delete(normal, held, axis=1)
            mean = rest.mean(axis=1, keepdims=True)
            inverse = np.linalg.inv(np.einsum("kni,knj->kij", rest - mean, rest - mean) / rest.shape[1])
            calibration, values = (
                np.einsum("kni,kij,knj->kn", part - mean, inverse, part - mean)
                for part in (normal[:, held], new)
            )
            p = online_p(list(calibration), values, rng)
            members.append(Martingales.begin(k).update(p))
        peaks.append(np.max(members, axis=0).max(axis=1) - np.log(folds))
        single.append(np.max(members[0], axis=1))
    write(records, "alarms", case, "martingale", ever(np.concatenate(peaks)))
    write(records, "alarms", case, "martingale of one fold", ever(np.concatenate(single)))


# -- run length ----------------------------------------------------------------------------------------------


def run_length(records: Records, options: argparse.Namespace) -> None:
    size, batches = 10, 1_000 if options.few > 100 else 100
    for bound in (50, 200):
        case = f"A = {bound}"
        if records.find(part="run_length", case=case, method="e-detector") is not None:
            continue
        rng, lengths = np.random.default_rng(3), []
        for k in parts_of(2 * options.few):
            values = rng.gamma(2.0, size=(k, 500 + size * batches))
            p = online_p(list(values[:, :500]), values[:, 500:], rng)
            hit = detector_paths(p, size) >= np.log(bound)
            lengths.append(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, batches + 1))
        length = np.concatenate(lengths)
        found: dict[str, Any] = {"streams": len(length), "batches": batches}
        found["mean_length_at_least"] = float(np.minimum(length, batches).mean())
        for t in (bound // 10, bound // 2, bound):
            found[f"within_{t / bound:g}_A"], found[f"error_{t / bound:g}_A"] = rate(length <= t)
        write(records, "run_length", case, "e-detector", found)


if __name__ == "__main__":
    sys.exit(main())
