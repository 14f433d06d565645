"""Images that are moved and lit differently than the normal ones, with and without copies of these in the
fit.

One class is normal, 600 of its training images are fitted on and 200 others calibrate; of its test images
500 and of those of other classes 500 are scored, as they are, and moved by up to 2 pixels with a light
within 20 % (`upland.augment_images`). *as they are*: fitted and calibrated on the images alone.
*calibrated on moved*: fitted on them alone, calibrated on one copy of each of the 200. *augmented*: fitted
on two copies of each beside them, calibrated in that way. `alarms`: the share of normal images with p <=
0.05.

Features of pixels see each image at its own contrast, so that for them a light says nothing and all is by
the moves.

Classes of even number were looked at first, those of odd number confirm.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import upland
from benchmarks.images import SETS, load_images
from benchmarks.options import command, data_argument, parsed
from benchmarks.records import Records

KEYS = ("set", "class", "seed", "method", "features")
VARIATION = {"shift": 2, "light": 0.2}
PLAIN, CALIBRATED, AUGMENTED = "as they are", "calibrated on moved", "augmented"
METHODS = (PLAIN, CALIBRATED, AUGMENTED)
ALPHA = 0.05
FITTED, FRESH, TESTED = 600, 200, 500


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["Fashion-MNIST", "MNIST"], metavar="SET")
    parser.add_argument("--classes", nargs="+", type=int, default=list(range(10)), help="numbers")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--features", default="pixels")
    options = parsed(parser, argv, "augmentation", {"sets": ["MNIST"], "classes": [0]})
    records = Records.open(options.output, KEYS)
    for name in options.sets:
        for number in options.classes:
            for seed in options.seeds:
                measure(records, options, name, number, seed)
    return 0


def measure(records: Records, options: argparse.Namespace, name: str, number: int, seed: int) -> None:
    """Every method for one class, unless the rows exist."""
    data: Path = options.data
    whole, rng = load_images(data, name), np.random.default_rng(seed)
    train = rng.permutation(whole.train[whole.train_classes == number])
    tested = [
        rng.permutation(whole.test[(whole.test_classes == number) == is_normal])[:TESTED]
        for is_normal in (True, False)
    ]
    moved = [upland.augment_images(images, random_state=seed + 10, **VARIATION) for images in tested]
    for method in METHODS:
        key = dict(zip(KEYS, (name, whole.names[number], seed, method, options.features), strict=True))
        if records.find(**key):
            continue
        start = time.process_time()
        detector = fitted(method, options.features, train[:FITTED], train[FITTED : FITTED + FRESH], seed)
        row = {"benchmark": "augmentation", **key, "fit_seconds": time.process_time() - start}
        for case, images in (("", tested), ("moved_", moved)):
            row |= {f"{case}{measure}": value for measure, value in measures(detector, *images).items()}
        records.add(row)
        print(f"{name:14} {whole.names[number]:12} seed {seed} {method:19} "
              f"AUROC {row['auroc']:.3f} alarms {row['alarms']:.3f}  moved: {row['moved_auroc']:.3f} "
              f"{row['moved_alarms']:.3f}", flush=True)  # fmt: skip


def fitted(method: str, features: str, train: NDArray[Any], fresh: NDArray[Any], seed: int) -> Any:
    """A detector that is calibrated on the fresh images, or on a copy of each."""
    if method == AUGMENTED:
        copies = upland.augment_images(train, copies=2, random_state=seed, **VARIATION)
        train = np.concatenate([train, copies])
    if method != PLAIN:
        fresh = upland.augment_images(fresh, random_state=seed + 1, **VARIATION)
    made = upland.ImageEnergyDetector(
        features=features, calibration="split", random_state=seed, progress=False
    )
    return made.fit(train).calibrate(fresh)


def measures(detector: Any, normal: NDArray[Any], others: NDArray[Any]) -> dict[str, float]:
    """AUROC, and the share of normal images that are flagged."""
    scores = [detector.anomaly_score(images) for images in (normal, others)]
    labels = np.repeat([0, 1], [len(normal), len(others)])
    return {
        "auroc": float(roc_auc_score(labels, np.concatenate(scores))),
        "alarms": float((detector.p_values(normal) <= ALPHA).mean()),
    }


if __name__ == "__main__":
    sys.exit(main())
