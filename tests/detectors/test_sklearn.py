"""scikit-learn's contract, whole, and its tools around a detector."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from normals import fitted, mixed, numbers, quick
from upland import EnergyDetector, FlowDetector, VAEDetector

NEEDS_A_SWITCH = {"check_array_api_input"}
"""Checks that scikit-learn itself leaves out unless the environment says SCIPY_ARRAY_API."""

QUICK = (EnergyDetector(), FlowDetector(layers=1, epochs=2), VAEDetector(hidden=(8,), epochs=2))
UNTOUCHED = (FlowDetector(), VAEDetector())
"""With their defaults the flow and the VAE take minutes: `pytest -m slow`."""


def checks(detectors, *marks):
    for made in detectors:
        for number, (estimator, check) in enumerate(estimator_checks_generator(made)):
            name = check.func.__name__
            if name not in NEEDS_A_SWITCH:
                case = f"{type(made).__name__}-{number}-{name.removeprefix('check_')}"
                yield pytest.param(estimator, check, id=case, marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks(QUICK)))
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks(UNTOUCHED, pytest.mark.slow)))
def test_check_estimator_with_untouched_defaults(estimator, check):
    check(estimator)


def test_the_defaults_are_untouched():
    assert all(made.get_params() == type(made)().get_params() for made in (QUICK[0], *UNTOUCHED))


@pytest.mark.parametrize("made", QUICK, ids=lambda made: type(made).__name__)
def test_the_important_checks_are_among_them(made):
    names = {check.func.__name__ for _, check in estimator_checks_generator(made)}
    assert len(names) > 40
    assert names >= {
        *("check_outliers_train", "check_outliers_fit_predict", "check_methods_subset_invariance"),
        *("check_methods_sample_order_invariance", "check_fit_idempotent", "check_dict_unchanged"),
        *("check_estimators_dtypes", "check_n_features_in_after_fitting", "check_estimators_pickle"),
    }


# -- what the allow_nan tag leaves out -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fit", "predict", "score_samples", "decision_function", "fit_predict"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(method, value):
    rows = numbers()
    wrong = rows.copy()
    wrong[3, 2] = value
    detector = quick() if method.startswith("fit") else fitted()
    with pytest.raises(ValueError, match=r"x2.*inf|inf.*x2"):
        getattr(detector, method)(wrong)


@pytest.mark.parametrize("method", ["predict", "score_samples", "decision_function"])
def test_missing_values_are_accepted_and_are_normal_where_they_were(method):
    rows, new = numbers(200), numbers(200, seed=1)
    rows[::4, 2] = new[::4, 2] = np.nan
    detector = quick(epochs=20).fit(rows)
    results = getattr(detector, method)(new)
    there, missing = np.delete(results, np.s_[::4]), results[::4]
    assert there.min() <= np.median(missing) <= there.max()
    assert (detector.predict(new)[::4] == -1).mean() < 0.4


@pytest.mark.filterwarnings("ignore:missing values")
def test_missing_values_that_are_news_are_strange():
    detector, rows = fitted(), np.zeros((2, 4))
    rows[1, 2] = np.nan
    scores = detector.anomaly_score(rows)
    assert scores[1] > scores[0]


# -- the contract in words -----------------------------------------------------------------------------------


def test_signs_and_offsets():
    rows, detector = numbers(), fitted()
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
    assert search.best_score_ > 0.9
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
        fitted().predict(numbers()[:, :3])
