"""Files of TSB-AD by its own protocol: whether its published numbers come out here, and upland beside.

A file `..._tr_N_1st_M.csv` holds a series with its labels in the last column; its first N steps are the
training part. Peers see the whole series (`tsb_ad_peers.py`); upland is fitted on the training part, as that
benchmark does with methods that need normal data. **All steps are scored and count, the training part
included.** The longest buffer of VUS-PR is the period of the first channel. Affiliation F needs flags: steps
with a score above mean + 3 standard deviations.

Files are read from `tsb-ad/` below the folder of data; published numbers from `published/tsb_ad.csv`. The
numbers of the package TSB_AD itself are taken beside where it is installed (`pip install --no-deps
TSB_AD==1.5`; no extra can name it, as it asks for NumPy 1).
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers, tsb_ad_peers
from benchmarks.options import HERE, command, data_argument, parsed
from benchmarks.peers import Array
from benchmarks.records import Records
from benchmarks.series import Labels
from benchmarks.upland_methods import sequence_detector
from benchmarks.vus import affiliation_f, package, range_auc_pr, vus_pr

KEYS = ("file", "seed", "method")
PUBLISHED = HERE / "published" / "tsb_ad.csv"
UPLAND = "upland"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="as in TSB-AD, or upland; else all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--files", nargs="+", help="beginnings of names; all in the folder if left out")
    quick = {"seeds": [0], "files": ["001", "013"], "methods": ["Sub-PCA", "KMeansAD", "Sub-KNN", UPLAND]}
    return parsed(parser, argv, "tsb_ad", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for path in files(options.data, options.files):
        values, labels, trained = stored(path)
        for method in methods_of(values, options.methods):
            for seed in options.seeds if method in SEEDED else options.seeds[:1]:
                key = {"file": path.name, "seed": seed, "method": method}
                if records.find(**key) is None:
                    row = measured(values, labels, trained, method, seed)
                    published = published_of(path.name, method)
                    records.add({"benchmark": "tsb_ad", **key, **row, "published": published})
                    show(records.rows[-1])
    return 0


SEEDED = frozenset({"KMeansAD", "Sub-IForest", "IForest", UPLAND})


def files(data: Path, wanted: list[str] | None) -> list[Path]:
    found = sorted((data / "tsb-ad").glob("*_tr_*.csv"))
    if not found:
        raise FileNotFoundError(f"{data / 'tsb-ad'} has no file of TSB-AD: benchmarks/README.md says which")
    return [path for path in found if wanted is None or path.name.startswith(tuple(wanted))]


def stored(path: Path) -> tuple[Array, Labels, int]:
    """Values (T, D), labels (T,) and the length of the training part, rows with an empty cell left out."""
    rows = np.genfromtxt(path, delimiter=",", skip_header=1)
    rows = rows[~np.isnan(rows).any(axis=1)]
    return rows[:, :-1], rows[:, -1].astype(np.int64), int(path.stem.split("_tr_")[1].split("_")[0])


def methods_of(values: Array, wanted: list[str] | None) -> list[str]:
    every = [*peers_of(values), UPLAND]
    return [method for method in every if wanted is None or method in wanted]


def peers_of(values: Array) -> dict[str, tsb_ad_peers.Peer]:
    return tsb_ad_peers.ONE_CHANNEL if values.shape[1] == 1 else tsb_ad_peers.SEVERAL_CHANNELS


def published_of(file: str, method: str) -> float | None:
    with PUBLISHED.open() as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    found = rows.get(file, {}).get(method)
    return float(found) if found else None


def measured(values: Array, labels: Labels, trained: int, method: str, seed: int) -> dict[str, Any]:
    """Every measure of one method on one file, and its CPU seconds."""
    if method == UPLAND:
        result = peers.run(sequence_detector, values[:trained], values, seed)
    else:
        score = peers_of(values)[method]
        result = peers.run(lambda steps, drawn: lambda test: score(test, drawn), values, values, seed)
    longest = tsb_ad_peers.period(values[:, 0])
    row = {"n_steps": len(values), "n_channels": values.shape[1], "n_train": trained, "period": longest}
    row |= {"vus_pr": vus_pr(labels, result.scores, longest)}
    row |= {"range_auc_pr": range_auc_pr(labels, result.scores, longest)}
    row |= {"affiliation_f": affiliation_f(labels, result.scores)}
    row |= of_the_package(labels, result.scores, longest)
    return row | {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}


def of_the_package(labels: Labels, scores: Array, longest: int) -> dict[str, float | None]:
    """VUS-PR and Range-AUC-PR as the package computes them; None where it is not installed."""
    module = package()
    if module is None:
        return {"package_vus_pr": None, "package_range_auc_pr": None}
    *_, recall, precision, _, _, volume = module.generate_curve(labels, scores, longest)
    recall, precision = (part.reshape(longest + 1, -1)[-1] for part in (recall, precision))
    area = float(np.sum(np.diff(recall) * precision[1:]))
    return {"package_vus_pr": float(volume), "package_range_auc_pr": area}


def show(row: dict[str, Any]) -> None:
    published = "" if row["published"] is None else f"  published {row['published']:.4f}"
    print(
        f"{row['file'][:30]:30} seed {row['seed']}  {row['method']:13} VUS-PR {row['vus_pr']:.4f}{published}"
        f"  {row['fit_seconds'] + row['score_seconds']:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
