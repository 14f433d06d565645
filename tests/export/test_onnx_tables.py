"""Graphs of tables: every kind of column, every part, every calibration, and cells of every sort."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

import upland
from exported import check, mixed, run, session_of, strange
from upland.models.experts import PARTS

pytestmark = pytest.mark.filterwarnings(
    "ignore:missing values in",
    "ignore:p-values are coarse",
    "ignore:column .*(identifies the rows|dates are left out)",
)
LOADERS = {"wine": load_wine, "cancer": load_breast_cancer, "diabetes": load_diabetes}
BASE = {"random_state": 0, "progress": False, "missing": [-999], "categorical": ["code", "half"]}
FITS = {
    "split": {"calibration": "split"},
    "cross": {"calibration": "cross", "dates": "parts", "speed": "fast", "ignore": ["article", "serial"]},
    "no dates": {"dates": "drop", "categorical": ["known", "running", "article"], "ignore": ["code"]},
    **{
        f"without {name}": {"parts": [part for part in PARTS if part != name], "speed": "fast"}
        for name in PARTS
    },
}


@pytest.mark.parametrize("name", LOADERS)
def test_arrays(name):
    X = LOADERS[name]().data
    far = X + np.random.default_rng(0).normal(size=X.shape) * X.std(axis=0)
    check(upland.EnergyDetector(random_state=0, progress=False).fit(X), np.concatenate([X, far]))


@pytest.mark.parametrize("name", FITS)
def test_mixed_tables(name):
    normal = mixed(520, 0)
    detector = upland.EnergyDetector(**BASE | FITS[name]).fit(normal)
    check(detector, pd.concat([normal, strange(300, 1)], ignore_index=True), off=0.005)


@pytest.fixture(scope="module")
def detector():
    return upland.EnergyDetector(**BASE | {"speed": "fast"}).fit(mixed(520, 0))


@pytest.fixture(scope="module")
def session(detector):
    return session_of(detector)


def test_a_score_depends_on_its_row_alone(session):
    rows = strange(1100, 2)
    together = run(session, rows)
    for some in (slice(0, 1), slice(0, 2), slice(5, 22), slice(400, 1000)):
        alone = run(session, rows.iloc[some])
        np.testing.assert_allclose(alone[0], together[0][some], rtol=1e-7)
        assert (alone[1] == together[1][some]).all()


def test_no_rows(session):
    assert [found.shape for found in run(session, mixed(5, 0).iloc[:0])] == [(0,)] * 3


@pytest.mark.parametrize("cell", [np.inf, -np.inf])
@pytest.mark.parametrize("column", ["flow", "fixed", "when"])
def test_where_upland_refuses_a_row_there_is_no_number_and_a_flag(session, column, cell):
    rows = mixed(4, 3)
    before = run(session, rows)
    given = np.full(4, 11.0)
    given[2] = cell
    scores, p, flags = run(session, rows, **{column: given})
    assert np.isnan(scores).tolist() == np.isnan(p).tolist() == [False, False, True, False]
    assert flags[2]
    changed = run(session, rows, **{column: np.where(np.isinf(given), 11.0, given)})
    for found, wanted in zip((scores, p, flags), changed, strict=True):
        others = [0, 1, 3]
        np.testing.assert_allclose(found[others], wanted[others], rtol=1e-7)
    assert not np.isnan(before[0]).any()


def test_upland_refuses_that_row(detector):
    with pytest.raises(ValueError, match="infinity"):
        detector.assess(mixed(4, 3).assign(flow=np.inf))


def test_inputs_are_named_by_their_columns_unless_an_output_is(session):
    names = {given.name: given.type for given in session.get_inputs()}
    assert "anomaly_score_" in names
    assert "anomaly_score" not in names
    assert names["flow"] == "tensor(double)"
    assert names["valve"] == "tensor(string)"
    assert names["serial"] == "tensor(int64)"


def test_refined_models():
    rng = np.random.default_rng(0)
    normal, bad = rng.normal(size=(700, 5)), rng.normal(size=(12, 5)) + 3 * np.eye(5)[0]
    detector = upland.EnergyDetector(random_state=0, progress=False, calibration="split").fit(normal)
    detector.refine(np.concatenate([bad, normal[:30]]), np.repeat([1, 0], [12, 30]))
    assert detector.members_[0].refinement is not None
    assert detector.members_[0].model.tilt is not None or detector.members_[0].model.part_weights is not None
    check(detector, np.concatenate([normal, bad, rng.normal(size=(200, 5)) * 3]), off=0.003)


def test_rows_of_the_calibration_tie_with_themselves():
    rows = np.random.default_rng(0).integers(0, 4, size=(600, 3)).astype(float)  # 64 distinct rows
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows)
    assert np.isin(detector.anomaly_score(rows), detector.calibration_.scores).mean() > 0.8
    check(detector, rows)
