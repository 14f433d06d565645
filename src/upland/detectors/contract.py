"""scikit-learn's interface of a detector: higher = more normal, +1 for inliers and -1 for outliers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin

from upland.calibration.conformal import Floats


class OutlierContract(OutlierMixin, BaseEstimator, ABC):
    """What scikit-learn asks of an outlier detector, from anomaly scores and an offset: abstract."""

    _is_fitted = False

    @abstractmethod
    def anomaly_score(self, X: Any) -> Floats:
        """How anomalous data are: `(N, M) -> (N,)`, higher = more anomalous."""

    @abstractmethod
    def scores_and_offset(self, X: Any) -> tuple[Floats, float]:
        """The anomaly scores, and what `decision_function` subtracts for such data, in the units and the
        sign of `score_samples`.
        """

    def score_samples(self, X: Any) -> Floats:
        """The anomaly score with scikit-learn's sign, higher = more normal: `(N, M) -> (N,)`."""
        return _higher_is_normal(self.anomaly_score(X))

    def decision_function(self, X: Any) -> Floats:
        """`score_samples - offset_`, negative for outliers: `(N, M) -> (N,)`."""
        scores, offset = self.scores_and_offset(X)
        return _higher_is_normal(scores) - offset

    def predict(self, X: Any) -> NDArray[np.int64]:
        """+1 for inliers, -1 for outliers: `(N, M) -> (N,)`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def _higher_is_normal(anomaly_score: Floats) -> Floats:
    return -anomaly_score
