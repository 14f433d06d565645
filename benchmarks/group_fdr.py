"""How often anything is flagged at a false discovery rate of 5 % where every group is normal.

A detector is fitted once on a part of a set's normal rows, and all others are scored once. In each redraw as
many of these as the fit would keep are the reserve that groups are compared with, and others make the groups,
none twice: all groups of a redraw share one reserve. Every group is normal, so that each flag is a false
discovery and the rate is the share of redraws with any flag; ± is its standard error. `false alarms` is the
share of groups with p <= 0.05. By the default statistic.

**Power**, in the same way: ten groups of 50, of which two have the column permuted that the others predict
best; the share of these two that is flagged, and the mean share of normal ones among the flagged.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import protocols
from benchmarks.group_draws import ALPHA, generator
from benchmarks.group_features import GroupFeatures
from benchmarks.group_rows import best_predicted, names, permuted
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from upland.calibration.false_discovery import benjamini_hochberg
from upland.catalogue import DETECTORS, load
from upland.groups.base import Statistic
from upland.groups.null import Null

KEYS = ("set", "method", "train", "case", "size", "groups")
METHODS = {family: load(entry.home) for (family, modality), entry in DETECTORS.items() if modality == "table"}
SIZES, COUNTS = (2, 5, 20), (10, 50)
REDRAWS, TRAIN = 1_000, 1_000
NORMAL, PERMUTED = "normal", "permuted"
POWER_SIZE, POWER_GROUPS, OUTLYING = 50, 10, 2

P = NDArray[np.float64]


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    sets_arguments(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["energy", "flow"], metavar="METHOD")
    parser.add_argument("--train", type=int, default=TRAIN, help="normal rows of the fit")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="rows of a group")
    parser.add_argument("--groups", nargs="+", type=int, default=list(COUNTS), help="tested together")
    parser.add_argument("--redraws", type=int, default=REDRAWS)
    quick = {"methods": ["flow"], "most_sets": 1, "train": 400, "sizes": [2, 5], "groups": [10], "redraws": 5}
    options = parsed(parser, argv, "group_fdr", quick, is_bundled=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = Records.open(options.output, KEYS)
    for name in options.sets or names(options.data)[: options.most_sets]:
        for method in options.methods:
            run(records, name, method, options)
    return 0


def run(records: Records, name: str, method: str, options: argparse.Namespace) -> None:
    """All cases of one set and method that have no row yet."""
    key = {"set": name, "method": method, "train": options.train}
    cases = [(NORMAL, size, groups) for size in options.sizes for groups in options.groups]
    cases.append((PERMUTED, POWER_SIZE, POWER_GROUPS))
    missing = [
        case for case in cases if records.find(**key, **dict(zip(KEYS[3:], case, strict=True))) is None
    ]
    if not missing:
        return
    X, y = protocols.load_adbench(options.data, name)
    rows = generator(0, 3).permutation(np.asarray(X, dtype=np.float64)[y == 0])
    train, others = rows[: options.train], rows[options.train :]
    detector = METHODS[method](random_state=0, progress=False).fit(train)
    features = GroupFeatures(detector, ["auto"])
    kept = len(detector.members_[0].held_out)
    for case, size, groups in missing:
        if kept + size * groups > len(others):
            continue
        drawn = Redraws(features, others, kept, size, groups)
        found = (
            drawn.false_discoveries(options.redraws)
            if case == NORMAL
            else drawn.power(options.redraws, train)
        )
        facts = {"held_out": kept, "columns": X.shape[1], "redraws": options.redraws}
        row = {
            "benchmark": "group fdr",
            **key,
            "case": case,
            "size": size,
            "groups": groups,
            **facts,
            **found,
        }
        records.add(row)
        print(row, flush=True)


class Redraws:
    """The same fitted detector with other reserves and other groups.

    Args:
        features: of the detector.
        rows: normal ones that the fit has not seen.
        kept: rows of a reserve.
        size: rows of a group.
        groups: tested together.
    """

    def __init__(
        self, features: GroupFeatures, rows: NDArray[np.float64], kept: int, size: int, groups: int
    ) -> None:
        self.of, self.rows = features, rows
        self.scored = features.of(rows)["auto"]
        self.statistic: Statistic = features.statistics["auto"]
        self.kept, self.size, self.groups = kept, size, groups

    def _drawn(self, redraws: int) -> Iterator[tuple[int, Null, NDArray[np.int64]]]:
        for redraw in range(redraws):
            order = generator(redraw, self.size, self.groups).permutation(len(self.rows))
            reserve = self.scored[torch.from_numpy(order[: self.kept])]
            null = Null(reserve, self.statistic.value, ALPHA / self.groups, seed=redraw)
            rest = order[self.kept : self.kept + self.size * self.groups]
            yield redraw, null, rest.reshape(self.groups, self.size)

    def _p(self, null: Null, groups: NDArray[np.int64]) -> P:
        return _p_values(null, [self.scored[torch.from_numpy(group)] for group in groups])

    def false_discoveries(self, redraws: int) -> dict[str, Any]:
        """The share of redraws with any flag, and of groups with p <= 0.05."""
        p = np.array([self._p(null, groups) for _, null, groups in self._drawn(redraws)])
        flagged = np.array([benjamini_hochberg(row, ALPHA) for row in p])
        alarms, procedure = (p <= ALPHA).mean(1), self._procedure()
        return {
            "rate": float(flagged.any(1).mean()),
            "error": _error(flagged.any(1)),
            "alarms": float(alarms.mean()),
            "alarms_error": _error(alarms),
            "flagged": float(flagged.sum(1).mean()),
            "procedure": procedure,
        }

    def power(self, redraws: int, train: NDArray[np.float64]) -> dict[str, Any]:
        """The share of permuted groups that is flagged, and that of normal ones among the flagged."""
        column, r_squared = best_predicted(train, 0)
        hits, false = [], []
        for redraw, null, groups in self._drawn(redraws):
            parts = [self.scored[torch.from_numpy(group)] for group in groups]
            changed = permuted(self.rows, groups[:OUTLYING], column, generator(redraw, 7))
            parts[:OUTLYING] = self.of.of(changed)["auto"].split(self.size)
            flagged = benjamini_hochberg(_p_values(null, parts), ALPHA)
            hits.append(float(flagged[:OUTLYING].mean()))
            false.append(float(flagged[OUTLYING:].sum() / max(flagged.sum(), 1)))
        return {
            "column": column,
            "r_squared": r_squared,
            "power": float(np.mean(hits)),
            "power_error": _error(np.array(hits)),
            "rate": float(np.mean(false)),
            "error": _error(np.array(false)),
            "procedure": self._procedure(),
        }

    def _procedure(self) -> str:
        reserve = self.scored[: self.kept]
        return Null(reserve, self.statistic.value, ALPHA / self.groups).method(self.size)


def _p_values(null: Null, groups: list[Tensor]) -> P:
    return np.array([found.p for found in null.p_values(groups)])


def _error(values: NDArray[Any]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


if __name__ == "__main__":
    sys.exit(main())
