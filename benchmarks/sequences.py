"""Six sets of labelled sequences, each class normal in turn: every method of `series_peers.py`.

Rows are written as they come; a second call with the same output does what is missing. Where the method does
not depend on the seed, one seed is run and its row repeated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import peers, series
from benchmarks.options import command, data_argument, parsed
from benchmarks.records import Records
from benchmarks.series_peers import DETERMINISTIC, SEQUENCE_PEERS, SEQUENCE_UPLAND, SequenceFit

METHODS = {**SEQUENCE_PEERS, **SEQUENCE_UPLAND}
KEYS = ("set", "class", "seed", "method")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=series.SETS, default=list(series.SETS))
    quick = {"methods": ["upland", "kNN flat", "PCA flat"], "seeds": [0], "sets": ["GunPoint"]}
    return parsed(parser, argv, "sequences", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for method in options.methods:
        warm_up(METHODS[method])
    for seed in options.seeds:
        for name in options.sets:
            run_set(records, series.load_sequences(options.data, name), name, seed, options.methods)
    return 0


def warm_up(fit: SequenceFit) -> None:
    """One untimed fit on a handful of sequences, so that no measured time holds an import."""
    sequences = list(np.random.RandomState(0).randn(12, 20, 2))
    peers.run(fit, sequences, sequences, 0)


def run_set(records: Records, data: series.SequenceSet, name: str, seed: int, methods: Sequence[str]) -> None:
    """Every class and method that has no row yet, on one set and seed."""
    for normal in data.classes:
        split = data.normal(normal)
        for method in methods:
            key = {"set": name, "class": normal, "seed": seed, "method": method}
            if records.find(**key) is None:
                row = records.of_another_seed(**key) if method in DETERMINISTIC else None
                row = row or measured(split, method, seed)
                records.add({"benchmark": "sequences", **row, **key})
                show(records.rows[-1])


def measured(split: series.SequenceSplit, method: str, seed: int) -> dict[str, Any]:
    result = peers.run(METHODS[method], split.train, split.test, seed)
    sizes = {"n_train": len(split.train), "n_channels": split.train[0].shape[1], "n_test": len(split.test)}
    seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
    return {**sizes, **series.measures(split.labels, result.scores), **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:16} {row['class']:10} seed {row['seed']}  {row['method']:18} AUROC {row['auroc']:.4f}"
        f"  AUPRC {row['auprc']:.4f}  fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
