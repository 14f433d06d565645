"""PyOD's interface of a detector: labels 0 and 1, higher scores for outliers, and PyOD's names of attributes.

PyOD itself is not needed: its tools (combination, thresholding, wrappers) use these names.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from upland.calibration.conformal import Floats
from upland.detectors.base import Detector


class PyODAdapter(BaseEstimator):
    """A detector with PyOD's interface.

    Args:
        detector: an upland detector; `fit` fits a copy of it.
        contamination: the share of the training rows that lie above `threshold_`, in (0, 0.5].

    Attributes:
        decision_scores_: `(N,)` anomaly scores of the training rows, higher = worse.
        threshold_: the score above which a row is an outlier.
        labels_: `(N,)` 0 for inliers, 1 for outliers among the training rows.
    """

    def __init__(self, detector: Detector, contamination: float = 0.1) -> None:
        self.detector = detector
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit a copy of the detector on rows `(N, M)`; y is ignored.

        Raises:
            ValueError: contamination is not in (0, 0.5], or a column is not as it must be.
        """
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be in (0, 0.5], got {self.contamination!r}")
        self.detector_ = clone(self.detector).fit(X)
        self.decision_scores_ = self.detector_.anomaly_score(X)
        self.threshold_ = float(np.percentile(self.decision_scores_, 100 * (1 - self.contamination)))
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Anomaly scores, higher = worse: `(N, M) -> (N,)`."""
        check_is_fitted(self, "detector_")
        scores: Floats = self.detector_.anomaly_score(X)
        return scores

    def predict(self, X: Any) -> NDArray[np.int64]:
        """0 for inliers, 1 for outliers: `(N, M) -> (N,)`."""
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def predict_proba(self, X: Any) -> Floats:
        """`(N, 2)`: the conformal p-value of the row, and 1 minus it; no rescaled score is called a
        probability.
        """
        check_is_fitted(self, "detector_")
        p = self.detector_.p_values(X)
        return np.stack([p, 1 - p], axis=1)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:
        """Fit and return the training rows' labels: `(N, M) -> (N,)`."""
        labels: NDArray[np.int64] = self.fit(X).labels_
        return labels


def as_pyod(detector: Detector, contamination: float = 0.1) -> PyODAdapter:
    """A detector with PyOD's interface.

    Args:
        detector: an upland detector, not yet fitted.
        contamination: PyOD's share of training rows above the threshold.

    Examples:
        >>> import numpy as np, upland
        >>> rows = np.random.default_rng(0).normal(size=(100, 2))
        >>> adapter = upland.as_pyod(upland.EnergyDetector(random_state=0, epochs=5)).fit(rows)
        >>> int(adapter.labels_.sum())
        10
    """
    return PyODAdapter(detector, contamination)
