"""Groups of images: flow, VAE and energy, every statistic, pairs of sets, classes and manipulated images.

Each model is trained once for a normal set and seed and kept in the folder of models; verdicts are run from
there. `group_draws.py` defines draws and measures.

**Normal sets.** 18,000 training images of Fashion-MNIST and MNIST, 12,000 of CIFAR-10, and all of one class
of Fashion-MNIST. Groups are drawn from at most 1,000 normal test images and as many of each outlying set.

**Outlying groups.** The test images of other sets or other classes; the set's own with another contrast,
m + c (x - m), clipped (which undoes most of a raised one where images are black and white); groups of which
half or a fifth are outlying; and images of the grey sets that are manipulated to look normal to the flow
(`benchmarks.manipulations`), clipped and rounded: contrast matched to the likelihood of normal images,
latents moved to their shell, whitened. They are kept in the folder of models with their flow; all models
score them.

**Single images** are groups of one: likelihood, typicality and divergence are the same there. Beside them the
criteria of single images: *divergence_complexity*, *complexity*, *reconstruction*, *energy*, as the detector
has them, where images are not manipulated.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.fitted import remembered
from benchmarks.group_draws import COUNT, DRAWS, Case, Contest, auroc, drawn, generator, mixed, single
from benchmarks.group_features import GroupFeatures, statistics_of
from benchmarks.images import SETS, load_images
from benchmarks.options import QUICK, command, data_argument, parsed
from benchmarks.records import Records
from upland.catalogue import DETECTORS, load

Images = NDArray[np.uint8]

KEYS = ("set", "seed", "method", "case", "statistic")
TRAIN = {"Fashion-MNIST": 18_000, "MNIST": 18_000, "CIFAR-10": 12_000}
FASHION = "Fashion-MNIST"
CLASSES = {f"{FASHION} {name}": name for name in SETS[FASHION][1]}
DEFAULT_SETS = (*TRAIN, *(f"{FASHION} {name}" for name in ("T-shirt", "Trouser", "Pullover")))
FAR = {
    "Fashion-MNIST": ("MNIST", "notMNIST"),
    "MNIST": ("Fashion-MNIST", "notMNIST"),
    "CIFAR-10": ("CIFAR-100",),
}
OTHERS = {"notMNIST": "notmnist_test", "CIFAR-100": "cifar100_3k"}  # sets that are outlying only
CONTRASTS = (0.25, 0.5, 1.5)
SHARES = (0.5, 0.2)
MOST, MANIPULATED = 1_000, 300  # images of a set, and those that a manipulation changes one by one
SIZES = (1, 2, 5, 10, 25)
COLOUR_SIZES = (*SIZES, 100)
POINTS = "point "  # before the name of a criterion of single images


FAMILIES = {
    family: load(entry.home) for (family, modality), entry in DETECTORS.items() if modality == "image"
}
LITE0 = "efficientnet-lite0"
BACKBONE = "flow backbone"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in FAMILIES},
    BACKBONE: ("flow", {"features": LITE0}),
}
"""Family and arguments of each method."""
ONLY_POINTS = {  # criteria that are not a statistic of groups
    "flow": ("divergence_complexity", "complexity"),
    "vae": ("divergence_complexity", "complexity", "reconstruction"),
    "energy": ("energy", "reconstruction"),
    BACKBONE: (),
}


# -- data ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normal:
    """Images to train on, to draw normal groups from, and more normal ones for mixtures and contrasts."""

    train: Images
    test: Images
    spare: Images


def some(images: Images, count: int, *key: int) -> Images:
    """At most so many, drawn; in another order."""
    return images[generator(*key).permutation(len(images))[:count]]


def normal_images(data: Path, name: str, count: int | None = None) -> Normal:
    """Of one of `DEFAULT_SETS`; `count` training images instead of the usual."""
    whole = load_images(data, FASHION if name in CLASSES else name)
    train, test = whole.train, whole.test
    if name in CLASSES:
        number = list(whole.names).index(CLASSES[name])
        train, test = train[whole.train_classes == number], test[whole.test_classes == number]
    test = some(test, len(test), 1)
    return Normal(some(train, count or TRAIN.get(name, len(train)), 0), test[:MOST], test[MOST : 2 * MOST])


def test_images(data: Path, name: str) -> Images:
    """The test part of a set."""
    if name not in OTHERS:
        return load_images(data, name).test
    path = data / "images" / f"{OTHERS[name]}.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: benchmarks/README.md lists the sets")
    with np.load(path) as stored:
        return stored["x_test"]


def changed_contrast(images: Images, factor: float) -> Images:
    """m + c (x - m), m the mean of the image, as a file would hold it."""
    axes = tuple(range(1, images.ndim))
    mean = images.mean(axis=axes, keepdims=True)
    return np.clip(np.rint(mean + factor * (images - mean)), 0, 255).astype(np.uint8)


def outlying_sets(data: Path, name: str, normal: Normal) -> Iterator[tuple[str, Images, tuple[float, ...]]]:
    """The outlying images of a normal set: names, images, and the shares of mixed groups."""
    if name in CLASSES:
        whole = load_images(data, FASHION)
        for number, other in enumerate(whole.names):
            if other != CLASSES[name]:
                yield other, some(whole.test[whole.test_classes == number], MOST, 2), ()
        return
    grey = name != "CIFAR-10"
    for other in FAR[name]:
        yield other, some(test_images(data, other), MOST, 2), SHARES if grey else ()
    if grey:
        for factor in CONTRASTS:
            yield f"contrast {factor:g}", changed_contrast(normal.spare, factor), ()


# -- models --------------------------------------------------------------------------------------------------


def model_path(folder: Path, name: str, method: str, seed: int) -> Path:
    return folder / f"{name}_{method}_{seed}.safetensors".replace(" ", "_")


def fitted(folder: Path, name: str, method: str, seed: int, train: Images, arguments: dict[str, Any]) -> Any:
    """The detector, from the folder or trained; and the facts of its training."""
    path = model_path(folder, name, method, seed)

    def make() -> Any:
        family, own = METHODS[method]
        return FAMILIES[family](random_state=seed, progress=False, **own | arguments)

    return remembered(path, make, train)


def point_scores(detector: Any, images: Images, criteria: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The detector's own scores of single images, by criterion."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for criterion in criteria:
            found[criterion] = detector.set_params(criterion=criterion).anomaly_score(images)
    return found


# -- manipulations -------------------------------------------------------------------------------------------


def manipulated(folder: Path, data: Path, name: str, seed: int, normal: Normal) -> dict[str, Images]:
    """Outlying images made to look normal to the flow of this set and seed, by name; kept with the models.

    Empty where the set has no such cases, or its flow has not been trained.
    """
    path = model_path(folder, name, "flow", seed)
    kept = path.with_suffix(".npz")
    if kept.exists():
        with np.load(kept) as stored:
            return {case: stored[case] for case in stored.files}
    if name == "CIFAR-10" or name in CLASSES or not path.exists():
        return {}
    import upland

    features = GroupFeatures(upland.load(path), [])
    normal_energies = features.energy(normal.spare)
    made = {
        f"{other}, {how}": images
        for other in FAR[name]
        for how, images in disguises(features, some(test_images(data, other), MOST, 2), normal_energies)
    }
    np.savez_compressed(kept, **made)
    return made


def disguises(features: GroupFeatures, images: Images, normal: Tensor) -> Iterator[tuple[str, Images]]:
    """How images are made to look normal to a flow, and what they are then.

    Args:
        features: of the flow.
        images: outlying ones.
        normal: energies of normal images.
    """
    from benchmarks import manipulations

    def energy(pixels: Tensor) -> Tensor:
        return features.energy(pixels.to(torch.uint8).numpy())

    few, model = images[:MANIPULATED], features.model
    yield (
        "contrast matched",
        manipulations.matched_contrast(torch.from_numpy(few).float(), energy, normal)[0].numpy(),
    )
    with torch.no_grad():
        moved = [manipulations.shell(model, block) for block in features.encoded(few).split(100)]
        yield "shell", decoded(features, torch.cat(moved))
        yield "whitened", decoded(features, manipulations.whitening(model, features.encoded(images)))


def decoded(features: GroupFeatures, x: Tensor) -> Images:
    """Codes as pixels, clipped and rounded; NaN and infinity become black or white."""
    return features.detector.encoder_.decode(torch.nan_to_num(x, nan=-1.0, posinf=1.0, neginf=-1.0).numpy())


# -- runner --------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--models", type=Path, help="folder of fitted detectors")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(FAMILIES), metavar="METHOD")
    names = [*TRAIN, *CLASSES]
    parser.add_argument("--sets", nargs="+", choices=names, default=list(DEFAULT_SETS), metavar="SET")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the trainings")
    parser.add_argument("--groups", type=int, default=COUNT, help="groups of each draw")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--rows", type=int, help="training images, fewer than usual")
    parser.add_argument("--epochs", type=int, help="passes, fewer than usual")
    parser.add_argument("--train-only", action="store_true", help="fill the folder of models, no verdicts")
    parser.add_argument("--most-cases", type=int, help="at most so many outlying sets of a normal one")
    parser.add_argument("--no-manipulations", action="store_true", help="leave the manipulated images out")
    quick = {"methods": ["flow"], "sets": [f"{FASHION} Trouser"], "rows": 500, "epochs": 1}
    quick |= {"groups": 20, "draws": 2, "most_cases": 2, "models": QUICK / "models"}
    options = parsed(parser, argv, "groups", quick)
    if options.models is None:
        parser.error("--models is needed: a folder, in which fitted detectors are kept")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    torch.set_num_threads(1)
    for seed in options.seeds:
        for name in options.sets:
            normal = normal_images(options.data, name, options.rows)
            for method in options.methods:
                fit = {"epochs": options.epochs} if options.epochs and method != BACKBONE else {}
                detector, facts = fitted(options.models, name, method, seed, normal.train, fit)
                if not options.train_only:
                    records = Records.open(options.output, KEYS)
                    key = {"set": name, "seed": seed, "method": method}
                    run_model(records, key, facts, detector, normal, options)
    return 0


def run_model(
    records: Records,
    key: Mapping[str, Any],
    facts: dict[str, Any],
    detector: Any,
    normal: Normal,
    options: argparse.Namespace,
) -> None:
    """Every case that has no rows yet, with one fitted detector."""
    name, method = key["set"], key["method"]
    done = {row["case"] for row in records.rows if all(row[k] == v for k, v in key.items())}
    todo = [case for case in cases(options, key, normal) if case[0] not in done]
    if not todo:
        return
    start = time.process_time()
    contests = Contests(detector, method, normal, options)
    for case, images, shares in todo:
        cells = contests.measured(case, images, shares, COLOUR_SIZES if name == "CIFAR-10" else SIZES)
        each = (time.process_time() - start) / len(cells)
        for (called, statistic), sizes in cells.items():
            row = {"benchmark": "groups", **key, "case": called, "statistic": statistic, "sizes": sizes}
            records.rows.append({**row, **facts, "verdict_seconds": each})
            show(records.rows[-1])
        records.add(records.rows.pop())
        start = time.process_time()


def cases(
    options: argparse.Namespace, key: Mapping[str, Any], normal: Normal
) -> Iterator[tuple[str, Images, tuple[float, ...]]]:
    """Name, images and shares of mixed groups of every case."""
    yield from islice(outlying_sets(options.data, key["set"], normal), options.most_cases)
    if not options.no_manipulations:
        made = manipulated(options.models, options.data, key["set"], key["seed"], normal)
        yield from ((case, images, ()) for case, images in made.items())


Cells = dict[tuple[str, str], list[dict[str, Any]]]


class Contests:
    """The comparisons of one fitted detector, one a statistic, and its scores of single images."""

    def __init__(self, detector: Any, method: str, normal: Normal, options: argparse.Namespace) -> None:
        self.features = GroupFeatures(detector, statistics_of(METHODS[method][0]))
        self.detector, self.criteria = detector, ONLY_POINTS[method]
        self.count, self.draws = options.groups, options.draws
        held_out, own = self.features.held_out(), self.features.of(normal.test)
        self.spare = self.features.of(normal.spare) if len(normal.spare) else {}
        self.contests = {
            name: Contest(statistic, held_out[name], own[name], self.count, self.draws)
            for name, statistic in self.features.statistics.items()
        }
        self.points = point_scores(detector, normal.test, self.criteria)

    def measured(self, case: str, images: Images, shares: Sequence[float], sizes: Sequence[int]) -> Cells:
        """What is measured at each size, by case and statistic; a share of mixed groups is a case."""
        features = self.features.of(images)
        cells: Cells = {}
        for share in (1.0, *shares):
            called = case if share == 1 else f"{case}, {100 * share:g} % of each group"
            for name, contest in self.contests.items():
                rows = features[name] if share == 1 else torch.cat([features[name], self.spare[name]])
                cells[called, name] = [
                    contest.measured(size, Case(rows, self._groups(len(images), len(rows), share, size)))
                    for size in sizes
                    if share == 1 or size > 1
                ]
        single_images = () if ", " in case else self.criteria
        for criterion, scores in point_scores(self.detector, images, single_images).items():
            area = auroc(self.points[criterion], scores)
            cells[case, POINTS + criterion] = [{"size": 1, "auroc": area, "auroc_sd": 0.0}]
        return cells

    def _groups(self, outlying: int, rows: int, share: float, size: int) -> list[NDArray[np.int64]]:
        if size == 1:
            return [single(outlying)]
        sources = [generator(draw, size, 2) for draw in range(self.draws)]
        if share == 1:
            return [drawn(outlying, size, self.count, source) for source in sources]
        return [mixed(outlying, rows - outlying, share, size, self.count, source) for source in sources]


def show(row: Mapping[str, Any]) -> None:
    areas = "  ".join(f"{entry['size']}: {entry['auroc']:.3f}" for entry in row["sizes"])
    head = f"{row['set']:22} {row['method']:6} {row['case']:34} {row['statistic']:20}"
    print(f"{head} {areas}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
