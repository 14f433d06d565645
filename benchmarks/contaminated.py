"""Contaminated training data: anomalies are left among the training rows, and the same rows are scored.

The unsupervised setting of ADBench: every row trains, at most 20,000 drawn at random, and every one of them
is scored. Neighbours leave the scored row itself out, as is usual in this setting. Rows are written as they
come; a second call with the same output does what is missing.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks import peers, protocols
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.peers import NEIGHBOURS, PEERS, Array, Fit, Score
from benchmarks.records import Records
from benchmarks.upland_methods import UPLAND, energy_detector

KEYS = ("set", "seed", "method")
MOST = 20_000


def other_neighbours(train: Array, seed: int) -> Score:
    """Mean distance of each training row to the 5 nearest others; it scores these rows alone."""
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train) - 1)).fit(train)
    return lambda test: index.kneighbors()[0].mean(axis=1)


def own_lof(train: Array, seed: int) -> Score:
    """The local outlier factor of each training row; it scores these rows alone."""
    model = LocalOutlierFactor(n_neighbors=min(20, len(train) - 1)).fit(train)
    return lambda test: -model.negative_outlier_factor_


METHODS: dict[str, Fit] = {
    "upland": UPLAND["upland"],
    "upland mixture": lambda train, seed: energy_detector(train, seed, prior="mixture"),
    "upland centre": lambda train, seed: energy_detector(train, seed, prior="centre"),
    "kNN": other_neighbours,
    "LOF": own_lof,
    **{name: PEERS[name] for name in ("IForest", "PCA", "OCSVM")},
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    sets_arguments(parser)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    quick = {"methods": ["upland", "kNN", "IForest"], "most_sets": 3}
    options = parsed(parser, argv, "contaminated", quick, is_bundled=True)
    records = Records.open(options.output, KEYS)
    for method in options.methods:
        peers.warm_up(METHODS[method])
    for name in options.sets or protocols.adbench_names(options.data)[: options.most_sets]:
        for seed in options.seeds:
            run_set(records, options, name, seed)
    return 0


def run_set(records: Records, options: argparse.Namespace, name: str, seed: int) -> None:
    """Every method that has no row yet on one set and seed."""
    split = contaminated_split(*protocols.load_adbench(options.data, name), seed)
    for method in options.methods:
        if records.find(set=name, seed=seed, method=method) is None:
            row = {"benchmark": "contaminated", "set": name, "seed": seed, "method": method}
            records.add(row | measured(split, method, seed))
            show(records.rows[-1])


def contaminated_split(X: Array, y: protocols.Labels, seed: int) -> protocols.Split:
    """Rows drawn at random, standardised, anomalies among them, to train on and to score."""
    rows = np.random.default_rng(seed).permutation(len(y))[:MOST]
    some = np.asarray(X[rows], dtype=np.float64)
    return protocols.standardised(protocols.Split(some, some, y[rows]))


def measured(split: protocols.Split, method: str, seed: int) -> dict[str, Any]:
    result = peers.run(METHODS[method], split.train, split.test, seed)
    sizes = {"n_rows": len(split.labels), "anomalies": float(split.labels.mean())}
    seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
    return {**sizes, **protocols.adbench_measures(split.labels, result.scores), **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:14} seed {row['seed']}  {row['method']:16} AUROC {row['auroc']:.4f}"
        f"  AUPRC {row['auprc']:.4f}  fit {row['fit_seconds']:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
