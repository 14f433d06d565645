"""Bad tables: an error that names the column and row, or a correct answer."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse

from upland.data.table.encoder import TableEncoder

GOOD = {
    "a": [1.0, 2.0, 4.0],
    "b": ["x", "y", "x"],
    "c": [True, False, True],
    "d": [dt.datetime(2026, 1, day) for day in (1, 2, 5)],
}


def objects(*cells):
    return np.array([[cell] for cell in cells] + [[1.0], [2.0]], dtype=object)


SHAPES = [
    (
        np.zeros(3),
        ValueError,
        r"Expected 2D array, got 1D array instead.*Reshape your data using array.reshape\(-1, 1\)",
    ),
    (np.zeros((2, 3, 4)), ValueError, "Expected 2D array, got 3D array instead.*Reshape your data"),
    (np.array(3.0), ValueError, "Expected 2D array, got scalar array instead"),
    (np.float64(3), TypeError, "a float64 is no table"),
    ([1.0, 2.0], ValueError, "Expected 2D array, got 1D"),
    (pd.Series([1.0, 2.0]), ValueError, "Expected 2D array, got 1D"),
    ([[1.0], [1.0, 2.0]], ValueError, "different lengths"),
    (
        np.zeros((0, 3)),
        ValueError,
        r"Found array with 0 sample\(s\) \(shape=\(0, 3\)\) while a minimum of 1 is required",
    ),
    (np.zeros((3, 0)), ValueError, r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
    (pd.DataFrame(), ValueError, r"0 feature\(s\)"),
    (pl.DataFrame({"a": []}), ValueError, r"0 sample\(s\)"),
    (np.array([[1 + 2j], [2]]), ValueError, "Complex data not supported"),
    (objects(1 + 2j), ValueError, "Complex data not supported.*'x0', row 1"),
    (scipy.sparse.eye(3, format="csr"), TypeError, "sparse"),
    (scipy.sparse.coo_array(np.eye(3)), TypeError, "sparse"),
    (objects({"foo": "bar"}), TypeError, "'x0', row 1: argument must be a string or a number, not 'dict'"),
    (objects(1.0, [1]), TypeError, "argument must be a string or a number"),
    (objects(b"raw"), TypeError, "argument must be a string or a number"),
    (np.array([[b"a"], [b"b"]]), TypeError, "argument must be a string or a number"),
    ({"a": 1}, TypeError, "column 'a' is one value, 1"),
    ("table.csv", TypeError, "a text is no table"),
    (None, TypeError, "None is no table"),
]


@pytest.mark.parametrize(("X", "error", "message"), SHAPES, ids=range(len(SHAPES)))
def test_what_is_no_table_is_refused_in_fit_and_transform(X, error, message):
    with pytest.raises(error, match=message):
        TableEncoder().fit(X)
    width = X.shape[1] if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] else 1
    encoder = TableEncoder().fit(np.random.default_rng(0).normal(size=(5, width)))
    if "0 " not in message:
        with pytest.raises(error, match=message):
            encoder.transform(X)


def test_one_row_is_too_few_to_fit_but_not_to_transform():
    with pytest.raises(ValueError, match="n_samples = 1"):
        TableEncoder().fit(np.zeros((1, 2)))
    assert TableEncoder().fit(np.eye(2)).transform(np.zeros((1, 2))).shape == (1, 2)
    assert TableEncoder().fit_batches([np.zeros((1, 2)), np.ones((1, 2))]).width == 2
    with pytest.raises(ValueError, match="no batch"):
        TableEncoder().fit_batches([])


FITS = [
    (pd.DataFrame({"z": [1 + 2j, 3]}), ValueError, "Complex data not supported.*'z'"),
    (pa.table({"a": [[1], [2]]}), TypeError, r"'a' has the type list<.*ignore=\['a'\]"),
    (pa.table({"a": [{"b": 1}, {"b": 2}]}), TypeError, "'a' has the type struct"),
    (pa.table({"a": [b"x", b"y"]}), TypeError, "'a' has the type binary"),
    (pl.DataFrame({"a": [b"x", b"y"]}), TypeError, "'a' has the type"),
    (pd.DataFrame({"a": pd.period_range("2026", periods=2)}), TypeError, "'a' has the type"),
    (pd.DataFrame({"a": pd.interval_range(0, 2)}), TypeError, "'a' has the type"),
    (
        pl.DataFrame({"a": pl.Series([object(), 1], dtype=pl.Object)}),
        TypeError,
        "'a', row 1: argument must be",
    ),
    (
        pd.DataFrame({"a": [1.0, "abc", 2.0]}, dtype=object),
        ValueError,
        "'a' holds numbers, but row 2 holds 'abc'",
    ),
    (pd.DataFrame({"a": ["x", "y", 2.5]}, dtype=object), ValueError, "'a' holds text, but row 3 holds 2.5"),
    (pd.DataFrame({"a": [np.nan, np.nan]}), ValueError, "'a' has no value in any of the 2 rows"),
    (pa.table({"a": pa.nulls(3)}), ValueError, "'a' has no value in any of the 3 rows"),
    (pd.DataFrame({"a": [None, None], "b": [1, 2]}), ValueError, "'a' has no value"),
    (np.array([[1.0, np.inf], [2.0, 1.0], [0.0, -np.inf]]), ValueError, r"infinity.*'x1', 2 row\(s\)"),
    (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), ValueError, "duplicate column names: 'a'"),
    (
        pa.Table.from_arrays([pa.array([1, 2])] * 2, names=["a", "a"]),
        ValueError,
        "duplicate column names: 'a'",
    ),
    (
        pd.DataFrame([[1, 2], [3, 4]], columns=["a", 0]),
        TypeError,
        r"only supported if all input features have string names.*\['int', 'str'\]",
    ),
    (
        pd.DataFrame([[1], [3]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
        TypeError,
        "only supported if all",
    ),
]


@pytest.mark.parametrize(("X", "error", "message"), FITS, ids=range(len(FITS)))
def test_what_cannot_be_learned_is_refused_by_name(X, error, message):
    with pytest.raises(error, match=message):
        TableEncoder().fit(X)


ARGUMENTS = [
    (
        {"categorical": ["q", "r"]},
        ValueError,
        "categorical names columns that are not in the table: 'q', 'r'; it has 'a'",
    ),
    ({"ignore": ["q"]}, ValueError, "ignore names columns that are not in the table: 'q'"),
    ({"ignore": ["a"], "categorical": ["a"]}, ValueError, "both in categorical and in ignore: 'a'"),
    ({"ignore": list(GOOD)}, ValueError, "every column is ignored"),
    ({"ignore": "abc"}, TypeError, "ignore must be a list of column names"),
    ({"max_levels": 0}, ValueError, "max_levels must be at least 1"),
    ({"missing": "drop"}, ValueError, "missing must be 'mark' or 'error', got 'drop'"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), ARGUMENTS)
def test_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        TableEncoder(**arguments).fit(pa.table(GOOD))


def changed(**columns):
    return pa.table({**GOOD, **columns})


RETYPED = [
    (changed(a=["1", "2", "oops"]), r"column 'a', row 3 holds 'oops', which is not a number"),
    (changed(a=GOOD["d"]), "'a' was numeric .* but is date"),
    (
        changed(b=[1, 2, 3]),
        r"'b' was categorical \(string\) .* but is numeric \(integer\) here, for example 1",
    ),
    (changed(b=[True, False, True]), "'b' was categorical"),
    (changed(c=[0, 1, 7]), "'c' was boolean .* but is numeric .* for example 7"),
    (changed(c=["yes", "no", "yes"]), "'c', row 1 holds 'yes', which is not true, false, 1 or 0"),
    (changed(d=[1, 2, 3]), "'d' was date .* but is numeric"),
    (changed(d=[dt.timedelta(1)] * 3), "'d' was date .* but is duration"),
    (pa.table(GOOD).drop_columns(["a", "d"]), r"missing column\(s\): 'a', 'd'; the table has 'b', 'c'"),
    (changed(a=[1.0, np.inf, 2.0]), r"infinity.*'a', 1 row\(s\)"),
    (changed(a=[[1], [2], [3]]), "'a' has the type list"),
]


@pytest.mark.parametrize(
    "kind", [lambda X: X, pl.from_arrow, lambda X: X.to_pandas()], ids=["arrow", "polars", "pandas"]
)
@pytest.mark.parametrize(("X", "message"), RETYPED, ids=range(len(RETYPED)))
def test_a_missing_or_retyped_column_is_named(X, message, kind):
    encoder = TableEncoder().fit(pa.table(GOOD))
    if "list" in message and kind(X) is not X:
        message = "'a'"
    with pytest.raises((ValueError, TypeError), match=message):
        encoder.transform(kind(X))


ACCEPTED = [
    (changed(a=[1, 2, 4]), None),
    (changed(a=pa.array([1, 2, 4], pa.decimal128(5, 1))), None),
    (changed(c=[1, 0, 1]), None),
    (changed(c=[1.0, 0.0, 1.0]), None),
    (changed(b=pa.array(GOOD["b"]).dictionary_encode()), None),
    (changed(b=pa.array(GOOD["b"], pa.large_string())), None),
    (changed(d=pa.array(GOOD["d"], pa.timestamp("ns"))), None),
    (changed(a=[str(value) for value in GOOD["a"]]), None),
    (changed(a=pa.nulls(3)), "missing values in 'a'"),
    (changed(c=pa.nulls(3, pa.bool_())), "missing values in 'c'"),
    (changed(b=pa.nulls(3, pa.string())), "missing values in 'b'"),
    (changed(more=[1, 2, 3]), None),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("X", "warning"), ACCEPTED, ids=range(len(ACCEPTED)))
def test_the_same_values_in_another_type_are_welcome(X, warning, recwarn):
    encoder = TableEncoder().fit(pa.table(GOOD))
    codes = encoder.transform(X)
    assert [str(item.message)[: len(warning or "")] for item in recwarn] == [warning] * (warning is not None)
    if warning is None:
        np.testing.assert_array_equal(codes, encoder.transform(pa.table(GOOD)))


def test_arrays_of_text_and_of_dates():
    texts = np.array([["x", "u"], ["y", "u"], ["x", "u"]])
    assert [column.levels for column in TableEncoder().fit(texts).schema_.columns] == [("x", "y"), ("u",)]
    same = TableEncoder().fit(texts.astype(object)).transform(texts.tolist())
    np.testing.assert_array_equal(TableEncoder().fit(texts).transform(texts), same)
    dates = np.array([["2026-01-01"], ["NaT"], ["2026-01-03"]], dtype="M8[D]")
    column = TableEncoder().fit(dates).schema_.columns[0]
    assert (column.kind, column.missing, column.scale) == ("date", pytest.approx(1 / 3), 86400.0)
    mixed = np.array([[1.5, "x", True, None], [2.5, "y", False, 3], [3.5, "x", True, 4]], dtype=object)
    kinds = [column.kind for column in TableEncoder().fit(mixed).schema_.columns]
    assert kinds == ["numeric", "categorical", "boolean", "numeric"]


def test_infinities_are_counted_over_the_whole_table():
    X = np.random.default_rng(0).normal(size=(100_000, 5))
    encoder = TableEncoder().fit(X)
    X[::1000, 3] = np.inf
    with pytest.raises(ValueError, match=r"'x3', 100 row\(s\)"):
        encoder.transform(X)


# -- names and positions ---------------------------------------------------------------------------


def test_arrays_of_another_width():
    encoder = TableEncoder(owner="EnergyDetector").fit(np.eye(5))
    with pytest.raises(
        ValueError, match="X has 3 features, but EnergyDetector is expecting 5 features as input"
    ):
        encoder.transform(np.zeros((2, 3)))


def test_names_on_one_side_only_warn_as_in_scikit_learn():
    named, plain = pd.DataFrame(np.eye(3), columns=list("abc")), np.eye(3)
    with pytest.warns(
        UserWarning,
        match="^X does not have valid feature names, but TableEncoder was fitted with feature names$",
    ):
        codes = TableEncoder().fit(named).transform(plain)
    np.testing.assert_array_equal(codes, TableEncoder().fit(plain).transform(plain))
    with pytest.warns(
        UserWarning, match="^X has feature names, but TableEncoder was fitted without feature names$"
    ):
        TableEncoder().fit(plain).transform(named)


def test_numbered_columns_are_found_by_number():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 3)))
    encoder = TableEncoder().fit(frame)
    assert (encoder.named, encoder.column_names) == (False, ("0", "1", "2"))
    np.testing.assert_array_equal(encoder.transform(frame[[2, 0, 1]]), encoder.transform(frame))
    np.testing.assert_array_equal(encoder.transform(frame.to_numpy()), encoder.transform(frame))


def test_ignored_columns_need_not_be_there_and_may_hold_anything():
    encoder = TableEncoder(ignore=["b"]).fit(pa.table(GOOD))
    assert encoder.column_names == ("a", "c", "d")
    expected = encoder.transform(pa.table(GOOD))
    np.testing.assert_array_equal(encoder.transform(pa.table(GOOD).drop_columns(["b"])), expected)
    np.testing.assert_array_equal(encoder.transform(changed(b=[[1], [2], [3]])), expected)
    by_position = TableEncoder(ignore=[1]).fit(np.array([[1.0, np.inf], [2.0, np.nan]]))
    assert by_position.column_names == ("x0",)
    assert by_position.transform(np.array([[1.5, np.inf]])).tolist() == [[0.0]]


def test_extra_columns_are_listed_in_their_order():
    encoder = TableEncoder(ignore=["b"]).fit(pa.table(GOOD))
    assert encoder.extra_columns(changed(z=[1, 2, 3], y=[[1], [2], [3]])) == ["z", "y"]
    assert encoder.extra_columns(pa.table(GOOD)) == []
    assert encoder.extra_columns(pa.table(GOOD).slice(0, 0)) == []
    assert TableEncoder().fit(np.eye(2)).extra_columns(np.eye(2)) == []


def test_an_unfitted_encoder_says_so():
    with pytest.raises(ValueError, match="TableEncoder is not fitted yet"):
        TableEncoder().transform(np.eye(2))
