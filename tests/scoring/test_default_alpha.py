"""The model's own alpha: every way of scoring goes by it where none is given, and it lasts."""

import json
import warnings

import mlflow
import numpy as np
import pandas as pd
import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from normals import COMMON, numbers, quick
from scorers import NAMES, file_of, frame_of, modality
from serving import Client
from upland.calibration.conformal import size_for
from upland.export.onnx import alpha_in, to_onnx
from upland.io.modelfile import read_tensors

pytestmark = pytest.mark.filterwarnings("ignore:Operation with range")  # MLflow's, of pandas 4
ALPHA = 0.2


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The files of all detectors, each with an alpha of its own."""
    folder = tmp_path_factory.mktemp("alphas")
    for name in NAMES:
        upland.save(upland.load(file_of(name)).set_alpha(ALPHA), folder / f"{NAMES.index(name)}.safetensors")
    return lambda name: folder / f"{NAMES.index(name)}.safetensors"


def data_of(name):
    if name in EXAMPLES:
        return EXAMPLES[name].new
    if name in ("SequenceEnergyDetector of an array", "SequenceEnergyDetector of the steps of an array"):
        return np.random.default_rng(3).normal(size=(20, 6, 2)).cumsum(axis=1)
    return frame_of(name).drop(columns=["note", "lot"])


@pytest.mark.parametrize("name", NAMES)
def test_a_reloaded_detector_flags_by_it(name, stored):
    detector, X = upland.load(stored(name)), data_of(name)
    assert detector.alpha_ == ALPHA == detector.info()["alpha"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = detector.p_values(X)
        assert np.array_equal(detector.flag(X), p <= ALPHA)
        assert np.array_equal(detector.flag(X), detector.flag(X, ALPHA))
        assert np.array_equal(detector.flag(X, control="fdr"), detector.flag(X, ALPHA, "fdr"))


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_without_one_flags_at_005_and_its_file_says_nothing(name, stored):
    assert upland.load(file_of(name)).alpha_ == 0.05
    assert "alpha" not in read_tensors(file_of(name))[1]
    assert read_tensors(stored(name))[1]["alpha"] == ALPHA


@pytest.mark.parametrize("name", [name for name in NAMES if modality(name) == "table"])
def test_a_scorer_and_a_server_flag_by_it(name, stored, tmp_path):
    rows, path = frame_of(name).drop(columns=["note", "lot"]), stored(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = upland.load(path).flag(rows)
        scorer = upland.Scorer(path)
        assert scorer.alpha == ALPHA
        assert np.array_equal(scorer(rows)["is_anomaly"], expected)
        reply = Client(path).post("/score", rows.to_dict("records"))
        assert reply.column("is_anomaly") == expected.tolist()
        assert reply.document["alpha"] == ALPHA
    assert Client(path).get("/models").document["models"][0]["alpha"] == ALPHA
    assert Client(path, alpha=0.5).post("/score", rows.to_dict("records")).document["alpha"] == 0.5


def test_a_graph_and_mlflow_flag_by_it(stored, tmp_path):
    path, rows = stored(EXPERTS), EXAMPLES[EXPERTS].new
    assert alpha_in(to_onnx(path)) == ALPHA
    assert alpha_in(to_onnx(path, alpha=0.3)) == 0.3
    upland.mlflow.save_model(path, tmp_path / "logged")
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "logged"))
    expected = upland.load(path).flag(rows)
    assert np.array_equal(loaded.predict(rows)["is_anomaly"], expected)
    params = json.loads(loaded.metadata.signature.to_dict()["params"])
    assert {param["name"]: param["default"] for param in params}["alpha"] == ALPHA


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_it_lasts_through_calibrate_and_refine_and_ends_with_a_fit(calibration):
    rows = numbers(300)
    detector = upland.EnergyDetector(calibration=calibration, random_state=0, progress=False).fit(rows)
    detector.set_alpha(0.1)
    assert detector.calibrate(numbers(200, seed=5)).alpha_ == 0.1
    assert detector.offset_ == -detector.calibration_.threshold(0.1)
    odd = numbers(12, seed=6) + np.r_[np.full(6, 9.0), np.zeros(6)][:, None]
    assert detector.refine(odd, [1] * 6 + [0] * 6).alpha_ == 0.1
    assert detector.offset_ == -detector.calibration_.threshold(0.1)
    assert detector.fit(rows).alpha_ == 0.05


def test_predict_goes_by_it_where_contamination_is_auto_and_not_where_it_is_a_share():
    rows, new = numbers(600), numbers(400, seed=2)
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    for alpha in (0.01, 0.1, 0.3):
        assert np.array_equal(detector.set_alpha(alpha).predict(new) == -1, detector.flag(new))
    share = upland.EnergyDetector(contamination=0.1, random_state=0, progress=False).fit(rows)
    before = share.offset_
    assert share.set_alpha(0.3).offset_ == before


def test_verdicts_on_groups_keep_their_own_rate(stored):
    rows = EXAMPLES[EXPERTS].new
    groups = np.arange(len(rows)) % 3
    detector = upland.load(stored(EXPERTS))
    usual = upland.load(file_of(EXPERTS))
    found, expected = (one.score_groups(rows, groups) for one in (detector, usual))
    assert found.flag.tolist() == expected.flag.tolist()
    assert upland.Scorer(stored(EXPERTS), groups="lot").alpha == 0.05


@pytest.mark.parametrize("alpha", [0, 1, -0.1, None, "a", float("nan"), True])
def test_what_is_no_rate_is_refused(alpha):
    detector = quick().fit(numbers(100))
    if alpha is None:
        detector.check_alpha()
        return
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        detector.set_alpha(alpha)
    assert detector.alpha_ == 0.05


def test_one_that_the_calibration_cannot_resolve_is_warned_of():
    detector = quick(calibration="split").fit(numbers(100))
    with pytest.warns(UserWarning, match=r"cannot resolve alpha = 0\.001: .* at least 999 rows"):
        detector.set_alpha(0.001)


@pytest.mark.parametrize("value", ["0.1", 0, 1.0, 2.0, None, [0.1]])
def test_a_file_with_a_value_that_is_no_rate_is_refused(value, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    detector = quick().fit(numbers(100)).set_alpha(0.1)
    monkeypatch.setattr(detector, "alpha_", value)
    upland.save(detector, path)
    with pytest.raises(Exception, match="alpha cannot be"):
        upland.load(path)


def test_a_counterfactual_goes_by_it():
    rows = pd.DataFrame(numbers(600), columns=["a", "b", "c", "d"][: numbers(1).shape[1]])
    detector = upland.EnergyDetector(**COMMON).fit(rows)
    new = rows.iloc[:80]
    at = upland.explain(detector.set_alpha(0.3), new, "counterfactual")
    given = upland.explain(detector.set_alpha(0.05), new, "counterfactual", alpha=0.3)
    assert np.array_equal(at.found, given.found)
    assert sum(map(len, at.changes)) == sum(map(len, given.changes)) > 0


def test_a_level_however_small_is_a_level():
    assert size_for(1e-310) > 10**309
    rows = np.random.default_rng(0).normal(size=(200, 2))
    detector = upland.EnergyDetector(**COMMON).fit(rows)
    with pytest.warns(UserWarning, match="cannot resolve alpha = 1e-310"):
        assert not detector.flag(rows, alpha=1e-310).any()


@pytest.mark.parametrize(
    "alpha", [*(1 / n for n in (2, 3, 10, 49, 100, 1000, 9999)), 0.05, 0.003, 0.3, 0.9, 1e-9]
)
def test_the_calibration_that_a_level_takes_is_the_least_that_resolves_it(alpha):
    n = size_for(alpha)
    assert 1 / (n + 1) <= alpha
    assert n == 1 or 1 / n > alpha
