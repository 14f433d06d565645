"""A model for every segment beside a single one: seconds, memory, bytes of the file, accuracy, false alarms.

`speed`: many segments of 200 rows x 10 columns; the single model is the pooled detector in the segmented one,
on the same rows. `stream`: peak megabytes and CPU seconds of `upland score` on 500,000 rows, by models of a
hundred and of many segments. `accuracy`: made-up segments that do not differ, or in means, scales, dependence
or all of these, beside the single model and one that has the segment as a category; anomalies are rows with
three cells of other rows of the segment (swapped), a cell that is shifted by 2.5 standard deviations
(shifted), and rows of another segment (moved). `grouped`: KDD Cup 99 by service, the channels of two
spacecraft: AUROC over all rows, and the mean over segments with both classes. `alarms`: shares of normal rows
with a p-value of at most .05 and .01 over redraws of every row, by rows of a segment. Seconds are of the CPU,
on one thread.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.options import command, data_argument
from benchmarks.records import Records
from benchmarks.speed_groups import held
from benchmarks.timing import interleaved, measured_command, note, run_parts

ROWS, COLUMNS, LATENT = 200, 10, 4
MODES = ("same", "means", "scales", "dependence", "all")
BY = "segment"


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--segments", type=int, default=1_000, help="of `speed`")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10, 40, 200], help="rows of a segment, `accuracy`"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--stream", type=int, default=500_000, help="rows of `stream`")
    parser.add_argument("--redraws", type=int, default=200, help="of `alarms`")
    parts = {"speed": speed, "stream": stream, "accuracy": accuracy, "grouped": grouped, "alarms": alarms}
    quick = {"segments": 50, "sizes": [20], "seeds": [0], "redraws": 3, "stream": 5_000}
    return run_parts(parser, argv, "segments", parts, quick)


def machines(
    mode: str, segments: int, rows: int, seed: int, new: int = 40
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Normal rows of segments, and as many fresh ones of each as are asked for: x = tanh(z B) A + noise."""
    rng = np.random.default_rng(seed)
    mix, base = rng.normal(size=(LATENT, COLUMNS)), rng.normal(size=(LATENT, LATENT))
    each = rows + new
    x = np.empty((segments, each, COLUMNS))
    for part in x:
        own = rng.normal(size=mix.shape) if mode in ("dependence", "all") else mix
        own = own * np.linalg.norm(mix, axis=0) / np.linalg.norm(own, axis=0)
        part[:] = np.tanh(rng.normal(size=(each, LATENT)) @ base) @ own + 0.3 * rng.normal(size=part.shape)
        part *= np.exp(0.5 * rng.normal(size=COLUMNS)) if mode in ("scales", "all") else 1.0
        part += 1.5 * rng.normal(size=COLUMNS) if mode in ("means", "all") else 0.0
    normal, fresh = (
        _frame(part.reshape(-1, COLUMNS), np.repeat(np.arange(segments), part.shape[1]))
        for part in (x[:, :rows], x[:, rows:])
    )
    return normal, fresh


def _frame(x: np.ndarray, of: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(x, columns=[f"x{n}" for n in range(x.shape[1])]).assign(**{BY: of})


def anomalies(new: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Three anomalous tables of normal rows."""
    rng, of = np.random.default_rng(seed), new[BY].to_numpy()
    x, count = new.drop(columns=BY).to_numpy(), of.max() + 1
    swapped, shifted = x.copy(), x.copy()
    spread = np.stack([x[of == segment].std(axis=0) for segment in range(count)])
    for segment in range(count):
        rows = np.flatnonzero(of == segment)
        cells = np.ix_(rows, rng.permutation(COLUMNS)[:3])
        swapped[cells] = x[np.ix_(np.roll(rows, 1), cells[1][0])]
    column = rng.integers(0, COLUMNS, len(x))
    shifted[np.arange(len(x)), column] += 2.5 * spread[of, column] * rng.choice([-1, 1], len(x))
    others = (of + rng.integers(1, count, len(x))) % count
    return {"swapped": _frame(swapped, of), "shifted": _frame(shifted, of), "moved": _frame(x, others)}


def detector(seed: int = 0) -> Any:
    """Not fitted."""
    import upland

    return upland.SegmentedDetector(upland.EnergyDetector(random_state=seed, progress=False), by=BY)


def speed(records: Records, options: argparse.Namespace) -> None:
    """A fit and scoring of many segments."""
    import upland

    method = f"{options.segments} segments"
    if records.find(part="speed", method=method) is not None:
        return
    normal, new = machines("all", options.segments, ROWS, 0, new=max(1, 100_000 // options.segments))
    new = new.sample(frac=1.0, random_state=0)[:100_000]
    before, start = held("VmRSS", afresh=True), time.process_time()
    found = detector().fit(normal)
    fit_seconds, fit_mb = time.process_time() - start, held("VmHWM") - before
    pooled = found.pooled_
    before = held("VmRSS", afresh=True)
    found.assess(new)
    score_mb = held("VmHWM") - before
    seconds = interleaved({"segments": lambda: found.assess(new), "single": lambda: pooled.assess(new)}, 3)
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in {"file_mb": found, "single_file_mb": pooled}.items():
            path = Path(folder) / f"{name}.safetensors"
            upland.save(model, path)
            sizes[name] = path.stat().st_size / 1e6
        start = time.process_time()
        upland.load(Path(folder) / "file_mb.safetensors")
        load_seconds = time.process_time() - start
    rates = {"rows_per_second": "segments", "single_rows_per_second": "single"}
    values = {"rows": len(normal), "fit_seconds": fit_seconds, "fit_mb": fit_mb, "score_mb": score_mb}
    values |= {name: len(new) / seconds[task] for name, task in rates.items()}
    note(records, "speed", method, values | sizes | {"load_seconds": load_seconds})


def stream(records: Records, options: argparse.Namespace) -> None:
    """The command on a file, whose rows are of all segments by turns."""
    import upland

    score = [sys.executable, "-c", "from upland.cli import main; main()", "score"]
    for count in (min(100, options.segments), options.segments):
        method = f"{count} segments"
        if records.find(part="stream", method=method) is None:
            normal, new = machines("all", count, ROWS, 0, new=max(1, options.stream // count))
            with tempfile.TemporaryDirectory() as folder:
                model, data = f"{folder}/model.safetensors", f"{folder}/new.parquet"
                upland.save(detector().fit(normal), model)
                new.sample(frac=1.0, random_state=0).to_parquet(data)
                call = [*score, model, data, "-o", f"{folder}/scored.parquet", "--quiet"]
                peak, seconds = measured_command(call)
            note(records, "stream", method, {"rows": len(new), "peak_mb": peak, "seconds": seconds})


def accuracy(records: Records, options: argparse.Namespace) -> None:
    """AUROC on made-up segments."""
    for size in options.sizes:
        for mode in MODES:
            for seed in options.seeds:
                method = f"{mode}, {size} rows, seed {seed}"
                if records.find(part="accuracy", method=method) is None:
                    normal, new = machines(mode, 40, size, seed)
                    found = detector(seed).fit(normal)
                    category = detector(seed).detector.set_params(categorical=[BY]).fit(normal)
                    models = {"single": found.pooled_, "category": category, "segments": found}
                    values = {}
                    for name, table in anomalies(new, seed).items():
                        for called, model in models.items():
                            values[f"{name} {called}"] = auroc(model.anomaly_score, new, table)
                    note(records, "accuracy", method, values)


def auroc(score: Callable[[Any], np.ndarray], normal: Any, anomalous: Any) -> float:
    scores = [score(normal), score(anomalous)]
    return float(roc_auc_score(np.repeat([0, 1], [len(s) for s in scores]), np.concatenate(scores)))


def grouped(records: Records, options: argparse.Namespace) -> None:
    """Real data with a column of segments."""
    if not (options.data / "sequences").is_dir():
        print("grouped needs sets of the folder of data", flush=True)
        return
    for name, read in {
        "kdd by service": kdd,
        "smap by channel": spacecraft,
        "msl by channel": spacecraft,
    }.items():
        for seed in options.seeds:
            if records.find(part="grouped", method=f"{name}, seed {seed}") is None:
                normal, new, labels = read(options.data, name.split()[0], seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of rare cells
                    found = detector(seed).fit(normal)
                    scores = {
                        "single": found.pooled_.anomaly_score(new),
                        "segments": found.anomaly_score(new),
                    }
                    alarms = float((found.p_values(new)[labels == 0] <= 0.05).mean())
                values = {"segments": len(found.segments_), "alarms at .05": alarms}
                for called, s in scores.items():
                    values |= {
                        f"auroc {called}": float(roc_auc_score(labels, s)),
                        f"auprc {called}": float(average_precision_score(labels, s)),
                        f"within {called}": within(labels, s, new[BY].to_numpy()),
                    }
                note(records, "grouped", f"{name}, seed {seed}", values)


def within(labels: np.ndarray, scores: np.ndarray, of: np.ndarray) -> float:
    """The mean AUROC over segments with both classes."""
    parts = [of == segment for segment in np.unique(of)]
    both = [part for part in parts if 0 < labels[part].sum() < part.sum()]
    return float(np.mean([roc_auc_score(labels[part], scores[part]) for part in both]))


def spacecraft(
    data: Path, name: str, seed: int, most: int = 400
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """At most so many rows of each channel, train and test as they are given."""
    rng, tables, labels = np.random.default_rng(seed), {"train": [], "test": []}, []
    with np.load(data / "sequences" / f"{name}.npz") as arrays:
        for channel in sorted({key[:-6] for key in arrays.files if key.endswith("_train")}):
            for part, frames in tables.items():
                x = arrays[f"{channel}_{part}"]
                rows = np.sort(rng.permutation(len(x))[:most])
                frames.append(_frame(x[rows], np.full(len(rows), channel)))
            labels.append(arrays[f"{channel}_label"][rows])
    train, test = (pd.concat(frames, ignore_index=True) for frames in tables.values())
    return train, test, np.concatenate(labels)


def kdd(data: Path, name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """20,000 normal rows; 10,000 others and 5,000 attacks."""
    with gzip.open(data / "kddcup99" / "kddcup.data_10_percent.gz", "rt") as file:
        table = pd.read_csv(file, header=None)
    table.columns = [f"c{n}" for n in range(41)] + ["label"]
    attack = (table.pop("label") != "normal.").to_numpy()
    rng, table = np.random.default_rng(seed), table.rename(columns={"c2": BY})
    normal = rng.permutation(np.flatnonzero(~attack))
    chosen = np.concatenate([normal[20_000:30_000], rng.permutation(np.flatnonzero(attack))[:5_000]])
    new = table.iloc[chosen].reset_index(drop=True)
    return table.iloc[normal[:20_000]].reset_index(drop=True), new, attack[chosen].astype(int)


def alarms(records: Records, options: argparse.Namespace) -> None:
    """Segments of 500, 200 and 40 rows that differ in everything: one fresh row of each a redraw."""
    sizes = np.array([500] * 4 + [200] * 10 + [40] * 20)
    p = []
    for redraw in range(options.redraws):
        normal, new = machines("all", len(sizes), int(sizes.max()), redraw, new=10)
        kept = normal.groupby(BY).cumcount().to_numpy() < sizes[normal[BY].to_numpy()]
        p.append(detector(redraw).fit(normal[kept]).p_values(new).reshape(len(sizes), -1))
    for size in np.unique(sizes):
        for alpha in (0.05, 0.01):
            rates = (np.stack(p)[:, sizes == size] <= alpha).mean(axis=(1, 2))
            spread = rates.std(ddof=1) / np.sqrt(len(rates)) if len(rates) > 1 else 0.0
            note(records, "alarms", f"{size} rows at {alpha}", {"rate": rates.mean(), "error": spread})


if __name__ == "__main__":
    sys.exit(main())
