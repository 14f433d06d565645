"""Dirty training data: anomalies left among the rows that are learned from, and the same rows judged.

The unsupervised setting of ADBench: every row trains, at most 10,000 drawn at random, and every one of them
is scored. Rows are written as they come; a second call with the same output does what is missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import peers, protocols
from benchmarks.ours import OURS, energy_detector
from benchmarks.peers import PEERS, Fit
from benchmarks.records import Records, command, data_argument

KEYS = ("set", "seed", "method")
MOST = 10_000
METHODS: dict[str, Fit] = {
    "upland": OURS["upland"],
    "upland mixture": lambda train, seed: energy_detector(train, seed, prior="mixture"),
    "upland centre": lambda train, seed: energy_detector(train, seed, prior="centre"),
    **{name: PEERS[name] for name in ("kNN", "IForest", "PCA", "LOF", "OCSVM")},
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--sets", nargs="+", help="names of sets; all in the data folder if left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON file, taken up if it exists")
    options = parser.parse_args(argv)
    records = Records.open(options.output, KEYS)
    for name in options.sets or protocols.adbench_names(options.data):
        for seed in options.seeds:
            run_set(records, options, name, seed)
    return 0


def run_set(records: Records, options: argparse.Namespace, name: str, seed: int) -> None:
    """Every method that has no row yet on one set and seed."""
    X, y = protocols.load_adbench(options.data, name)
    some = np.random.default_rng(seed).permutation(len(y))[:MOST]
    split = protocols.standardised(protocols.Split(X[some], X[some], y[some]))
    for method in options.methods:
        if records.find(set=name, seed=seed, method=method) is None:
            result = peers.run(METHODS[method], split.train, split.test, seed)
            measures = protocols.adbench_measures(split.labels, result.scores)
            times = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
            records.add(
                {
                    "benchmark": "contaminated",
                    "set": name,
                    "seed": seed,
                    "method": method,
                    "anomalies": float(y[some].mean()),
                }
                | measures
                | times
            )
            print(
                f"{name:14} {method:16} AUROC {measures['auroc']:.4f}  AUPRC {measures['auprc']:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())
