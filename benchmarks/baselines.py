"""The baselines of the DSEBM paper, with the interface of the peers: PCA, kernel PCA, KDE, one-class SVM.

Kernel methods cost the square of their training rows, so they see at most `KERNEL_ROWS` of them, drawn by the
seed; PCA sees all. The paper's own settings are not published: kernels have width 1 / D on z-scores, KDE has
Scott's bandwidth.
"""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import KernelPCA
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

from benchmarks.peers import Array, Fit, Score, ocsvm, pca

KERNEL_ROWS = 5000
KERNEL_COMPONENTS = 32
CHUNK = 4096


def sampled(rows: Array, seed: int, size: int = KERNEL_ROWS) -> Array:
    """At most `size` rows, without replacement."""
    if len(rows) <= size:
        return rows
    return rows[np.random.RandomState(seed).choice(len(rows), size, replace=False)]


def kernel_pca(train: Array, seed: int) -> Score:
    """Squared error of the reconstruction in the feature space of a Gaussian kernel (Hoffmann, 2007)."""
    rows = sampled(train, seed)
    gamma = 1.0 / rows.shape[1]
    components = min(KERNEL_COMPONENTS, len(rows) - 1)
    model = KernelPCA(
        components, kernel="rbf", gamma=gamma, eigen_solver="randomized", random_state=seed
    ).fit(rows)
    mean = rbf_kernel(rows, gamma=gamma).mean()

    def score(test: Array) -> Array:
        centred = 1.0 - 2.0 * rbf_kernel(test, rows, gamma=gamma).mean(axis=1) + mean
        return centred - np.square(model.transform(test)).sum(axis=1)

    return chunked(score)


def kde(train: Array, seed: int) -> Score:
    """Negative log density of Gaussian kernels on the training rows, up to a constant."""
    rows = sampled(train, seed)
    variance = len(rows) ** (-2.0 / (rows.shape[1] + 4))

    def score(test: Array) -> Array:
        exponent = -euclidean_distances(test, rows, squared=True) / (2.0 * variance)
        top = exponent.max(axis=1, keepdims=True)
        return -top[:, 0] - np.log(np.exp(exponent - top).mean(axis=1))

    return chunked(score)


def one_class_svm(train: Array, seed: int) -> Score:
    return ocsvm(sampled(train, seed), seed)


def chunked(score: Score) -> Score:
    """The same scores in pieces of rows, so that a kernel matrix stays small."""
    return lambda test: np.concatenate(
        [score(test[start : start + CHUNK]) for start in range(0, len(test), CHUNK)]
    )


BASELINES: dict[str, Fit] = {"PCA": pca, "Kernel PCA": kernel_pca, "KDE": kde, "OC-SVM": one_class_svm}
