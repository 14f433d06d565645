"""A table of bad input for Python: a clear error that names the fault, never a number out of garbage."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import upland


def frame(rows=40, **columns):
    """Normal rows of a pump, with some columns replaced or added."""
    generator = np.random.default_rng(0)
    flow = generator.normal(10, 2, rows)
    pressure = 2 * flow + generator.normal(0, 0.2, rows)
    valve = generator.choice(["open", "shut"], rows)
    return pd.DataFrame({"flow": flow, "pressure": pressure, "valve": valve, **columns})


def detector(**options):
    return upland.EnergyDetector(
        hidden=(8,), epochs=1, calibration="split", random_state=0, progress=False, **options
    )


@pytest.fixture(scope="module")
def fitted():
    return detector().fit(frame(200))


BAD_TO_FIT = {
    "scalar": (3.0, TypeError, "a float is no table"),
    "1-d array": (np.arange(5.0), ValueError, "2D array"),
    "5-d array": (np.zeros((4, 3, 2, 2, 2)), ValueError, "2D array"),
    "no rows": (np.zeros((0, 3)), ValueError, "0 sample"),
    "no columns": (np.zeros((5, 0)), ValueError, "0 feature"),
    "one row": (np.ones((1, 3)), ValueError, "minimum of 2"),
    "empty frame": (frame(0), ValueError, "0 sample"),
    "all missing column": (frame(pressure=np.nan), ValueError, "pressure"),
    "strings in a numeric column": (
        frame(flow=[*["n.a."] * 5, *map(str, np.arange(35) / 8)]),
        ValueError,
        "flow",
    ),
    "infinity": (frame(pressure=[np.inf, *[1.0] * 39]), ValueError, "pressure"),
    "infinity in an array": (np.array([[1.0, 2.0], [np.inf, 3.0], [1.0, 0.0]]), ValueError, "x0"),
    "complex": (np.ones((5, 2), dtype=complex), ValueError, "omplex"),
    "a label column left in": (frame(label=["normal", "attack"] * 20), ValueError, "label"),
    "free text": (frame(300, note=[f"seen by {n}" for n in range(300)]), ValueError, "note"),
    "lists in cells": (frame(trace=[[1, 2]] * 40), TypeError, "trace"),
    "duplicate names": (frame().set_axis(["a", "a", "b"], axis=1), ValueError, "'a'"),
    "mixed names": (frame().set_axis(["a", 1, "b"], axis=1), TypeError, "names"),
    "ragged lists": ([[1.0, 2.0], [3.0]], ValueError, "length"),
    "text": ("normal.docx", FileNotFoundError, "normal.docx: there is no such file"),
    "missing file": ("absent.csv", FileNotFoundError, "absent.csv"),
    "None": (None, (TypeError, ValueError), "array|table|None"),
}


@pytest.mark.parametrize("case", BAD_TO_FIT)
def test_fit_refuses(case):
    data, error, words = BAD_TO_FIT[case]
    with pytest.raises(error, match=words):
        detector().fit(data)


BAD_TO_SCORE = {
    "missing column": (frame().drop(columns="flow"), ValueError, "missing column.*'flow'"),
    "renamed column": (frame().rename(columns={"flow": "Flow"}), ValueError, "'flow'"),
    "retyped column": (frame(flow="low"), ValueError, "flow"),
    "dates for numbers": (frame(flow=datetime.datetime(2026, 1, 1)), ValueError, "flow"),
    "numbers for categories": (frame(valve=0.5), ValueError, "valve"),
    "infinity": (frame(pressure=-np.inf), ValueError, "pressure"),
    "no rows": (frame(0), ValueError, "0 sample"),
    "other number of columns": (np.ones((5, 2)), ValueError, "expecting 3"),
    "5-d array": (np.zeros((4, 3, 2, 2, 2)), ValueError, "2D array"),
}


@pytest.mark.parametrize("method", ["anomaly_score", "p_values", "flag", "predict"])
@pytest.mark.parametrize("case", BAD_TO_SCORE)
def test_scoring_refuses(case, method, fitted):
    data, error, words = BAD_TO_SCORE[case]
    with pytest.raises(error, match=words):
        getattr(fitted, method)(data)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_alpha_lies_between_0_and_1(fitted, alpha):
    with pytest.raises(ValueError, match="alpha"):
        fitted.flag(frame(), alpha=alpha)


def test_an_unknown_control_is_refused(fitted):
    with pytest.raises(ValueError, match="control"):
        fitted.flag(frame(), control="fwer")


def test_every_sort_of_frame_gives_the_same_verdicts(fitted):
    data = frame()
    scores = fitted.anomaly_score(data)
    for same in (
        pa.Table.from_pandas(data),
        pl.DataFrame(data.to_dict("list")),
        data[["valve", "flow", "pressure"]],
    ):
        np.testing.assert_array_equal(fitted.anomaly_score(same), scores)


@pytest.mark.parametrize("rows", [2, 3, 7])
def test_few_rows_and_one_column_are_enough(rows):
    data = np.random.default_rng(0).normal(size=(rows, 1))
    with pytest.warns(UserWarning):
        fitted = upland.EnergyDetector(epochs=2, random_state=0, progress=False).fit(data)
    p = fitted.p_values(data)
    assert np.all((p > 0) & (p <= 1))


def test_an_unseen_level_is_strange_and_no_error(fitted):
    data = frame()
    data.loc[0, "valve"] = "ajar"
    assert np.argmax(fitted.anomaly_score(data)) == 0
