"""What Prometheus is given: requests, scores, p-values, flags, and whether the flag rate drifts."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from upland.serve.models import Served

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TENTHS = np.arange(1, 11) / 10
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
"""Shares of the calibration scores that bound the classes of the histogram of scores."""

MEMORY = 10_000
"""Rows, about, that the running flag rate remembers."""

Floats = NDArray[np.float64]


class Counts:
    """Numbers in classes, as a cumulative histogram has them.

    Args:
        bounds: the largest value of each class; one more class holds what is above them.
    """

    def __init__(self, bounds: Floats) -> None:
        self.bounds = np.unique(bounds[np.isfinite(bounds)])
        self.counts = np.zeros(len(self.bounds) + 1, dtype=np.int64)
        self.total = 0.0

    def add(self, values: Floats) -> None:
        """Count values; an infinite one is not part of the sum."""
        places = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.total += float(values[np.isfinite(values)].sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Bounds as text, and how many values are at most that."""
        texts = [*(f"{bound:.6g}" for bound in self.bounds), "+Inf"]
        return list(zip(texts, np.cumsum(self.counts).astype(float).tolist(), strict=True))


class FlagRate:
    r"""A running flag rate over about the last `MEMORY` rows, and how far it is from alpha.

    Row i of the past has the weight `gamma^i`. If rows are normal and independent, the rate has the mean
    alpha and the variance `alpha (1 - alpha) (sum w^2 / (sum w)^2 + 1 / (m + 2))`: the first part is
    binomial, the second comes of the m calibration rows, by which a threshold is not exact.

    Args:
        alpha: the false-alarm rate.
        calibration: rows that calibrate.
    """

    def __init__(self, alpha: float, calibration: int) -> None:
        self._alpha, self._calibration = alpha, calibration
        self._weights = self._squares = self._flags = 0.0

    def add(self, flags: NDArray[np.bool_]) -> None:
        """Take in rows, in the order in which they came."""
        gamma = 1 - 1 / MEMORY
        ages = np.arange(len(flags))[::-1]
        weights = gamma**ages
        past = gamma ** len(flags)
        self._flags = self._flags * past + float(weights[flags].sum())
        self._weights = self._weights * past + float(weights.sum())
        self._squares = self._squares * past**2 + float((weights**2).sum())

    @property
    def rate(self) -> float:
        """The share of rows flagged; 0 before the first."""
        return self._flags / self._weights if self._weights else 0.0

    @property
    def z(self) -> float:
        """Standard deviations that the rate is above alpha; 0 before the first row."""
        if not self._weights:
            return 0.0
        variance = self._squares / self._weights**2 + 1 / (self._calibration + 2)
        return (self.rate - self._alpha) / math.sqrt(self._alpha * (1 - self._alpha) * variance)


class ModelMetrics:
    """The scores of one model.

    Args:
        served: the model.
    """

    def __init__(self, served: Served) -> None:
        calibration = served.detector.calibrations_[served.unit]
        finite = calibration.scores[np.isfinite(calibration.scores)]
        self.alpha = served.alpha
        self.scores = Counts(np.quantile(finite, SHARES) if len(finite) else np.zeros(1))
        self.p_values = Counts(TENTHS)
        self.rate = FlagRate(served.alpha, calibration.size)
        self.flagged = 0
        self.version = served.version

    def add(self, scores: Floats, p_values: Floats) -> None:
        """Count scores and p-values, those behind the end of a sequence left out."""
        there = np.isfinite(p_values)
        scores, p_values = scores[there], p_values[there]
        self.scores.add(scores)
        self.p_values.add(p_values)
        flags = p_values <= self.alpha
        self.flagged += int(flags.sum())
        self.rate.add(flags)


class Metrics:
    """The metrics of one server process.

    Args:
        waiting: how many requests wait.
        series: how many states of series are kept.
    """

    def __init__(self, waiting: Callable[[], float], series: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._lock = threading.Lock()
        self._models: dict[str, ModelMetrics] = {}
        self._requests = Counter(
            "upland_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "upland_request_seconds", "Time to answer.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._together = Histogram(
            "upland_batch_requests", "Requests scored in one call.", buckets=TOGETHER, registry=self.registry
        )
        self.reloads = Counter(
            "upland_reloads", "Changed model files.", ["model", "result"], registry=self.registry
        )
        self.abandoned = Counter(
            "upland_disconnects", "Clients that left before the answer.", registry=self.registry
        )
        Gauge("upland_queue_length", "Requests that wait.", registry=self.registry).set_function(waiting)
        Gauge("upland_series", "States of series that are kept.", registry=self.registry).set_function(series)
        self.registry.register(self)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, served: Served, requests: int, scores: tuple[Floats, Floats]) -> None:
        """Count requests that were scored in one call, and their rows.

        Args:
            served: the model.
            requests: how many.
            scores: anomaly scores and p-values.
        """
        self._together.observe(requests)
        self.scored(served, *scores)

    def scored(self, served: Served, scores: Floats, p_values: Floats) -> None:
        """Count the rows of a request; with another version of the model its histograms begin anew."""
        with self._lock:
            found = self._models.get(served.name)
            if found is None or found.version != served.version:
                found = self._models[served.name] = ModelMetrics(served)
            found.add(np.ravel(scores), np.ravel(p_values))

    def reloaded(self, name: str, fine: bool) -> None:
        """Count a changed model file."""
        self.reloads.labels(name, "loaded" if fine else "refused").inc()

    def collect(self) -> Iterator[Any]:
        """The metrics of models, as Prometheus' client asks for them."""
        rows = CounterMetricFamily("upland_rows", "Rows scored.", labels=["model"])
        flagged = CounterMetricFamily("upland_flagged_rows", "Rows flagged at alpha.", labels=["model"])
        scores = HistogramMetricFamily("upland_anomaly_score", "Anomaly scores.", labels=["model"])
        p_values = HistogramMetricFamily("upland_p_value", "p-values.", labels=["model"])
        rate = GaugeMetricFamily("upland_flag_rate", "Running share of rows flagged.", labels=["model"])
        z = GaugeMetricFamily("upland_flag_rate_z", "Deviations of that from alpha.", labels=["model"])
        alpha = GaugeMetricFamily("upland_alpha", "The false-alarm rate.", labels=["model"])
        info = GaugeMetricFamily("upland_model_info", "What is loaded.", labels=["model", "version"])
        with self._lock:
            for name, found in self._models.items():
                rows.add_metric([name], float(found.p_values.counts.sum()))
                flagged.add_metric([name], found.flagged)
                scores.add_metric([name], found.scores.buckets(), found.scores.total)
                p_values.add_metric([name], found.p_values.buckets(), found.p_values.total)
                rate.add_metric([name], found.rate.rate)
                z.add_metric([name], found.rate.z)
                alpha.add_metric([name], found.alpha)
                info.add_metric([name, found.version], 1)
        yield from (rows, flagged, scores, p_values, rate, z, alpha, info)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
