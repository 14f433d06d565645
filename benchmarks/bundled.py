"""Labelled tables from scikit-learn's bundled data, in the layout of the folder of data.

* `sklearn_breast_cancer`: 569 x 30, malignant = anomaly
* `sklearn_digits`: 1,797 x 16, the means of 2 x 2 pixels, a nine = anomaly
* `sklearn_wine`: 178 x 13, the first cultivar = anomaly
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

Table = tuple[NDArray[np.float64], NDArray[np.int64]]


def digits() -> Table:
    images, classes = load_digits(return_X_y=True)
    return images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(len(images), -1), classes


SETS: dict[str, tuple[Callable[[], Table], int]] = {  # loader, and the class that is anomalous
    "sklearn_breast_cancer": (partial(load_breast_cancer, return_X_y=True), 0),
    "sklearn_digits": (digits, 9),
    "sklearn_wine": (partial(load_wine, return_X_y=True), 0),
}


def write(folder: Path) -> Path:
    """The folder, with one file a set in its `adbench/`: `X`, `y` (1 = anomaly)."""
    (folder / "adbench").mkdir(parents=True, exist_ok=True)
    for name, (load, anomalous) in SETS.items():
        X, classes = load()
        np.savez(folder / "adbench" / f"{name}.npz", X=X, y=(classes == anomalous).astype(np.int64))
    return folder
