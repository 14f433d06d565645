"""PyOD's interface of a detector: labels 0 and 1, higher scores for outliers, and PyOD's names.

PyOD itself is not needed: its tools (combination, thresholding, wrappers) use these names. All public methods
of PyOD's `BaseDetector` are here, by its formulas. Confidence: Perini, Vercruyssen, Davis, ECML 2020;
predictions with rejection: Perini, Davis, NeurIPS 2023.
"""

from __future__ import annotations

import copy
import math
import sys
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf
from scipy.stats import beta, binom
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import precision_score, roc_auc_score
from sklearn.utils.validation import check_is_fitted

from upland.calibration.conformal import Floats
from upland.detectors.base import Detector
from upland.detectors.foreign import check_detector
from upland.detectors.host import usual_settings
from upland.io.advice import Advice, Argument

REJECTED = -2
"""What stands for a label where a prediction is rejected."""

Labels = NDArray[np.int64]


class PyODAdapter(BaseEstimator):
    """A detector with PyOD's interface.

    Args:
        detector: an upland detector; `fit` fits a copy of it.
        contamination: the share of the training rows that lie above `threshold_`, in (0, 0.5]; set by
            `set_params` after a fit, it moves the threshold at once.

    Attributes:
        detector_: the fitted detector.
        decision_scores_: `(N,)` anomaly scores of the training rows, higher = worse; of a detector that was
            fitted before, of the rows that calibrate it.
        threshold_: the score above which a row is an outlier.
        labels_: `(N,)` 0 for inliers, 1 for outliers among these rows.
    """

    def __init__(self, detector: Detector, contamination: float = 0.1) -> None:
        self.detector = detector
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of the detector on rows `(N, M)`; y is ignored.

        Raises:
            ValueError: contamination is not in (0, 0.5], or a column is not as it must be.
        """
        _check_contamination(self.contamination)
        detector = clone(self.detector).fit(X)
        return self._take(detector, _one_a_row(detector.anomaly_score(X)))

    def _take(self, detector: Detector, scores: Floats) -> Self:
        """Put on a fitted detector and the scores that a threshold is set by."""
        _check_contamination(self.contamination)
        _register()
        self.detector_, self.decision_scores_ = detector, scores
        self._set_threshold()
        return self

    def _set_threshold(self) -> None:
        self.threshold_ = float(np.percentile(self.decision_scores_, 100 * (1 - self.contamination)))
        self.labels_ = self._labels(self.decision_scores_)

    def set_params(self, **params: Any) -> Self:
        """Set parameters; a contamination moves `threshold_` and `labels_` of a fitted adapter.

        Raises:
            ValueError: there is no such parameter, or contamination is not in (0, 0.5].
        """
        super().set_params(**params)
        if "contamination" in params and self.__sklearn_is_fitted__():
            _check_contamination(self.contamination)
            self._set_threshold()
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return "detector_" in self.__dict__

    def decision_function(self, X: Any) -> Floats:
        """Anomaly scores, higher = worse: `(N, M) -> (N,)`."""
        check_is_fitted(self)
        return _one_a_row(self.detector_.anomaly_score(X))

    def predict(self, X: Any, return_confidence: bool = False) -> Any:
        """0 for inliers, 1 for outliers: `(N, M) -> (N,)`; with their confidence, a pair of both."""
        scores = self.decision_function(X)
        labels = self._labels(scores)
        return (labels, self._confidence(scores, labels)) if return_confidence else labels

    def predict_proba(
        self,
        X: Any,
        method: Literal["linear", "unify", "conformal"] = "linear",
        return_confidence: bool = False,
    ) -> Any:
        """Numbers in [0, 1] for inlier and outlier: `(N, M) -> (N, 2)`; with the confidence of the labels, a
        pair of both. PyOD's own are rescaled scores, with no guarantee.

        Args:
            X: rows.
            method: "linear" and "unify" rescale scores as PyOD does: between the least and the largest of
                `decision_scores_`; by the error function of standard scores. "conformal" gives the p-value,
                and 1 minus it.
            return_confidence: whether the confidence is returned too.

        Raises:
            ValueError: there is no such method.
        """
        scores = self.decision_function(X)
        if method == "linear":
            outlier = _between(self.decision_scores_, scores)
        elif method == "unify":
            outlier = _unified(self.decision_scores_, scores)
        elif method == "conformal":
            outlier = 1 - self.detector_.p_values(X)
        else:
            raise ValueError(f"method must be one of 'linear', 'unify', 'conformal', got {method!r}")
        both = np.stack([1 - outlier, outlier], axis=1)
        return (both, self._confidence(scores, self._labels(scores))) if return_confidence else both

    def predict_confidence(self, X: Any) -> Floats:
        """How sure it is that other training rows would give the same label: `(N, M) -> (N,)`, in [0, 1]."""
        scores = self.decision_function(X)
        return self._confidence(scores, self._labels(scores))

    def predict_with_rejection(
        self,
        X: Any,
        T: float = 32,
        return_stats: bool = False,
        delta: float = 0.1,
        c_fp: float = 1,
        c_fn: float = 1,
        c_r: float = -1,
    ) -> Any:
        """The labels, -2 where the confidence is at most 1 - 2 exp(-T): `(N, M) -> (N,)`.

        Args:
            X: rows.
            T: the larger, the more are rejected.
            return_stats: whether `compute_rejection_stats` is returned too, in a pair.
            delta: see there.
            c_fp: see there.
            c_fn: see there.
            c_r: see there.
        """
        scores = self.decision_function(X)
        labels = self._labels(scores)
        sure = self._confidence(scores, labels)
        doubt = np.where(labels == 0, 1 - sure, sure)
        self.rejection_threshold_ = 1 - 2 * math.exp(-T)
        labels[2 * np.abs(doubt - 0.5) <= self.rejection_threshold_] = REJECTED
        if not return_stats:
            return labels
        return labels, list(self.compute_rejection_stats(T, delta, c_fp, c_fn, c_r))

    def compute_rejection_stats(
        self, T: float = 32, delta: float = 0.1, c_fp: float = 1, c_fn: float = 1, c_r: float = -1
    ) -> tuple[float, float, float]:
        """The expected share of rejected rows, a bound of it that holds with probability 1 - delta, and a
        bound of the cost of a row.

        Args:
            T: as in `predict_with_rejection`.
            delta: in (0, 1).
            c_fp: cost of a false positive.
            c_fn: cost of a false negative.
            c_r: cost of a rejection; the contamination where it is negative.

        Raises:
            ValueError: delta is not in (0, 1), or there are fewer than 1 / contamination training rows.
        """
        check_is_fitted(self)
        n, share = len(self.decision_scores_), self.contamination
        outliers = int(n * share)
        if not 0 < delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta!r}")
        if not outliers:
            raise ValueError(f"{n} training rows have no outlier at contamination={share!r}")
        rare = math.exp(-T)
        low, high = beta.ppf(rare, outliers, n - outliers + 1), beta.isf(rare, outliers, n - outliers + 1)
        expected = float(high - low)
        bound = _most_rejected(n, share, T) + 2 * math.sqrt(math.log(2 / delta) / (2 * n))
        of_rejection = share if c_r < 0 else c_r
        cost = min(share, low) * c_fp + min(1 - high, share) * c_fn + expected * of_rejection
        return expected, float(bound), float(cost)

    def fit_predict(self, X: Any, y: Any = None) -> Labels:
        """Fit and return the training rows' labels: `(N, M) -> (N,)`."""
        return self.fit(X).labels_

    def fit_predict_score(
        self, X: Any, y: ArrayLike, scoring: Literal["roc_auc_score", "prc_n_score"] = "roc_auc_score"
    ) -> float:
        """Fit, and compare the training rows' scores with the truth.

        Args:
            X: rows `(N, M)`.
            y: `(N,)` 1 for outliers.
            scoring: "roc_auc_score", the area under the ROC curve, or "prc_n_score", the precision among as
                many rows as there are outliers.

        Raises:
            ValueError: there is no such scoring.
        """
        if scoring not in ("roc_auc_score", "prc_n_score"):
            raise ValueError(f"scoring must be 'roc_auc_score' or 'prc_n_score', got {scoring!r}")
        scores, truth = self.fit(X).decision_scores_, np.asarray(y)
        if scoring == "roc_auc_score":
            return float(roc_auc_score(truth, scores))
        worst = scores > np.percentile(scores, 100 * (1 - np.count_nonzero(truth) / len(truth)))
        return float(precision_score(truth, worst.astype(truth.dtype), zero_division=0))

    def _labels(self, scores: Floats) -> Labels:
        return (scores > self.threshold_).astype(np.int64)

    @usual_settings()
    def _confidence(self, scores: Floats, labels: Labels) -> Floats:
        n = len(self.decision_scores_)
        above = np.searchsorted(np.sort(self.decision_scores_), scores, side="right")
        outlier = 1 - binom.cdf(n - int(n * self.contamination), n, (1 + above) / (2 + n))
        sure: Floats = np.where(labels == 0, 1 - outlier, outlier)
        return sure


def as_pyod(detector: Detector, contamination: float = 0.1) -> PyODAdapter:
    """A detector with PyOD's interface; of a fitted one it answers at once.

    Args:
        detector: an upland detector. A fitted one has no training rows any more, and the threshold is set by
            the scores of the rows that were held out to calibrate it.
        contamination: PyOD's share of training rows above the threshold.

    Raises:
        TypeError: it is no detector of upland.
        ValueError: of a fitted detector: contamination is not in (0, 0.5].

    Examples:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> adapter = upland.as_pyod(upland.EnergyDetector(random_state=0, epochs=5)).fit(rows)
        >>> int(adapter.labels_.sum())
        10
    """
    check_detector(detector, "as_pyod")
    _register()
    adapter = PyODAdapter(detector, contamination)
    if detector.__sklearn_is_fitted__():
        adapter._take(copy.copy(detector), detector.calibration_.scores)
    return adapter


def _register() -> None:
    """Make adapters instances of PyOD's `BaseDetector` where the program has imported it."""
    module = sys.modules.get("pyod.models.base")
    if module is not None:
        module.BaseDetector.register(PyODAdapter)


def _check_contamination(contamination: Any) -> None:
    if not (isinstance(contamination, int | float | np.floating) and 0 < contamination <= 0.5):
        raise ValueError(f"contamination must be in (0, 0.5], got {contamination!r}")


def _one_a_row(scores: Floats) -> Floats:
    if scores.ndim != 1:
        text = f"PyOD takes one score a row, and these are {scores.shape}: fit with "
        raise ValueError(Advice(text, Argument("per", "sequence")))
    return scores


@usual_settings()
def _between(reference: Floats, scores: Floats) -> Floats:
    """0 at the least score of the reference, 1 at the largest."""
    low, high = reference.min(), reference.max()
    found: Floats = np.clip((scores - low) / (high - low if high > low else 1.0), 0, 1)
    return found


@usual_settings()
def _unified(reference: Floats, scores: Floats) -> Floats:
    """Kriegel, Kröger, Schubert, Zimek, SDM 2011: the error function of standard scores, 0 below the mean."""
    deviation = reference.std() or 1.0
    found: Floats = erf((scores - reference.mean()) / (deviation * math.sqrt(2))).clip(0, 1)
    return found


def _most_rejected(n: int, share: float, T: float) -> float:
    """A bound of the share of rejected rows, but for what the draw of the rows adds (theorem 3.5)."""
    right = (n + 1 - share * (n + 2)) / n + T * (n + 2) / math.sqrt(2 * n**3 * T)
    inside = 2 * n * (-3 * share**2 - 2 * n * (1 - share) ** 2 + 4 * share - 3) + T * (n + 2) ** 2 - 8
    root = math.sqrt(0.5 * n**5 * inside) / n**4 if inside > 0 else math.inf
    left = (2 + n * (1 - share) * (n + 1)) / n**2 - root
    return min(1.0, right) - max(0.0, left)
