"""Which values a column may be given: of its kind, within the normal rows, on a grid of short numbers."""

import numpy as np
import pandas as pd
import pytest

from normals import mixed
from upland.data.table.dateparts import DAY, moved
from upland.data.table.domains import domain_of, plain_codes, plain_values, recurring, table_of
from upland.data.table.encoder import TableEncoder
from upland.data.table.replaced import Limits

ANY = Limits()


def domain(values, limits=ANY, kept=True, refused=(), recurs=False, **options):
    """The domain of a column of these normal values."""
    frame = pd.DataFrame({"x": values})
    encoder = TableEncoder(**options).fit(frame)
    codes = encoder.transform(frame).astype(np.float64)
    seen = plain_codes(encoder, codes if kept else codes[:0])[0]
    return domain_of(encoder.schema_.columns[0], seen, limits, refused, recurs)


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (generator().normal(0, 1, 500), 0.01),
        (generator().normal(50, 30, 500), 0.1),
        (1e6 + generator().normal(0, 1e5, 500), 1000.0),
        (generator().normal(0, 1, 500).round(1), 0.1),
        (generator().integers(0, 9, 500), 1.0),
        (generator().integers(0, 9, 500).astype(float), 1.0),
        (10 * generator().integers(0, 9, 500), 10.0),
        (generator().normal(0, 1e-7, 500), 1e-9),
        (pd.Timestamp("2026-01-01") + pd.to_timedelta(generator().integers(0, 90, 500), unit="D"), DAY),
        (pd.Timestamp("2026-01-01") + pd.to_timedelta(generator().integers(0, 2000, 500), unit="h"), 3600.0),
        (pd.to_timedelta(generator().normal(600, 100, 500), unit="s"), 1.0),
    ],
)
def test_the_step_of_the_grid(values, step):
    assert domain(values).step == step


@pytest.mark.parametrize("seed", range(20))
def test_numbers_stay_inside_the_normal_rows_and_on_the_grid(seed):
    rng = generator(seed)
    values = rng.normal(rng.normal(0, 100), 10.0 ** rng.integers(-3, 4), 200)
    found = domain(values)
    tried = rng.normal(values.mean(), 5 * values.std(), 300)
    for value in found.allowed(np.nan, tried):
        assert values.min() <= value <= values.max()
        assert abs(value / found.step - round(value / found.step)) < 1e-6
        assert len(f"{abs(value):.12g}".replace(".", "").strip("0")) <= 9, "short"


def test_without_kept_rows_numbers_lie_within_two_standard_deviations():
    values = generator().normal(10, 2, 500)
    found = domain(values, kept=False)
    assert 5.5 < found.low < 6.5
    assert 13.5 < found.high < 14.5
    assert len(found.allowed(10.0, found.typical(0))) > 20
    assert len(found.allowed(11.0, found.typical(8))) == 1


def test_the_type_of_the_users_column_limits_them():
    values = generator().normal(100, 100, 500)
    found = domain(values, Limits(1.0, -128, 127))
    assert (found.step, found.high) == (1.0, 127.0)
    assert domain(generator().random(100), Limits(1.0, 5, 9)).allowed(np.nan, [0.5, 6.0]) == []
    assert domain(np.full(50, 300), Limits(1.0, -128, 127)).allowed(9.0, [300.0]) == []


RECURRING = {
    "few decimals": np.array([0.05, 0.1, 12.345, 7.25, -3.5, 1e-3]),
    "thirds": np.array([1 / 3, 2 / 3, 5 / 3, 7.0]),
    "steps of five": np.array([5.0, 10.0, 25.0, 40.0]),
    "large": np.array([1e6 + 0.25, 2e6, 3e6 + 0.5]),
    "far": np.array([0.0, 0.1, 0.2, 1e5 + 0.5]),
    "days": pd.to_datetime(["2026-01-01", "2026-01-05", "2026-03-01 10:30"], format="ISO8601"),
    "seconds": pd.to_timedelta([1, 5, 600], unit="s"),
}


@pytest.mark.filterwarnings("ignore:column 'x' ")
@pytest.mark.parametrize("case", RECURRING)
def test_where_values_recur_only_these_are_proposed_and_code_as_they_do(case):
    values = RECURRING[case]
    column = values[generator().integers(0, len(values), 400)]
    frame = pd.DataFrame({"x": column})
    encoder = TableEncoder().fit(frame)
    assert recurring(encoder.transform(frame), encoder.slots) == [True]
    found = domain(column, recurs=True)
    assert len(found.known) == len(values)
    kind = {"M": "datetime64[us]", "m": "timedelta64[us]"}.get(values.dtype.kind)
    made = np.array(found.known)
    made = pd.DataFrame({"x": (made * 1e6).round().astype("int64").view(kind) if kind else made})
    np.testing.assert_array_equal(np.unique(encoder.transform(made)), np.unique(encoder.transform(frame)))
    tried = np.linspace(found.low - 1, found.high + 1, 50)
    assert set(found.allowed(np.nan, tried)) <= set(found.known)
    path = found.path(found.low, found.high)
    assert path.tolist() == list(found.known)[::-1]
    assert found.path(found.high + 1, found.low).tolist() == list(found.known)


def test_known_numbers_are_short():
    values = RECURRING["few decimals"]
    found = domain(values[generator().integers(0, 6, 400)], recurs=True)
    assert found.known == tuple(sorted(values))


def test_numbers_of_their_own_do_not_recur():
    frame = pd.DataFrame({"own": generator().normal(size=300), "again": generator().integers(0, 9, 300)})
    frame["level"] = np.where(frame["again"] > 4, "high", "low")
    encoder = TableEncoder().fit(frame)
    assert recurring(encoder.transform(frame), encoder.slots) == [False, True, True]


def test_levels_are_those_of_the_fit_and_rare_ones_too():
    levels = ["a"] * 60 + ["b"] * 30 + [f"c{n}" for n in range(10)]
    found = domain(levels, max_levels=2)
    assert found.allowed("a", ["b", "a", "new", "c3", "(rare)", None, "b"]) == ["b", "c3", "c0"]


def test_a_flag_is_one_or_the_other_where_both_were_seen():
    assert domain([True, False] * 20).allowed(1.0, [0.7, 0.2, 1.0]) == [0.0]
    assert domain([True] * 40).allowed(0.0, [0.0, 0.4]) == [1.0]


def test_a_constant_has_one_value():
    found = domain([7.5] * 40)
    assert found.allowed(9.0, [1.0, 7.5, 8.0]) == [7.5]
    assert found.allowed(7.5, [1.0]) == []
    assert found.path(9.0, 7.5).tolist() == [7.5]


def test_a_missing_cell_is_proposed_where_there_are_some():
    often = [None] * 80 + list(generator().normal(size=20))
    assert np.isnan(domain(often).allowed(1.0, [np.nan])[0])
    assert domain(often).allowed(np.nan, [np.nan]) == []
    rarely = domain(often[70:])
    assert np.isnan(rarely.allowed(1.0, [np.nan])[0])
    assert [found.empties(1.0, np.nan) for found in (domain(often), rarely)] == [False, True]
    assert not rarely.empties(1.0, 2.0)
    assert domain(often[80:]).allowed(1.0, [np.nan]) == []


def test_what_stands_for_a_missing_cell_is_not_proposed():
    values = generator().integers(-5, 6, 300)
    assert domain(values, refused=[0.0]).allowed(9.0, [0.2, 1.1]) == [1.0]


def test_the_way_back_leads_to_the_row_or_to_the_end_of_the_normal_ones():
    found = domain(generator().normal(0, 1, 500))
    path = found.path(-1.0, 1.0)
    assert path[0] == 1.0
    assert path[-1] == -1.0
    np.testing.assert_allclose(np.diff(path), -found.step, rtol=1e-6)
    assert found.path(1e9, 0.0)[-1] == found.high
    assert found.path(np.nan, 0.5).tolist() == [0.5]


def test_distances():
    found = domain(generator().normal(0, 2, 5000))
    assert found.distance(0.0, 4.0) == pytest.approx(2, rel=0.1)
    assert found.distance(3.0, 3.0) == found.distance(np.nan, np.nan) == 0
    assert found.distance(np.nan, 3.0) == 1
    assert domain(["a", "b"] * 9).distance("a", "b") == 1
    assert domain([True, False] * 9).distance(0.0, 1.0) == 1


def test_plain_values_and_back_are_the_same_rows():
    frame = mixed().assign(
        when=pd.Timestamp("2026-01-01", tz="Europe/Berlin") + pd.to_timedelta(np.arange(120) % 17, unit="h"),
        took=pd.to_timedelta(np.arange(120) % 17, unit="s"),
    )
    frame.loc[3, "flow"] = np.nan
    encoder = TableEncoder().fit(frame)
    again = table_of(encoder.schema_, plain_values(encoder, frame))
    np.testing.assert_array_equal(encoder.transform(again), encoder.transform(frame))


def test_codes_stand_for_the_values_that_were_encoded():
    frame = mixed().assign(took=pd.to_timedelta(np.arange(120) % 17, unit="s"))
    frame.loc[3, "flow"] = np.nan
    encoder = TableEncoder().fit(frame)
    found = plain_codes(encoder, encoder.transform(frame).astype(np.float64))
    for here, there in zip(found, plain_values(encoder, frame), strict=True):
        if here.dtype == object:
            assert here.tolist() == there.tolist()
        else:
            np.testing.assert_allclose(here, there, atol=1e-4)


@pytest.mark.parametrize(
    ("passed", "wanted"),
    [
        ({}, "2026-01-31T10:20"),
        ({"hour": 23 / 24}, "2026-01-31T23:00"),
        ({"hour": 0.5 + 7 / 1440}, "2026-01-31T12:07"),
        ({"weekday": 0 / 7}, "2026-02-02T10:20"),
        ({"weekday": 4 / 7}, "2026-01-30T10:20"),
        ({"month": 1 / 12}, "2026-02-28T10:20"),
        ({"month": 11 / 12}, "2025-12-31T10:20"),
        ({"month": 6 / 12}, "2025-07-31T10:20"),
        ({"month": 2 / 12, "weekday": 0 / 7, "hour": 0.25}, "2026-03-30T06:00"),
    ],
)
def test_a_moment_moves_as_little_as_its_parts_ask(passed, wanted):
    start = np.datetime64("2026-01-31T10:20", "s").astype(int)
    assert np.datetime64(int(moved(float(start), passed)), "s") == np.datetime64(wanted)
