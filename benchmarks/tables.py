"""Tables in two collections, OddBench and families of mixed tables: the tasks of `table_tasks.py`.

upland takes the tables as they are, words and missing cells among them; peers take the numbers that
`table_tasks.as_numbers` makes of them, outside the time that is taken. Each row says to which half its table
belongs: what is chosen by one half is to be confirmed on the other. Rows are written as they come; a second
call with the same output does what is missing. Where neither the rows nor the method depend on the seed, one
seed is run and its row repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import peers, protocols
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from benchmarks.table_tasks import COLLECTIONS, HALVES, Rows, Task, as_numbers, found
from benchmarks.upland_methods import UPLAND

TABLE_PEERS = ("kNN", "LOF", "IForest", "OCSVM", "PCA", "ECOD", "PyOD AutoEncoder")
TABLE_UPLAND = ("upland", "upland fast")
TABLE_EARLIER = ("upland multi-scale", "upland paper")  # models that other arguments give
METHODS = {**peers.PEERS, **UPLAND}
KEYS = ("collection", "task", "seed", "method")
QUICK = {"methods": ["upland", "kNN", "IForest", "LOF", "PCA"], "seeds": [0], "most_sets": 2}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    usual = [*TABLE_UPLAND, *TABLE_EARLIER, *TABLE_PEERS]
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=usual, metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--collections", nargs="+", choices=COLLECTIONS, help="those in the folder if left out"
    )
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=list(HALVES))
    sets_arguments(parser)
    return parsed(parser, argv, "tables", QUICK)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    names = options.collections or found(options.data)
    tasks = [task for name in names for task in chosen(COLLECTIONS[name], options)]
    for method in options.methods:
        peers.warm_up(METHODS[method])
    for seed in options.seeds:
        for task in tasks:
            run_task(records, task, seed, options.methods)
    return 0


def chosen(collection: Callable[[Path], list[Task]], options: argparse.Namespace) -> list[Task]:
    """The tasks of one collection that the options ask for."""
    tasks = [task for task in collection(options.data) if task.half in options.halves]
    if options.sets:
        return [task for task in tasks if task.family in options.sets]
    some = list(dict.fromkeys(task.family for task in tasks))[: options.most_sets]
    return [task for task in tasks if task.family in some]


def run_task(records: Records, task: Task, seed: int, methods: list[str]) -> None:
    """Every method that has no row yet on one task and seed."""
    key = {"collection": task.collection, "task": task.name, "seed": seed}
    missing = [method for method in methods if records.find(**key, method=method) is None]
    if not missing:
        return
    rows = task.rows(seed)
    numbers = as_numbers(rows)
    for method in missing:
        known = task.is_fixed and method in peers.DETERMINISTIC
        row = records.of_another_seed(**key, method=method) if known else None
        row = row or measured(rows if method in UPLAND else numbers, METHODS[method], seed)
        place = {"benchmark": "tables", "half": task.half, "kind": task.kind, "family": task.family}
        records.add(place | key | {"method": method} | row | {"seed": seed})
        show(records.rows[-1])


def measured(rows: Rows, fit: peers.Fit, seed: int) -> dict[str, Any]:
    """Sizes, AUROC, AUPRC and CPU seconds of one method."""
    result = peers.run(fit, rows.train, rows.test, seed)
    auroc, auprc, _ = protocols.adbench_measures(rows.labels, result.scores).values()
    sizes = {"n_train": len(rows.train), "n_test": len(rows.test), "n_columns": rows.train.shape[1]}
    seconds = {"fit_seconds": round(result.fit_seconds, 4), "score_seconds": round(result.score_seconds, 4)}
    return {**sizes, "auroc": round(auroc, 6), "auprc": round(auprc, 6), **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['task']:30} seed {row['seed']}  {row['method']:20} AUROC {row['auroc']:.4f}"
        f"  AUPRC {row['auprc']:.4f}  fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
