"""Single classes of Fashion-MNIST: groups of one class are normal, groups of each other class are outlying.

**Models.** *flow of one class*: a flow for each normal class, trained on its images alone. *flow of classes*:
one flow of all ten classes with a Gaussian of the latents for each (`fit(X, classes=...)`); a group is tested
against the component of the class that it is to be of.

**Statistics.** Those of a flow, and `mmd` of the pixels themselves, which needs no model, all compared with the
same normal images.

Groups are drawn from at most 1,000 test images of each class, by `group_draws.py`. Statistics were chosen on
normal classes of even number and confirmed on odd ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.fitted import remembered
from benchmarks.group_draws import Case, Contest, drawn, generator, single
from benchmarks.group_features import GroupFeatures
from benchmarks.groups import FASHION, MOST, SIZES, some
from benchmarks.images import load_images
from benchmarks.options import QUICK, command, data_argument, parsed
from benchmarks.records import Records
from upland.catalogue import STATISTICS
from upland.detectors.classes import reference_of_class
from upland.detectors.image_flow import ImageFlowDetector
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.tester import GroupTester

KEYS = ("model", "seed", "normal", "case", "statistic")
OF_ONE, OF_ALL = "flow of one class", "flow of classes"
PER_CLASS = ("T-shirt", "Trouser", "Pullover")
PIXELS = "mmd of pixels"
NAMES = tuple(name for name, entry in STATISTICS.items() if entry.needs != "score")


class Pixels(GroupFeatures):
    """The statistics of a flow, and the mean discrepancy of encoded pixels."""

    def __init__(self, detector: Any, tester: GroupTester) -> None:
        super().__init__(detector, NAMES, tester)
        reference = tester.reference
        rows = reference.reference_rows() if reference.training_rows is None else reference.training_rows
        self.statistics[PIXELS] = MeanDiscrepancy("points").fit(reference.outputs(rows))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--models", type=Path, help="folder of fitted detectors")
    parser.add_argument(
        "--kinds", nargs="+", choices=(OF_ONE, OF_ALL), default=[OF_ONE, OF_ALL], metavar="MODEL"
    )
    parser.add_argument(
        "--normal", nargs="+", help="names of normal classes; all that the model has if left out"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the trainings")
    parser.add_argument("--groups", type=int, default=100, help="groups of each draw")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rows", type=int, default=18_000, help="training images of all classes at most")
    parser.add_argument("--epochs", type=int, help="passes, fewer than usual")
    parser.add_argument("--depth", type=int, default=8, help="steps of each scale of the flow")
    parser.add_argument("--keep-rows", type=int, default=5_000, help="normal images kept of each sort")
    quick = {"kinds": [OF_ALL], "normal": ["Trouser"], "rows": 1_000, "epochs": 1, "depth": 2}
    quick |= {"groups": 20, "draws": 2, "models": QUICK / "models"}
    options = parsed(parser, argv, "group_classes", quick)
    if options.models is None:
        parser.error("--models is needed: a folder, in which fitted detectors are kept")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    whole = load_images(options.data, FASHION)
    for seed in options.seeds:
        for kind in options.kinds:
            for name in options.normal or (whole.names if kind == OF_ALL else PER_CLASS):
                run(kind, name, seed, whole, options)
    return 0


def fitted(kind: str, name: str, seed: int, whole: Any, options: argparse.Namespace) -> tuple[Any, Any]:
    """The detector, from the folder or trained, and the facts of its training."""
    training = {"epochs": options.epochs, "depth": options.depth, "keep_rows": options.keep_rows}
    detector = ImageFlowDetector(random_state=seed, progress=False, **training)
    file = (
        f"{kind} {name if kind == OF_ONE else 'all'} {seed} {options.rows} {options.depth} {options.epochs}"
    )
    path = options.models / f"{file.replace(' ', '_')}.safetensors"
    if kind == OF_ONE:
        own = whole.train[whole.train_classes == list(whole.names).index(name)]
        return remembered(path, lambda: detector, some(own, options.rows, 0))
    order = generator(0).permutation(len(whole.train))[: options.rows]
    classes = [whole.names[number] for number in whole.train_classes[order]]
    return remembered(path, lambda: WithClasses(detector, classes), whole.train[order])


class WithClasses:
    """A detector whose fit knows the classes."""

    def __init__(self, detector: ImageFlowDetector, classes: list[str]) -> None:
        self.detector, self.classes = detector, classes

    def fit(self, X: Any) -> ImageFlowDetector:
        return self.detector.fit(X, classes=self.classes)


def run(kind: str, name: str, seed: int, whole: Any, options: argparse.Namespace) -> None:
    """Every pair of one normal class that has no rows yet."""
    records = Records.open(options.output, KEYS)
    key = {"model": kind, "seed": seed, "normal": name}
    if any(all(row[k] == v for k, v in key.items()) for row in records.rows):
        return
    detector, facts = fitted(kind, name, seed, whole, options)
    start = time.process_time()
    tester = detector.group_tester_
    if kind == OF_ALL:
        number = detector.classes_.index(name)
        tester = GroupTester(reference_of_class(detector.members_[0], number))
    features = Pixels(detector, tester)
    held_out = features.held_out()
    of_class = {
        other: features.of(some(whole.test[whole.test_classes == number], MOST, 2))
        for number, other in enumerate(whole.names)
    }
    for statistic, fitted_one in features.statistics.items():
        normal = of_class[name][statistic]
        contest = Contest(fitted_one, held_out[statistic], normal, options.groups, options.draws)
        for other in whole.names:
            if other != name:
                sizes = [
                    contest.measured(size, case(of_class[other][statistic], size, options)) for size in SIZES
                ]
                row = {"benchmark": "group_classes", **key, "case": other, "statistic": statistic}
                row |= {"number": list(whole.names).index(name), "sizes": sizes, **facts}
                records.rows.append({**row, "depth": options.depth, "epochs": options.epochs})
        show(records.rows, key, statistic)
    records.rows[-1]["verdict_seconds"] = time.process_time() - start
    records.add(records.rows.pop())


def case(rows: Tensor, size: int, options: argparse.Namespace) -> Case:
    """Outlying groups of one size."""
    if size == 1:
        return Case(rows, [single(len(rows))])
    sources = [generator(draw, size, 2) for draw in range(options.draws)]
    return Case(rows, [drawn(len(rows), size, options.groups, source) for source in sources])


def show(rows: list[dict[str, Any]], key: dict[str, Any], statistic: str) -> None:
    own = [row for row in rows if row["statistic"] == statistic and all(row[k] == v for k, v in key.items())]
    areas = [[entry["auroc"] for entry in row["sizes"]] for row in own]
    cells = zip(SIZES, np.mean(areas, 0), np.min(areas, 0), strict=True)
    text = "  ".join(f"{size}: {mean:.3f} ({least:.3f})" for size, mean, least in cells)
    print(f"{key['model']:18} {key['normal']:10} {statistic:14} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
