"""The peers of TSB-AD as that benchmark runs them: on the whole series, with its windows and settings.

Liu and Paparrizos, NeurIPS 2024, datasets and benchmarks; package TSB_AD 1.5. Most modules of that package
cannot be imported without `arch`, `hurst` and an older statsmodels, so that its peers are written here over
scikit-learn and stumpy, each in a few lines, with the settings that its `HP_list` calls optimal. Windows of
IForest and LOF are z-scored one by one, as in the published runs; release 1.5 z-scores the columns of a
single channel, which gives other numbers.

A peer is a function of a series (T, D) and a seed, and gives a score for each step. It sees the whole series
without labels, the part that is called training part included. With one channel the window is the series'
period (the first or second rank of `period`), with several it is a number of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import argrelmax, correlate
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

Array = NDArray[np.float64]
Peer = Callable[[Array, int], Array]

LONGEST_SERIES, LAGS, BASE = 20_000, 400, 3  # of the autocorrelation that the period is found in
NO_PERIOD, LONGEST_PERIOD = 125, 300


# -- windows -------------------------------------------------------------------------------------------------


def period(steps: Array, rank: int = 1) -> int:
    """`find_length_rank`: the lag of the highest local maximum of the autocorrelation (rank 1), or of the
    highest one with a longer lag (rank 2); 125 where there is none.

    Args:
        steps: (T,), of which the first 20,000 are looked at.
        rank: 1 or 2.
    """
    centred = steps[:LONGEST_SERIES] - steps[:LONGEST_SERIES].mean()
    products = correlate(centred, centred, method="fft")[len(centred) - 1 :][: LAGS + 1]
    if not products[0] > 0.0:
        return NO_PERIOD
    correlation = products[BASE:] / products[0]
    maxima = argrelmax(correlation)[0]
    order = np.argsort(correlation[maxima])[::-1]
    later = order[order > order[0]] if len(order) else order
    chosen = later[:1] if rank == 2 and len(later) else order[:1]
    if not len(chosen) or not BASE <= maxima[chosen[0]] <= LONGEST_PERIOD:
        return NO_PERIOD
    return int(maxima[chosen[0]]) + BASE


def windows(steps: Array, length: int) -> Array:
    """Every window of a series (T, D) as a row: (T - length + 1, D * length)."""
    view = sliding_window_view(steps, length, axis=0)
    return view.reshape(len(view), -1)


def padded(scores: Array, length: int) -> Array:
    """Scores of windows to their middle steps; the ends repeat the nearest window's score."""
    return np.pad(scores, (-(-(length - 1) // 2), (length - 1) // 2), mode="edge")


def standard_windows(steps: Array, length: int) -> Array:
    """Windows as z-scores of their own entries; 0 where nothing varies."""
    rows = windows(steps, length)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(
            (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, ddof=1, keepdims=True)
        )


def overlapping(scores: Array, length: int) -> Array:
    """To each step the mean score of the windows that hold it."""
    total = np.concatenate([[0.0], np.cumsum(scores)])
    step = np.arange(len(scores) + length - 1)
    first, end = np.maximum(step - length + 1, 0), np.minimum(step + 1, len(scores))
    return (total[end] - total[first]) / (end - first)


# -- peers ---------------------------------------------------------------------------------------------------


def pca(steps: Array, length: int, components: float | None) -> Array:
    """Sum over components of a window's distance to the component's vector over its share of the variance."""
    rows = windows(steps, length)
    deviation = rows.std(axis=0)
    rows = (rows - rows.mean(axis=0)) / np.where(deviation > 0.0, deviation, 1.0)
    rows = rows[:, np.any(rows != 0.0, axis=0)]
    model = PCA(components, svd_solver="full").fit(rows)
    distances = cdist(rows, model.components_) / model.explained_variance_ratio_
    return padded(distances.sum(axis=1), length)


def isolation_forest(steps: Array, length: int, trees: int, features: float, seed: int) -> Array:
    rows = standard_windows(steps, length)
    model = IsolationForest(n_estimators=trees, max_features=features, random_state=seed).fit(rows)
    return padded(-model.score_samples(rows), length)


def lof(steps: Array, length: int, neighbours: int) -> Array:
    model = LocalOutlierFactor(n_neighbors=neighbours).fit(standard_windows(steps, length))
    return padded(-model.negative_outlier_factor_, length)


def knn(steps: Array, length: int, neighbours: int, mean: bool) -> Array:
    """Distance to the last of the nearest other windows, or the mean distance, each window z-scored."""
    index = NearestNeighbors(n_neighbors=neighbours).fit(standard_windows(steps, length))
    distances, _ = index.kneighbors()
    return padded(distances.mean(axis=1) if mean else distances[:, -1], length)


def kmeans(steps: Array, length: int, clusters: int, seed: int) -> Array:
    """Distance of a z-scored window to its cluster's centre; to each step the mean of its windows."""
    rows = standard_windows(steps, length)
    distances = KMeans(clusters, random_state=seed).fit(rows).transform(rows).min(axis=1)
    return overlapping(distances, length)


def matrix_profile(steps: Array, length: int) -> Array:
    """Distance to the nearest other window, each window z-scored."""
    import stumpy

    distances = stumpy.stump(steps[:, 0], m=length)[:, 0].astype(np.float64)
    behind = (length - 1) // 2
    least = float(distances.min())
    return np.pad(distances, (length - 1 - behind, behind), constant_values=least)


def poly(steps: Array, length: int, power: int) -> Array:
    """Error of each stretch of `length` steps against a polynomial that is fitted to what is around it.

    One number for a whole stretch; the first 500 steps, or the first tenth, are not scored.
    """
    x, total = steps[:, 0], len(steps)
    x = (x - x.min()) / (np.ptp(x) or 1.0)
    around = min(max(10 * length, 100), total)
    scores = np.zeros(total)
    for first in range(-(-min(500, total // 10) // length) * length, total, length):
        end = min(first + length, total)
        before = max(first - around // 2, 0)
        behind = min(first + around // 2, total)
        if behind == total:
            before = total - around
        elif before == 0:
            behind = around
        near = np.concatenate([np.arange(before, first), np.arange(end, behind)])
        model = np.polyfit(near - first, x[near], power)
        error = x[first:end] - np.polyval(model, np.arange(end - first))
        scores[first:end] = np.linalg.norm(error) / np.sqrt(end - first)
    return scores


ONE_CHANNEL: dict[str, Peer] = {
    "Sub-PCA": lambda steps, seed: pca(steps, period(steps[:, 0]), None),
    "KMeansAD": lambda steps, seed: kmeans(steps, period(steps[:, 0], 2), 10, seed),
    "Sub-IForest": lambda steps, seed: isolation_forest(steps, period(steps[:, 0]), 150, 1, seed),
    "Sub-LOF": lambda steps, seed: lof(steps, period(steps[:, 0], 2), 30),
    "Sub-KNN": lambda steps, seed: knn(steps, period(steps[:, 0], 2), 50, mean=False),
    "MatrixProfile": lambda steps, seed: matrix_profile(steps, period(steps[:, 0])),
    "POLY": lambda steps, seed: poly(steps, period(steps[:, 0]), 4),
}
SEVERAL_CHANNELS: dict[str, Peer] = {
    "PCA": lambda steps, seed: pca(steps, 1, 0.25),
    "KMeansAD": lambda steps, seed: kmeans(steps, 40, 10, seed),
    "IForest": lambda steps, seed: isolation_forest(steps, 1, 25, 0.8, seed),
    "LOF": lambda steps, seed: lof(steps, 1, 50),
    "KNN": lambda steps, seed: knn(steps, 1, 50, mean=True),
}
