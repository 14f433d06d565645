"""The verdict over a million rows in a thousand groups of a table with 30 columns, by a flow.

One process; seconds are of the CPU. Memory is what the process held at most in the verdict over what it held
before, where the system says so (Linux).
`outputs` is the model alone over as many rows; `null` the p-values alone, from features that are there.
Every tenth group has a column that is permuted within the group.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.group_draws import generator
from benchmarks.group_features import GroupFeatures
from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.synthetic import Surface
from benchmarks.timing import run_parts
from upland.groups.null import Null

PART = "verdicts on groups"
KEYS = ("part", "method", "rows", "groups")
COLUMNS, TRAIN, EVERY = 30, 20_000, 10


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--train", type=int, default=TRAIN, help="rows of the fit")
    parser.add_argument("--epochs", type=int, help="passes of the fit, fewer than usual")
    parser.add_argument("--statistics", nargs="+", default=["auto", "divergence", "typicality"])
    parser.add_argument("--profile", action="store_true", help="print where the time of each verdict goes")
    quick = {"rows": 20_000, "groups": 100, "train": 2_000, "epochs": 2, "statistics": ["auto"]}
    return run_parts(parser, argv, "speed_groups", {PART: verdicts}, quick, KEYS)


def verdicts(records: Records, options: argparse.Namespace) -> None:
    """The verdict and its p-values alone by each statistic."""
    sizes = {"rows": options.rows, "groups": options.groups}
    methods = [f"{work} {name}" for name in options.statistics for work in ("verdict", "null")]
    missing = [m for m in methods if records.find(part=PART, method=m, **sizes) is None]
    if not missing:
        return
    detector, x, labels = prepared(options)
    for method in missing:
        work, statistic = method.split()
        row = (verdict if work == "verdict" else null)(detector, x, labels, statistic, options.profile)
        records.add({"part": PART, "method": method, **sizes, "columns": COLUMNS, **row})
        print(records.rows[-1], flush=True)


def prepared(options: argparse.Namespace) -> tuple[Any, np.ndarray, np.ndarray]:
    """A fitted flow, the rows and the group of each."""
    from upland import FlowDetector

    surface = Surface.make(COLUMNS, generator(0), latent=6)
    train = surface.draw(options.train, generator(1))
    detector = FlowDetector(epochs=options.epochs, fallback="none", random_state=0, progress=False).fit(train)
    x = surface.draw(options.rows, generator(2))
    labels = np.sort(generator(3).permutation(np.arange(options.rows) % options.groups))
    for group in range(0, options.groups, EVERY):
        rows = np.flatnonzero(labels == group)
        x[rows, 0] = x[generator(4, group).permutation(rows), 0]
    return detector, x, labels


def verdict(
    detector: Any, x: np.ndarray, labels: np.ndarray, statistic: str, profiled: bool
) -> dict[str, Any]:
    """The whole call, as a user makes it."""
    before = held("VmRSS", afresh=True)
    start, wall = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = with_profile(lambda: detector.score_groups(x, labels, statistic=statistic), profiled)
    outlying = np.array([label % EVERY == 0 for label in found.group])
    return {
        "seconds": time.process_time() - start,
        "wall_seconds": time.perf_counter() - wall,
        "peak_mb": held("VmHWM") - before,
        "found": float(found.flag[outlying].mean()),
        "false": float(found.flag[~outlying].mean()),
    }


def null(detector: Any, x: np.ndarray, labels: np.ndarray, statistic: str, profiled: bool) -> dict[str, Any]:
    """P-values of as many normal groups of one size, from the features of the held-out reference rows."""
    fitted = GroupFeatures(detector, [statistic])
    features, value = fitted.held_out()[statistic], fitted.statistics[statistic].value
    count = int(labels.max()) + 1
    size = len(labels) // count
    groups = torch.from_numpy(generator(5).integers(0, len(features), (count, size)))
    start = time.process_time()
    reached = Null(features, value, 0.05 / count)
    with_profile(lambda: [reached.p_value(features[group]) for group in groups], profiled)
    return {"seconds": time.process_time() - start}


def with_profile(work: Any, profiled: bool) -> Any:
    if not profiled:
        return work()
    import cProfile
    import pstats

    profile = cProfile.Profile()
    found = profile.runcall(work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    return found


def held(what: str, afresh: bool = False) -> float:
    """Megabytes that the process holds (VmRSS) or has held at most (VmHWM), since `afresh`; NaN elsewhere."""
    try:
        if afresh:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return math.nan
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


if __name__ == "__main__":
    sys.exit(main())
