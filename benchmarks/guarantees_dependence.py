"""False alarms of the martingale where rows depend on each other in time, by block."""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.guarantees_streams import ever, online_p, parts_of, write
from benchmarks.records import Records
from upland.calibration.martingales import Martingales


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
            for k in parts_of(options.others):
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


def series(records: Records, options: argparse.Namespace) -> None:
    """Rows of the last third of each channel; a quick run on tables alone has none."""
    files = [options.data / "sequences" / f"{name}.npz" for name in ("smap", "msl")]
    for path in [path for path in files if path.exists()]:
        with np.load(path) as found:
            channels = [found[name][:, 0] for name in sorted(found.files) if name.endswith("_train")]
        for block in (1, 5, 20):
            case, method = path.stem, f"block = {block}"
            if records.find(part="series", case=case, method=method) is None:
                rng = np.random.default_rng(7)
                watched = [watch_of(rng, channel, block) for channel in channels if len(channel) >= 600]
                peaks, counted = np.array(watched).T
                write(records, "series", case, method, ever(peaks) | {"counted": float(counted.mean())})


def watch_of(rng: np.random.Generator, channel: np.ndarray, block: int) -> tuple[float, int]:
    """The largest log of the martingale on the last third, and how many rows of it count."""
    steps = np.lib.stride_tricks.sliding_window_view(channel.astype(np.float64), 8)
    fitted, held_out, new = np.array_split(steps, 3)
    mean, covariance = fitted.mean(axis=0), np.cov(fitted.T) + 1e-6 * np.eye(8)
    inverse = np.linalg.inv(covariance)
    calibration, values = (
        np.einsum("ni,ij,nj->n", part - mean, inverse, part - mean) for part in (held_out, new)
    )
    starts = np.arange(0, len(values) - block + 1, block)
    kept = values[starts + rng.integers(0, block, starts.size)]
    some = rng.permutation(calibration)[:500]
    path = Martingales.begin(1).update(online_p([some], kept[None], rng))
    return float(path.max()), kept.size
