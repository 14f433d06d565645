"""Names of segments: text, whole numbers and booleans, the same in every container."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.table.frames import view_table
from upland.data.table.segmentnames import canonical_name, numbers_of, segment_names

INPUTS = ("flow", "machine")


def names(values, blanks=()):
    table = {"flow": np.zeros(len(values)), "machine": values}
    found, of = segment_names(view_table(table), "machine", INPUTS, blanks)
    return [found[number] for number in of]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", "b"], ["b", "a", "b"]),
        ([7, 8, 7], ["7", "8", "7"]),
        (np.array([7.0, 8.0, 7.0]), ["7", "8", "7"]),
        ([True, False, True], ["true", "false", "true"]),
        (pd.Categorical(["x", "y", "x"]), ["x", "y", "x"]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (np.array([2**63, 1, 2**63], dtype=np.uint64), [str(2**63), "1", str(2**63)]),
        (["007", "7", "NA"], ["007", "7", "NA"]),
    ],
)
def test_they_are_text(values, expected):
    assert names(values) == expected


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_every_container_has_the_same(make):
    table = make({"machine": [3, 1, 3], "flow": [0.0, 1.0, 2.0]})
    found, of = segment_names(view_table(table), "machine", INPUTS)
    assert (found, of.tolist()) == (["3", "1"], [0, 1, 0])


def test_of_an_array_by_position():
    array = np.array([[0.5, 3], [0.1, 1], [0.2, 3]])
    assert segment_names(view_table(array), "machine", INPUTS)[0] == ["3", "1"]
    assert segment_names(view_table(array), "x1", ("x0", "x1"))[0] == ["3", "1"]


@pytest.mark.parametrize("values", [["a", None, "b"], [1, None, 2], [1.0, np.nan, 2.0], [None, None, None]])
def test_a_row_without_a_segment_is_refused(values):
    with pytest.raises(ValueError, match=r"of 3 rows have no 'machine'.*the first row [01]"):
        names(values)


def test_blank_text_is_missing_where_it_is_said():
    assert names(["a", "NA"]) == ["a", "NA"]
    with pytest.raises(ValueError, match="1 of 2 rows have no 'machine'"):
        names(["a", "NA"], blanks=("", "NA"))


@pytest.mark.parametrize("values", [[1.5, 2.0], [np.inf, 1.0], [dt.date(2026, 1, 1), dt.date(2026, 1, 2)]])
def test_other_values_name_no_segments(values):
    with pytest.raises(TypeError, match="which names no segments"):
        names(values)


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match="missing column 'machine', which names segments; the table has 'flow'"
    ):
        segment_names(view_table({"flow": [1.0]}), "machine", INPUTS)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        *((name, "true") for name in ("true", "True", "TRUE", " True")),
        *((name, "1") for name in ("1", "1.0", "1.", "+1", "0x1", " 1", "1\t", "1e0", "1,0")),
        *(("1e3", "1000"), ("-0", "0"), ("-1.0", "-1"), ("007", "007"), ("1.5", "1.5"), ("1,234", "1,234")),
        *((" a b ", "a b"), ("1e99", "1e99"), ("yes", "yes"), (str(2**63), str(2**63)), ("", "")),
    ],
)
def test_one_name_whichever_way_it_is_written(name, canonical):
    assert canonical_name(name) == canonical
    assert canonical_name(canonical) == canonical


def test_spellings_that_a_column_of_text_has_are_segments_of_their_own():
    assert numbers_of(["+1", "1.0", "2.0"]) == {"+1": 0, "1.0": 1, "2": 2, "2.0": 2}
    assert numbers_of(["1", "1.0"]) == {"1": 0, "1.0": 1}
