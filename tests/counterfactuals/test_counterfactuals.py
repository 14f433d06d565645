"""The smallest change that makes a row normal: confirmed by the detector, small, in the user's types."""

import datetime as dt
from dataclasses import FrozenInstanceError
from decimal import Decimal
from itertools import combinations, product

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import NotFittedError

import upland
from estimators import EXAMPLES
from normals import CONTAINERS, as_csv, as_parquet
from upland.counterfactuals.search import AT_ONCE, MOST, Search

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")

PAPER = {"noise": 0.5, "prior": "centre", "n_nets": 1}
COMMON = {"random_state": 0, "progress": False}
DETECTORS = {
    "energy": lambda: upland.EnergyDetector(epochs=10, **COMMON),
    "energy of the paper": lambda: upland.EnergyDetector(epochs=20, **PAPER, **COMMON),
    "energy, cross": lambda: upland.EnergyDetector(epochs=10, calibration="cross", **PAPER, **COMMON),
    "flow": lambda: upland.FlowDetector(epochs=20, **COMMON),
    "vae": lambda: upland.VAEDetector(epochs=20, **COMMON),
    "no kept rows": lambda: upland.EnergyDetector(epochs=20, keep_rows=0, **PAPER, **COMMON),
}


def dependent(count, seed):
    """Three numbers and a category that depend on each other, a count and a cell that may be missing."""
    rng = np.random.default_rng(seed)
    flow = rng.normal(50, 10, count)
    return pd.DataFrame(
        {
            "flow": flow,
            "pressure": flow + rng.normal(0, 1, count),
            "power": 2 * flow + rng.normal(0, 1, count),
            "mode": np.where(flow > 50, "high", "low"),
            "steps": rng.integers(0, 9, count),
            "note": np.where(rng.random(count) < 0.2, np.nan, rng.normal(0, 1, count)),
            "serial": np.arange(count) + 7_000,
        }
    )


NORMAL = dependent(600, 0)


def broken(count=24):
    """New rows, the first half with one broken cell each."""
    rows = dependent(count, 1)
    half = count // 2
    rows.loc[: half - 1, "pressure"] += np.where(np.arange(half) % 2, 15.0, -15.0)
    rows.loc[0, "power"] = 1000.0
    rows.loc[1, "mode"] = "unheard of"
    rows.loc[2, "steps"] = 77
    rows.loc[3, "note"] = 40.0
    return rows


def same(one, other):
    """Whether two cells are equal, or both missing."""
    return one == other or (one != one and other != other)


@pytest.fixture(scope="module", params=DETECTORS)
def found(request):
    detector = DETECTORS[request.param]().set_params(ignore=["serial"]).fit(NORMAL)
    rows = broken()
    return detector, rows, upland.explain(detector, rows, "counterfactual")


@pytest.fixture(scope="module")
def paper():
    return DETECTORS["energy of the paper"]().set_params(ignore=["serial"]).fit(NORMAL)


# -- laws over detectors -------------------------------------------------------------------------------------


def test_what_is_found_is_confirmed_by_the_detector(found):
    detector, rows, made = found
    np.testing.assert_array_equal(detector.p_values(made.table) > 0.05, made.found)
    np.testing.assert_array_equal(made.p_before, detector.p_values(rows))
    np.testing.assert_allclose(made.p_after, detector.p_values(made.table))
    anomalous = made.p_before <= 0.05
    assert anomalous.sum() >= 4
    assert made.found[anomalous].mean() >= 0.9


def test_at_most_k_columns_differ_and_those_that_are_named(found):
    detector, rows, _ = found
    for k in (1, 2):
        made = upland.explain(detector, rows, "counterfactual", k=k)
        for row, changes in enumerate(made.changes):
            before, after = rows.iloc[row], made.table.iloc[row]
            differs = [column for column in rows if not same(before[column], after[column])]
            assert sorted(differs) == sorted(change.column for change in changes)
            assert len(differs) <= k
            for change in changes:
                assert same(change.proposed, after[change.column])
                assert same(change.value, before[change.column])


def test_normal_rows_are_left_as_they_are(found):
    _, rows, made = found
    normal = made.p_before > 0.05
    assert normal.any()
    pd.testing.assert_frame_equal(made.table[normal], rows[normal])
    assert made.found[normal].all()
    np.testing.assert_array_equal(made.p_after[normal], made.p_before[normal])
    np.testing.assert_array_equal(made.distance[normal], 0)
    assert not any(changes for changes, ok in zip(made.changes, normal, strict=True) if ok)


def test_types_and_untouched_columns_are_kept(found):
    _, rows, made = found
    assert made.table.dtypes.tolist() == rows.dtypes.tolist()
    pd.testing.assert_series_equal(made.table["serial"], rows["serial"])
    pd.testing.assert_index_equal(made.table.index, rows.index)


def test_values_are_such_as_the_normal_rows_have(found):
    detector, _, made = found
    for change in (change for changes in made.changes for change in changes):
        if change.column == "mode":
            assert change.proposed in ("high", "low")
        else:
            center, scale = NORMAL[change.column].mean(), 2.1 * NORMAL[change.column].std()
            low, high = center - scale, center + scale  # where no rows are kept
            if detector.members_[0].standard is not None:
                low, high = NORMAL[change.column].min(), NORMAL[change.column].max()
            assert low <= change.proposed <= high
            if change.column == "steps":
                assert isinstance(change.proposed, int)


def test_a_row_is_treated_by_itself(found):
    detector, rows, made = found
    order = np.random.default_rng(3).permutation(len(rows))
    again = upland.explain(detector, rows.iloc[order], "counterfactual")
    few = upland.explain(detector, rows.iloc[3:5], "counterfactual")
    assert repr(few.changes) == repr(made.changes[3:5])
    assert repr([again.changes[place] for place in np.argsort(order)]) == repr(made.changes)


def test_it_is_the_same_on_a_second_call(found):
    detector, rows, made = found
    again = upland.explain(detector, rows, "counterfactual")
    assert repr(again.changes) == repr(made.changes)
    np.testing.assert_array_equal(again.p_after, made.p_after)


def test_fewer_columns_come_first(found):
    """Where one column suffices, a larger k changes nothing."""
    detector, rows, made = found
    one = upland.explain(detector, rows, "counterfactual", k=1)
    for row in np.flatnonzero(one.found):
        assert repr(one.changes[row]) == repr(made.changes[row])


# -- where the change is -------------------------------------------------------------------------------------


def tied(count, seed, noise=0.5):
    """Three columns follow the first so that one broken cell is mended by itself alone."""
    rng = np.random.default_rng(seed)
    x1 = rng.normal(0, 3, count)
    return np.stack([x1, *(x1 + rng.normal(0, noise, count) for _ in range(3))], axis=1)


def test_a_broken_cell_is_restored_near_what_the_others_say():
    """To the edge of what is normal: within four standard deviations of its conditional distribution, N(mean
    of the other three, 0.25 + 0.25 / 3) but for the wide prior.
    """
    detector = upland.EnergyDetector(epochs=20, **COMMON).fit(tied(800, 0))
    broken = tied(20, 1, noise=0.2)
    others = np.delete(broken, 1, 1).mean(axis=1)
    broken[:, 1] += np.where(np.arange(20) % 2, 6.0, -6.0)
    made = upland.explain(detector, broken, "counterfactual")
    assert made.found.all()
    assert [[change.column for change in changes] for changes in made.changes] == [["x1"]] * 20
    assert (np.abs(made.table[:, 1] - others) < 4 * np.sqrt(0.25 + 0.25 / 3)).all()
    np.testing.assert_array_equal(np.delete(made.table, 1, 1), np.delete(broken, 1, 1))


def test_a_column_whose_values_recur_takes_one_of_them():
    """No other: a reading that no normal row has had would be news to a model that counts."""
    rng = np.random.default_rng(0)
    levels = np.sort(rng.choice(np.arange(0, 100, 0.05), 30, replace=False).round(2))
    place = rng.integers(0, 30, 600)
    normal = np.stack([levels[place], place + rng.normal(0, 1, 600), place + rng.normal(0, 1, 600)], axis=1)
    rows = normal[:20].copy()
    rows[:, 0] = levels[(place[:20] + 15) % 30]
    for detector in (upland.EnergyDetector(**COMMON), DETECTORS["energy of the paper"]()):
        made = upland.explain(detector.fit(normal), rows, "counterfactual", fixed=[1, 2])
        changed = np.array([bool(changes) for changes in made.changes])
        assert changed.sum() >= 5
        assert set(made.table[:, 0]) <= set(normal[:, 0])
        assert made.found.mean() >= 0.9


@pytest.mark.parametrize("made", ["energy of the paper", "energy, cross", "flow", "vae", "no kept rows"])
def test_of_one_column_it_is_the_smallest_of_all_values_of_the_grid(made):
    """Every value of every column is scored: there is one that makes the row normal where one is found, and
    none that is nearer to the row by more than a twentieth.
    """
    detector = DETECTORS[made]().fit(tied(600, 0))
    rng = np.random.default_rng(4)
    rows = tied(40, 1) + rng.normal(0, 3, (40, 4)) * (rng.random((40, 4)) < 0.3)
    found = upland.explain(detector, rows, "counterfactual", k=1)
    domains = Search(detector, [np.dtype(float)] * 4, 1, 0.05).domains
    anomalous = np.flatnonzero(found.p_before <= 0.05)
    assert len(anomalous) >= 3
    for number in anomalous:
        tried, distance = [], []
        for column, domain in enumerate(domains):
            grid = domain.path(domain.low, domain.high)
            rows_of = np.repeat(rows[[number]], len(grid), axis=0)
            rows_of[:, column] = grid
            tried.append(rows_of)
            distance.append(np.abs(grid - rows[number, column]) / domain.column.scale)
        normal = detector.p_values(np.concatenate(tried)) > 0.05
        assert normal.any() == found.found[number]
        if normal.any():
            assert found.distance[number] <= 1.05 * np.concatenate(distance)[normal].min()


@pytest.mark.parametrize("made", ["energy of the paper", "vae"])
def test_of_two_columns_it_is_near_the_smallest_of_all_pairs_of_the_grid(made):
    """It is found where a pair exists, has as few columns, and is a quarter larger at most."""
    detector = DETECTORS[made]().fit(np.rint(2 * tied(800, 0)))
    rng = np.random.default_rng(4)
    rows = np.rint(2 * tied(8, 1))
    for row in rows:
        row[rng.choice(4, 2, replace=False)] += rng.choice([-1, 1], 2) * rng.integers(8, 25, 2)
    found = upland.explain(detector, rows, "counterfactual", k=2)
    domains = Search(detector, [np.dtype(float)] * 4, 2, 0.05).domains
    scales = [domain.column.scale for domain in domains]
    assert (found.p_before <= 0.05).sum() >= 6
    for number in np.flatnonzero(found.p_before <= 0.05):
        grids = [
            [*domain.path(domain.low, domain.high), rows[number, place]]
            for place, domain in enumerate(domains)
        ]
        tried = np.array(
            [
                np.where(np.arange(4) == one, value, np.where(np.arange(4) == two, other, rows[number]))
                for one, two in combinations(range(4), 2)
                for value, other in product(grids[one], grids[two])
            ]
        )
        columns = (tried != rows[number]).sum(axis=1)
        normal = detector.p_values(tried) > 0.05
        assert normal.any() == found.found[number]
        if normal.any():
            assert len(found.changes[number]) == columns[normal].min()
            distance = (np.abs(tried - rows[number]) / scales).sum(axis=1)
            least = distance[normal & (columns == columns[normal].min())].min()
            assert least <= found.distance[number] * (1 + 1e-9)
            assert found.distance[number] <= 1.25 * least


def test_two_broken_cells_take_two_columns():
    detector = upland.EnergyDetector(epochs=20, **PAPER, **COMMON).fit(
        np.random.default_rng(0).normal(size=(600, 5))
    )
    rows = np.zeros((4, 5))
    rows[:, 1], rows[:, 3] = 30.0, -40.0
    made = upland.explain(detector, rows, "counterfactual", k=3)
    assert [sorted(change.column for change in changes) for changes in made.changes] == [["x1", "x3"]] * 4
    one = upland.explain(detector, rows, "counterfactual", k=1)
    assert not one.found.any()
    assert [[change.column for change in changes] for changes in one.changes] == [["x3"]] * 4, (
        "the best reached"
    )
    assert (one.p_after <= 0.05).all()


def test_the_change_is_not_larger_than_it_must_be(paper):
    """A step of the grid further back towards the row it is anomalous, or beyond all normal rows."""
    rows = dependent(6, 2).assign(pressure=400.0)
    made = upland.explain(paper, rows, "counterfactual")
    assert [changes[0].column for changes in made.changes] == ["pressure"] * 6
    back = made.table.assign(pressure=made.table["pressure"] + 0.1)
    beyond = back["pressure"] > NORMAL["pressure"].max()
    assert ((paper.p_values(back) <= 0.05) | beyond).all()
    assert beyond.sum() <= 2


def test_distance_is_in_standard_deviations(paper):
    rows = dependent(6, 2).assign(pressure=400.0)
    made = upland.explain(paper, rows, "counterfactual")
    scale = next(c.scale for c in paper.encoder_.schema_.columns if c.name == "pressure")
    np.testing.assert_allclose(made.distance, np.abs(made.table["pressure"] - 400.0) / scale)
    category = upland.explain(paper, dependent(6, 2).assign(mode="other"), "counterfactual", k=1)
    assert set(category.distance[category.p_before <= 0.05]) == {1.0}


def test_fixed_columns_are_not_changed(paper):
    rows = broken()
    made = upland.explain(paper, rows, "counterfactual", fixed=["pressure", "serial"])
    assert sum(map(bool, made.changes)) >= 4
    pd.testing.assert_series_equal(made.table["pressure"], rows["pressure"])
    everything = upland.explain(paper, rows, "counterfactual", fixed=list(rows))
    pd.testing.assert_frame_equal(everything.table, rows)
    np.testing.assert_array_equal(everything.found, everything.p_before > 0.05)


def test_fixed_columns_of_an_array_are_positions():
    detector = upland.EnergyDetector(epochs=5, **PAPER, **COMMON).fit(tied(300, 0))
    made = upland.explain(detector, [[0.0, 9.0, 0.0, 0.0]], "counterfactual", fixed=[1])
    assert "x1" not in {change.column for change in made.changes[0]}


# -- containers and types ------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_any_container(container, paper, tmp_path):
    rows = broken()
    wanted = upland.explain(paper, rows, "counterfactual")
    X = CONTAINERS[container](rows, tmp_path)
    made = upland.explain(paper, X, "counterfactual")
    assert [[c.column for c in changes] for changes in made.changes] == [
        [c.column for c in changes] for changes in wanted.changes
    ]
    expected = {"pandas": pd.DataFrame, "polars": pl.DataFrame}.get(container, pa.Table)
    assert isinstance(made.table, expected)
    np.testing.assert_array_equal(paper.p_values(made.table) > 0.05, made.found)


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_a_file_is_read_whole(write, paper, tmp_path):
    path = write(broken(), tmp_path)
    made = upland.explain(paper, path, "counterfactual")
    assert made.table.column_names == list(NORMAL)
    np.testing.assert_array_equal(made.p_before, paper.p_values(path))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int16"])
def test_an_array_keeps_its_type(dtype):
    normal = np.rint(10 * tied(400, 0)).astype(dtype)
    detector = upland.EnergyDetector(epochs=10, **PAPER, **COMMON).fit(normal)
    rows = np.array([[30, -900, 30, 30], [0, 0, 0, 0]], dtype=dtype)
    made = upland.explain(detector, rows, "counterfactual")
    assert made.table.dtype == dtype
    assert made.found.all()
    assert made.changes[0]
    assert (made.table == np.rint(made.table)).all(), "whole numbers as in the fit"
    np.testing.assert_array_equal(made.table[1], rows[1])


START = pd.Timestamp("2026-01-01")
SPECIAL = {
    "integers that may be missing": lambda x: pd.array(np.rint(3 * x).astype(int), dtype="Int64"),
    "narrow floats": lambda x: (x / 7).astype("float32"),
    "booleans": lambda x: x > 50,
    "categories": lambda x: pd.Categorical(np.where(x > 50, "high", "low")),
    "codes": lambda x: np.where(x > 50, 501, 7),
    "dates": lambda x: [(START + pd.Timedelta(days=int(v))).date() for v in x],
    "moments": lambda x: START + pd.to_timedelta(np.rint(x * 86_400), unit="s"),
    "moments with a zone": lambda x: (
        pd.Timestamp("2026-01-01", tz="Europe/Berlin") + pd.to_timedelta(np.rint(x), unit="h")
    ),
    "durations": lambda x: pd.to_timedelta(np.rint(x), unit="s"),
    "times of day": lambda x: [dt.time(int(8 + v // 10), 30) for v in np.clip(x, 0, 99)],
    "decimals": lambda x: [Decimal(f"{v:.2f}") for v in x],
    "numbers written as text": lambda x: [f"{v:.1f} kg".replace(".", ",") for v in x],
    "dates written as text": lambda x: [f"{START + pd.Timedelta(days=int(v)):%d.%m.%Y}" for v in x],
}


@pytest.mark.filterwarnings("ignore:column '.*' is text")
@pytest.mark.filterwarnings("ignore:column 'z' identifies")
@pytest.mark.parametrize("container", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("special", SPECIAL)
def test_a_column_of_any_type_is_mended_in_its_type(special, container, tmp_path):
    """The others say what z should be; z comes from a row far away."""
    x = np.random.default_rng(0).normal(50, 10, 400)
    others = {name: x + np.random.default_rng(n).normal(0, 1, 400) for n, name in enumerate("abc")}
    normal = pd.DataFrame({**others, "z": SPECIAL[special](x)})
    low, high = np.argsort(x)[[10, -10]]
    rows = normal.iloc[[low, high, 0]].reset_index(drop=True)
    rows["z"] = (
        normal["z"].iloc[[high, low, 0]].to_numpy()
        if special == "dates"
        else normal["z"].iloc[[high, low, 0]].reset_index(drop=True)
    )
    categorical = ["z"] if special == "codes" else []
    detector = upland.EnergyDetector(epochs=20, categorical=categorical, dayfirst=True, **COMMON).fit(normal)
    X = CONTAINERS[container](rows, tmp_path)
    made = upland.explain(detector, X, "counterfactual", k=1, fixed=["a", "b", "c"])
    assert made.found[:2].all()
    assert [changes[0].column for changes in made.changes[:2]] == ["z", "z"]
    assert types(made.table) == types(X)
    np.testing.assert_array_equal(detector.p_values(made.table) > 0.05, made.found)


def types(table):
    return table.schema.types if isinstance(table, pa.Table) else list(table.dtypes)


def moments(count, seed):
    """Trips by hour: the load is high in the day and low at night."""
    rng = np.random.default_rng(seed)
    hours = rng.integers(0, 24 * 56, count)
    day = (hours % 24 >= 8) & (hours % 24 < 20)
    return pd.DataFrame(
        {
            "when": START + pd.to_timedelta(hours, unit="h"),
            **{name: np.where(day, 10.0, -10.0) + rng.normal(0, 1, count) for name in "abc"},
        }
    )


def test_a_date_by_its_parts_moves_to_another_hour():
    detector = upland.EnergyDetector(epochs=20, dates="parts", **COMMON).fit(moments(800, 0))
    rows = pd.DataFrame({"when": [pd.Timestamp("2026-02-03 02:00")], "a": 10.0, "b": 10.0, "c": 10.0})
    made = upland.explain(detector, rows, "counterfactual", fixed=["a", "b", "c"])
    assert made.p_before[0] <= 0.05
    assert made.found.all()
    assert 8 <= made.table["when"][0].hour < 20
    assert made.table["when"][0].date() == dt.date(2026, 2, 3)
    assert made.distance.tolist() == [1.0]


@pytest.mark.filterwarnings("ignore:missing values")
def test_a_missing_cell_is_filled_and_a_constant_put_back():
    normal = pd.DataFrame(tied(400, 0), columns=list("abcd")).assign(const=7.5, only="one")
    detector = upland.EnergyDetector(epochs=20, **COMMON).fit(normal)
    rows = normal.head(3).copy()
    rows.loc[0, "b"], rows.loc[1, "const"], rows.loc[2, "only"] = np.nan, 9.0, "other"
    made = upland.explain(detector, rows, "counterfactual")
    assert made.found.all()
    assert [changes[0].column for changes in made.changes] == ["b", "const", "only"]
    assert np.isnan(made.changes[0][0].value)
    assert abs(made.table["b"][0] - normal["b"][0]) < 3
    assert made.changes[1][0] == ("const", 9.0, 7.5)
    assert made.changes[2][0] == ("only", "other", "one")


def structured(count, seed):
    """A measurement that is there where a flag says so, and missing elsewhere."""
    rng = np.random.default_rng(seed)
    there = rng.random(count) < 0.8
    level = np.where(there, 5.0, -5.0)
    return pd.DataFrame(
        {
            "x": level + rng.normal(size=count),
            "y": level + rng.normal(size=count),
            "measured": there,
            "value": np.where(there, rng.normal(0, 1, count), np.nan),
        }
    )


@pytest.mark.parametrize("made", ["energy", "energy of the paper"])
def test_a_cell_is_emptied_where_nothing_else_helps_and_filled_where_that_does(made):
    normal = structured(600, 0)
    detector = DETECTORS[made]().fit(normal)
    rows = normal.head(60).copy()
    absent = rows["value"].isna().to_numpy()
    rows["value"] = np.where(absent, 0.0, 30.0)
    found = upland.explain(detector, rows, "counterfactual", k=1, fixed=["measured"])
    anomalous = found.p_before <= 0.05
    assert (anomalous & absent).sum() >= 5
    assert found.found.all()
    assert found.table["value"][anomalous & absent].isna().all()
    assert found.table["value"][anomalous & ~absent].notna().all()


def test_a_cell_is_emptied_by_the_way_only_where_most_are():
    rng = np.random.default_rng(0)
    often, rarely = rng.random(500) < 0.9, rng.random(500) < 0.1
    normal = pd.DataFrame({"x": rng.normal(size=500), "often": np.where(often, None, "note")})
    normal["rarely"] = np.where(rarely, None, rng.choice(["a", "b"], 500))
    detector = upland.EnergyDetector(epochs=20, **PAPER, **COMMON).fit(normal)
    made = upland.explain(detector, normal.head(200), "counterfactual", alpha=0.5)
    proposed = {(change.column, change.proposed) for changes in made.changes for change in changes}
    assert ("often", None) in proposed
    assert ("rarely", None) not in proposed


# -- work and arguments --------------------------------------------------------------------------------------


def test_the_calls_of_the_model_are_bounded(paper, monkeypatch):
    """4 k scorings and k explanations however many rows are searched side by side, and few rows each."""
    calls = {"_scored": [], "_explained": []}
    for name in calls:
        original = getattr(Search, name)

        def counted(self, asked, name=name, original=original):
            calls[name].append(max(map(len, asked)))
            return original(self, asked)

        monkeypatch.setattr(Search, name, counted)
    rows = dependent(AT_ONCE, 3).assign(pressure=400.0, mode="other", steps=500)
    upland.explain(paper, rows, "counterfactual", k=2)
    assert len(calls["_scored"]) <= 4 * 2
    assert len(calls["_explained"]) <= 2
    assert max(calls["_scored"]) <= MOST + 1


def test_a_wide_table_keeps_to_the_bound():
    rng = np.random.default_rng(0)
    detector = upland.EnergyDetector(epochs=2, **PAPER, **COMMON).fit(rng.normal(size=(300, 200)))
    rows = np.zeros((2, 200))
    rows[:, [3, 150]] = 1e6
    made = upland.explain(detector, rows, "counterfactual", k=2)
    assert {change.column for change in made.changes[0]} <= {"x3", "x150"}


def test_alpha_decides_what_is_normal(paper):
    rows = dependent(40, 5)
    strict, loose = (upland.explain(paper, rows, "counterfactual", alpha=a) for a in (0.3, 0.01))
    np.testing.assert_array_equal([bool(c) for c in strict.changes], strict.p_before <= 0.3)
    assert (paper.p_values(strict.table)[strict.found] > 0.3).all()
    assert sum(map(bool, loose.changes)) < sum(map(bool, strict.changes))


def test_to_frame_has_a_line_for_each_changed_cell(paper):
    made = upland.explain(paper, broken(), "counterfactual")
    frame = made.to_frame()
    assert frame.columns.tolist() == ["row", "column", "value", "proposed", "p_before", "p_after", "found"]
    assert len(frame) == sum(map(len, made.changes))
    assert frame["row"].tolist() == [row for row, changes in enumerate(made.changes) for _ in changes]
    nothing = upland.explain(paper, made.table[made.found], "counterfactual").to_frame()
    assert nothing.columns.tolist() == frame.columns.tolist()
    assert nothing.empty


def test_it_is_frozen(paper):
    made = upland.explain(paper, broken(), "counterfactual")
    assert isinstance(made, upland.Counterfactual)
    with pytest.raises(FrozenInstanceError):
        made.found = None


@pytest.mark.parametrize(
    "name", [name for name, example in EXAMPLES.items() if "Sequence" in name or "Image" in name]
)
def test_sequences_and_images_are_refused(name):
    detector = EXAMPLES[name].fit(epochs=1)
    with pytest.raises(ValueError, match=r"a counterfactual is of rows of a table.*use how='shares'"):
        upland.explain(detector, EXAMPLES[name].new, "counterfactual")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"how": "why"}, "how must be 'shares' or 'counterfactual', got 'why'"),
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": 1.5}, "k must be a whole number"),
        ({"k": True}, "k must be a whole number"),
        ({"alpha": 1.5}, "alpha must be between 0 and 1"),
        ({"fixed": ["pressur"]}, "fixed names columns that are not in the table: 'pressur'; it has 'flow'"),
    ],
)
def test_wrong_arguments(wrong, words, paper):
    with pytest.raises(ValueError, match=words):
        upland.explain(paper, broken(), **{"how": "counterfactual"} | wrong)
    with pytest.raises(TypeError, match="not one text"):
        upland.explain(paper, broken(), "counterfactual", fixed="pressure")


def test_nothing_without_a_fit_or_with_another_criterion():
    with pytest.raises(NotFittedError):
        upland.explain(upland.EnergyDetector(), NORMAL, "counterfactual")
    detector = upland.EnergyDetector(epochs=1, **PAPER, **COMMON).fit(tied(300, 0))
    with pytest.raises(ValueError, match="calibrated for criterion"):
        upland.explain(detector.set_params(criterion="energy"), tied(5, 1), "counterfactual")


def test_too_few_calibration_rows_flag_nothing():
    detector = upland.EnergyDetector(epochs=1, calibration="split", **PAPER, **COMMON).fit(tied(40, 0))
    with pytest.warns(UserWarning, match="cannot resolve alpha"):
        made = upland.explain(detector, np.full((1, 4), 1e6), "counterfactual", alpha=0.05)
    assert made.found.all()
