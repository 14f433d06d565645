"""What is no detector is refused by what it is, and what the message advises to give instead is taken."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.ensemble import IsolationForest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import upland
from normals import numbers, quick

ROWS = numbers(120)

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")


class Wrapper(BaseEstimator):
    """A user's own estimator around a detector."""

    def __init__(self, inner=None):
        self.inner = inner


def searched():
    scores = {"scoring": lambda fitted, rows, _=None: -float(np.mean(fitted.anomaly_score(rows)))}
    return GridSearchCV(quick(), {"epochs": [1]}, cv=2, **scores).fit(ROWS)


HOLDERS = {
    "adapter": (lambda: upland.as_pyod(quick()).fit(ROWS), "PyODAdapter", ".detector_"),
    "adapter of a fitted one": (lambda: upland.as_pyod(quick().fit(ROWS)), "PyODAdapter", ".detector_"),
    "pipeline": (lambda: make_pipeline(StandardScaler(), quick()).fit(ROWS), "Pipeline", "[-1]"),
    "pipeline of an adapter": (
        lambda: make_pipeline(StandardScaler(), upland.as_pyod(quick())).fit(ROWS),
        "Pipeline",
        "[-1].detector_",
    ),
    "search": (searched, "GridSearchCV", ".best_estimator_"),
    "wrapper": (lambda: Wrapper(quick().fit(ROWS)), "Wrapper", ".inner"),
}
OTHERS = {
    "None": (None, "None"),
    "text": ("model.safetensors", "a str"),
    "frame": (pd.DataFrame(ROWS), "a DataFrame"),
    "module": (torch.nn.Linear(2, 1), "a Linear"),
    "another library's": (IsolationForest(), "an IsolationForest"),
    "pipeline without": (make_pipeline(StandardScaler()), "a Pipeline"),
    "a class of another library": (IsolationForest, "the class IsolationForest"),
    "member": (vars, "a builtin_function_or_method"),
}


@pytest.fixture
def functions(tmp_path):
    return {
        "save": lambda it: upland.save(it, tmp_path / "m"),
        "explain": lambda it: upland.explain(it, ROWS),
        "as_pyod": lambda it: upland.as_pyod(it).predict(ROWS),
    }


@pytest.mark.parametrize("function", ["save", "explain", "as_pyod"])
@pytest.mark.parametrize("holder", HOLDERS)
def test_the_detector_in_it_is_named_and_taken(holder, function, functions):
    make, name, place = HOLDERS[holder]
    thing = make()
    with pytest.raises(TypeError, match=re.escape(f"not a {name}: give its {place}")):
        functions[function](thing)
    functions[function](eval(f"thing{place}", {"thing": thing}))  # as the message advises


@pytest.mark.parametrize("function", ["save", "explain", "as_pyod"])
@pytest.mark.parametrize("other", OTHERS)
def test_what_holds_no_detector_is_named(other, function, functions, tmp_path):
    thing, name = OTHERS[other]
    with pytest.raises(
        TypeError, match=re.escape(f"{function} takes a detector of upland, not {name}") + "$"
    ):
        functions[function](thing)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["save", "explain", "as_pyod"])
def test_a_class_is_to_be_fitted(function, functions):
    with pytest.raises(TypeError, match=r"not the class EnergyDetector: .* EnergyDetector\(\)\.fit\(X\)"):
        functions[function](upland.EnergyDetector)
    functions[function](quick().fit(ROWS))
