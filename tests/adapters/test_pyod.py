"""PyOD's interface: its attributes, its labels, its sign."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import upland
from normals import mixed, numbers, quick, small, waves
from upland import as_pyod

NEW = np.vstack([numbers(40, seed=1), np.full((5, 4), 15.0)])


@pytest.fixture(scope="module")
def fitted():
    return as_pyod(quick(epochs=20), contamination=0.1).fit(numbers(200))


def test_attributes_are_pyods(fitted):
    rows = numbers(200)
    np.testing.assert_array_equal(fitted.decision_scores_, fitted.decision_function(rows))
    assert fitted.labels_.tolist() == (fitted.decision_scores_ > fitted.threshold_).astype(int).tolist()
    assert fitted.labels_.mean() == pytest.approx(0.1, abs=0.01)
    assert fitted.contamination == 0.1


def test_scores_are_higher_for_outliers_and_labels_are_0_and_1(fitted):
    scores, labels = fitted.decision_function(NEW), fitted.predict(NEW)
    assert scores[40:].min() > scores[:40].max()
    assert set(labels) == {0, 1}
    assert labels[40:].tolist() == [1] * 5
    assert labels.dtype.kind == "i"


def test_the_scores_are_uplands(fitted):
    np.testing.assert_array_equal(
        fitted.decision_function(NEW), quick(epochs=20).fit(numbers(200)).anomaly_score(NEW)
    )


def test_conformal_probabilities_are_p_values(fitted):
    chances = fitted.predict_proba(NEW, method="conformal")
    np.testing.assert_allclose(chances[:, 0], fitted.detector_.p_values(NEW))
    np.testing.assert_allclose(chances.sum(axis=1), 1)


def test_rescaled_scores_keep_their_order_within_0_and_1(fitted):
    order = np.argsort(fitted.decision_function(NEW))
    for method in ("linear", "unify"):
        outlier = fitted.predict_proba(NEW, method)[:, 1]
        assert (np.diff(outlier[order]) >= 0).all()
        assert outlier.min() >= 0
        assert outlier[40:].tolist() == [1] * 5
    np.testing.assert_array_equal(fitted.predict_proba(NEW), fitted.predict_proba(NEW, "linear"))
    with pytest.raises(ValueError, match="'linear', 'unify', 'conformal'"):
        fitted.predict_proba(NEW, "logistic")


def test_a_confidence_goes_with_labels_and_probabilities(fitted):
    sure = fitted.predict_confidence(NEW)
    labels, with_labels = fitted.predict(NEW, return_confidence=True)
    chances, with_chances = fitted.predict_proba(NEW, return_confidence=True)
    np.testing.assert_array_equal(labels, fitted.predict(NEW))
    np.testing.assert_array_equal(chances, fitted.predict_proba(NEW))
    np.testing.assert_array_equal(with_labels, sure)
    np.testing.assert_array_equal(with_chances, sure)
    assert ((sure >= 0) & (sure <= 1)).all()


def test_what_is_in_doubt_is_rejected(fitted):
    labels, statistics = fitted.predict_with_rejection(NEW, T=5, return_stats=True)
    kept = labels != -2
    assert 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(labels[kept], fitted.predict(NEW)[kept])
    assert statistics == list(fitted.compute_rejection_stats(T=5))
    assert (fitted.predict_with_rejection(NEW, T=50) == -2).sum() >= (~kept).sum()
    with pytest.raises(ValueError, match="delta"):
        fitted.compute_rejection_stats(delta=1)
    with pytest.raises(ValueError, match="no outlier at contamination"):
        as_pyod(quick(), 0.005).fit(numbers()).compute_rejection_stats()


def test_a_contamination_set_after_the_fit_moves_the_threshold():
    adapter = as_pyod(quick()).fit(numbers(200))
    assert adapter.set_params(contamination=0.3) is adapter
    assert adapter.labels_.mean() == adapter.predict(numbers(200)).mean() == pytest.approx(0.3, abs=0.01)
    with pytest.raises(ValueError, match="contamination"):
        adapter.set_params(contamination=0.7)
    assert as_pyod(quick()).set_params(contamination=0.2).get_params()["contamination"] == 0.2
    assert adapter.set_params(detector__epochs=3).get_params()["detector__epochs"] == 3


@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_fitted_detector_answers_at_once(calibration):
    detector = quick(calibration=calibration).fit(numbers(200))
    adapter = as_pyod(detector, 0.25)
    np.testing.assert_array_equal(adapter.decision_function(NEW), detector.anomaly_score(NEW))
    np.testing.assert_array_equal(adapter.decision_scores_, detector.calibration_.scores)
    assert adapter.labels_.mean() == pytest.approx(0.25, abs=0.02)
    assert adapter.predict(NEW)[40:].tolist() == [1] * 5
    before = adapter.decision_function(NEW)
    detector.fit(numbers(150, seed=3))
    np.testing.assert_array_equal(adapter.decision_function(NEW), before)
    again = adapter.fit(numbers(200))  # on the rows themselves
    assert len(again.decision_scores_) == 200
    with pytest.raises(ValueError, match="contamination"):
        as_pyod(detector, 0.9)


@pytest.mark.filterwarnings("ignore:p-values are coarse")
def test_scores_of_steps_in_an_array_are_refused():
    adapter = as_pyod(small(upland.SequenceEnergyDetector, per="step"))
    with pytest.raises(ValueError, match="fit with per='sequence'"):
        adapter.fit(waves())
    fitted = adapter.set_params(detector__per="sequence").fit(waves())  # as the message advises
    assert fitted.decision_function(waves(5, seed=1)).shape == (5,)


def test_the_area_and_the_precision():
    rows, truth = np.vstack([numbers(200), NEW[40:]]), np.repeat([0, 1], [200, 5])
    adapter = as_pyod(quick(epochs=20))
    assert adapter.fit_predict_score(rows, truth) > 0.95
    assert 0 <= adapter.fit_predict_score(rows, truth, scoring="prc_n_score") <= 1
    with pytest.raises(ValueError, match="scoring"):
        adapter.fit_predict_score(rows, truth, scoring="accuracy")


def test_copies_answer_alike(fitted):
    expected = fitted.predict(NEW)
    for other in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.predict(NEW), expected)
    with pytest.raises(NotFittedError):
        clone(as_pyod(fitted.detector_)).predict(NEW)


def test_the_detector_given_is_not_touched():
    detector = quick()
    adapter = as_pyod(detector)
    adapter.fit(numbers(), y=np.zeros(120))
    assert "members_" not in vars(detector)
    assert adapter.detector is detector


def test_fit_predict(fitted):
    again = clone(fitted)
    np.testing.assert_array_equal(again.fit_predict(numbers(200)), fitted.labels_)


def test_frames_are_taken_too():
    assert as_pyod(quick()).fit(mixed()).predict(mixed(9, seed=1)).shape == (9,)


@pytest.mark.parametrize("contamination", [0, 0.6, -1.0])
def test_a_contamination_that_makes_no_sense_is_refused(contamination):
    with pytest.raises(ValueError, match="contamination"):
        as_pyod(quick(), contamination).fit(numbers())


@pytest.mark.parametrize(
    "method",
    ["predict", "decision_function", "predict_proba", "predict_confidence", "predict_with_rejection"],
)
def test_nothing_without_a_fit(method):
    with pytest.raises(NotFittedError):
        getattr(as_pyod(quick()), method)(NEW)


@pytest.mark.filterwarnings("ignore")
def test_pyods_tools_take_it(fitted):
    utility = pytest.importorskip("pyod.utils.utility", reason="PyOD is not installed: pip install pyod")
    truth = np.repeat([0, 1], [40, 5])
    assert utility.get_label_n(truth, fitted.decision_function(NEW)).tolist() == truth.tolist()
    assert utility.precision_n_scores(truth, fitted.decision_function(NEW)) == 1.0
    train, new = utility.standardizer(
        fitted.decision_scores_[:, None], fitted.decision_function(NEW)[:, None]
    )
    assert train.mean() == pytest.approx(0, abs=1e-9)
    assert new[40:].min() > new[:40].max()


@pytest.mark.filterwarnings("ignore")
def test_a_pyod_ensemble_takes_it():
    lscp = pytest.importorskip("pyod.models.lscp", reason="PyOD is not installed: pip install pyod")
    members = [as_pyod(quick(hidden=(8,), random_state=seed)) for seed in (0, 1)]
    ensemble = lscp.LSCP(members, local_region_size=20, random_state=0).fit(numbers(200))
    assert ensemble.decision_function(NEW).shape == (45,)


@pytest.fixture(scope="module")
def peer(fitted):
    """PyOD's own base class on the same scores."""
    base = pytest.importorskip("pyod.models.base", reason="PyOD is not installed: pip install pyod")

    class Peer(base.BaseDetector):
        def __init__(self, contamination=0.1):
            super().__init__(contamination=contamination)

        def fit(self, X, y=None):
            self._set_n_classes(y)
            self.decision_scores_ = fitted.decision_scores_
            self._process_decision_scores()
            return self

        def decision_function(self, X):
            return fitted.decision_function(X)

    return Peer().fit(numbers(200))


CALLS = {
    "predict": {},
    "predict with confidence": {"return_confidence": True},
    "predict_proba": {},
    "predict_proba linear": {"method": "linear"},
    "predict_proba unify": {"method": "unify", "return_confidence": True},
    "predict_confidence": {},
    "predict_with_rejection": {},
    "predict_with_rejection of T": {"T": 5, "return_stats": True, "delta": 0.2, "c_fp": 2, "c_r": 0.3},
}


@pytest.mark.filterwarnings("ignore:The cost of rejection")
@pytest.mark.parametrize("call", CALLS)
def test_numbers_are_pyods(call, fitted, peer):
    method = call.split(" ")[0]
    found, expected = (getattr(it, method)(NEW, **CALLS[call]) for it in (fitted, peer))
    if not isinstance(expected, tuple):
        found, expected = (found,), (expected,)
    for here, there in zip(found, expected, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # PyOD's, of a small T
@pytest.mark.parametrize(("T", "rounding"), [(1, 1e-7), (5, 1e-7), (20, 1e-7), (32, 1e-4)])
@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.5])
def test_statistics_of_rejection_are_pyods(T, rounding, contamination, fitted, peer):
    """PyOD seeks a root of 1 - exp(-T), which loses digits where T is large."""
    adapter, other = copy.deepcopy(fitted).set_params(contamination=contamination), copy.copy(peer)
    other.contamination = contamination
    found, expected = adapter.compute_rejection_stats(T), other.compute_rejection_stats(T)
    np.testing.assert_allclose(found, expected, rtol=rounding, atol=1e-9)


def test_nothing_of_pyods_base_class_lacks(fitted, peer):
    base = type(peer).__bases__[0]
    assert [name for name in dir(base) if not name.startswith("_") and name not in dir(fitted)] == []
    assert isinstance(as_pyod(quick()), base)
    assert [name for name in vars(peer) if not name.startswith("_") and name not in vars(fitted)] == []
