"""Groups of table rows: ADBench sets with at least 1,000 normal rows, every statistic, and tests of drift.

Half of the normal rows train, at most 10,000; groups are drawn from the others. Features are as stored. What
draws and measures are is told in `group_draws.py`, the tests of drift in `group_peers.py`: they see the rows
that the flow keeps to learn from and to compare with, of the same split.

**Outlying groups** of 10, 25 and 50 rows: a tenth, a fifth, half and all of the rows anomalies; and
*permuted*: normal rows among which the values of one column are permuted, so that the column by itself is as
it was and what it has to do with the others is lost. It is the column that the others predict best, by a
random forest on training rows, in R^2 on others of them.

**False alarms.** Of the rows that no fit has seen, as many as the detector keeps (at most half) are drawn
anew each time to compare with; groups of 2 to 100 of the others are judged by "auto" at 5 %. The mean over
redraws is what exchangeability bounds.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from benchmarks.records import Records, command, data_argument
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.outputs import ModelOutputs

Array = NDArray[np.float64]

KEYS = ("set", "seed", "method", "statistic", "case")
SIZES = (10, 25, 50)
ALARM_SIZES = (2, 5, 10, 25, 100)
ALARMS = "false alarms"
REDRAWS = 100
PEERS = ("KS", "PSI", "MMD")


def flow(seed: int) -> Any:
    from upland import FlowDetector

    return FlowDetector(random_state=seed, progress=False)


def vae(seed: int) -> Any:
    from upland import VAEDetector

    return VAEDetector(random_state=seed, progress=False)


def energy(seed: int) -> Any:
    from upland import EnergyDetector

    return EnergyDetector(random_state=seed, progress=False)


METHODS: dict[str, Callable[[int], Any]] = {"flow": flow, "vae": vae, "energy": energy}


# -- judges --------------------------------------------------------------------------------------------------


class OfDetector:
    """The statistics of a fitted detector: contests, and features of rows.

    Args:
        detector: fitted on a table.
        names: of statistics.
    """

    def __init__(self, detector: Any, names: Sequence[str]) -> None:
        from upland.detectors.references import reference_of
        from upland.groups.tester import fit_statistic, needs_score

        self.member = detector.members_[0]
        self.reference = reference_of(self.member)
        self.score = any(needs_score(name, self.member.model) for name in names)
        self.statistics = {name: fit_statistic(name, self.reference) for name in names}

    @property
    def reserve(self) -> dict[str, Tensor]:
        return self._features(self.member.reserve)

    def features(self, rows: Array) -> dict[str, Tensor]:
        """Of rows in the user's columns, by statistic."""
        return self._features(torch.from_numpy(self.member.encoder.transform(rows)))

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        rows = self.reference.outputs(x, self.score)
        return {name: statistic.features(rows) for name, statistic in self.statistics.items()}


class OfRows:
    """PSI and MMD behind the same face.

    Args:
        standard: rows to learn from.
        reserve: rows to compare with.
    """

    def __init__(self, standard: Array, reserve: Array) -> None:
        self.center, self.unit = standard.mean(axis=0), standard.std(axis=0)
        self.unit[self.unit == 0] = 1.0
        learned = self._rows(standard)
        mmd = MeanDiscrepancy("points").fit(learned)
        self.statistics = {"PSI": StabilityIndex().fit(learned), "MMD": mmd}
        self.reserve = self.features(reserve)

    def features(self, rows: Array) -> dict[str, Tensor]:
        seen = self._rows(rows)
        return {name: statistic.features(seen) for name, statistic in self.statistics.items()}

    def _rows(self, rows: Array) -> ModelOutputs:
        x = torch.from_numpy((rows - self.center) / self.unit)
        return ModelOutputs(x, torch.zeros(len(x), dtype=torch.float64), [])


def statistics_of(method: str) -> list[str]:
    from upland.catalogue import STATISTICS

    leave = "latents" if method == "energy" else "score"
    return [name for name, entry in STATISTICS.items() if entry.needs != leave]


def kept(detector: Any, train: Array) -> tuple[Array, Array]:
    """The training rows that a detector keeps, as they were: to learn from, to compare with."""
    member = detector.members_[0]
    places = {row.tobytes(): place for place, row in enumerate(member.encoder.transform(train))}
    parts = (member.standard, member.reserve)
    standard, reserve = ([places[row.tobytes()] for row in part.numpy()] for part in parts)
    return train[standard], train[reserve]


def column_tests(
    standard: Array, reserve: Array, normal: Array, found: Outlying, size: int, count: int
) -> dict[str, Any]:
    """What Kolmogorov-Smirnov tests of the columns make of the groups."""
    tests = ColumnTests(np.concatenate([standard, reserve]))
    areas, p_normal, p_strange = [], [], []
    for draw, groups in enumerate(found.groups):
        usual = tests.distances(normal[drawn(len(normal), size, count, generator(draw, size, 0))])
        strange = tests.distances(found.rows[groups])
        areas.append(auroc(usual.max(axis=1), strange.max(axis=1)))
        p_normal.append(tests.p_values(usual, size))
        p_strange.append(tests.p_values(strange, size))
    rates = [float(np.mean(np.concatenate(p) <= ALPHA)) for p in (p_strange, p_normal)]
    return {
        "size": size,
        "auroc": float(np.mean(areas)),
        "auroc_sd": float(np.std(areas, ddof=1)) if len(areas) > 1 else 0.0,
        "power": rates[0],
        "alarms": rates[1],
        "judged": sum(map(len, p_strange)),
        "method": "scipy's kstwo, Bonferroni",
    }


# -- runner --------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--sets", nargs="+", help="names of sets; all with enough rows if left out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of splits and trainings")
    parser.add_argument("--groups", type=int, default=COUNT, help="groups of each draw")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--redraws", type=int, default=REDRAWS, help="of the rows to compare with")
    parser.add_argument("--models", type=Path, help="folder of fitted detectors; none are kept if left out")
    parser.add_argument(
        "--output", type=Path, required=True, help="JSON file of results, taken up if it exists"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = Records.open(options.output, KEYS)
    for seed in options.seeds:
        for name in options.sets or names(options.data):
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
    column, r_squared = known_column(records, name, seed) or best_predicted(part.train, seed)
    shared = {"columns": X.shape[1], "column": column, "r_squared": r_squared}
    for method in missing:
        path = options.models and options.models / f"{name}_{method}_{seed}.safetensors"
        detector, taken = remembered(path, lambda make=METHODS[method]: make(seed), part.train)
        start = time.process_time()
        of = OfDetector(detector, statistics_of(method))
        cells = measured(of, part, column, options)
        cells |= {("auto", ALARMS): alarms(of, part, options.redraws)}
        if method == "flow":
            cells |= drift(detector, part, column, options)
        facts = {
            **shared,
            **taken,
            "standard": len(of.member.standard),
            "reserve": len(of.member.reserve),
            "verdict_seconds": time.process_time() - start,
        }
        key = {"set": name, "seed": seed, "method": method}
        write(records, key, facts, cells)


Cells = dict[tuple[str, str], list[dict[str, Any]]]


def known_column(records: Records, name: str, seed: int) -> tuple[int, float] | None:
    """What an earlier run has found."""
    found = (row for row in records.rows if (row["set"], row["seed"]) == (name, seed))
    return next(((row["column"], row["r_squared"]) for row in found), None)


def write(records: Records, key: Mapping[str, Any], facts: Mapping[str, Any], cells: Cells) -> None:
    """One row a cell, all of one fit at once."""
    for (statistic, case), sizes in cells.items():
        row = {"benchmark": "groups tables", **key, "statistic": statistic, "case": case, "sizes": sizes}
        records.rows.append({**row, **facts})
        tell(records.rows[-1])
    records.add(records.rows.pop())


def measured(of: OfDetector | OfRows, part: GroupSplit, column: int, options: argparse.Namespace) -> Cells:
    """Each statistic on each case: what is measured at every size."""
    reserve, normal = of.reserve, of.features(part.normal)
    contests = {
        name: Contest(statistic, reserve[name], normal[name], options.groups, options.draws)
        for name, statistic in of.statistics.items()
    }
    mixtures = of.features(np.concatenate([part.anomalies, part.spare]))
    cells: Cells = {}
    for case in (*SHARES, PERMUTED):
        for size in SIZES:
            found = outlying(part, case, size, column, options.groups, options.draws)
            if found is None:
                continue
            features = of.features(found.rows) if case == PERMUTED else mixtures
            for name, contest in contests.items():
                entry = contest.measured(size, Case(features[name], found.groups))
                cells.setdefault((name, case), []).append(entry)
    return cells


def drift(detector: Any, part: GroupSplit, column: int, options: argparse.Namespace) -> Cells:
    """The tests of drift, on the same groups."""
    standard, reserve = kept(detector, part.train)
    cells = measured(OfRows(standard, reserve), part, column, options)
    for case in (*SHARES, PERMUTED):
        for size in SIZES:
            found = outlying(part, case, size, column, options.groups, options.draws)
            if found is not None:
                entry = column_tests(standard, reserve, part.normal, found, size, options.groups)
                cells.setdefault(("KS", case), []).append(entry)
    return cells


def alarms(of: OfDetector, part: GroupSplit, redraws: int) -> list[dict[str, Any]]:
    """False alarms of "auto" at each size."""
    unseen = of.features(np.concatenate([part.normal, part.spare]))["auto"]
    pool = torch.cat([of.reserve["auto"], unseen])
    reserve = min(len(of.member.reserve), len(pool) // 2)
    statistic = of.statistics["auto"]
    found = [false_alarms(statistic, pool, reserve, size, redraws) for size in ALARM_SIZES]
    return [entry for entry in found if entry]


def tell(row: Mapping[str, Any]) -> None:
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
