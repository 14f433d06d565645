"""The two protocols of the published tables, and what is measured in them.

**ADBench, one-class** (as in Livernoche et al., ICLR 2024). A set of fewer than 1000 rows is bootstrapped to
1000, one of more than 50,000 is subsampled to 50,000, both seeded. Training = the first half of the normal
rows in file order, test = the other normal rows and every anomaly. Features are standardised with the mean
and deviation of the training rows. The bootstrap comes before the split, so copies of one row stand on both
sides: `is_bootstrapped` names those sets.

**DAGMM** (Zong et al., ICLR 2018). A random half of all rows trains, of which only the normal rows are kept;
the other half is the test. The top `rho` share of the test scores is flagged, `rho` being the given anomaly
share. In KDD Cup 99 the normal traffic is the minority and so the anomaly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

SMALLEST, LARGEST = 1000, 50_000
RHO = {"kdd": 0.2, "thyroid": 0.025, "arrhythmia": 0.15}
KDD_SYMBOLIC = (
    1,
    2,
    3,
    6,
    11,
    20,
    21,
)  # protocol, service, flag, land, logged_in, is_host_login, is_guest_login


@dataclass(frozen=True)
class Split:
    """Training rows (normal only), test rows, and the test labels (1 = anomaly)."""

    train: Array
    test: Array
    labels: Labels


# -- ADBench, one-class --------------------------------------------------------------------------------------


def adbench_names(data: Path) -> list[str]:
    """Names of the ADBench sets in `data`, from few rows times columns to many."""
    files = sorted((data / "adbench").glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"no ADBench set (*.npz) in {data / 'adbench'}")
    return sorted((file.stem for file in files), key=lambda name: _work(load_adbench(data, name)[0]))


def _work(X: Array) -> int:
    return min(max(len(X), SMALLEST), LARGEST) * X.shape[1]


def load_adbench(data: Path, name: str) -> tuple[Array, Labels]:
    """Rows (N, D) and labels (N,) of one set, as stored."""
    with np.load(data / "adbench" / f"{name}.npz") as stored:
        return stored["X"], stored["y"].astype(np.int64)


def is_bootstrapped(n_rows: int) -> bool:
    return n_rows < SMALLEST


def is_resampled(n_rows: int) -> bool:
    """True where the split depends on the seed: the set is bootstrapped or capped."""
    return not SMALLEST <= n_rows <= LARGEST


def resample(n_rows: int, seed: int) -> NDArray[np.intp]:
    """Rows that the protocol uses, in its order."""
    draw = np.random.RandomState(seed)  # the published code's generator: the same draws for the same seed
    if n_rows < SMALLEST:
        return draw.choice(np.arange(n_rows), SMALLEST, replace=True)
    if n_rows > LARGEST:
        return draw.choice(np.arange(n_rows), LARGEST, replace=False)
    return np.arange(n_rows)


def adbench_split(X: Array, y: Labels, seed: int) -> Split:
    """The one-class split of one set, standardised."""
    rows = resample(len(y), seed)
    X, y = np.asarray(X[rows], dtype=np.float64), y[rows]
    normal, anomalous = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    size = round(0.5 * normal.size)
    test = np.concatenate([normal[size:], anomalous])
    return standardised(Split(X[normal[:size]], X[test], y[test]))


# -- DAGMM ---------------------------------------------------------------------------------------------------


def load_dagmm(data: Path, name: str) -> tuple[Array, Labels]:
    """Rows and labels of "kdd", "thyroid" or "arrhythmia"."""
    if name == "kdd":
        return _load_kdd(data / "kddcup99" / "kddcup.data_10_percent.gz")
    with np.load(data / name / f"{name}_odds.npz") as stored:
        return stored["X"].astype(np.float64), stored["y"].astype(np.int64)


def _load_kdd(path: Path) -> tuple[Array, Labels]:
    import pandas as pd

    frame = pd.read_csv(path, header=None)
    labels = (frame.pop(frame.columns[-1]) == "normal.").to_numpy(dtype=np.int64)
    encoded = pd.get_dummies(frame, columns=list(KDD_SYMBOLIC), dtype=np.float64)
    return encoded.to_numpy(dtype=np.float64), labels


def dagmm_split(X: Array, y: Labels, seed: int) -> Split:
    """A random half trains (its normal rows), the other half is the test; features are left as they are."""
    order = np.random.RandomState(seed).permutation(len(y))
    half = len(y) // 2
    train, test = order[:half], order[half:]
    return Split(X[train[y[train] == 0]], X[test], y[test])


def standardised(split: Split) -> Split:
    """z-scores by the training rows' mean and deviation; a constant column is only centred."""
    scaler = StandardScaler().fit(split.train)
    return Split(scaler.transform(split.train), scaler.transform(split.test), split.labels)


# -- measures ------------------------------------------------------------------------------------------------


def flagged(scores: Array, count: int) -> NDArray[np.bool_]:
    """The `count` highest scores; ties fall in row order."""
    mask = np.zeros(len(scores), dtype=np.bool_)
    mask[np.argsort(-scores, kind="stable")[:count]] = True
    return mask


def precision_recall_f1(labels: Labels, mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    hits = float(np.sum(labels[mask]))
    precision, recall = hits / max(int(mask.sum()), 1), hits / max(int(labels.sum()), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-12)


def adbench_measures(labels: Labels, scores: Array) -> dict[str, float]:
    """AUROC, average precision, and F1 with as many rows flagged as there are anomalies."""
    f1 = precision_recall_f1(labels, flagged(scores, int(labels.sum())))[2]
    auroc, auprc = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    return {"auroc": float(auroc), "auprc": float(auprc), "f1": f1}


def dagmm_measures(labels: Labels, scores: Array, rho: float) -> dict[str, float]:
    """Precision, recall and F1 with the top `rho` share of the test flagged; AUROC beside them."""
    values = precision_recall_f1(labels, flagged(scores, round(rho * len(scores))))
    measures = dict(zip(("precision", "recall", "f1"), values, strict=True))
    return measures | {"auroc": float(roc_auc_score(labels, scores))}
