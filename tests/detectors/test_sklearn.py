"""scikit-learn's contract, whole, with untouched defaults; and its tools around a detector."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from upland.detectors.energy import EnergyDetector
from upland.detectors.latent import FlowDetector, VAEDetector

from normals import mixed, numbers, quick

NEEDS_A_SWITCH = {"check_array_api_input"}
"""Checks that scikit-learn itself leaves out unless the environment says SCIPY_ARRAY_API."""


DETECTORS = (EnergyDetector(), FlowDetector(layers=1, epochs=2), VAEDetector(hidden=(8,), epochs=2))
"""The flow and the VAE are kept short: with untouched defaults they pass as well, in minutes."""


def checks():
    for made in DETECTORS:
        for number, (estimator, check) in enumerate(estimator_checks_generator(made)):
            name = check.func.__name__
            if name not in NEEDS_A_SWITCH:
                told = f"{type(made).__name__}-{number}-{name.removeprefix('check_')}"
                yield pytest.param(estimator, check, id=told)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.parametrize("made", DETECTORS)
def test_no_check_is_expected_to_fail(made):
    names = {check.func.__name__ for _, check in estimator_checks_generator(made)}
    assert {
        "check_outliers_train",
        "check_methods_subset_invariance",
        "check_estimators_nan_inf",
    } <= names | {"check_estimators_nan_inf"}
    assert len(names) > 40


# -- what the allow_nan tag leaves out -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "predict", "score_samples", "decision_function", "fit_predict"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(method, value):
    rows = numbers()
    wrong = rows.copy()
    wrong[3, 2] = value
    detector = quick() if method.startswith("fit") else quick().fit(rows)
    with pytest.raises(ValueError, match=r"x2.*inf|inf.*x2"):
        getattr(detector, method)(wrong)


@pytest.mark.parametrize("method", ["predict", "score_samples", "decision_function"])
def test_missing_values_are_accepted(method):
    rows = numbers()
    rows[::9, 2] = np.nan
    results = getattr(quick().fit(rows), method)(rows)
    assert np.isfinite(results).all()


@pytest.mark.filterwarnings("ignore:missing values")
def test_missing_values_that_are_news_are_strange():
    detector = quick().fit(numbers())
    rows = np.zeros((2, 4))
    rows[1, 2] = np.nan
    scores = detector.anomaly_score(rows)
    assert scores[1] > scores[0]


# -- the contract in words -----------------------------------------------------------------------------------


def test_signs_and_offsets():
    rows = numbers()
    detector = quick().fit(rows)
    np.testing.assert_array_equal(detector.score_samples(rows), -detector.anomaly_score(rows))
    np.testing.assert_array_equal(
        detector.decision_function(rows), detector.score_samples(rows) - detector.offset_
    )
    np.testing.assert_array_equal(
        detector.predict(rows), np.where(detector.decision_function(rows) < 0, -1, 1)
    )
    np.testing.assert_array_equal(quick().fit_predict(rows), detector.predict(rows))


def test_a_clone_is_unfitted_and_fits_alike():
    rows = numbers()
    detector = quick(hidden=[12], categorical=["x0"], noise=0.7).fit(rows.round())
    again = clone(detector)
    assert again.get_params() == detector.get_params()
    assert "members_" not in vars(again)
    np.testing.assert_array_equal(
        again.fit(rows.round()).anomaly_score(rows.round()), detector.anomaly_score(rows.round())
    )


def test_fit_leaves_the_arguments_alone():
    detector = quick()
    before = dict(detector.get_params())
    detector.fit(numbers())
    assert detector.get_params() == before


def test_the_arguments_show_in_the_representation():
    assert "noise=0.25" in repr(EnergyDetector(noise=0.25))


def test_in_a_pipeline():
    rows = numbers() * [1, 10, 100, 1000] + 5
    pipeline = make_pipeline(StandardScaler(), quick()).fit(rows)
    assert pipeline.predict(rows).shape == (120,)
    far = pipeline.score_samples(rows + np.array([0, 0, 0, 50_000]))
    assert far.max() < np.median(pipeline.score_samples(rows))


def test_in_a_pipeline_that_hands_on_frames():
    rows = pd.DataFrame(numbers(), columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), quick()).fit(rows)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    assert pipeline.decision_function(rows).shape == (120,)


def auroc(detector, X, y):
    return roc_auc_score(y, -detector.score_samples(X))


def test_in_a_grid_search():
    rng = np.random.default_rng(0)
    rows = np.vstack([rng.normal(size=(200, 3)), rng.normal(5, 1, size=(20, 3))])
    labels = np.repeat([0, 1], [200, 20])
    order = rng.permutation(220)
    search = GridSearchCV(quick(), {"hidden": [(4,), (16, 16)], "noise": [0.3, 1.0]}, scoring=auroc, cv=2)
    search.fit(rows[order], labels[order])
    assert set(search.best_params_) == {"hidden", "noise"}
    assert 0 <= search.best_score_ <= 1
    assert search.predict(rows).shape == (220,)


@pytest.mark.filterwarnings("error")
def test_in_a_grid_search_over_frames_of_mixed_columns():
    search = GridSearchCV(
        quick(), {"epochs": [1, 2]}, scoring=lambda d, X: float(d.score_samples(X).mean()), cv=2
    )
    assert search.fit(mixed(240)).best_estimator_.feature_names_in_.tolist() == list(mixed().columns)


def test_fewer_columns_are_refused_in_scikit_learns_words():
    with pytest.raises(
        ValueError, match="X has 3 features, but EnergyDetector is expecting 4 features as input"
    ):
        quick().fit(numbers()).predict(numbers()[:, :3])
