"""What each ingredient of the multi-scale energy is worth: one changed at a time, one fit a set.

ADBench's one-class protocol by AUROC and AUPRC, Thyroid and Arrhythmia in DAGMM's by F1. Rows are written as
they come; a second call with the same output does what is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks import protocols
from benchmarks.options import command, data_argument, parsed, sets_arguments
from benchmarks.records import Records
from benchmarks.upland_methods import MULTISCALE, PAPER
from upland.models.kernel_prior import NARROW, WIDE
from upland.models.views import log_compressed
from upland.training.schedule import STEPS

POWER = "upland.models.multiscale.POWER"
KEYS = ("variant", "set", "seed")
SHARE, SCALES = "upland.models.multiscale.PRIOR_SHARE", "upland.detectors.table.SCALES"


def at_most(most: int) -> dict[str, Any]:
    """The constant that sets the length of training: three steps a row, at most so many; for many rows seven
    passes, as by default.
    """

    def steps(rows: int, width: int, steps_per_pass: int) -> int:
        return max(steps_per_pass, min(max(3 * rows, 300), most), min(7 * steps_per_pass, 10_000))

    return {"upland.detectors.plan.STEPS": {**STEPS, "multiscale": steps}}


def every_row(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Instead of the distinct rows: all of them, as if there were no copies."""
    index = torch.arange(len(x))
    return index, torch.ones_like(index), index


class Bent(nn.Module):
    """A log-compressed view instead of the last one, that of the ranks.

    Args:
        knee: of the view.
        width: number of columns.
    """

    def __init__(self, knee: float, width: int) -> None:
        super().__init__()
        self.knee = knee

    def fit(self, x: Tensor) -> None:
        """There is nothing to learn."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return log_compressed(x, self.knee)


def views(*knees: float | None) -> dict[str, Any]:
    """The constants that leave one view, or two, of these knees; None stands for the ranks and comes last."""
    first, last = knees[0], knees[-1]
    constants = {f"upland.models.{module}.VIEWS": len(knees) for module in ("kernel_prior", "multiscale")}
    if last is not None:
        constants["upland.models.kernel_prior.Ranks"] = partial(Bent, last)
    if len(knees) == 2:
        constants["upland.models.kernel_prior.WIDE"] = first
    return constants


# Name -> the detector's arguments beside those of the multi-scale energy, and module constants that are none.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "no kernel (prior centre)": ({"prior": "centre"}, {}),
    "kernel alone": ({}, {SHARE: 1.0}),
    "kernel share 0.5": ({}, {SHARE: 0.5}),
    "copies of rows as centres": ({}, {"upland.models.kernel_prior.distinct_rows": every_row}),
    "mean of the parts": ({}, {POWER: 1}),
    "square mean of the parts": ({}, {POWER: 2}),
    "five scales": ({}, {SCALES: (0.05, 0.117, 0.274, 0.641, 1.5)}),
    "two scales": ({}, {SCALES: (0.05, 1.5)}),
    "prior mixture": ({"prior": "mixture"}, {}),
    "no rank view": ({}, views(WIDE, NARROW)),
    "no narrow view": ({}, views(WIDE, None)),
    "no wide view": ({}, views(NARROW, None)),
    "wide view alone": ({}, views(WIDE)),
    "narrow view alone": ({}, views(NARROW)),
    "rank view alone": ({}, views(None)),
    "one scale, 0.3": ({"noise": 0.3}, {}),
    "one scale, 1": ({"noise": 1.0}, {}),
    "one net": ({"n_nets": 1}, {}),
    "four nets": ({"n_nets": 4}, {}),
    "at most 1,000 steps": ({}, at_most(1_000)),
    "at most 4,000 steps": ({}, at_most(4_000)),
    "at most 6,000 steps": ({}, at_most(6_000)),
    "ensemble, reconstruction": ({"criterion": "reconstruction", "prior": "centre"}, {}),
    "ensemble, energy": ({"criterion": "energy", "prior": "centre"}, {}),
    "paper's model, reconstruction": ({**PAPER, "criterion": "reconstruction"}, {}),
    "paper's model, energy": ({**PAPER, "criterion": "energy"}, {}),
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of Thyroid and Arrhythmia, from 0")
    sets_arguments(parser)
    quick = {"variants": ["default", "kernel alone"], "seeds": 0, "most_sets": 1}
    options = parsed(parser, argv, "ablation", quick, is_bundled=True)
    records = Records.open(options.output, KEYS)
    for variant in options.variants:
        arguments, constants = VARIANTS[variant]
        with changed(constants):
            for name, seed in cases(options):
                if records.find(variant=variant, set=name, seed=seed) is None:
                    try:
                        row = run(options.data, name, seed, arguments)
                    except FloatingPointError as error:
                        print(f"{variant}, {name}: {error}", flush=True)
                        continue
                    records.add({"variant": variant, "set": name, "seed": seed, **row})
        print(variant, "done", flush=True)
    return 0


def cases(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Set and seed: ADBench's once, the two others `seeds` times."""
    found = [(name, 0) for name in protocols.adbench_names(options.data)[: options.most_sets]]
    found += [(name, seed) for name in ("thyroid", "arrhythmia") for seed in range(options.seeds)]
    return ((name, seed) for name, seed in found if options.sets is None or name in options.sets)


@contextmanager
def changed(constants: dict[str, Any]) -> Iterator[None]:
    """Set module constants, and put them back."""
    with ExitStack() as stack:
        for path, value in constants.items():
            stack.enter_context(mock.patch(path, value))
        yield


def run(data: Path, name: str, seed: int, arguments: dict[str, Any]) -> dict[str, float]:
    """Fit once, score by the variant's criterion."""
    from upland import EnergyDetector

    split, measure = prepared(data, name, seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {**MULTISCALE, **arguments}
        detector = EnergyDetector(random_state=seed, progress=False, **given).fit(split.train)
    fitted = time.process_time()
    measures: dict[str, float] = measure(split.labels, detector.anomaly_score(split.test))
    return {"fit_seconds": fitted - start, "score_seconds": time.process_time() - fitted, **measures}


def prepared(data: Path, name: str, seed: int) -> tuple[protocols.Split, Any]:
    """A set's split and its measures."""
    if name in ("thyroid", "arrhythmia"):
        split = protocols.dagmm_split(*protocols.load_dagmm(data, name), seed)
        rho = protocols.RHO[name]
        return split, lambda labels, scores: protocols.dagmm_measures(labels, scores, rho)
    return protocols.adbench_split(*protocols.load_adbench(data, name), seed), protocols.adbench_measures


if __name__ == "__main__":
    sys.exit(main())
