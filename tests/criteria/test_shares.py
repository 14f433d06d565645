"""Shares sum to the score that the user sees, and stand where the scores stand, for every modality."""

import numpy as np
import pytest
import torch

import upland
from normals import numbers

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")


def smooth(count=12, steps=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, steps, 2)).cumsum(axis=1)


def patches(count=30, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 5, 6), dtype=np.uint8)


COMMON = {"hidden": (8,), "epochs": 2, "calibration": "split", "random_state": 0, "progress": False}
UNITS = {
    "row": (upland.EnergyDetector, numbers, {}),
    "image": (upland.ImageEnergyDetector, patches, {}),
    "sequence": (upland.SequenceEnergyDetector, smooth, {"frame": 3}),
    "step": (upland.SequenceEnergyDetector, smooth, {"frame": 3, "per": "step"}),
}
CRITERIA = {
    "row": ["auto", "reconstruction"],
    "image": ["auto", "reconstruction"],
    "sequence": ["auto", "score_test", "max_channel", "reconstruction"],
    "step": ["auto", "score_test", "max_channel", "reconstruction"],
}


def fitted(unit, **options):
    kind, data, own = UNITS[unit]
    return kind(**COMMON | own | options).fit(data())


def sums(shares, unit):
    if unit == "sequence":
        return np.array([share.sum() for share in shares])
    return shares.sum(axis=-1) if unit in ("row", "step") else shares.sum(axis=(1, 2, 3))


@pytest.mark.parametrize("calibration", ["split", "cross"])
@pytest.mark.parametrize("unit", UNITS)
def test_shares_sum_to_the_anomaly_score_of_the_criterion_that_holds_now(unit, calibration):
    new, detector = UNITS[unit][1](seed=1), fitted(unit, calibration=calibration)
    for criterion in CRITERIA[unit]:
        detector.set_params(criterion=criterion)
        found = sums(upland.explain(detector, new).shares, unit)
        np.testing.assert_allclose(found, detector.anomaly_score(new), rtol=1e-6, err_msg=criterion)


@pytest.mark.parametrize("unit", UNITS)
def test_shares_under_the_energy_sum_to_the_reconstruction_score(unit):
    new, detector = UNITS[unit][1](seed=1), fitted(unit, criterion="energy")
    found = sums(upland.explain(detector, new).shares, unit)
    detector.set_params(criterion="reconstruction")
    np.testing.assert_allclose(found, detector.anomaly_score(new), rtol=1e-6)


def test_shares_of_the_steps_of_an_array_stand_as_their_scores_do():
    new = smooth(4, seed=1)
    new[1, 12:] = np.nan
    detector = fitted("step")
    found, scores = upland.explain(detector, new), detector.anomaly_score(new)
    assert found.shares.shape == found.values.shape == found.expected.shape == (4, 20, 2)
    assert scores.shape == (4, 20)
    np.testing.assert_allclose(found.shares.sum(axis=2), scores, rtol=1e-6)
    assert np.isnan(found.shares[1, 12:]).all()
    np.testing.assert_array_equal(found.values[0].astype(float), new[0])
    alone = upland.explain(detector, [new[2]])
    np.testing.assert_allclose(found.shares[2], alone.shares, rtol=1e-6)
    top = found.top(1)
    assert [len(steps) for steps in top] == [20] * 4
    assert top[1][12:] == [[]] * 8
    assert top[2][5][0].share == pytest.approx(alone.top(1)[5][0].share)
    assert len(found.to_frame()) == 80


@pytest.mark.skipif(not torch.cuda.is_available(), reason="takes a GPU")
@pytest.mark.parametrize("unit", ["sequence", "step"])
def test_shares_of_a_model_on_a_gpu_sum_to_the_score_too(unit):
    new, detector = smooth(seed=1), fitted(unit, criterion="score_test", device="cuda")
    found = sums(upland.explain(detector, new).shares, unit)
    np.testing.assert_allclose(found, detector.anomaly_score(new), rtol=1e-4)
