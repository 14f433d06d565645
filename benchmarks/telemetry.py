"""SMAP, MSL, NAB and chaotic series: every method of `series_peers.py` by AUROC, AUPRC and VUS-PR.

Each series has a detector of its own (protocol in `series.py`, VUS-PR in `vus.py`); there is no point
adjustment. Rows are written as they come; a second call with the same output does what is missing. Where the
method does not depend on the seed, one seed is run and its row repeated.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import Any

import numpy as np

from benchmarks import chaotic, peers, series
from benchmarks.options import command, data_argument, parsed
from benchmarks.records import Records
from benchmarks.series_peers import DETERMINISTIC, SERIES_PEERS, SERIES_UPLAND
from benchmarks.vus import affiliation_f, range_auc_pr, vus_pr

METHODS = {**SERIES_PEERS, **SERIES_UPLAND}
CHAOTIC = "chaotic"  # made, not read
COLLECTIONS = (*series.COLLECTIONS, CHAOTIC)
MEASURES = (vus_pr, range_auc_pr, affiliation_f)
KEYS = ("collection", "series", "seed", "method")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--most-series", type=int, help="at most so many series of a collection")
    quick = {"methods": ["upland", "PCA"], "seeds": [0], "collections": ["nab"], "most_series": 3}
    return parsed(parser, argv, "telemetry", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for method in options.methods:
        steps = np.random.RandomState(0).randn(256, 3)
        peers.run(METHODS[method], steps, steps, 0)  # untimed: no measured time holds an import
    for seed in options.seeds:
        for collection in options.collections:
            run_collection(records, options, collection, seed)
    return 0


def run_collection(records: Records, options: argparse.Namespace, collection: str, seed: int) -> None:
    """Every series and method that has no row yet; series that cannot be ranked are left out, and printed."""
    made = collection == CHAOTIC
    everything = dict(chaotic.series() if made else series.load_collection(options.data, collection))
    ranked = {name: split for name, split in everything.items() if split.can_be_ranked}
    for name, split in islice(ranked.items(), options.most_series):
        for method in options.methods:
            key = {"collection": collection, "series": name, "seed": seed, "method": method}
            if records.find(**key) is None:
                row = records.of_another_seed(**key) if method in DETERMINISTIC else None
                row = row or measured(split, method, seed)
                records.add({"benchmark": "telemetry", **row, **key})
                show(records.rows[-1])
    if left_out := [name for name in everything if name not in ranked]:
        print(f"{collection}: {len(left_out)} without an anomaly to rank: {', '.join(left_out)}", flush=True)


def measured(split: series.SeriesSplit, method: str, seed: int) -> dict[str, Any]:
    result = peers.run(METHODS[method], split.train, split.test, seed)
    sizes = dict(zip(("n_train", "n_channels"), split.train.shape, strict=True))
    share = {"n_test": len(split.test), "anomalous_share": float(split.labels.mean())}
    values = series.measures(split.labels, result.scores)
    values |= {measure.__name__: measure(split.labels, result.scores) for measure in MEASURES}
    seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
    return {**sizes, **share, **values, **seconds}


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['collection']:5} {row['series'][:40]:40} seed {row['seed']}  {row['method']:17}"
        f" AUROC {row['auroc']:.4f}  AUPRC {row['auprc']:.4f}  VUS-PR {row['vus_pr']:.4f}"
        f"  fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
