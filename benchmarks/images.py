"""Three sets of labelled images, each class normal in turn: the peers on pixels and on features, and upland.

Rows are written as they come; a second call with the same output does what is missing. Where the method does
not depend on the seed, one seed is run and its row repeated. All criteria of upland, and both numbers of
neighbours, are of one fit and carry its seconds.

**One versus rest.** The class's training images train, the whole test part is scored, an image of another
class is an anomaly.

**The DSEBM paper's way** (Zhai et al., ICML 2016), from the same scores. The class's test images, with as
many others mixed in as make up a share rho of the whole; the top rho of the scores is flagged. As many are
flagged as there are anomalies, so precision, recall and F1 are one number. Which others are mixed in is
drawn, in the same way for every method, and the mean over `DRAWS` draws is kept. The paper does not
give its own split of the images.

Everything is read from `images/` below the folder of data; images are uint8.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.svm import OneClassSVM

from benchmarks import peers
from benchmarks.crop_energy import crop_energy
from benchmarks.options import command, data_argument, parsed
from benchmarks.protocols import Array, Labels, flagged, precision_recall_f1
from benchmarks.records import Records

Images = NDArray[np.uint8]
Pixels = NDArray[np.float32]
Score = Callable[[Images], Array]
Fit = Callable[[Images, int], Mapping[str, Score]]  # the scores that come of one fit, by the rows' names

KEYS = ("set", "class", "seed", "method")
SETS = {  # the file's name, and the classes' in the order of their numbers
    "Fashion-MNIST": (
        "fashion_mnist",
        ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"],
    ),
    "CIFAR-10": (
        "cifar10_12k_3k",
        ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
    ),
    "MNIST": ("mnist", list("0123456789")),
}
RHOS = (0.1, 0.2, 0.3, 0.4, 0.5)
DRAWS = 20
CHUNK = 1000  # test images that are held against all training images at once
PCA_SHARE = 0.95  # of the variance that the kept components explain
SVM_ROWS, SVM_NU = 5000, 0.1
BACKBONE = "efficientnet-lite0"
OF_PHOTOGRAPHS = (
    "upland backbone",
    "kNN features",
)  # of the set of photographs alone, unless they are asked for
EXPERIMENTS = ("dsebm crops",)  # where they are asked for


# -- sets, protocols -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSplit:
    """Training images of one class, all test images, and their labels (1 = another class)."""

    train: Images
    test: Images
    labels: Labels


@dataclass(frozen=True)
class ImageSet:
    """Both parts of a labelled set; `names` are the classes', by number."""

    names: Sequence[str]
    train: Images
    train_classes: Labels
    test: Images
    test_classes: Labels

    def normal(self, name: str) -> ImageSplit:
        """The split in which class `name` is normal."""
        number = list(self.names).index(name)
        labels = (self.test_classes != number).astype(np.int64)
        return ImageSplit(self.train[self.train_classes == number], self.test, labels)


def load_images(data: Path, name: str) -> ImageSet:
    """One of `SETS`: images (N, H, W) or (N, H, W, C)."""
    file, names = SETS[name]
    path = data / "images" / f"{file}.npz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: benchmarks/README.md lists the sets")
    with np.load(path) as stored:
        parts = [stored[f"{array}_{part}"] for part in ("train", "test") for array in "xy"]
    return ImageSet(names, *(part if part.ndim > 1 else part.astype(np.int64) for part in parts))


def measures(labels: Labels, scores: Array) -> dict[str, Any]:
    """AUROC and AUPRC of the whole test part, and the paper's measures for each share of anomalies."""
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "auprc": float(average_precision_score(labels, scores)),
        "mixed": [mixed_measures(labels, scores, rho) for rho in RHOS],
    }


def mixed_measures(labels: Labels, scores: Array, rho: float) -> dict[str, float]:
    """Precision, recall and F1 with the top `rho` flagged, the mean over the draws."""
    values = []
    for draw in range(DRAWS):
        rows = mixed(labels, rho, draw)
        mask = flagged(scores[rows], round(rho * len(rows)))
        values.append(precision_recall_f1(labels[rows], mask))
    means = np.mean(values, axis=0).tolist()
    return {"rho": rho, **dict(zip(("precision", "recall", "f1"), means, strict=True))}


def mixed(labels: Labels, rho: float, draw: int) -> NDArray[np.intp]:
    """Every normal row, and others that make up a share `rho` of all; a larger share holds the smaller."""
    normal, others = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    count = round(len(normal) * rho / (1 - rho))
    if count > len(others):
        raise ValueError(f"a share of {rho} takes {count} rows of other classes, there are {len(others)}")
    return np.concatenate([normal, np.random.default_rng(draw).permutation(others)[:count]])


# -- peers on pixels -----------------------------------------------------------------------------------------


def pixels(images: Images) -> Pixels:
    """Images as rows of numbers from 0 to 1."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def neighbours(train: Images, seed: int) -> dict[str, Score]:
    """Distance to the nearest training image, and the mean of the five nearest."""
    centre = pixels(train).mean(axis=0)
    rows = pixels(train) - centre
    squares = np.einsum("nd,nd->n", rows, rows)

    def score(count: int, test: Images) -> Array:
        parts = [test[start : start + CHUNK] for start in range(0, len(test), CHUNK)]
        return np.concatenate([nearest(pixels(part) - centre, rows, squares, count) for part in parts])

    return {"1-NN": partial(score, 1), "kNN": partial(score, peers.NEIGHBOURS)}


def nearest(test: Pixels, train: Pixels, squares: Pixels, count: int) -> Array:
    """Mean distance to the `count` nearest rows, by |a|^2 - 2 a b + |b|^2."""
    distances = squares - 2 * test @ train.T
    least = np.partition(distances, count - 1, axis=1)[:, :count].astype(np.float64)
    own = np.einsum("nd,nd->n", test, test, dtype=np.float64)
    return np.sqrt(np.maximum(least + own[:, None], 0.0)).mean(axis=1)


def pca(train: Images, seed: int) -> dict[str, Score]:
    """Squared error of the reconstruction from the components that explain 95 % of the variance."""
    rows = pixels(train).astype(np.float64)
    solver = "covariance_eigh" if len(rows) > rows.shape[1] else "full"  # the same components, the faster way
    model = PCA(n_components=PCA_SHARE, svd_solver=solver).fit(rows)

    def score(test: Images) -> Array:
        centred = pixels(test) - model.mean_
        residual = centred - (centred @ model.components_.T) @ model.components_
        return np.einsum("nd,nd->n", residual, residual)

    return {"PCA": score}


def isolation_forest(train: Images, seed: int) -> dict[str, Score]:
    score = peers.isolation_forest(pixels(train), seed)
    return {"IForest": lambda test: score(pixels(test))}


def ocsvm(train: Images, seed: int) -> dict[str, Score]:
    """nu = 0.1 on at most 5000 training images, drawn by the seed; the kernel's width is "scale"."""
    if len(train) > SVM_ROWS:
        train = train[np.random.default_rng(seed).permutation(len(train))[:SVM_ROWS]]
    model = OneClassSVM(nu=SVM_NU, cache_size=1000).fit(pixels(train))
    return {"OCSVM": lambda test: -model.score_samples(pixels(test))}


# -- upland --------------------------------------------------------------------------------------------------


def upland(train: Images, seed: int) -> dict[str, Score]:
    """The default detector, on pixels."""
    return {"upland": fitted(train, seed, features="pixels").anomaly_score}


def with_backbone(train: Images, seed: int) -> dict[str, Score]:
    """The same on features of the bundled network."""
    return {"upland backbone": fitted(train, seed, features=BACKBONE).anomaly_score}


def dsebm(train: Images, seed: int) -> dict[str, Score]:
    """The deep energy, by both criteria of the paper."""
    detector = fitted(train, seed, energy="dsebm")

    def score(criterion: str, test: Images) -> Array:
        return detector.set_params(criterion=criterion).anomaly_score(test)

    criteria = {"dsebm": "reconstruction", "dsebm energy": "energy"}
    return {name: partial(score, criterion) for name, criterion in criteria.items()}


def dsebm_of_crops(train: Images, seed: int) -> dict[str, Score]:
    """The deep energy of squares out of images: an experiment."""
    find = crop_energy(train, seed)
    return {"dsebm crops": lambda test: find(test)[0]}


def fitted(train: Images, seed: int, **arguments: Any) -> Any:
    """A fitted detector of upland."""
    from upland import ImageEnergyDetector

    return ImageEnergyDetector(random_state=seed, progress=False, **arguments).fit(train)


def neighbours_of_features(train: Images, seed: int) -> dict[str, Score]:
    """Distances between the directions of all vectors of the bundled network, each of length one."""
    from upland.detectors.features.bundled import efficientnet_lite0

    source = efficientnet_lite0()

    def features(images: Images) -> Pixels:
        rows = []
        for image in images:
            codes = (np.atleast_3d(image).astype(np.float32) + 0.5) / 256 - 0.5
            codes = np.moveaxis(codes, 2, 0)[None]
            whole = source.transform(codes)[0]
            cuts = np.cumsum(source.layout(codes.shape[1:]).vectors)
            rows.append(np.concatenate([part / np.linalg.norm(part) for part in np.split(whole, cuts)[:-1]]))
        return np.stack(rows)

    seen = features(train)
    squares = np.einsum("nd,nd->n", seen, seen)

    def score(count: int, test: Images) -> Array:
        return nearest(features(test), seen, squares, count)

    return {"1-NN features": partial(score, 1), "kNN features": partial(score, peers.NEIGHBOURS)}


FITS: dict[str, tuple[Fit, tuple[str, ...]]] = {  # what `--methods` names, and the rows that come of it
    "kNN": (neighbours, ("1-NN", "kNN")),
    "PCA": (pca, ("PCA",)),
    "IForest": (isolation_forest, ("IForest",)),
    "upland": (upland, ("upland",)),
    "upland backbone": (with_backbone, ("upland backbone",)),
    "kNN features": (neighbours_of_features, ("1-NN features", "kNN features")),
    "dsebm": (dsebm, ("dsebm", "dsebm energy")),
    "dsebm crops": (dsebm_of_crops, ("dsebm crops",)),
    "OCSVM": (ocsvm, ("OCSVM",)),
}
DETERMINISTIC = frozenset({"kNN", "PCA", "kNN features"})  # given the images, the seed changes nothing


# -- runner --------------------------------------------------------------------------------------------------


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument(
        "--methods", nargs="+", choices=FITS, metavar="METHOD", help="all that suit a set if left out"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="SET")
    parser.add_argument("--classes", nargs="+", help="names of classes; all if left out")
    quick = {"methods": ["kNN", "PCA", "upland"], "seeds": [0], "sets": ["MNIST"], "classes": ["0"]}
    return parsed(parser, argv, "images", quick)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    records = Records.open(options.output, KEYS)
    for method in options.methods or FITS:
        warm_up(FITS[method][0])
    for seed in options.seeds:
        for name in options.sets:
            run_set(records, load_images(options.data, name), name, seed, options)
    return 0


def warm_up(fit: Fit) -> None:
    """One untimed fit on a handful of images, so that no measured time holds an import."""
    images = np.random.default_rng(0).integers(0, 256, size=(64, 8, 8), dtype=np.uint8)
    for score in fit(images, 0).values():
        score(images)


def run_set(records: Records, data: ImageSet, name: str, seed: int, options: argparse.Namespace) -> None:
    """Every class and method that has no row yet, on one set and seed."""
    for normal in data.names:
        if options.classes and normal not in options.classes:
            continue
        for method in options.methods or usual_methods(name):
            keys = [{"set": name, "class": normal, "seed": seed, "method": row} for row in FITS[method][1]]
            if all(records.find(**key) for key in keys):
                continue
            rows = repeated(records, keys) if method in DETERMINISTIC else None
            rows = rows or measured(data.normal(normal), method, seed)
            for key in keys:
                if records.find(**key) is None:
                    records.add({"benchmark": "images", **rows[key["method"]], **key})
                    show(records.rows[-1])


def usual_methods(name: str) -> list[str]:
    """The methods of a set where none are asked for."""
    usual = [method for method in FITS if method not in EXPERIMENTS]
    return [method for method in usual if name == "CIFAR-10" or method not in OF_PHOTOGRAPHS]


def repeated(records: Records, keys: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]] | None:
    """The rows of a fit under another seed; None where one of them is not there."""
    found = {key["method"]: records.of_another_seed(**key) for key in keys}
    return found if all(found.values()) else None


def measured(split: ImageSplit, method: str, seed: int) -> dict[str, dict[str, Any]]:
    """The rows that come of one fit, by name."""
    shape = "x".join(map(str, split.train.shape[1:]))
    sizes = {"n_train": len(split.train), "shape": shape, "n_test": len(split.test)}
    fitted: dict[str, Score] = {}

    def fit(train: Any, seed: int) -> Any:
        fitted.update(FITS[method][0](train, seed))
        return fitted[FITS[method][1][0]]

    result = peers.run(fit, split.train, split.test, seed)
    rows = {}
    for name in FITS[method][1]:
        if rows:  # the first was scored with the fit
            again = peers.run(lambda train, seed, score=fitted[name]: score, split.train, split.test, seed)
            result = again._replace(fit_seconds=result.fit_seconds)
        seconds = {"fit_seconds": result.fit_seconds, "score_seconds": result.score_seconds}
        rows[name] = {**sizes, **measures(split.labels, result.scores), **seconds}
    return rows


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['set']:14} {row['class']:10} seed {row['seed']}  {row['method']:22} AUROC {row['auroc']:.4f}"
        f"  AUPRC {row['auprc']:.4f}  fit {row['fit_seconds']:.1f} s  score {row['score_seconds']:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
