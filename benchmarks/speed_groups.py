"""The verdict over a million rows in a thousand groups of a table with 30 columns, by a flow.

One process; seconds are of the CPU. Memory is what the process held at most in the verdict over what it held
before, where the system tells (Linux).
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
from benchmarks.records import Records, command
from benchmarks.synthetic import Surface

KEYS = ("part", "method", "rows", "groups")
COLUMNS, TRAIN, EVERY = 30, 20_000, 10


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=1_000)
    parser.add_argument("--train", type=int, default=TRAIN, help="rows of the fit")
    parser.add_argument("--epochs", type=int, help="passes of the fit, fewer than usual")
    parser.add_argument("--statistics", nargs="+", default=["auto", "divergence", "typicality"])
    parser.add_argument("--profile", action="store_true", help="print where the time of each verdict goes")
    parser.add_argument("--output", type=Path, required=True, help="JSON file, taken up if it exists")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    records = Records.open(options.output, KEYS)
    sizes = {"rows": options.rows, "groups": options.groups}
    methods = [f"{part} {name}" for name in options.statistics for part in ("verdict", "null")]
    missing = [m for m in methods if records.find(part="verdicts on groups", method=m, **sizes) is None]
    if not missing:
        return 0
    detector, x, labels = prepared(options)
    for method in missing:
        part, statistic = method.split()
        row = (verdict if part == "verdict" else null)(detector, x, labels, statistic, options.profile)
        head = {"part": "verdicts on groups", "method": method}
        records.add({**head, **sizes, "columns": COLUMNS, **row})
        print(records.rows[-1], flush=True)
    return 0


def prepared(options: argparse.Namespace) -> tuple[Any, np.ndarray, np.ndarray]:
    """A fitted flow, the rows and the group of each."""
    from upland import FlowDetector

    surface = Surface.make(COLUMNS, generator(0), latent=6)
    train = surface.draw(options.train, generator(1))
    detector = FlowDetector(epochs=options.epochs, random_state=0, progress=False).fit(train)
    x = surface.draw(options.rows, generator(2))
    labels = np.sort(generator(3).permutation(np.arange(options.rows) % options.groups))
    for group in range(0, options.groups, EVERY):
        mine = np.flatnonzero(labels == group)
        x[mine, 0] = x[generator(4, group).permutation(mine), 0]
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
    strange = np.array([label % EVERY == 0 for label in found.group])
    return {
        "seconds": time.process_time() - start,
        "wall_seconds": time.perf_counter() - wall,
        "peak_mb": held("VmHWM") - before,
        "found": float(found.flag[strange].mean()),
        "false": float(found.flag[~strange].mean()),
    }


def null(detector: Any, x: np.ndarray, labels: np.ndarray, statistic: str, profiled: bool) -> dict[str, Any]:
    """P-values of as many normal groups of one size, from the features of the rows that are kept."""
    from upland.detectors.references import reference_of
    from upland.groups.null import Null
    from upland.groups.tester import fit_statistic, needs_score

    reference = reference_of(detector.members_[0])
    fitted = fit_statistic(statistic, reference)
    score = needs_score(statistic, reference.model)
    features = fitted.features(reference.outputs(reference.held_out, score))
    count = int(labels.max()) + 1
    size = len(labels) // count
    groups = torch.from_numpy(generator(5).integers(0, len(features), (count, size)))
    start = time.process_time()
    reached = Null(features, fitted.value, 0.05 / count)
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
