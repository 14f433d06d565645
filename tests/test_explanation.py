"""Which column, time step or pixel a score comes from: shares that sum to it, the planted fault on top."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

import upland
from estimators import EXAMPLES
from normals import CONTAINERS, mixed, numbers, quick

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")


@pytest.fixture(scope="module", params=["split", "cross", "experts"])
def fitted(request):
    if request.param == "experts":
        return quick(energy="experts").fit(mixed(300))
    return quick(hidden=(32, 32), epochs=40, learning_rate=1e-2, calibration=request.param).fit(mixed(300))


NEW = mixed(50, seed=1)


def test_shares_sum_to_the_score(fitted):
    found = upland.explain(fitted, NEW)
    assert found.shares.shape == (50, 5)
    assert (found.shares >= 0).all()
    np.testing.assert_allclose(found.shares.sum(axis=1), fitted.anomaly_score(NEW), rtol=1e-9)


def test_the_energy_criterion_is_explained_by_its_gradient():
    one, two = (quick(criterion=name).fit(mixed()) for name in ("reconstruction", "energy"))
    np.testing.assert_array_equal(upland.explain(one, NEW).shares, upland.explain(two, NEW).shares)


PLANTED = {
    "flow": lambda rows: rows.assign(flow=200.0),
    "pressure": lambda rows: rows.assign(pressure=-150.0),
    "valve": lambda rows: rows.assign(valve="melted"),
    "steps": lambda rows: rows.assign(steps=400),
}


@pytest.mark.parametrize("column", PLANTED)
def test_a_planted_column_is_on_top(column, fitted):
    """Of two columns that depend on each other both contribute to the slope, so either may come first."""
    pair = {"flow", "pressure"}
    first = [row[0].column for row in upland.explain(fitted, PLANTED[column](NEW)).top(1)]
    assert sum(name in (pair if column in pair else {column}) for name in first) >= 48, first


@pytest.mark.parametrize("options", [{"epochs": 20}, {"energy": "experts"}], ids=["nets", "experts"])
@pytest.mark.parametrize("place", range(4))
def test_of_independent_columns_the_planted_one_is_always_on_top(place, options):
    detector = quick(**options).fit(numbers(200))
    rows = numbers(40, seed=1)
    rows[:, place] = 12.0
    assert {reasons[0].column for reasons in upland.explain(detector, rows).top(1)} == {f"x{place}"}


def test_a_categorical_column_is_one_share(fitted):
    assert upland.explain(fitted, NEW).columns == ("flow", "pressure", "valve", "running", "steps")
    assert fitted.encoder_.width > 5


def test_top_is_sorted_and_says_what_was_there_and_what_was_expected(fitted):
    rows = PLANTED["flow"](NEW)
    found = upland.explain(fitted, rows)
    for row, reasons in enumerate(found.top(3)):
        assert len(reasons) == 3
        shares = [reason.share for reason in reasons]
        assert shares == sorted(shares, reverse=True)
        assert reasons[0].share == found.shares[row].max()
        assert reasons[0].part == pytest.approx(found.shares[row].max() / found.shares[row].sum())
        for reason in reasons:
            assert reason.value == rows[reason.column].iloc[row]


def test_expected_values_are_of_the_columns_kind(fitted):
    found = upland.explain(fitted, NEW)
    expected = pd.DataFrame(found.expected, columns=found.columns)
    assert expected["valve"].isin(["open", "shut", "half"]).all()
    assert expected["flow"].map(np.isfinite).all()
    assert set(expected["running"]) <= {True, False}


def test_the_expected_value_of_a_broken_column_is_nearer_to_normal(fitted):
    broken = NEW.assign(pressure=NEW["pressure"] + 12)
    found = upland.explain(fitted, broken)
    place = found.columns.index("pressure")
    away = np.abs(found.expected[:, place].astype(float) - NEW["pressure"])
    assert away.median() < 12


@pytest.mark.parametrize(("k", "length"), [(1, 1), (2, 2), (5, 5), (50, 5)])
def test_top_gives_as_many_as_there_are(k, length, fitted):
    assert {len(reasons) for reasons in upland.explain(fitted, NEW).top(k)} == {length}


def test_to_frame(fitted):
    found = upland.explain(fitted, NEW)
    frame = found.to_frame()
    assert frame.columns.tolist() == list(found.columns)
    np.testing.assert_array_equal(frame.to_numpy(), found.shares)


@pytest.mark.parametrize("container", ["pandas", "polars", "arrow", "record batch"])
def test_any_container(container, fitted, tmp_path):
    found = upland.explain(fitted, CONTAINERS[container](NEW, tmp_path))
    np.testing.assert_array_equal(found.shares, upland.explain(fitted, NEW).shares)
    assert found.values[0, 2] == NEW["valve"].iloc[0]


def test_arrays_have_numbered_columns():
    found = upland.explain(quick().fit(numbers()), numbers(3, seed=1))
    assert found.columns == ("x0", "x1", "x2", "x3")
    assert found.values.dtype == object


@pytest.mark.filterwarnings("ignore:missing values")
def test_a_missing_cell_is_explained(fitted):
    rows = NEW.assign(flow=np.nan)
    reasons = {reason.column: reason for reason in upland.explain(fitted, rows).top(2)[0]}
    assert "flow" in reasons, "pressure depends on flow and may contribute too, but no other column"
    assert np.isnan(reasons["flow"].value)


def test_ignored_columns_have_no_share():
    detector = quick(ignore=["flow"]).fit(mixed())
    assert "flow" not in upland.explain(detector, NEW).columns


def test_a_row_at_rest_has_parts_that_are_numbers():
    with pytest.warns(UserWarning, match="same anomaly score"):
        detector = quick().fit(np.ones((100, 2)))
    reasons = upland.explain(detector, np.ones((1, 2))).top()[0]
    assert all(np.isfinite(reason.part) for reason in reasons)


def test_nothing_without_a_fit():
    with pytest.raises(NotFittedError):
        upland.explain(quick(), NEW)


def test_a_file_is_explained_as_its_rows_are(fitted, tmp_path):
    path = tmp_path / "new.csv"
    NEW.to_csv(path, index=False)
    np.testing.assert_allclose(
        upland.explain(fitted, path).shares, upland.explain(fitted, NEW).shares, rtol=1e-9
    )


# -- sequences and images ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_sequences():
    """What whole sequences are explained by, with a fault in the load of machine "a" at time 14."""
    example = EXAMPLES["SequenceEnergyDetector"]
    new = example.new.copy()
    new.loc[(new["machine"] == "a") & (new["time"] == 14), "load"] = 25.0
    detector = example.fit(per="sequence", criterion="reconstruction", epochs=5)
    return detector, new, upland.explain(detector, new)


def test_a_sequence_has_a_share_for_each_channel_and_each_step(of_sequences):
    detector, new, found = of_sequences
    scores = detector.anomaly_score(new)
    assert found.columns == ("wave", "load", "mode")
    np.testing.assert_allclose(found.channels().sum(axis=1), scores, rtol=1e-6)
    np.testing.assert_allclose([steps.sum() for steps in found.steps()], scores, rtol=1e-6)
    assert [steps.shape for steps in found.steps()] == [(30,), (30,)]


def test_a_fault_in_a_sequence_is_on_top_with_its_time_and_value(of_sequences):
    _, _, found = of_sequences
    broken, normal = found.top(5)
    assert broken[0].column == "load at 14"
    assert broken[0].value == 25.0
    assert abs(broken[0].expected) < 25
    assert [reason.share for reason in broken] == sorted((r.share for r in broken), reverse=True)
    assert broken[0].share == found.shares[0].max()
    assert broken[0].part == pytest.approx(found.shares[0].max() / found.shares[0].sum())
    assert len(normal) == 5


def test_a_fault_in_an_image_is_on_top_with_its_place_and_pixel():
    example = EXAMPLES["ImageEnergyDetector"]
    new = example.new.copy()
    new[3, 5, 2] = 255
    detector = example.fit(filters=(), hidden=(32,), epochs=20)
    found = upland.explain(detector, new)
    assert found.values.shape == found.expected.shape == found.shares.shape == (10, 8, 8, 1)
    np.testing.assert_allclose(found.heat().sum(axis=(1, 2)), detector.anomaly_score(new), rtol=1e-6)
    first = found.top(2)[3][0]
    assert first.column == "row 5, column 2"
    assert first.value == 255
    assert first.expected < 255
    assert first.share == found.heat()[3].max()
    assert first.part == pytest.approx(first.share / found.heat()[3].sum())


@pytest.mark.parametrize("given", [{"k": 2}, {"alpha": 0.01}, {"fixed": ["flow"]}])
def test_what_only_a_counterfactual_takes_is_refused_with_shares(given, fitted):
    with pytest.raises(ValueError, match="k, alpha and fixed are of how='counterfactual'"):
        upland.explain(fitted, NEW, **given)
