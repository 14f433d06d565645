"""Groups of table rows: ADBench sets with at least 1,000 normal rows, every statistic, and tests of drift.

Half of the normal rows train, at most 10,000; groups are drawn from the others. Features are as stored.
`group_draws.py` defines draws and measures, `group_peers.py` the tests of drift: they see the reference rows
of the flow, of the same split.

**Outlying groups** of 10, 25 and 50 rows: a tenth, a fifth, half and all of the rows anomalies; and
*permuted*: normal rows among which the values of one column are permuted, so that its marginal distribution
stays and its dependence on the others is lost. It is the column that the others predict best, by a random
forest on training rows, in R^2 on others of them.

**False alarms.** Of the rows that no fit has seen, as many as the detector compares with (at most half) are
drawn anew each time; groups of 2 to 100 of the others are tested by "auto" at 5 %. The mean over
redraws is what exchangeability bounds.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import protocols
from benchmarks.fitted import remembered
from benchmarks.group_draws import (
    ALPHA,
    COUNT,
    DRAWS,
    Case,
    Contest,
    auroc,
    drawn,
    false_alarms,
    generator,
)
from benchmarks.group_features import Features, GroupFeatures, statistics_of
from benchmarks.group_peers import ColumnTests, StabilityIndex
from benchmarks.group_rows import (
    PERMUTED,
    SHARES,
    GroupSplit,
    Outlying,
    best_predicted,
    names,
    outlying,
    split,
)
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from upland.catalogue import DETECTORS, load
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.outputs import ModelOutputs

Array = NDArray[np.float64]

KEYS = ("set", "seed", "method", "statistic", "case")
SIZES = (10, 25, 50)
ALARM_SIZES = (2, 5, 10, 25, 100)
ALARMS = "false alarms"
REDRAWS = 100
PEERS = ("KS", "PSI", "MMD")


METHODS = {family: load(entry.home) for (family, modality), entry in DETECTORS.items() if modality == "table"}


# -- statistics ----------------------------------------------------------------------------------------------


class RowFeatures:
    """PSI and MMD with the interface of `GroupFeatures`.

    Args:
        standard: rows to fit on.
        held_out: rows to compare with.
    """

    def __init__(self, standard: Array, held_out: Array) -> None:
        self.compared = held_out
        self.center, self.unit = standard.mean(axis=0), standard.std(axis=0)
        self.unit[self.unit == 0] = 1.0
        outputs = self._outputs(standard)
        mmd = MeanDiscrepancy("points").fit(outputs)
        self.statistics = {"PSI": StabilityIndex().fit(outputs), "MMD": mmd}

    def of(self, rows: Array) -> Features:
        outputs = self._outputs(rows)
        return {name: statistic.features(outputs) for name, statistic in self.statistics.items()}

    def held_out(self) -> Features:
        return self.of(self.compared)

    def _outputs(self, rows: Array) -> ModelOutputs:
        x = torch.from_numpy((rows - self.center) / self.unit)
        return ModelOutputs(x, torch.zeros(len(x), dtype=torch.float64), [])


def reference_rows(detector: Any, train: Array) -> tuple[Array, Array]:
    """The reference rows of a detector, as they were in the training data: to fit on, to compare with."""
    member = detector.members_[0]
    index = {row.tobytes(): number for number, row in enumerate(member.encoder.transform(train))}
    parts = (member.standard, member.held_out)
    standard, held_out = ([index[row.tobytes()] for row in part.numpy()] for part in parts)
    return train[standard], train[held_out]


def column_tests(
    standard: Array, held_out: Array, normal: Array, found: Outlying, size: int, count: int
) -> dict[str, Any]:
    """AUROC, power and alarms of Kolmogorov-Smirnov tests of the columns."""
    tests = ColumnTests(np.concatenate([standard, held_out]))
    areas, p_normal, p_outlying = [], [], []
    for draw, groups in enumerate(found.groups):
        normal_distances = tests.distances(normal[drawn(len(normal), size, count, generator(draw, size, 0))])
        outlying_distances = tests.distances(found.rows[groups])
        areas.append(auroc(normal_distances.max(axis=1), outlying_distances.max(axis=1)))
        p_normal.append(tests.p_values(normal_distances, size))
        p_outlying.append(tests.p_values(outlying_distances, size))
    rates = [float(np.mean(np.concatenate(p) <= ALPHA)) for p in (p_outlying, p_normal)]
    return {
        "size": size,
        "auroc": float(np.mean(areas)),
        "auroc_sd": float(np.std(areas, ddof=1)) if len(areas) > 1 else 0.0,
        "power": rates[0],
        "alarms": rates[1],
        "tested": sum(map(len, p_outlying)),
        "method": "scipy's kstwo, Bonferroni",
    }


# -- runner --------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    sets_arguments(parser)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of splits and trainings")
    parser.add_argument("--groups", type=int, default=COUNT, help="groups of each draw")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--redraws", type=int, default=REDRAWS, help="of the rows to compare with")
    parser.add_argument("--models", type=Path, help="folder of fitted detectors; none are kept if left out")
    quick = {"methods": ["flow"], "most_sets": 1, "groups": 20, "draws": 2, "redraws": 3}
    return parsed(parser, argv, "groups_tables", quick, is_bundled=True)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = Records.open(options.output, KEYS)
    for seed in options.seeds:
        for name in options.sets or names(options.data)[: options.most_sets]:
            run_set(records, name, seed, options)
    return 0


def run_set(records: Records, name: str, seed: int, options: argparse.Namespace) -> None:
    """Every method that has no rows yet on one set and seed; the tests of drift with the flow."""
    done = {row["method"] for row in records.rows if (row["set"], row["seed"]) == (name, seed)}
    missing = [method for method in options.methods if method not in done]
    if not missing:
        return
    X, y = protocols.load_adbench(options.data, name)
    part = split(X, y, seed)
    column, r_squared = recorded_column(records, name, seed) or best_predicted(part.train, seed)
    shared = {"columns": X.shape[1], "column": column, "r_squared": r_squared}
    for method in missing:
        path = options.models and options.models / f"{name}_{method}_{seed}.safetensors"
        make = partial(METHODS[method], random_state=seed, progress=False)
        detector, training = remembered(path, make, part.train)
        start = time.process_time()
        features = GroupFeatures(detector, statistics_of(method))
        cells = measured(features, part, column, options)
        cells |= {("auto", ALARMS): alarms(features, part, options.redraws)}
        if method == "flow":
            cells |= drift(detector, part, column, options)
        facts = {
            **shared,
            **training,
            "standard": len(detector.members_[0].standard),
            "held_out": len(detector.members_[0].held_out),
            "verdict_seconds": time.process_time() - start,
        }
        key = {"set": name, "seed": seed, "method": method}
        write(records, key, facts, cells)


Cells = dict[tuple[str, str], list[dict[str, Any]]]


def recorded_column(records: Records, name: str, seed: int) -> tuple[int, float] | None:
    """The best predicted column that an earlier run has found, and its R^2."""
    found = (row for row in records.rows if (row["set"], row["seed"]) == (name, seed))
    return next(((row["column"], row["r_squared"]) for row in found), None)


def write(records: Records, key: Mapping[str, Any], facts: Mapping[str, Any], cells: Cells) -> None:
    """One row a cell, all of one fit at once."""
    for (statistic, case), sizes in cells.items():
        row = {"benchmark": "groups tables", **key, "statistic": statistic, "case": case, "sizes": sizes}
        records.rows.append({**row, **facts})
        show(records.rows[-1])
    records.add(records.rows.pop())


def measured(
    features: GroupFeatures | RowFeatures, part: GroupSplit, column: int, options: argparse.Namespace
) -> Cells:
    """The measures of each statistic on each case, at every size."""
    held_out, normal = features.held_out(), features.of(part.normal)
    contests = {
        name: Contest(statistic, held_out[name], normal[name], options.groups, options.draws)
        for name, statistic in features.statistics.items()
    }
    mixtures = features.of(np.concatenate([part.anomalies, part.spare]))
    cells: Cells = {}
    for case in (*SHARES, PERMUTED):
        for size in SIZES:
            found = outlying(part, case, size, column, options.groups, options.draws)
            if found is None:
                continue
            rows = features.of(found.rows) if case == PERMUTED else mixtures
            for name, contest in contests.items():
                entry = contest.measured(size, Case(rows[name], found.groups))
                cells.setdefault((name, case), []).append(entry)
    return cells


def drift(detector: Any, part: GroupSplit, column: int, options: argparse.Namespace) -> Cells:
    """The tests of drift, on the same groups."""
    standard, held_out = reference_rows(detector, part.train)
    cells = measured(RowFeatures(standard, held_out), part, column, options)
    for case in (*SHARES, PERMUTED):
        for size in SIZES:
            found = outlying(part, case, size, column, options.groups, options.draws)
            if found is not None:
                entry = column_tests(standard, held_out, part.normal, found, size, options.groups)
                cells.setdefault(("KS", case), []).append(entry)
    return cells


def alarms(features: GroupFeatures, part: GroupSplit, redraws: int) -> list[dict[str, Any]]:
    """False alarms of "auto" at each size."""
    held_out = features.held_out()["auto"]
    pool = torch.cat([held_out, features.of(np.concatenate([part.normal, part.spare]))["auto"]])
    compared = min(len(held_out), len(pool) // 2)
    statistic = features.statistics["auto"]
    found = [false_alarms(statistic, pool, compared, size, redraws) for size in ALARM_SIZES]
    return [entry for entry in found if entry]


def show(row: Mapping[str, Any]) -> None:
    cells = [
        f"{e['size']}: {e['auroc']:.3f} {e['power']:.2f}"
        if "auroc" in e
        else f"{e['size']}: {e['alarms']:.4f}"
        for e in row["sizes"]
    ]
    print(
        f"{row['set']:14} {row['method']:6} {row['case']:15} {row['statistic']:12} {'  '.join(cells)}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
