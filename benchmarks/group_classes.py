"""Single classes of Fashion-MNIST: groups of one class are normal, groups of each other class are outlying.

**Models.** *flow of one class*: a flow for each normal class, trained on its images alone. *flow of classes*:
one flow of all ten classes with a Gaussian of the latents for each (`fit(X, classes=...)`); a group is tested
against the component of the class that it is to be of.

**Statistics.** Those of a flow; `mmd` of the pixels and `shift` need no model. All are fitted on the same
normal images.

Groups are drawn from test images by `group_draws.py`. Statistics were chosen on normal classes of even number
and confirmed on odd ones.
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
from benchmarks.group_draws import auroc, drawn, generator, single, values
from benchmarks.groups import FASHION, SIZES, some
from benchmarks.images import load_images
from benchmarks.options import QUICK, command, data_argument, parsed
from benchmarks.records import Records
from upland.catalogue import STATISTICS, load
from upland.detectors.image_flow import ImageFlowDetector
from upland.groups.auto import default_components
from upland.groups.base import Statistic
from upland.groups.joint import JointStatistic
from upland.groups.mmd import MeanDiscrepancy
from upland.groups.outputs import ModelOutputs
from upland.groups.shift import Shift
from upland.models.base import Level

KEYS = ("model", "seed", "normal", "case", "statistic")
OF_ONE, OF_ALL = "flow of one class", "flow of classes"
PER_CLASS = ("T-shirt", "Trouser", "Pullover")
PIXELS = "mmd of pixels"
NAMES = ("auto", "divergence", "likelihood", "typicality", "mmd", "shift")


TRIED = "auto and shift"
"""The statistic that `auto` would be with a further component."""


def statistics(outputs: ModelOutputs) -> dict[str, Statistic]:
    """Every statistic, not fitted yet, by its name."""
    made: dict[str, Statistic] = {name: load(STATISTICS[name].home)(outputs) for name in NAMES}
    made[PIXELS] = MeanDiscrepancy("points")
    made[TRIED] = JointStatistic([*default_components(outputs), Shift()])
    return made


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
    parser.add_argument("--most", type=int, default=1_000, help="test images of each class at most")
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


class Encoded:
    """What a detector says of images, of each class; each image goes through the flow once."""

    def __init__(self, detector: Any, whole: Any, options: argparse.Namespace) -> None:
        member = detector.members_[0]
        self.model, self.labels = member.model.eval(), member.labels
        self.classes = detector.classes_
        test = {
            name: some(whole.test[whole.test_classes == number], options.most, 2)
            for number, name in enumerate(whole.names)
        }
        rows = {name: detector.encode(member.encoder, images) for name, images in test.items()}
        self.test = {name: self._passed(x) for name, x in rows.items()}
        self.kept = {name: self._passed(getattr(member, name)) for name in ("standard", "training_rows")}

    @torch.no_grad()
    def _passed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, their latents side by side, and log-determinants."""
        flow = self.model.flow if self.classes else self.model
        parts = [flow.encode(part) for part in x.split(200)]
        flat = [torch.cat([level.flatten(1) for level in z], 1) for z, _ in parts]
        return x, torch.cat(flat), torch.cat([ladj for _, ladj in parts])

    @torch.no_grad()
    def outputs(self, passed: tuple[Tensor, Tensor, Tensor], name: str) -> ModelOutputs:
        """What the model of one class says of them."""
        x, z, ladj = passed
        flow = self.model.flow if self.classes else self.model
        if self.classes:
            number, prior = self.classes.index(name), self.model.prior
            z, density = prior.standardised(z, number), prior.log_density(z, number)
        else:
            squares = z.square().sum(1, dtype=torch.float64)
            density = -0.5 * (squares + z.shape[1] * np.log(2 * np.pi))
        parts = z.split([int(np.prod(shape)) for shape in flow.latent_shapes], 1)
        levels = zip(parts, flow.latent_shapes, strict=True)
        return ModelOutputs(
            x, -density - ladj, [Level(part.reshape(len(x), *shape)) for part, shape in levels]
        )

    def normal(self, kept: str, name: str) -> ModelOutputs:
        """Of the normal images of a class that are kept."""
        found = self.outputs(self.kept[kept], name)
        return found.take(self.labels[kept] == self.classes.index(name)) if self.classes else found


def run(kind: str, name: str, seed: int, whole: Any, options: argparse.Namespace) -> None:
    """Every pair of one normal class that has no rows yet."""
    records = Records.open(options.output, KEYS)
    key = {"model": kind, "seed": seed, "normal": name}
    if any(all(row[k] == v for k, v in key.items()) for row in records.rows):
        return
    encoded, facts = passed(kind, name, seed, whole, options)
    start = time.process_time()
    standard, training = encoded.normal("standard", name), encoded.normal("training_rows", name)
    test = {other: encoded.outputs(images, name) for other, images in encoded.test.items()}
    for called, statistic in statistics(standard).items():
        if isinstance(statistic, JointStatistic):
            statistic.fit(standard, training)
        else:
            statistic.fit(training)
        features = {other: statistic.features(outputs) for other, outputs in test.items()}
        for other in whole.names:
            if other != name:
                sizes = [areas(statistic, features[name], features[other], size, options) for size in SIZES]
                row = {"benchmark": "group_classes", **key, "case": other, "statistic": called}
                row |= {"number": list(whole.names).index(name), "sizes": sizes, **facts}
                records.rows.append({**row, "depth": options.depth, "epochs": options.epochs})
        show(records.rows, key, called)
    records.rows[-1]["verdict_seconds"] = time.process_time() - start
    records.add(records.rows.pop())


ENCODED: dict[str, tuple[Encoded, Any]] = {}


def passed(kind: str, name: str, seed: int, whole: Any, options: argparse.Namespace) -> tuple[Encoded, Any]:
    """What the detector says of all images, computed once for a detector."""
    of = f"{kind} {name if kind == OF_ONE else ''} {seed}"
    if of not in ENCODED:
        detector, facts = fitted(kind, name, seed, whole, options)
        ENCODED[of] = Encoded(detector, whole, options), facts
    return ENCODED[of]


def areas(
    statistic: Statistic, normal: Tensor, other: Tensor, size: int, options: argparse.Namespace
) -> dict[str, Any]:
    """AUROC between normal and outlying groups of one size, over draws."""
    found = []
    for draw in range(options.draws if size > 1 else 1):
        groups = [
            single(len(rows))
            if size == 1
            else drawn(len(rows), size, options.groups, generator(draw, size, of))
            for rows, of in ((normal, 0), (other, 2))
        ]
        found.append(auroc(values(statistic, normal, groups[0]), values(statistic, other, groups[1])))
    spread = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return {"size": size, "auroc": float(np.mean(found)), "auroc_sd": spread}


def show(rows: list[dict[str, Any]], key: dict[str, Any], statistic: str) -> None:
    own = [row for row in rows if row["statistic"] == statistic and all(row[k] == v for k, v in key.items())]
    areas = [[entry["auroc"] for entry in row["sizes"]] for row in own]
    cells = zip(SIZES, np.mean(areas, 0), np.min(areas, 0), strict=True)
    text = "  ".join(f"{size}: {mean:.3f} ({least:.3f})" for size, mean, least in cells)
    print(f"{key['model']:18} {key['normal']:10} {statistic:14} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
