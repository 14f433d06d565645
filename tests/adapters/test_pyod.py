"""PyOD's interface: its attributes, its labels, its sign."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from normals import mixed, numbers, quick
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


def test_probabilities_are_p_values_and_nothing_invented(fitted):
    chances = fitted.predict_proba(NEW)
    np.testing.assert_array_equal(chances[:, 0], fitted.detector_.p_values(NEW))
    np.testing.assert_allclose(chances.sum(axis=1), 1)


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


@pytest.mark.parametrize("method", ["predict", "decision_function", "predict_proba"])
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
