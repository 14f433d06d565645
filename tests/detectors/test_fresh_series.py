"""Renewed calibrations of series, and what a fault that is calmer than normal looks like."""

import copy
import warnings

import numpy as np
import pytest

import upland
from normals import small

SERIES = np.random.default_rng(0).normal(size=(1200, 2)).cumsum(axis=0) * 0.05
SERIES = np.sin(SERIES) + 0.1 * np.random.default_rng(1).normal(size=SERIES.shape)


@pytest.fixture(scope="module")
def fitted():
    return small(upland.SequenceEnergyDetector, epochs=1, window=20).fit(SERIES)


@pytest.fixture
def detector(fitted):
    return copy.copy(fitted)


def test_one_fresh_series_calibrates_sequences_by_its_windows(detector):
    detector.calibrate(SERIES[:600])
    assert detector.calibrations_["sequence"].size == 30
    assert detector.calibrations_["step"].size == 600
    cut = list(SERIES[:600].reshape(30, 20, 2))
    scores = detector.calibrations_["sequence"].scores
    np.testing.assert_allclose(np.sort(scores), np.sort(detector.anomaly_score(cut)), rtol=1e-7)


@pytest.mark.parametrize("kind", [upland.SequenceEnergyDetector, upland.SequenceFlowDetector])
def test_a_calibration_warns_of_what_the_fit_scores_alone(kind):
    detector = small(kind, epochs=1, window=20).fit(SERIES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # three sequences are few, sixty steps are not
        detector.calibrate(SERIES[:60])
    assert detector.calibrations_["sequence"].smallest_p > detector.alpha_
    with pytest.warns(UserWarning, match="p-values are coarse: with 10 calibration steps"):
        detector.calibrate(SERIES[:10])


def wandering(steps, seed):
    """Three channels that wander about zero, each by itself."""
    rng, x = np.random.default_rng(seed), np.zeros((steps, 3))
    for t in range(1, steps):
        x[t] = 0.8 * x[t - 1] + rng.normal(size=3)
    return x


@pytest.fixture(scope="module")
def stuck():
    return small(upland.SequenceEnergyDetector, hidden=(16,), epochs=15, frame="auto").fit(wandering(1500, 0))


@pytest.mark.parametrize(("criterion", "finds"), [("score_test", True), ("max_channel", False)])
def test_the_score_test_finds_a_stuck_sensor_that_the_largest_residual_passes(stuck, criterion, finds):
    detector = copy.copy(stuck).set_params(criterion=criterion).calibrate(wandering(1500, 5))
    series = wandering(600, 2)
    series[300:, 1] = 0.0
    p = detector.p_values(series)
    assert np.median(p[100:300]) > 0.05
    assert (np.median(p[450:]) <= 0.05) == finds
    assert finds or np.median(p[450:]) > 0.3
