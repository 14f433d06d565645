"""Peers on sequences and on series, with one interface each.

On sequences a method is a function `(train, seed) -> score` over lists of sequences (T_i, D): the tabular
peers of `peers.py` on flattened sequences and on summary features, hidden Markov models, and upland. On
series it is the same over arrays (T, D), with a score for every step: the tabular peers on sliding windows,
PyOD's LSTM, and upland.

All peers see z-scores per channel by the training steps (a constant channel is only centred); upland scales
for itself. A window of `WINDOW` steps scores its middle step; before the first and behind the last middle the
nearest window's score stands (as in TSB-AD), so that peers may look ahead by half a window. Matrix profile
and POLY are methods for one channel and see the first one, the sensor of SMAP and MSL, as in TSB-AD; PCA and
kNN are run both ways: the other channels there are commands, of two values each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from benchmarks import peers, tsb_ad_peers
from benchmarks.peers import Array, Fit, Score
from benchmarks.upland_methods import energy_detector, sequence_detector

Sequences = Sequence[Array]
SequenceScore = Callable[[Sequences], Array]
SequenceFit = Callable[[Sequences, int], SequenceScore]

WINDOW = 32  # steps, the same for every peer and every series
INDEX_ROWS = 5000  # training windows that neighbours are looked up in, and that OC-SVM is fitted on
CLUSTERS = 10
ROUNDING, SINGLE = 1e-9, 1e-6  # a deviation below is no variation: of the largest number; of z-scores
LSTM_EPOCHS = 10  # PyOD's default is 50: hours for the three collections


class Standard:
    """z-scores per column by the training rows; a column that varies by rounding only is just centred."""

    def __init__(self, rows: Array, least: float = 0.0) -> None:
        deviation, size = rows.std(axis=0), np.abs(rows).max(axis=0)
        varies = deviation > np.maximum(ROUNDING * size, least)
        self.mean, self.deviation = rows.mean(axis=0), np.where(varies, deviation, 1.0)

    def __call__(self, rows: Array) -> Array:
        return (rows - self.mean) / self.deviation


def nearest(train: Array, seed: int) -> Score:
    """Distance to the nearest training row."""
    index = NearestNeighbors(n_neighbors=1).fit(train)
    return lambda test: index.kneighbors(test)[0][:, 0]


# -- sequences to rows ---------------------------------------------------------------------------------------


class Flattened:
    """z-scored sequences as rows, resampled linearly to the median length of the training sequences."""

    def __init__(self, train: Sequences) -> None:
        self.standard = Standard(np.concatenate(train))
        self.length = int(np.median([len(steps) for steps in train]))

    def __call__(self, sequences: Sequences) -> Array:
        return np.stack([resampled(self.standard(steps), self.length).ravel() for steps in sequences])


def resampled(steps: Array, length: int) -> Array:
    """(T, D) to (length, D), linearly between the first and the last step."""
    if len(steps) == length:
        return steps
    positions = np.linspace(0.0, len(steps) - 1.0, length)
    return np.stack([np.interp(positions, np.arange(len(steps)), channel) for channel in steps.T], axis=1)


class Summarised:
    """Six numbers per channel, z-scored: mean, deviation, extremes, deviation of the differences, median.

    The two sets of one channel come with every sequence at mean 0 and deviation 1: what is left of those two
    numbers is the rounding of single precision, and only centred.
    """

    def __init__(self, train: Sequences) -> None:
        self.steps = Standard(np.concatenate(train))
        self.summaries = Standard(self._raw(train), least=SINGLE)

    def __call__(self, sequences: Sequences) -> Array:
        return self.summaries(self._raw(sequences))

    def _raw(self, sequences: Sequences) -> Array:
        return np.stack([summary(self.steps(steps)) for steps in sequences])


def summary(steps: Array) -> Array:
    changes = np.diff(steps, axis=0).std(axis=0)
    shape = (steps.mean(axis=0), steps.std(axis=0), steps.min(axis=0), steps.max(axis=0))
    return np.concatenate([*shape, changes, np.median(steps, axis=0)])


def on_rows(encoding: type[Flattened] | type[Summarised], fit: Fit) -> SequenceFit:
    """A tabular method on one row for each sequence."""

    def fitted(train: Sequences, seed: int) -> SequenceScore:
        encode = encoding(train)
        score = fit(encode(train), seed)
        return lambda test: score(encode(test))

    return fitted


def hidden_markov(states: int) -> SequenceFit:
    """Negative log-likelihood per step under a Gaussian HMM with diagonal covariances."""

    def fitted(train: Sequences, seed: int) -> SequenceScore:
        from hmmlearn.hmm import GaussianHMM

        standard = Standard(np.concatenate(train))
        model = GaussianHMM(states, n_iter=50, random_state=seed)
        model.fit(standard(np.concatenate(train)), [len(steps) for steps in train])
        return lambda test: np.array([-model.score(standard(steps)) / len(steps) for steps in test])

    return fitted


def recurrent(train: Sequences, seed: int, **arguments: Any) -> SequenceScore:
    """upland on sequences: an array where they are of one length, else a list."""
    score = sequence_detector(together(train), seed, **arguments)
    return lambda test: score(together(test))


def together(sequences: Sequences) -> Array | list[Array]:
    same = len({len(steps) for steps in sequences}) == 1
    return np.stack(sequences) if same else list(sequences)


SEQUENCE_PEERS: dict[str, SequenceFit] = {
    "kNN flat": on_rows(Flattened, peers.knn),
    "1-NN flat": on_rows(Flattened, nearest),
    "IForest flat": on_rows(Flattened, peers.isolation_forest),
    "OCSVM flat": on_rows(Flattened, peers.ocsvm),
    "PCA flat": on_rows(Flattened, peers.pca),
    "kNN features": on_rows(Summarised, peers.knn),
    "1-NN features": on_rows(Summarised, nearest),
    "IForest features": on_rows(Summarised, peers.isolation_forest),
    "OCSVM features": on_rows(Summarised, peers.ocsvm),
    "HMM, 5 states": hidden_markov(5),
    "HMM, 10 states": hidden_markov(10),
}
SEQUENCE_UPLAND: dict[str, SequenceFit] = {
    "upland": recurrent,
    "upland paper": lambda train, seed: recurrent(train, seed, frame=1),
    "upland dense": on_rows(Flattened, energy_detector),
}


# -- series to windows ---------------------------------------------------------------------------------------


def windows(steps: Array, length: int = WINDOW) -> Array:
    """Every window of a series (T, D) as a row: (T - length + 1, length * D)."""
    view = sliding_window_view(steps, length, axis=0).transpose(0, 2, 1)
    return view.reshape(len(view), -1)


def centred(scores: Array, length: int = WINDOW) -> Array:
    """Scores of windows to the steps in their middle; the ends repeat the nearest window's score."""
    return np.pad(scores, (length // 2, (length - 1) // 2), mode="edge")


def on_windows(fit: Fit, at_most: int | None = None) -> Fit:
    """A tabular method on the z-scored windows of a series, fitted on at most so many of them."""

    def fitted(train: Array, seed: int) -> Score:
        standard = Standard(train)
        rows = windows(standard(train))
        if at_most is not None and len(rows) > at_most:
            rows = rows[np.random.RandomState(seed).choice(len(rows), at_most, replace=False)]
        score = fit(rows, seed)
        return lambda test: centred(score(windows(standard(test))))

    return fitted


def pca(train: Array, seed: int) -> Score:
    """`peers.pca` by the eigenvectors of the covariance: the same scores, faster with many rows."""
    model = PCA(n_components=peers.PCA_SHARE, svd_solver="covariance_eigh").fit(train)

    def score(test: Array) -> Array:
        residual = test - model.inverse_transform(model.transform(test))
        return np.einsum("nd,nd->n", residual, residual)

    return score


def lstm(train: Array, seed: int) -> Score:
    """PyOD's LSTM: Mahalanobis distance of the error of the next step, forecast from a window."""
    import torch
    from pyod.models.ts_lstm import LSTMAD

    standard = Standard(train)
    model = LSTMAD(window_size=WINDOW, epochs=LSTM_EPOCHS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # it takes no seed of its own
        model.fit(standard(train))
    return lambda test: model.decision_function(standard(test))


def recurrent_steps(train: Array, seed: int) -> Score:
    """upland on one long series: a score for every step."""
    return sequence_detector(train, seed)


def kmeans(train: Array, seed: int) -> Score:
    """Distance to the nearest of 10 centres."""
    model = KMeans(CLUSTERS, random_state=seed).fit(train)
    return lambda test: model.transform(test).min(axis=1)


def kmeans_ad(train: Array, seed: int) -> Score:
    """KMeansAD of TSB-AD, from the training part: z-scored windows; a step has the mean of its windows."""
    model = KMeans(CLUSTERS, random_state=seed).fit(tsb_ad_peers.standard_windows(train, WINDOW))

    def score(test: Array) -> Array:
        distances = model.transform(tsb_ad_peers.standard_windows(test, WINDOW)).min(axis=1)
        return tsb_ad_peers.overlapping(distances, WINDOW)

    return score


def matrix_profile(train: Array, seed: int) -> Score:
    """Distance of each window of the first channel to the nearest training window, both z-scored."""
    import stumpy

    before = train[:, 0].copy()

    def score(test: Array) -> Array:
        profile = stumpy.stump(test[:, 0].copy(), WINDOW, before, ignore_trivial=False)
        return centred(profile[:, 0].astype(np.float64))

    return score


def poly(train: Array, seed: int) -> Score:
    """POLY of TSB-AD, of the fourth degree, on both parts of the first channel together."""

    def score(test: Array) -> Array:
        first = np.concatenate([train, test])[:, :1]
        return tsb_ad_peers.poly(first, tsb_ad_peers.period(first[:, 0]), 4)[len(train) :]

    return score


def first_channel(fit: Fit) -> Fit:
    """A method on the first channel alone."""

    def fitted(train: Array, seed: int) -> Score:
        score = fit(train[:, :1], seed)
        return lambda test: score(test[:, :1])

    return fitted


SERIES_PEERS: dict[str, Fit] = {
    "PCA": on_windows(pca),
    "kNN": on_windows(peers.knn, INDEX_ROWS),
    "PCA first": first_channel(on_windows(pca)),
    "kNN first": first_channel(on_windows(peers.knn, INDEX_ROWS)),
    "KMeans": on_windows(kmeans),
    "KMeansAD": kmeans_ad,
    "IForest": on_windows(peers.isolation_forest),
    "POLY": poly,
    "MatrixProfile": matrix_profile,
    "OCSVM": on_windows(peers.ocsvm, INDEX_ROWS),
    "LOF": on_windows(peers.lof, INDEX_ROWS),
    "PyOD AutoEncoder": on_windows(peers.autoencoder),
    "PyOD LSTM": lstm,
}
SERIES_UPLAND: dict[str, Fit] = {"upland": recurrent_steps}

DETERMINISTIC = frozenset(  # given the data, the seed changes nothing
    {f"{name} {rows}" for name in ("kNN", "1-NN", "OCSVM", "PCA") for rows in ("flat", "features")}
    | {"PCA", "PCA first", "POLY", "MatrixProfile"}
)
