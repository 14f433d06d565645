"""Flags at the rate asked for, calibration renewed, scikit-learn's offset, and what `info` says."""

import json
import warnings

import numpy as np
import pytest
import torch

import normals
import upland
from normals import as_parquet, mixed, numbers, quick, with_criterion
from upland.calibration.false_discovery import benjamini_hochberg
from upland.detectors.fitting import held_out_rows

METHODS = ["split", "cross"]
CRITERIA = ["experts", "multiscale", "reconstruction", "energy"]


@pytest.fixture(params=[(m, c) for m in METHODS for c in CRITERIA], ids="-".join)
def fitted(request):
    method, criterion = request.param
    return normals.fitted(calibration=method, **with_criterion(criterion))


NEW = numbers(700, seed=3) * 2


# -- flags ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_flags_are_p_values_cut(fitted, alpha):
    p = fitted.p_values(NEW)
    assert (p <= 1).all()
    assert (p >= fitted.calibration_.smallest_p).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(fitted.flag(NEW, alpha), p <= alpha)
        np.testing.assert_array_equal(fitted.flag(NEW, alpha, "fdr"), benjamini_hochberg(p, alpha))


def test_assess_is_both_at_once(fitted):
    scores, p = fitted.assess(NEW)
    np.testing.assert_array_equal(scores, fitted.anomaly_score(NEW))
    np.testing.assert_array_equal(p, fitted.p_values(NEW))


def test_p_values_fall_with_the_score_in_a_split():
    scores, p = normals.fitted().assess(NEW)
    assert (np.diff(p[np.argsort(scores)]) <= 0).all()


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, "a", True, float("nan")])
def test_an_alpha_that_is_no_rate_is_refused(fitted, alpha):
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        fitted.flag(NEW, alpha)


def test_an_unknown_control_is_refused(fitted):
    with pytest.raises(ValueError, match="control must be 'false_alarm' or 'fdr', got 'fwer'"):
        fitted.flag(NEW, control="fwer")


def test_an_alpha_too_fine_for_the_calibration_warns_and_flags_nothing():
    detector = quick().fit(numbers(150))
    with pytest.warns(
        UserWarning, match=r"30 calibration rows cannot resolve alpha = 0.01.*at least 99 rows"
    ):
        assert not detector.flag(NEW * 100, alpha=0.01).any()


@pytest.mark.parametrize("n", [18, 19])
def test_the_warning_begins_where_the_p_values_end(n):
    detector = normals.fitted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector.calibrate(numbers(n, seed=8))
    assert bool(caught) == (n == 18)


# -- calibration renewed -------------------------------------------------------------------------------------


def test_calibrate_takes_the_place_of_the_held_out_rows(fitted):
    fresh, detector = numbers(200, seed=9) + 1, fitted
    scores = detector.anomaly_score(NEW)
    assert detector.calibrate(fresh) is detector
    assert detector.calibration_.method == "split"
    assert detector.calibration_.size == 200
    np.testing.assert_array_equal(detector.anomaly_score(NEW), scores)
    np.testing.assert_array_equal(detector.calibration_.scores, detector.anomaly_score(fresh))
    np.testing.assert_array_equal(
        detector.p_values(NEW), upland.conformal_p_values(detector.anomaly_score(fresh), scores)
    )
    np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.flag(NEW))


def test_calibrate_from_a_file(tmp_path):
    detector = quick().fit(mixed())
    detector.calibrate(as_parquet(mixed(50, seed=5), tmp_path))
    assert detector.calibration_.size == 50


def test_auto_splits_only_many_rows():
    assert quick(calibration="auto", epochs=1).fit(numbers(499, 1)).calibration_.method == "cross"
    assert quick(calibration="auto", epochs=1).fit(numbers(500, 1)).calibration_.method == "split"


@pytest.mark.parametrize("model", ["multiscale", "experts"])
@pytest.mark.parametrize("method", METHODS)
def test_held_out_rows_are_seen_by_no_one(method, model):
    """Calibration rows changed beyond recognition leave every member as it was."""
    rows, detector = numbers(), normals.fitted(calibration=method, energy=model)
    folds = held_out_rows(len(rows), method, detector.plan_.stream("folds"))
    assert sum(len(fold) for fold in folds) == detector.calibration_.size
    changed = rows.copy()
    changed[folds[0]] = 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the changed rows are all alike
        other = quick(calibration=method, energy=model).fit(changed)
    for name, value in detector.models_[0].state_dict().items():
        assert torch.equal(value, other.models_[0].state_dict()[name]), name
    assert detector.encoder_.to_state()[0] == other.encoder_.to_state()[0]
    assert detector.members_[0].sigma == other.members_[0].sigma
    assert detector.history_[0]["validation"] == other.history_[0]["validation"]


# -- scikit-learn's offset -----------------------------------------------------------------------------------


def test_offset_auto_flags_as_alpha_does():
    detector = normals.fitted()
    np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.flag(NEW, 0.05))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_contamination_is_a_quantile_of_the_training_scores(share):
    rows = numbers(200)
    detector = quick(contamination=share).fit(rows)
    assert detector.offset_ == pytest.approx(np.quantile(detector.score_samples(rows), share))
    assert (detector.predict(rows) == -1).mean() == pytest.approx(share, abs=0.01)
    np.testing.assert_array_equal(detector.flag(NEW), quick().fit(rows).flag(NEW))


def test_contamination_of_a_file(tmp_path):
    path = as_parquet(mixed(200), tmp_path)
    assert quick(contamination=0.2).fit(path).offset_ == quick(contamination=0.2).fit(mixed(200)).offset_


def test_calibrate_leaves_a_numeric_offset():
    detector = quick(contamination=0.2).fit(numbers())
    offset = detector.offset_
    assert detector.calibrate(numbers(80, seed=7) * 3).offset_ == offset


# -- the criterion belongs to the calibration ----------------------------------------------------------------


def test_a_criterion_changed_after_the_fit_is_not_compared_with_the_other():
    detector = normals.fitted(criterion="reconstruction").set_params(criterion="energy")
    expected = normals.fitted(criterion="energy")
    np.testing.assert_array_equal(detector.anomaly_score(NEW), expected.anomaly_score(NEW))
    for method in (detector.p_values, detector.flag, detector.predict, detector.decision_function):
        with pytest.raises(ValueError, match=r"calibrated for criterion='reconstruction', but now.*'energy'"):
            method(NEW)
    with pytest.raises(ValueError, match="calibrated for"):
        detector.info()
    fresh = numbers(60, seed=5)
    np.testing.assert_array_equal(
        detector.calibrate(fresh).p_values(NEW), expected.calibrate(fresh).p_values(NEW)
    )


def test_nor_is_a_numeric_offset():
    detector = quick(contamination=0.1, criterion="reconstruction").fit(numbers())
    with pytest.raises(ValueError, match="calibrated for"):
        detector.set_params(criterion="energy").calibrate(numbers())


# -- info ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"energy": "experts", "parts": ("distance",)},
        {"calibration": "cross"},
        {"random_state": np.random.RandomState(0)},
        {"random_state": None, "hidden": np.array([8, 4])},
        {"noise": np.float32(0.5), "batch_size": np.int64(32), "learning_rate": np.float64(1e-3)},
        {"model": lambda width: torch.nn.Linear(width, 1), "objective": "denoising"},
    ],
    ids=["plain", "experts", "cross", "random state", "no seed", "numpy numbers", "own module"],
)
def test_info_is_plain_data(options):
    info = quick(**options).fit(mixed()).info()
    assert json.loads(json.dumps(info, allow_nan=False)) == info
    assert info["detector"] == "EnergyDetector"
    assert [column["name"] for column in info["columns"]] == list(mixed().columns)
    assert info["versions"]["upland"] == upland.__version__


def test_info_says_what_is_guaranteed(fitted):
    found = fitted.info()["calibration"]
    assert found["rows"] == (24 if fitted.calibration == "split" else 120)
    assert found["smallest_p"] == 1 / (found["rows"] + 1)
    assert ("2 alpha" in found["guarantee"]) == (fitted.calibration == "cross")
