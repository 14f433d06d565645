"""Tables to numbers and back: every kind of frame gives one encoding, and a row is encoded alone."""

import datetime as dt
import json
import sys
import warnings
from decimal import Decimal

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from upland.data.table import encodings as en
from upland.data.table.encoder import TableEncoder
from upland.data.table.encodings import squash

DAYS = [dt.datetime(2026, 1, 1) + dt.timedelta(hours=7 * i) for i in range(12)]
MIXED = {
    "load": [1.5, 2.0, None, 4.0, 3.5, 2.5, 1.0, 2.0, 9.0, 2.0, 3.0, 2.5],
    "count": [3, 1, 2, 8, 5, 5, 5, 1, 2, 3, 4, 4],
    "open": [True, False, None, True, True, True, False, True, True, True, True, True],
    "site": [
        "north",
        "south",
        "north",
        None,
        "east",
        "north",
        "north",
        "south",
        "east",
        "north",
        "west",
        "north",
    ],
    "code": [1, 2, 1, 1, 3, 1, 2, 1, 1, 1, 2, 1],
    "at": DAYS,
    "took": [dt.timedelta(seconds=i * i) for i in range(12)],
    "unit": [7] * 12,
}
FRAMES = {
    "pandas": pd.DataFrame,
    "pandas nullable": lambda data: pd.DataFrame(data).convert_dtypes(),
    "pandas on arrow": lambda data: pd.DataFrame(data).convert_dtypes(dtype_backend="pyarrow"),
    "pandas objects": lambda data: pd.DataFrame(data, dtype=object),
    "pandas category": lambda data: pd.DataFrame(data).astype({"site": "category"}),
    "polars": pl.DataFrame,
    "polars lazy": pl.LazyFrame,
    "polars categorical": lambda data: pl.DataFrame(data).with_columns(pl.col("site").cast(pl.Categorical)),
    "polars enum": lambda data: pl.DataFrame(data).with_columns(
        pl.col("site").cast(pl.Enum(["west", "south", "east", "north"]))
    ),
    "arrow": pa.table,
    "arrow batch": lambda data: pa.table(data).to_batches()[0],
    "arrow chunks": lambda data: pa.concat_tables([pa.table(data).slice(0, 5), pa.table(data).slice(5)]),
    "narwhals": lambda data: nw.from_native(pl.DataFrame(data)),
    "reordered": lambda data: pd.DataFrame(data)[list(data)[::-1]],
}


@pytest.fixture(scope="module")
def encoder():
    return TableEncoder(categorical=["code"]).fit(pa.table(MIXED))


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_gives_the_same_codes(name, encoder):
    frame = FRAMES[name](MIXED)
    expected = encoder.transform(pa.table(MIXED))
    np.testing.assert_array_equal(encoder.transform(frame), expected)
    order = [column for column in MIXED if name != "reordered"]
    if order:
        np.testing.assert_array_equal(
            TableEncoder(categorical=["code"]).fit(frame).transform(frame), expected
        )


def test_codes_have_the_promised_form(encoder):
    codes = encoder.transform(pa.table(MIXED))
    assert codes.dtype == np.float32
    assert codes.flags.c_contiguous
    assert codes.shape == (12, encoder.width)
    assert np.isfinite(codes).all()
    assert encoder.column_names == tuple(MIXED)
    assert (encoder.n_columns, encoder.named) == (8, True)
    widths = {"load": 2, "count": 1, "open": 2, "site": 6, "code": 4, "at": 1, "took": 1, "unit": 1}
    assert encoder.slots.tolist() == [i for i, name in enumerate(MIXED) for _ in range(widths[name])]
    assert [column.kind for column in encoder.schema_.columns] == [
        *("numeric", "numeric", "boolean", "categorical", "categorical", "date", "duration", "numeric")
    ]


def test_the_numbers_are_z_scores_and_missing_cells_are_marked(encoder):
    codes = encoder.transform(pa.table(MIXED)).astype(np.float64)
    load = np.array([np.nan if x is None else x for x in MIXED["load"]])
    expected = (load - np.nanmean(load)) / np.nanstd(load)
    expected[2] = 0.0
    np.testing.assert_allclose(codes[:, 0], squash(expected), rtol=1e-6)
    assert set(np.round(codes[:, 1], 5)) == set(
        np.round(squash(np.array([-np.sqrt(1 / 11), np.sqrt(11)])), 5)
    )
    assert np.all(codes[:, encoder.slots == 7] == 0)


def test_rows_are_encoded_alone(encoder):
    table = pa.table(MIXED)
    codes = encoder.transform(table)
    for row in range(12):
        np.testing.assert_array_equal(encoder.transform(table.slice(row, 1))[0], codes[row])
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(encoder.transform(table.take(pa.array(order))), codes[order])


@pytest.mark.parametrize("sizes", [(1, 11), (2, 3, 7), (6, 6)])
def test_fitting_on_batches_equals_fitting_on_all(sizes, encoder):
    table, starts = pa.table(MIXED), np.cumsum([0, *sizes[:-1]])
    batches = (table.slice(start, size) for start, size in zip(starts.tolist(), sizes, strict=True))
    streamed = TableEncoder(categorical=["code"]).fit_batches(batches)
    for one, other in zip(streamed.schema_.columns, encoder.schema_.columns, strict=True):
        assert (one.name, one.kind, one.levels, one.shares, one.missing) == (
            *(other.name, other.kind, other.levels, other.shares, other.missing),
        )
        assert (one.center, one.scale) == pytest.approx((other.center, other.scale), rel=1e-12)


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        ">f8",
        "<f4",
        "int8",
        "int64",
        ">i4",
        "uint8",
        "uint64",
        "bool",
        "object",
        "longdouble",
    ],
)
def test_array_dtypes(dtype):
    X = np.array([[1, 0, 3], [2, 1, 5], [4, 1, 0], [1, 0, 0]]) % (2 if dtype == "bool" else 99)
    expected = TableEncoder().fit(X.astype(float)).transform(X.astype(float))
    given = X.astype(dtype)
    np.testing.assert_allclose(TableEncoder().fit(given).transform(given), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda X: X[::-1][::-1],
        lambda X: np.ascontiguousarray(X.T).T,
        np.ndarray.tolist,
        pd.DataFrame,
    ],
)
def test_array_layouts(change):
    X = np.random.default_rng(1).normal(size=(30, 4))
    X.flags.writeable = False
    encoder = TableEncoder().fit(X)
    np.testing.assert_array_equal(encoder.transform(change(X)), encoder.transform(X))
    np.testing.assert_array_equal(TableEncoder().fit(change(X)).transform(X), encoder.transform(X))


def test_decimals_masks_and_sparse_columns():
    X = pd.DataFrame(
        {"a": [Decimal("1.5"), Decimal("2.5"), None], "b": pd.arrays.SparseArray([0.0, 0.0, 3.0])}
    )
    codes = TableEncoder().fit(X).transform(X)
    root = np.sqrt(2)
    np.testing.assert_allclose(
        codes, [[-1, -root / 2, -root / 2], [1, -root / 2, -root / 2], [0, root, root]], rtol=1e-6
    )
    masked = np.ma.masked_array([[1.0], [2.0], [9.0]], [[False], [False], [True]])
    assert TableEncoder().fit(masked).schema_.columns[0].missing == pytest.approx(1 / 3)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_dates_count_alike_in_every_unit_and_zone(unit, zone):
    stamps = pa.array([0, 86_400, 200_000], pa.timestamp("s")).cast(pa.timestamp(unit, zone))
    encoder = TableEncoder().fit(pa.table({"at": pa.array([0, 86_400, 200_000], pa.timestamp("s"))}))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        codes = encoder.transform(pa.table({"at": stamps}))
    assert ["time zone here, but had none" in str(item.message) for item in caught] == [True] * (
        zone is not None
    )
    np.testing.assert_allclose(
        codes, TableEncoder().fit(pa.table({"at": stamps})).transform(pa.table({"at": stamps}))
    )
    assert encoder.schema_.columns[0].center == pytest.approx(286_400 / 3)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([dt.date(2026, 1, 1), dt.date(2026, 3, 1)], "date"),
        ([dt.time(1, 2), dt.time(3, 4)], "duration"),
        (pa.array([0, 1], pa.date64()), "date"),
        (pa.array([0, 5], pa.time32("ms")), "duration"),
    ],
)
def test_other_temporal_types(values, kind):
    table = pa.table({"t": values})
    encoder = TableEncoder().fit(table)
    assert encoder.schema_.columns[0].kind == kind
    np.testing.assert_allclose(encoder.transform(table).ravel(), [-1, 1], rtol=1e-6)


# -- what was never seen ---------------------------------------------------------------------------


def test_an_unseen_level_has_its_own_slot(encoder):
    table = pa.table(MIXED)
    site = encoder.slots == 3
    seen = encoder.transform(table)[:, site]
    fresh = table.set_column(3, "site", pa.array(["moon"] * 12))
    unseen = encoder.transform(fresh)[:, site]
    assert np.all(seen[:, -1] == 0)
    assert np.all(unseen[:, -1] == np.float32(en.FAR))
    assert np.abs(unseen).max() >= np.abs(seen).max()


def test_numbers_named_categorical_take_every_spelling():
    encoder = TableEncoder(categorical=["c"]).fit(pa.table({"c": [1, 2, 1, 1]}))
    expected = encoder.transform(pa.table({"c": [1, 2]}))
    for same in (
        pa.table({"c": [1.0, 2.0]}),
        pa.table({"c": ["1", "2"]}),
        pd.DataFrame({"c": [Decimal(1), Decimal(2)]}),
    ):
        np.testing.assert_array_equal(encoder.transform(same), expected)


def test_a_column_number_can_be_named_in_an_array():
    X = np.array([[0, 5], [1, 6], [1, 7]])
    by_number, by_name = TableEncoder(categorical=[0]).fit(X), TableEncoder(categorical=["x0"]).fit(X)
    assert by_number.schema_ == by_name.schema_
    assert by_number.schema_.columns[0].levels == ("1", "0")


@pytest.mark.parametrize("column", ["count", "site", "open", "at", "unit"])
def test_a_cell_missing_for_the_first_time_is_far_and_said_once(column):
    data = {name: [x for x in values if x is not None][:9] for name, values in MIXED.items()}
    encoder = TableEncoder(categorical=["code"]).fit(pa.table(data))
    position = list(MIXED).index(column)
    holes = pa.table(data).set_column(
        position, column, pa.array([None, *data[column][1:]], pa.table(data)[column].type)
    )
    with pytest.warns(
        UserWarning, match=f"missing values in '{column}', where no value was missing"
    ) as caught:
        codes = encoder.transform(holes)
    assert len(caught) == 1
    assert codes[0, encoder.slots == position].max() == np.float32(en.FAR)
    np.testing.assert_array_equal(codes[1:], encoder.transform(pa.table(data))[1:])
    strict = TableEncoder(categorical=["code"], missing="error").fit(pa.table(data))
    with pytest.raises(ValueError, match=f"missing values in '{column}'"):
        strict.transform(holes)


def test_flags_that_never_changed_are_far_when_they_do():
    encoder = TableEncoder().fit(pa.table({"a": [True] * 5, "b": [0, 0, 0, 0, 0]}))
    assert encoder.transform(pa.table({"a": [True], "b": [0]})).tolist() == [[0, 0]]
    assert np.all(np.abs(encoder.transform(pa.table({"a": [False], "b": [1]}))) >= en.FAR)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(2, 6), st.integers(1, 3)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_codes_are_finite_and_rise_with_the_values_for_every_finite_table(X):
    encoder = TableEncoder().fit(X)
    extremes = np.outer([-1.7e308, 1.7e308], np.ones(X.shape[1]))
    values = np.concatenate([X, extremes])
    codes = encoder.transform(values)
    assert np.isfinite(codes).all()
    for column, code in zip(values.T, codes.T, strict=True):
        assert (np.diff(code[np.argsort(column, kind="stable")]) >= 0).all()


# -- back to values --------------------------------------------------------------------------------


def test_decode_undoes_transform(encoder):
    table = pa.table(MIXED)
    decoded = encoder.decode(encoder.transform(table))
    assert list(decoded) == list(MIXED)
    load = [np.nanmean([x for x in MIXED["load"] if x]) if x is None else x for x in MIXED["load"]]
    np.testing.assert_allclose(decoded["load"], load, rtol=1e-6)
    np.testing.assert_allclose(decoded["count"], MIXED["count"], rtol=1e-6)
    assert decoded["open"].tolist() == [True if x is None else x for x in MIXED["open"]]
    assert decoded["site"].tolist() == MIXED["site"]
    assert decoded["code"].tolist() == [str(x) for x in MIXED["code"]]
    apart = decoded["at"] - np.array(DAYS, dtype="M8[us]")
    assert np.abs(apart).max() < np.timedelta64(1, "s")
    assert decoded["took"].dtype == np.dtype("m8[us]")
    assert decoded["unit"].tolist() == [7.0] * 12


def test_decode_finds_the_nearest_level_through_noise(encoder):
    table = pa.table(MIXED)
    codes = encoder.transform(table)
    noise = np.random.default_rng(0).normal(scale=0.1, size=codes.shape)
    assert encoder.decode(codes + noise)["site"].tolist() == MIXED["site"]


def test_decode_names_the_slot_of_rare_levels():
    table = pa.table({"c": list("aaabbc")})
    encoder = TableEncoder(max_levels=1).fit(table)
    assert encoder.decode(encoder.transform(table))["c"].tolist() == [
        "a",
        "a",
        "a",
        "(rare)",
        "(rare)",
        "(rare)",
    ]


def test_decode_asks_for_its_own_width(encoder):
    with pytest.raises(ValueError, match=rf"\(N, {encoder.width}\), got \(2, 3\)"):
        encoder.decode(np.zeros((2, 3)))


def test_values_are_the_users_own(encoder):
    values = encoder.values(pl.DataFrame(MIXED))
    assert values["site"].tolist() == MIXED["site"]
    assert values["open"].tolist() == MIXED["open"]
    assert values["at"].tolist() == DAYS
    assert np.isnan(values["load"][2])
    assert values["took"].tolist() == MIXED["took"]


# -- persistence -----------------------------------------------------------------------------------


def reloaded(encoder):
    manifest, tensors = encoder.to_state()
    return TableEncoder.from_state(json.loads(json.dumps(manifest)), tensors)


def test_a_reloaded_encoder_gives_the_same_bits(encoder):
    again = reloaded(encoder)
    assert again.schema_ == encoder.schema_
    np.testing.assert_array_equal(again.transform(pl.DataFrame(MIXED)), encoder.transform(pa.table(MIXED)))
    np.testing.assert_array_equal(again.slots, encoder.slots)
    assert encoder.to_state()[1] == {}


def test_large_vocabularies_become_tensors():
    words = [f"wört-{i}" for i in range(700)] + ["", "often", "often"]
    table = pa.table({"word": words, "x": np.arange(703.0) ** 2})
    encoder = TableEncoder(categorical=["word"], max_levels=50).fit(table)
    manifest, tensors = encoder.to_state()
    assert set(tensors) == {
        f"column0.{field}.{part}" for field in ("levels", "rare") for part in ("text", "lengths")
    }
    assert all(tensor.dtype in (np.uint8, np.int64) for tensor in tensors.values())
    again = reloaded(encoder)
    assert again.schema_ == encoder.schema_
    np.testing.assert_array_equal(again.transform(table), encoder.transform(table))
    with pytest.raises(ValueError, match="is lacking"):
        TableEncoder.from_state(manifest, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2; this version reads 1"),
        ({"extra": 1}, "not the state of a TableEncoder.*extra"),
    ],
)
def test_foreign_states_are_refused(encoder, change, message):
    manifest, tensors = encoder.to_state()
    with pytest.raises(ValueError, match=message):
        TableEncoder.from_state({**manifest, **change}, tensors)


# -- speed -----------------------------------------------------------------------------------------


def test_a_thousand_rows_take_as_many_calls_as_one():
    """NumPy does what is done for each row; the calls of Python grow with blocks of rows alone."""
    X = np.random.default_rng(0).normal(size=(1_000, 30))
    encoder = TableEncoder().fit(X)
    encoder.transform(X[:1])

    def calls(rows):
        count = [0]
        sys.setprofile(lambda *_: count.__setitem__(0, count[0] + 1))
        try:
            encoder.transform(rows)
        finally:
            sys.setprofile(None)
        return count[0]

    assert 0 < calls(X) == calls(X[:1]) < 1_000


def test_numbers_at_both_ends_of_the_doubles_raise_no_warning():
    rows = np.array([[1.79769313e308], [-9.97920155e291]])
    np.testing.assert_allclose(TableEncoder().fit(rows).transform(rows), [[1], [-1]], rtol=1e-6)
