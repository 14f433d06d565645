"""Text that is numbers or dates means the same in every container, at the fit and afterwards."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from normals import quick
from upland.data.table.encoder import TableEncoder
from upland.io.cells import CellOptions
from upland.io.formats import open_source

NUMBERS = np.random.default_rng(0).integers(0, 60, 200)
DAYS = NUMBERS % 28 + 1
WRITTEN = {
    "percent": ([f"{n}%" for n in NUMBERS], NUMBERS.astype(float)),
    "currency": ([f"${n}.50" for n in NUMBERS], NUMBERS + 0.5),
    "decimal comma": ([f"{n},5" for n in NUMBERS], NUMBERS + 0.5),
    "thousands": ([f"{n + 1},250.5" for n in NUMBERS], 1000.0 * (NUMBERS + 1) + 250.5),
    "unit": ([f"{n} kW" for n in NUMBERS], NUMBERS.astype(float)),
    "no-break space": ([f"\u00a0{n}" for n in NUMBERS], NUMBERS.astype(float)),
    "minus": ([f"\u2212{n}" for n in NUMBERS], -NUMBERS.astype(float)),
    "points": ([f"{n:02d}.03.2026" for n in DAYS], np.array([f"2026-03-{n:02d}" for n in DAYS], "M8[us]")),
    "slashes": ([f"3/{n}/2026" for n in DAYS], np.array([f"2026-03-{n:02d}" for n in DAYS], "M8[us]")),
    "ISO": ([f"2026-03-{n:02d}" for n in DAYS], np.array([f"2026-03-{n:02d}" for n in DAYS], "M8[us]")),
    "zone": (
        [f"2026-03-{n:02d}T10:00:00Z" for n in DAYS],
        np.array([f"2026-03-{n:02d}T10" for n in DAYS], "M8[us]"),
    ),
}
CONTAINERS = {
    "pandas text": lambda columns, folder: pd.DataFrame(columns),
    "pandas objects": lambda columns, folder: pd.DataFrame(columns).astype({"v": object}),
    "polars": lambda columns, folder: pl.DataFrame(columns),
    "Arrow": lambda columns, folder: pa.table(columns),
    "large Arrow": lambda columns, folder: pa.table(
        {**columns, "v": pa.array(columns["v"], pa.large_string())}
    ),
}


def read_csv(columns, folder, schema=None):
    path = folder / "rows.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    source = open_source(path)
    return source.read() if schema is None else pa.concat_tables(source.batches(schema))


def codes(encoder, X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return encoder.transform(X)


@pytest.mark.filterwarnings("ignore:column 'v' is text")
@pytest.mark.parametrize("fitted", [*CONTAINERS, "CSV"])
@pytest.mark.parametrize("name", WRITTEN)
def test_a_column_means_the_same_in_every_container(name, fitted, tmp_path):
    texts, values = WRITTEN[name]
    columns = {"v": texts, "x": NUMBERS / 7}
    made = {key: make(columns, tmp_path) for key, make in CONTAINERS.items()} | {
        "CSV": read_csv(columns, tmp_path)
    }
    encoder = TableEncoder().fit(made[fitted])
    zone = "UTC" if name == "zone" else None
    typed = (
        pa.array(values, pa.timestamp("us")).cast(pa.timestamp("us", zone))
        if values.dtype.kind == "M"
        else values
    )
    expected = (
        TableEncoder()
        .fit(pa.table({"v": typed, "x": columns["x"]}))
        .transform(pa.table({"v": typed, "x": columns["x"]}))
    )
    for table in (*made.values(), read_csv(columns, tmp_path, encoder.schema_)):
        np.testing.assert_array_equal(codes(encoder, table), expected)
    np.testing.assert_array_equal(encoder.values(made["Arrow"])["v"], values)
    again = TableEncoder.from_state(*encoder.to_state())
    np.testing.assert_array_equal(codes(again, made["polars"]), expected)


@pytest.mark.parametrize("name", [name for name in WRITTEN if name not in ("ISO", "zone")])
def test_what_is_read_as_numbers_or_dates_is_said_once_with_a_cell(name):
    with pytest.warns(UserWarning, match="column 'v' is text, such as") as caught:
        TableEncoder().fit(pa.table({"v": WRITTEN[name][0], "x": NUMBERS / 7}))
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:column 'v' is text")
def test_later_text_that_is_of_another_form_is_named_with_its_row():
    encoder = TableEncoder().fit(pa.table({"v": WRITTEN["percent"][0], "x": NUMBERS / 7}))
    with pytest.raises(ValueError, match="column 'v', row 2 holds '30 kW', which is not a number"):
        encoder.transform(pa.table({"v": ["30%", "30 kW"], "x": [1.0, 2.0]}))
    with pytest.warns(UserWarning, match="missing values in 'v'"):
        first, second = encoder.transform(pa.table({"v": ["30%", "#N/A"], "x": [1.0, 1.0]}))
    np.testing.assert_array_equal(first, encoder.transform(pa.table({"v": [30.0], "x": [1.0]}))[0])
    assert not np.array_equal(first, second)


def test_text_of_numbers_is_read_where_the_fit_saw_numbers():
    encoder = TableEncoder().fit(pd.DataFrame({"v": NUMBERS, "x": NUMBERS / 7}))
    texts = pd.DataFrame({"v": NUMBERS.astype(str), "x": (NUMBERS / 7).astype(str)})
    np.testing.assert_array_equal(
        codes(encoder, texts), codes(encoder, pd.DataFrame({"v": NUMBERS, "x": NUMBERS / 7}))
    )


def test_a_category_stays_one_where_the_user_says_so_or_the_type_does():
    texts = WRITTEN["percent"][0]
    for X, named in ((pd.DataFrame({"v": texts}), ["v"]), (pd.DataFrame({"v": pd.Categorical(texts)}), [])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert TableEncoder(categorical=named).fit(X).schema_.columns[0].kind == "categorical"


CODES = {
    "text": lambda codes: pd.DataFrame({"zip": codes}),
    "whole numbers": lambda codes: pd.DataFrame({"zip": [int(code) for code in codes]}),
    "floating": lambda codes: pd.DataFrame({"zip": [float(code) for code in codes]}),
    "objects": lambda codes: pd.DataFrame({"zip": pd.Series(codes, dtype=object)}),
    "Arrow": lambda codes: pa.table({"zip": pa.array([int(code) for code in codes], pa.int16())}),
    "dictionary": lambda codes: pa.table({"zip": pa.array(codes).dictionary_encode()}),
}


@pytest.mark.parametrize("fitted", CODES)
@pytest.mark.parametrize("scored", CODES)
def test_codes_with_leading_zeros_are_one_level_however_they_come(fitted, scored):
    texts = [f"{501 + k % 9:05d}" for k in range(90)]
    encoder = TableEncoder(categorical=["zip"]).fit(CODES[fitted](texts))
    found = encoder.transform(CODES[scored](texts))
    np.testing.assert_array_equal(found, encoder.transform(CODES[fitted](texts)))
    assert (found[:, -1] == 0).all()


def test_codes_that_differ_in_their_zeros_stay_two_levels():
    encoder = TableEncoder(categorical=["c"]).fit(pa.table({"c": ["1", "01"] * 9}))
    first, second = encoder.transform(pa.table({"c": ["1", "01"]}))
    assert not np.array_equal(first, second)


def test_markers_stand_for_missing_cells_in_text_and_in_categories():
    options = CellOptions(missing=("?", "-"))
    table = pa.table({"v": ["1.5", "?", "2.5", "-"] * 9, "c": ["a", "b", "?", "a"] * 9})
    with pytest.warns(UserWarning, match="'v' is text"):
        columns = TableEncoder(cells=options).fit(table).schema_.columns
    assert [column.kind for column in columns] == ["numeric", "categorical"]
    assert [column.missing for column in columns] == [0.5, 0.25]
    assert "?" not in columns[1].levels


@pytest.mark.parametrize(
    "make", [lambda cells: pd.DataFrame({"v": pd.Series(cells, dtype=object)}), lambda cells: {"v": cells}]
)
def test_markers_stand_for_missing_cells_among_numbers_of_python(make):
    cells = [1.5, "?", 2, " n.m. ", 3.5, None] * 9
    encoder = TableEncoder(cells=CellOptions(missing=("?", "n.m."))).fit(make(cells))
    (column,) = encoder.schema_.columns
    assert (column.kind, column.missing) == ("numeric", 0.5)
    assert encoder.transform(make(["?", 2])).shape == (2, 2)
    with pytest.raises(ValueError, match=r"row 2 holds '\?'.*missing=\['\?'\] reads it as a missing cell"):
        TableEncoder().fit(make(cells))


# -- what fits is the same for all members -------------------------------------------------------------------

DECIDED = {
    "one code with zeros": ({"v": [*["1", "2", "3", "4", "5"] * 39, "007", *"1234"]}, {}),
    "a word that is often enough": ({"v": (["1", "2", "3"] * 66)[:189] + ["unit"] * 11}, {}),
    "three values of a target": ({"target": [0, 1] * 99 + [2, 1]}, {}),
    "one day after the twelfth": ({"v": [f"0{n % 9 + 1}/04/2026" for n in range(199)] + ["25/04/2026"]}, {}),
    "one cell with decimals": ({"v": [f"{n % 9 + 1},250" for n in range(199)] + ["1,250.5"]}, {}),
    "one long week": (
        {"v": [f"2026-03-02T{n % 24:02d}:00" for n in range(199)] + ["2026-03-12T05:00"]},
        {"dates": "parts"},
    ),
}


@pytest.mark.filterwarnings("ignore:column")
@pytest.mark.parametrize("name", DECIDED)
def test_members_take_columns_for_what_all_normal_rows_show(name):
    columns, options = DECIDED[name]
    rows = pd.DataFrame(columns).assign(x=np.random.default_rng(0).normal(size=200))
    detector = quick(calibration="cross", **options).fit(rows)
    kinds = {
        (column.kind, column.form, column.parts)
        for m in detector.members_
        for column in m.encoder.schema_.columns[:1]
    }
    assert len(kinds) == 1
    assert np.isfinite(detector.anomaly_score(rows)).all()


def test_whole_numbers_are_exact_as_text_too():
    top = 2**63 - 1
    texts = pd.DataFrame({"c": [str(top - 1000 * k) for k in NUMBERS]})
    encoder = TableEncoder(cells=CellOptions(decimal=".")).fit(texts)
    first, second = encoder.transform(pd.DataFrame({"c": [str(top - 20_000), str(top - 20_900)]}))
    assert first[0] != second[0]
    typed = pd.DataFrame({"c": [top - 20_000, top - 20_900]})
    np.testing.assert_array_equal(encoder.transform(typed), [first, second])


@pytest.mark.filterwarnings("ignore:column 'v' is text")
@pytest.mark.parametrize("missing", [(-999,), (9_999_999,), (3,), (0.5,)])
def test_numbers_that_stand_for_missing_cells_do_so_in_text_of_any_form(missing, tmp_path):
    number = missing[0]
    written = [f"{number}", f"{float(number)}", f"{number} kW"]
    columns = {"v": [*(f"{n + 10} kW" for n in NUMBERS[:80]), f"{number} kW"], "x": np.arange(81) % 7}
    options = CellOptions(missing=missing)
    encoder = TableEncoder(cells=options).fit(pa.table(columns))
    assert encoder.schema_.columns[0].missing == pytest.approx(1 / 81)
    path = tmp_path / "rows.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    from_file = pa.concat_tables(open_source(path, options).batches(encoder.schema_))
    np.testing.assert_array_equal(encoder.transform(from_file), encoder.transform(pa.table(columns)))
    rows = pa.table({"v": written, "x": [1] * 3})
    assert len({row.tobytes() for row in encoder.transform(rows)}) == 1


def test_an_empty_level_is_a_missing_cell_in_every_container():
    fitted = TableEncoder().fit(pa.table({"c": ["a", "b", None] * 9}))
    codes_of_empty = fitted.transform(pa.table({"c": ["", "NA", None]}))
    assert len({row.tobytes() for row in codes_of_empty}) == 1
    kept = TableEncoder().fit(pa.table({"c": ["NA", "DE", "FR"] * 9}))
    assert (kept.transform(pa.table({"c": ["NA"]}))[0, -1] == 0).all()


LATER = [
    (pd.Series([20, "99"], dtype=object), [20.0, 99.0]),
    (pd.Categorical([20, 99]), [20.0, 99.0]),
    (pd.Series([20.0, ""], dtype=object), [20.0, np.nan]),
    (pd.Series(["20", "99"]), [20.0, 99.0]),
]


@pytest.mark.filterwarnings("ignore:missing values")
@pytest.mark.parametrize(("cells", "numbers"), LATER)
def test_numbers_of_any_type_are_read_where_the_fit_saw_numbers(cells, numbers):
    encoder = TableEncoder().fit(pd.DataFrame({"v": NUMBERS.astype(float)}))
    expected = encoder.transform(pd.DataFrame({"v": numbers}))
    np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"v": cells})), expected)


def test_flags_as_text_are_those_of_a_file(tmp_path):
    texts = {"v": ["True", "False", "TRUE", "false"] * 9, "x": np.arange(36) / 7}
    with pytest.warns(UserWarning, match="read as flags"):
        encoder = TableEncoder().fit(pd.DataFrame(texts))
    typed = pd.DataFrame({"v": [True, False] * 18, "x": texts["x"]})
    np.testing.assert_array_equal(codes(encoder, typed), codes(encoder, pd.DataFrame(texts)))


def test_the_results_of_an_earlier_scoring_are_left_out():
    rows = pd.DataFrame({"a": NUMBERS, "anomaly_score": NUMBERS / 3, "p_value": 0.5, "is_anomaly": False})
    with pytest.warns(UserWarning, match="hold the results of an earlier scoring"):
        encoder = TableEncoder().fit(rows)
    assert encoder.column_names == ("a",)
    np.testing.assert_array_equal(codes(encoder, rows), codes(encoder, rows[["a"]]))
