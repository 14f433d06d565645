"""Labelled tables from scikit-learn's bundled data, in the layout of the folder of data.

breast_cancer   569 x 30, malignant = anomaly
digits          1,797 x 64, a nine = anomaly
wine            178 x 13, the first cultivar = anomaly
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

SETS = {  # loader, and the class that is anomalous
    "breast_cancer": (load_breast_cancer, 0),
    "digits": (load_digits, 9),
    "wine": (load_wine, 0),
}


def write(folder: Path) -> Path:
    """The folder, with one file a set in its `adbench/`: `X`, `y` (1 = anomaly)."""
    (folder / "adbench").mkdir(parents=True, exist_ok=True)
    for name, (load, anomalous) in SETS.items():
        X, classes = load(return_X_y=True)
        np.savez(folder / "adbench" / f"{name}.npz", X=X, y=(classes == anomalous).astype(np.int64))
    return folder
