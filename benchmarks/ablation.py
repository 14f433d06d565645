"""What each default of the dense energy is worth: one changed at a time, both criteria of each fit.

ADBench's plain sets (those that the protocol does not bootstrap) by AUROC and AUPRC, Thyroid and Arrhythmia
by F1, all in the protocols of `protocols.py`. Rows are written as they come; a second call with the same
output does what is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import protocols
from benchmarks.records import Records, command, data_argument
from upland.plans import Plan

KEYS = ("variant", "set", "seed")
CRITERIA = ("reconstruction", "energy")

# Name -> the detector's arguments, and module constants that are no argument.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "noise 0.3": ({"noise": 0.3}, {}),
    "noise 1": ({"noise": 1.0}, {}),
    "noise one spacing": ({}, {"upland.detectors.PLANS": {"table": Plan(0, 128, 1e-3, spacings=1.0)}}),
    "squash from 5": ({}, {"upland.data.encodings.KNEE": 5.0}),
    "layers 256": ({"hidden": (256,)}, {}),
    "layers 128-256": ({"hidden": (128, 256)}, {}),
    "learning rate 0.003": ({"learning_rate": 3e-3}, {}),
    "half the passes": ({}, {"upland.fitting.PASSES": 30}),
    "sliced": ({"objective": "sliced"}, {}),
}


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of Thyroid and Arrhythmia, from 0")
    parser.add_argument("--output", type=Path, required=True, help="JSON file, taken up if it exists")
    options = parser.parse_args(argv)
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
    """Set and seed: the plain sets once, the two others `seeds` times."""
    for name in protocols.adbench_names(options.data):
        if not protocols.is_bootstrapped(len(protocols.load_adbench(options.data, name)[1])):
            yield name, 0
    for name in ("thyroid", "arrhythmia"):
        for seed in range(options.seeds):
            yield name, seed


@contextmanager
def changed(constants: dict[str, Any]) -> Iterator[None]:
    """Set module constants, and put them back."""
    import importlib

    places = [(*path.rsplit(".", 1), value) for path, value in constants.items()]
    before = [(importlib.import_module(module), name) for module, name, _ in places]
    kept = [getattr(module, name) for module, name in before]
    try:
        for (module, name), (_, _, value) in zip(before, places, strict=True):
            setattr(module, name, value)
        yield
    finally:
        for (module, name), value in zip(before, kept, strict=True):
            setattr(module, name, value)


def run(data: Path, name: str, seed: int, arguments: dict[str, Any]) -> dict[str, float]:
    """Fit once, judge by both criteria."""
    from upland import EnergyDetector

    split, measure = prepared(data, name, seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector = EnergyDetector(random_state=seed, progress=False, **arguments).fit(split.train)
    row = {"fit_seconds": time.process_time() - start}
    for criterion in CRITERIA:
        detector.set_params(criterion=criterion)
        measures = measure(split.labels, detector.anomaly_score(split.test))
        row |= {f"{criterion} {key}": value for key, value in measures.items()}
    return row


def prepared(data: Path, name: str, seed: int) -> tuple[protocols.Split, Any]:
    """A set's split and its measures."""
    if name in ("thyroid", "arrhythmia"):
        split = protocols.dagmm_split(*protocols.load_dagmm(data, name), seed)
        rho = protocols.RHO[name]
        return split, lambda labels, scores: protocols.dagmm_measures(labels, scores, rho)
    return protocols.adbench_split(*protocols.load_adbench(data, name), seed), protocols.adbench_measures


if __name__ == "__main__":
    sys.exit(main())
