"""Peers: detectors of scikit-learn and PyOD with one interface, each with its library's defaults.

A peer is a function `(train, seed) -> score`, where `score(test)` gives one number for each row, higher =
worse. `PEERS` is the list; `run` fits and scores one of them and takes its CPU time.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

Array = NDArray[np.float64]
Score = Callable[[Array], Array]
Fit = Callable[[Array, int], Score]

NEIGHBOURS = 5
PCA_SHARE = 0.9  # of the variance that the kept components explain


class Scored(NamedTuple):
    """Test scores and the CPU seconds of fitting and of scoring."""

    scores: Array
    fit_seconds: float
    score_seconds: float


def run(fit: Fit, train: Array, test: Array, seed: int) -> Scored:
    """Fit on `train`, score `test`; what a library prints on the way is dropped."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        score = fit(train, seed)
        fitted = time.process_time()
        scores = np.asarray(score(test), dtype=np.float64).reshape(len(test))
        return Scored(scores, fitted - start, time.process_time() - fitted)


def warm_up(fit: Fit) -> None:
    """One untimed fit on a handful of rows, so that no measured time holds an import."""
    rows = np.random.RandomState(0).randn(64, 3)
    run(fit, rows, rows, 0)


# -- scikit-learn --------------------------------------------------------------------------------------------


def knn(train: Array, seed: int) -> Score:
    """Mean distance to the 5 nearest training rows."""
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train))).fit(train)
    return lambda test: index.kneighbors(test)[0].mean(axis=1)


def isolation_forest(train: Array, seed: int) -> Score:
    model = IsolationForest(random_state=seed).fit(train)
    return lambda test: -model.score_samples(test)


def lof(train: Array, seed: int) -> Score:
    model = LocalOutlierFactor(n_neighbors=min(20, len(train) - 1), novelty=True).fit(train)
    return lambda test: -model.score_samples(test)


def ocsvm(train: Array, seed: int) -> Score:
    model = OneClassSVM(cache_size=1000).fit(train)
    return lambda test: -model.score_samples(test)


def pca(train: Array, seed: int) -> Score:
    """Squared error of the reconstruction from the components that explain 90 % of the variance."""
    model = PCA(n_components=PCA_SHARE, svd_solver="full").fit(train)

    def score(test: Array) -> Array:
        residual = test - model.inverse_transform(model.transform(test))
        return np.einsum("nd,nd->n", residual, residual)

    return score


# -- PyOD ----------------------------------------------------------------------------------------------------


def ecod(train: Array, seed: int) -> Score:
    from pyod.models.ecod import ECOD

    return ECOD().fit(train).decision_function


def autoencoder(train: Array, seed: int) -> Score:
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(random_state=seed, device="cpu", verbose=0).fit(train).decision_function


def vae(train: Array, seed: int) -> Score:
    from pyod.models.vae import VAE

    return VAE(random_state=seed, device="cpu", verbose=0).fit(train).decision_function


def deep_svdd(train: Array, seed: int) -> Score:
    from pyod.models.deep_svdd import DeepSVDD

    return DeepSVDD(train.shape[1], random_state=seed, verbose=0).fit(train).decision_function


PEERS: dict[str, Fit] = {
    "kNN": knn,
    "IForest": isolation_forest,
    "LOF": lof,
    "OCSVM": ocsvm,
    "PCA": pca,
    "ECOD": ecod,
    "PyOD AutoEncoder": autoencoder,
    "PyOD VAE": vae,
    "PyOD DeepSVDD": deep_svdd,
}
DETERMINISTIC = frozenset({"kNN", "LOF", "OCSVM", "PCA", "ECOD"})  # given the rows, the seed changes nothing
