"""Whole numbers keep their differences, however large, in every container."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upland.data.table.encoder import TableEncoder
from upland.data.table.exact import origin_of, resolution_of, shifted

LARGE = 2**62 + 12_345

CONTAINERS = {
    "int64 array": lambda x: np.array([x, x], dtype=np.int64).T,
    "uint64 array": lambda x: np.array([x, x], dtype=np.uint64).T,
    "pandas": lambda x: pd.DataFrame({"a": x, "b": x}),
    "pandas with text": lambda x: pd.DataFrame({"a": x, "b": x, "c": ["u", "v"] * (len(x) // 2)}),
    "pandas nullable": lambda x: pd.DataFrame({"a": x, "b": x}).convert_dtypes(),
    "polars": lambda x: pl.DataFrame({"a": x, "b": x}),
    "arrow": lambda x: pa.table({"a": x, "b": x}),
}


@given(st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=9))
def test_differences_are_rounded_once(origin, numbers):
    expected = [float(number - origin) for number in numbers]
    assert shifted(np.array(numbers, dtype=np.int64), origin).tolist() == pytest.approx(expected, rel=3e-16)
    small = [origin + number % 1000 for number in numbers if origin + 1000 < 2**63]
    assert shifted(pa.array(small, pa.int64()), origin).tolist() == [number - origin for number in small]


def test_unsigned_numbers_and_missing_ones():
    origin = 2**64 - 7
    found = shifted(pa.array([2**64 - 1, None, 2**64 - 8], pa.uint64()), origin)
    np.testing.assert_array_equal(found, [6.0, np.nan, -1.0])


@pytest.mark.parametrize(
    "values", [np.array([3, 2**40]), np.array([1e300]), pa.array(["a"]), pa.nulls(3), np.array([], dtype=int)]
)
def test_other_columns_have_no_origin(values):
    assert origin_of(values, "c") == 0


def test_a_float_that_rounds_to_the_origin_equals_it():
    assert shifted(np.array([float(LARGE), float(LARGE) + 4096]), LARGE)[0] == 0.0
    assert shifted(np.array([float(LARGE) + 4096]), LARGE)[0] > 1_000


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_difference_of_one_is_seen_near_two_to_the_62(name):
    make = CONTAINERS[name]
    steps = np.random.default_rng(0).integers(0, 5, 40)
    encoder = TableEncoder().fit(make([LARGE + int(step) for step in steps]))
    codes = encoder.transform(make([LARGE, LARGE + 1, LARGE + 4, LARGE + 5]))
    expected = (np.array([0, 1, 4, 5]) - steps.mean()) / steps.std()
    np.testing.assert_allclose(codes[:, 0], expected, rtol=1e-6)
    decoded = encoder.decode(codes)[encoder.column_names[0]]
    np.testing.assert_allclose(decoded, LARGE, rtol=1e-12)


@pytest.mark.parametrize("constant", [0, 1, 7, 20260101, 2**53 + 1, LARGE])
@pytest.mark.parametrize("name", CONTAINERS)
def test_whole_constants_are_compared_exactly(constant, name):
    make = CONTAINERS[name]
    encoder = TableEncoder().fit(make([constant] * 6))
    codes = encoder.transform(make([constant, constant + 1, constant + 2, constant]))[:, 0]
    assert codes[[0, 3]].tolist() == [0.0, 0.0]
    assert (codes[[1, 2]] >= 5.0).all()


def test_a_csv_keeps_the_differences(tmp_path):
    from upland.io.formats import open_source

    rows = [LARGE, LARGE + 3, LARGE + 1, LARGE + 2]
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "".join(f"{row},{20260101}\n" for row in rows))
    encoder = TableEncoder().fit(open_source(path).read())
    path.write_text("a,b\n" + "".join(f"{row},{20260101}\n" for row in rows[:2]) + f"{LARGE},20260102\n")
    codes = np.concatenate([encoder.transform(part) for part in open_source(path).batches(encoder.schema_)])
    np.testing.assert_allclose(codes[:, 0], np.array([-1.5, 1.5, -1.5]) / np.std([0, 1, 2, 3]), rtol=1e-6)
    assert codes[:2, 1].tolist() == [0.0, 0.0]
    assert codes[2, 1] >= 5.0


FLOATS = {
    "many units in the last place": (np.array([1e12 - 0.01, 1e12 + 0.01] * 3), False),
    "one unit in the last place": (np.array([0.3, 0.1 + 0.2] * 3), True),
    "float32": (np.array([0.1, np.nextafter(np.float32(0.1), np.float32(1))] * 3, dtype=np.float32), True),
    "float32 apart": (np.array([0.1, 0.10001] * 3, dtype=np.float32), False),
    "zero and nearly": (np.array([0.0, 1e-300] * 3), False),
    "one in a billion": (np.array([1.0, 1.0 + 1e-9] * 3), False),
}


@pytest.mark.parametrize("name", FLOATS)
def test_floats_are_constant_to_a_few_units_in_the_last_place(name):
    values, constant = FLOATS[name]
    assert TableEncoder().fit(values[:, None]).schema_.columns[0].constant is constant


SAME = {
    "rounding about zero": (0.0, 0.1 + 0.2 - 0.3, True),
    "zero and a small number": (0.0, 1e-9, False),
    "one unit in the last place": (3.0, 3.0000000000000004, True),
    "float32": (0.1, float(np.float32(0.1)), True),
    "a change of a millionth": (0.1, 0.1000001, False),
    "a change of one": (20260101.0, 20260102.0, False),
    "a change of a tenth": (1e12 + 0.5, 1e12 + 1e6, False),
    "negative": (-7.0, -7.0000001, True),
}


@pytest.mark.parametrize("name", SAME)
def test_a_constant_has_a_tolerance(name):
    constant, later, same = SAME[name]
    encoder = TableEncoder().fit(np.full((5, 1), constant))
    code = encoder.transform(np.array([[constant], [later]]))[:, 0]
    assert code[0] == 0.0
    assert bool(code[1] == 0.0) is same


def test_the_resolution_is_that_of_the_type():
    assert resolution_of(np.zeros(1, np.float32)) == np.finfo(np.float32).eps
    assert resolution_of(pa.array([1.0])) == np.finfo(np.float64).eps
    assert resolution_of(np.zeros(1, np.int8)) == resolution_of(pa.array([1])) == 0.0
