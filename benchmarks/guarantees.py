"""Does the watch keep what it promises? Streams without a change, and delays after changes beside peers.

`alarms`: shares of 2,000 streams of 5,000 normal rows on which the test martingale ever reaches 1 / delta, by
size and method of the calibration; of cross calibration members are fitted on folds of new rows for each
stream. Beside it the same bets on p-values against the calibration alone, and a Kolmogorov-Smirnov test of
every batch of 50 at level delta. `run_length`: batches until a false alarm of the e-detector beside its
bounds. `discoveries`: online false discovery rate and power over 500 streams of 200 batches, one in ten with
a shift, where each batch has a calibration of its own or all share one. `delays`: rows from a change to the
alarm, at an equal number of false alarms. `dependence`: false alarms on AR(1) streams, by block.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.special import ndtr

from benchmarks.guarantees_peers import PEERS, tuned
from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import run_parts
from upland.calibration.e_detector import EDetector, log_e_values, log_products, sums
from upland.calibration.martingales import Martingales
from upland.calibration.online_false_discovery import gamma
from upland.calibration.online_ranks import Ranks, Urns

KEYS = ("part", "case", "method")
DELTAS = (0.01, 0.05)
TOGETHER = 100
"""Streams that are computed at once."""
ROWS_AT_ONCE = 1_000
ALPHA = 0.1

Draw = Callable[[np.random.Generator, int, int], tuple[list[np.ndarray], np.ndarray]]


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--streams", type=int, default=2_000, help="of `alarms`")
    parser.add_argument("--rows", type=int, default=5_000, help="of a stream of `alarms` and `dependence`")
    parser.add_argument("--few", type=int, default=500, help="streams of the other parts")
    parts = {
        "alarms": alarms,
        "run_length": run_length,
        "discoveries": discoveries,
        "delays": delays,
        "dependence": dependence,
    }
    quick = {"streams": 60, "rows": 1_000, "few": 20}
    return run_parts(parser, argv, "guarantees", parts, quick, KEYS)


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


def ever(peaks: np.ndarray) -> dict[str, Any]:
    """Shares of streams on which a martingale has reached 1 / delta."""
    found: dict[str, Any] = {"streams": len(peaks)}
    for delta in DELTAS:
        found |= named(delta, peaks >= -np.log(delta))
    return found


def named(delta: float, hits: np.ndarray) -> dict[str, float]:
    share, error = rate(hits)
    return {f"ever_{delta}": share, f"error_{delta}": error}


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


def detector_paths(p: np.ndarray, size: int) -> np.ndarray:
    """log R after each batch, without restarts: `(K, N) -> (K, N / size)`."""
    detector = EDetector.begin(len(p))
    found = []
    for start in range(0, p.shape[1] - size + 1, size):
        detector.update(log_products(sums(p[:, start : start + size])))
        found.append(detector.log_values)
    return np.stack(found, axis=1)


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


# -- discoveries ---------------------------------------------------------------------------------------------


DISCOVERIES = {
    "own calibrations": (500, 50, 0.1, False),
    "one calibration": (500, 50, 0.1, True),
    "one of 50 rows": (50, 200, 0.1, True),
    "half of batches shifted": (500, 50, 0.5, True),
}
"""Calibration rows, rows of a batch, the share of batches with a shift, and whether all share a calibration."""


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


# -- delays --------------------------------------------------------------------------------------------------

BURN_IN, BEFORE, AFTER, BATCH, BUDGET = 1_000, 1_000, 4_000, 50, 0.05
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
    return {name: np.concatenate(part) for name, part in found.items()} | {"KS test": of_rows(distances)}


def of_rows(batches: np.ndarray) -> np.ndarray:
    """Statistics of batches at their last rows, minus infinity at the others."""
    found = np.full((len(batches), batches.shape[1] * BATCH), -np.inf)
    found[:, BATCH - 1 :: BATCH] = batches
    return found


def delays(records: Records, options: argparse.Namespace) -> None:
    if records.find(part="delays", case="mean to + 1 in 2000 rows", method="KSWIN") is not None:
        return
    rng = np.random.default_rng(5)
    few = max(options.few // 5, 10)
    null = scores(rng, options.few, None)
    own = {name: part.max(axis=1) for name, part in own_statistics(null, rng).items()}
    thresholds = {name: float(np.quantile(peak, 1 - BUDGET)) for name, peak in own.items()}
    settings = {name: tuned(name, null if name != "KSWIN" else null[:few], BURN_IN, BUDGET) for name in PEERS}
    promised = {"martingale": -np.log(BUDGET), "e-detector": np.log((BEFORE + AFTER) / BATCH / BUDGET)}
    for case in [None, *CHANGES]:
        values = scores(rng, options.few, case)
        found = own_statistics(values, rng)
        first = {name: first_at(found[name] >= level) for name, level in thresholds.items()}
        first |= {f"{name}, as promised": first_at(found[name] >= at) for name, at in promised.items()}
        for name, peer in PEERS.items():
            some = values[:few] if name == "KSWIN" else values
            first[name] = np.array([peer(row, settings[name], BURN_IN) for row in some])
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


# -- dependence ----------------------------------------------------------------------------------------------


def dependence(records: Records, options: argparse.Namespace) -> None:
    """So many rows that count, whatever the block. Calibration rows are drawn from the stationary law, as
    rows of a long history at random are.
    """
    for rho in (0.0, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99):
        for block in (1, 5, 20, 100):
            case, method = f"AR(1), rho = {rho:g}", f"block = {block}"
            if records.find(part="dependence", case=case, method=method) is not None:
                continue
            rng, peaks = np.random.default_rng(6), []
            for k in parts_of(2 * options.few):
                kept = autoregressive(rng, k, options.rows // 2, rho, block)
                p = online_p(list(rng.normal(size=(k, 500))), kept, rng)
                peaks.append(Martingales.begin(k).update(p).max(axis=1))
            values = ever(np.concatenate(peaks)) | {"counted": options.rows // 2}
            write(records, "dependence", case, method, values)


def autoregressive(rng: np.random.Generator, k: int, rows: int, rho: float, block: int) -> np.ndarray:
    """A stationary series of variance 1, of every block one row at random: `(k, rows)`."""
    at = np.arange(rows)[:, None] * block + rng.integers(0, block, (rows, k))
    correlation = np.concatenate([np.zeros((1, k)), rho ** np.diff(at, axis=0)])
    noise, found = rng.normal(size=(rows, k)) * np.sqrt(1 - correlation**2), np.empty((rows, k))
    last = np.zeros(k)
    for t in range(rows):
        last = found[t] = correlation[t] * last + noise[t]
    return np.ascontiguousarray(found.T)


if __name__ == "__main__":
    sys.exit(main())
