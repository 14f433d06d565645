"""Numbers that stand for a missing cell do so in every container, at the fit and later."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.table.encoder import TableEncoder
from upland.io.cells import CellOptions

ROWS = [[1.5, 3.0], [-999.0, 4.0], [2.5, -999.0], [4.0, 5.0], [0.5, 7.0]]
HOLES = np.where(np.array(ROWS) == -999, np.nan, ROWS)
WHOLE = [[1, 3], [-999, 4], [2, -999], [4, 5], [0, 7]]

CONTAINERS = {
    "float64": np.array,
    "float32": lambda rows: np.array(rows, dtype=np.float32),
    "float16": lambda rows: np.array(rows, dtype=np.float16),
    "lists": list,
    "pandas": lambda rows: pd.DataFrame(rows, columns=["a", "b"]),
    "pandas with text": lambda rows: pd.DataFrame(rows, columns=["a", "b"]).assign(c=list("uvuvu")),
    "pandas nullable": lambda rows: pd.DataFrame(rows, columns=["a", "b"]).convert_dtypes(),
    "polars": lambda rows: pl.DataFrame(rows, schema=["a", "b"], orient="row"),
    "arrow": lambda rows: pa.table({"a": [row[0] for row in rows], "b": [row[1] for row in rows]}),
    "whole numbers": lambda rows: np.array(rows).astype(np.int32),
    "whole columns": lambda rows: pd.DataFrame(np.array(rows).astype(int), columns=["a", "b"]).assign(
        c=list("uvuvu")
    ),
    "decimals": lambda rows: pa.table(
        {n: pa.array([r[i] for r in rows]).cast(pa.decimal128(9, 2)) for i, n in enumerate("ab")}
    ),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_numbers_for_missing_cells(name):
    make = CONTAINERS[name]
    rows = WHOLE if name.startswith("whole") else ROWS
    cells = CellOptions(missing=(-999, "?"))
    encoder = TableEncoder(cells=cells).fit(make(rows))
    holes = np.where(np.array(rows) == -999, np.nan, rows).astype(float)
    expected = TableEncoder().fit(holes)
    for column, other in zip(encoder.schema_.columns, expected.schema_.columns, strict=False):
        assert (column.missing, column.center, column.scale) == (0.2, other.center, other.scale)
    np.testing.assert_array_equal(encoder.transform(make(rows))[:, :4], expected.transform(holes))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_number_that_floats_round_is_found(dtype):
    rows = np.array([[1.0], [2.0], [-999.9], [3.0]], dtype=dtype)
    encoder = TableEncoder(cells=CellOptions(missing=(-999.9,))).fit(rows)
    assert encoder.schema_.columns[0].missing == 0.25
    assert np.isnan(encoder.values(rows)["x0"][2])


def test_whole_numbers_stay_exact_beside_a_missing_one():
    rows = np.array([[2**62 + step] for step in (0, 1, 2, 3)] + [[-1]])
    encoder = TableEncoder(cells=CellOptions(missing=(-1,))).fit(rows)
    codes = encoder.transform(rows)
    assert np.unique(codes[:4, 0]).size == 4
    assert codes[4, 0] == 0.0


def test_large_and_fractional_numbers_do_not_match_whole_ones():
    rows = np.array([[1], [2], [3]], dtype=np.int8)
    encoder = TableEncoder(cells=CellOptions(missing=(1.5, 1e30, 300))).fit(rows)
    assert encoder.schema_.columns[0].missing == 0.0


def test_the_users_table_is_left_as_it_is():
    rows = np.array(ROWS)
    TableEncoder(cells=CellOptions(missing=(-999,))).fit(rows).transform(rows)
    np.testing.assert_array_equal(rows, ROWS)


def test_a_column_of_nothing_else_is_refused():
    with pytest.raises(ValueError, match="'x0' has no value in any of the 2 rows"):
        TableEncoder(cells=CellOptions(missing=(0,))).fit(np.zeros((2, 1)))


def test_booleans_and_text_are_no_numbers():
    table = pa.table({"flag": [True, False, True], "site": ["a", "b", "a"]})
    encoder = TableEncoder(cells=CellOptions(missing=(0,))).fit(table)
    assert encoder.schema_.columns[0].missing == 0.0
