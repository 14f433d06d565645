"""ADBench, one-class: every method on every set and seed of the protocol in `protocols.py`.

Rows are written as they come; a second call with the same output does what is missing. Where neither the rows
nor the method depend on the seed, one seed is run and its row repeated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks import peers, protocols
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from benchmarks.upland_methods import UPLAND

METHODS = {**peers.PEERS, **UPLAND}
KEYS = ("set", "seed", "method")
QUICK = {"methods": ["upland", "kNN", "IForest", "LOF", "PCA"], "seeds": [0], "most_sets": 3}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    sets_arguments(parser)
    return parsed(parser, argv, "adbench", QUICK, is_bundled=True)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    names = options.sets or protocols.adbench_names(options.data)[: options.most_sets]
    for method in options.methods:
        peers.warm_up(METHODS[method])
    for seed in options.seeds:
        for name in names:
            run_set(records, options.data, name, seed, options.methods)
    return 0


def run_set(records: Records, data: Path, name: str, seed: int, methods: list[str]) -> None:
    """Every method that has no row yet on one set and seed."""
    missing = [method for method in methods if records.find(set=name, seed=seed, method=method) is None]
    if not missing:
        return
    X, y = protocols.load_adbench(data, name)
    fixed = not protocols.is_resampled(len(y))
    split = protocols.adbench_split(X, y, seed)
    for method in missing:
        key = {"set": name, "seed": seed, "method": method}
        row = records.of_another_seed(**key) if fixed and method in peers.DETERMINISTIC else None
        row = row or measured(split, method, seed) | {"bootstrapped": protocols.is_bootstrapped(len(y))}
        records.add(row | key)
        show(records.rows[-1])


def measured(split: protocols.Split, method: str, seed: int) -> dict[str, Any]:
    result = peers.run(METHODS[method], split.train, split.test, seed)
    measures = protocols.adbench_measures(split.labels, result.scores)
    seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
    sizes = dict(zip(("n_train", "n_columns"), split.train.shape, strict=True))
    return {**sizes, "n_test": len(split.test), **measures, **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:14} seed {row['seed']}  {row['method']:22} AUROC {row['auroc']:.4f}"
        f"  AUPRC {row['auprc']:.4f}  fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
