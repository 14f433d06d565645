"""KDD Cup 99 (10 %), Thyroid and Arrhythmia in the DAGMM protocol: precision, recall, F1 at the given anomaly
share.

upland reads the columns as they are (its encoder scales them); the baselines get z-scores by the training
rows. Rows are written as they come; a second call with the same output does what is missing.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benchmarks import peers, protocols
from benchmarks.baselines import BASELINES
from benchmarks.options import command, data_argument, parsed
from benchmarks.records import Records
from benchmarks.upland_methods import UPLAND

METHODS = {**BASELINES, **UPLAND}
SEEDS = {"thyroid": 20, "arrhythmia": 20, "kdd": 3}
KEYS = ("set", "seed", "method")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--sets", nargs="+", choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--seeds", type=int, help="how many seeds, from 0; 20 (3 on KDD) if left out")
    quick = {"methods": ["upland", "PCA"], "sets": ["thyroid", "arrhythmia"], "seeds": 1}
    return parsed(parser, argv, "dagmm", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for method in options.methods:
        peers.warm_up(METHODS[method])
    for name in options.sets:
        X, y = protocols.load_dagmm(options.data, name)
        for seed in range(options.seeds or SEEDS[name]):
            run_seed(records, X, y, name, seed, options.methods)
    return 0


def run_seed(
    records: Records, X: protocols.Array, y: protocols.Labels, name: str, seed: int, methods: list[str]
) -> None:
    """Every method that has no row yet on one set and seed."""
    missing = [method for method in methods if records.find(set=name, seed=seed, method=method) is None]
    if not missing:
        return
    raw = protocols.dagmm_split(X, y, seed)
    scaled = protocols.standardised(raw) if set(missing) & set(BASELINES) else raw
    for method in missing:
        row = measured(scaled if method in BASELINES else raw, name, method, seed)
        records.add({"set": name, "seed": seed, "method": method, **row})
        show(records.rows[-1])


def measured(split: protocols.Split, name: str, method: str, seed: int) -> dict[str, Any]:
    result = peers.run(METHODS[method], split.train, split.test, seed)
    measures = protocols.dagmm_measures(split.labels, result.scores, protocols.RHO[name])
    seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
    sizes = dict(zip(("n_train", "n_columns"), split.train.shape, strict=True))
    return {**sizes, "n_test": len(split.test), **measures, **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:10} seed {row['seed']:2}  {row['method']:22} P {row['precision']:.4f}"
        f"  R {row['recall']:.4f}  F1 {row['f1']:.4f}  fit {row['fit_seconds']:.1f} s"
        f"  score {row['score_seconds']:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
