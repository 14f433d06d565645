"""What each part of the product of experts is worth: left out, and alone, on every collection and half.

OddBench, the families of mixed tables (`table_tasks.py`), and the sets of ADBench that its protocol neither
bootstraps nor draws from. A part is chosen by the half for choosing, and what it gains there is to be found
again in the half for confirming. Rows are written as they come; a second call with the same output does what
is missing.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from benchmarks.table_tasks import COLLECTIONS, HALVES, Task, adbench_tasks
from benchmarks.upland_methods import MULTISCALE, PAPER, energy_detector
from upland.models.experts import COUNTS, PARTS

NAME = "ablation tables"
KEYS = ("collection", "task", "seed", "variant")
ABLATED: dict[str, Callable[[Path], list[Task]]] = {**COLLECTIONS, "adbench": adbench_tasks}
VARIANTS: dict[str, Mapping[str, Any]] = {
    "default": {},
    **{f"without {name}": {"parts": [part for part in PARTS if part != name]} for name in PARTS},
    **{f"{name} alone": {"parts": [name]} for name in PARTS if name not in COUNTS},
    "fast": {"speed": "fast"},
    "multi-scale energy": MULTISCALE,
    "paper's model": {**PAPER, "criterion": "energy"},
}


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    tasks = [task for name in options.collections for task in tables.chosen(ABLATED[name], options)]
    for seed in options.seeds:
        for task in tasks:
            for variant in options.variants:
                run(records, task, seed, variant)
    return 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--collections", nargs="+", choices=ABLATED, default=list(ABLATED))
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=list(HALVES))
    sets_arguments(parser)
    quick = {"variants": ["default", "conditional alone"], "most_sets": 1, "collections": ["adbench"]}
    return parsed(parser, argv, "ablation_tables", quick, is_bundled=True)


def run(records: Records, task: Task, seed: int, variant: str) -> None:
    """One variant on one task and seed, unless its row is there."""
    key = {"collection": task.collection, "task": task.name, "seed": seed, "variant": variant}
    if records.find(**key) is not None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = partial(energy_detector, **VARIANTS[variant])
        row = tables.measured(task.rows(seed), fit, seed)
    place = {"benchmark": NAME, "half": task.half, "kind": task.kind, "family": task.family}
    records.add(place | key | row)
    print(f"{task.name:30} seed {seed}  {variant:20} AUROC {row['auroc']:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
