"""Columns that number, order or date the rows are named at the fit; ordinary ones are not."""

import re
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.data.table.moments import RobustMoments
from upland.data.table.suspects import SAMPLE, RowOrder

N = 400


def rng():
    return np.random.default_rng(3)


def hours(n, step="h"):
    return pd.date_range("2026-01-01", periods=n, freq=step)


IN_ORDER = {
    "counter": np.arange(N),
    "counter from a million": 10**6 + np.arange(N),
    "order numbers with gaps": 10_000 + np.cumsum(rng().integers(1, 14, N)),
    "part of a counter": np.sort(rng().choice(1000, N, replace=False)),
    "falling": -np.arange(N) * 10,
    "running meter": np.cumsum(rng().exponential(size=N)),
    "halves": np.arange(N) / 2,
    "some rows twice": np.repeat(np.arange(N // 2), 2),
    "a missing cell": np.r_[np.nan, np.arange(N - 1)],
    "epoch seconds": 1_767_225_600 + 3600 * np.arange(N),
    "nanoseconds": np.asarray(hours(N)).astype("M8[ns]").astype(np.int64),
    "device numbers": 2**62 + np.cumsum(rng().integers(1, 9, N)),
    "dates": hours(N),
    "dates with gaps": hours(N) + pd.to_timedelta(rng().uniform(0, 50, N), unit="m"),
}
SHUFFLED = {
    "permutation": rng().permutation(N),
    "permutation in tens": rng().permutation(N) * 10.0,
    "order numbers with gaps": rng().permutation(10_000 + np.cumsum(rng().integers(1, 14, N))),
    "copied rows": np.r_[rng().permutation(N), 5, 17, 300],
    "evenly spread": rng().permutation(N) * 0.1 + 3,
    "epoch seconds, hourly": 1_767_225_600 + 3600 * rng().permutation(N),
    "epoch seconds": 1_767_225_600 + rng().integers(0, 10**7, N),
    "epoch milliseconds": 1_767_225_600_000 + rng().integers(0, 10**10, N),
    "hourly dates": hours(N)[rng().permutation(N)],
    "dates of working hours": hours(1)[0]
    + pd.to_timedelta(24 * rng().choice(np.arange(300)[np.arange(300) % 7 < 5], N), unit="h")
    + pd.to_timedelta(rng().uniform(8, 18, N), unit="h"),
    "days": hours(N, "D")[rng().permutation(N)],
    "any dates": hours(1)[0] + pd.to_timedelta(rng().uniform(0, 90, N), unit="D"),
}


@pytest.mark.parametrize("name", IN_ORDER)
@pytest.mark.parametrize("cuts", [(), (1,), (49, 50, 120)])
def test_a_column_that_orders_the_rows_is_named(name, cuts):
    table = pa.table({"c": pa.array(IN_ORDER[name], from_pandas=True), "x": rng().normal(size=N)})
    bounds = [0, *cuts, N]
    parts = [table.slice(a, b - a) for a, b in pairwise(bounds)]
    verb = "falls" if name == "falling" else "rises"
    with pytest.warns(
        UserWarning, match=rf"column 'c' only {verb} from row to row.*ignore=\['c'\]"
    ) as caught:
        TableEncoder().fit_batches(parts)
    assert len(caught) == 1
    assert ("dates='parts'" in str(caught[0].message)) is name.startswith("dates")


@pytest.mark.parametrize("name", SHUFFLED)
@pytest.mark.parametrize("batch", [37, 10_000])
def test_a_column_that_identifies_the_rows_is_named_in_any_order(name, batch):
    values = SHUFFLED[name]
    table = pa.table({"c": pa.array(values, from_pandas=True), "x": rng().normal(size=len(values))})
    with pytest.warns(UserWarning, match=r"column 'c' identifies the rows.*ignore=\['c'\]") as caught:
        TableEncoder().fit_batches(table.slice(start, batch) for start in range(0, len(values), batch))
    assert len(caught) == 1
    date = pa.types.is_timestamp(table.schema.field("c").type)
    assert ("dates='parts'" in str(caught[0].message)) is date


def test_many_columns_are_named_in_one_warning():
    table = pa.table({"a": np.arange(N), "b": np.arange(N) * 7, "x": rng().normal(size=N)})
    text = r"^columns 'a', 'b' only rise from row to row.*ignore=\['a', 'b'\]\)$"
    with pytest.warns(UserWarning, match=text) as caught:
        TableEncoder().fit(table)
    assert len(caught) == 1


def test_the_advice_works():
    table = pa.table({"c": hours(N), "x": rng().normal(size=N)})
    TableEncoder(ignore=["c"]).fit(table)  # warnings are errors here


ORDINARY = {
    "normal": lambda g, n: g.normal(size=n),
    "normal, float32": lambda g, n: g.normal(size=n).astype(np.float32),
    "uniform": lambda g, n: g.uniform(size=n),
    "lognormal": lambda g, n: g.lognormal(size=n),
    "digits": lambda g, n: g.integers(0, 10, n),
    "thousands": lambda g, n: g.integers(0, 1_000, n),
    "millions": lambda g, n: g.integers(0, 10**6, n),
    "milliards": lambda g, n: g.integers(0, 10**9, n),
    "64 bits": lambda g, n: g.integers(-(2**62), 2**62, n),
    "counts": lambda g, n: g.poisson(3, n),
    "cents": lambda g, n: (g.lognormal(3, 1, n) * 100).round(),
    "prices": lambda g, n: g.lognormal(3, 1, n).round(2),
    "degrees": lambda g, n: g.normal(20, 3, n).round(1),
    "flags": lambda g, n: g.random(n) < 0.3,
    "mostly zero": lambda g, n: (g.random(n) < 0.1) * g.exponential(size=n),
    "a level that changes once": lambda g, n: (np.arange(n) > n // 2) * 1.0,
    "a few levels in order": lambda g, n: np.arange(n) // (n // 8),
    "random walk": lambda g, n: g.normal(size=n).cumsum(),
    "wave": lambda g, n: np.sin(np.arange(n) / 9),
    "sawtooth": lambda g, n: np.arange(n) % 24,
    "dates of birth": lambda g, n: (
        np.datetime64("1970-01-01") + g.normal(0, 4_000, n).astype(int).astype("m8[D]")
    ),
    "durations": lambda g, n: g.gamma(2, 60, n).round().astype(int).astype("m8[s]"),
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("n", [49, 60, 400, 5_000])
def test_ordinary_columns_are_not_named(name, n):
    for seed in range(4):
        TableEncoder().fit(pa.table({"c": ORDINARY[name](np.random.default_rng(seed), n)}))


def test_real_data_sets_raise_no_warning():
    from sklearn import datasets

    for name in ("iris", "wine", "breast_cancer", "diabetes", "digits"):
        TableEncoder().fit(getattr(datasets, f"load_{name}")().data)


@pytest.mark.parametrize("shuffled", [False, True])
def test_millions_of_rows_are_counted_by_a_sample(shuffled):
    g, n = rng(), 300_000
    order, moments = RowOrder(), RobustMoments()
    ids = np.cumsum(g.integers(1, 60, n)).astype(float)
    ids = g.permutation(ids) if shuffled else ids
    for part in np.array_split(ids, 40):
        order.update(part)
        moments.update(part)
        assert order._sample is None or len(order._sample) <= SAMPLE
    assert order.found(moments.whole(), "numeric") == ("identifies" if shuffled else "rises")


# -- the index of a pandas frame ---------------------------------------------------------------------------


def frame(n=120):
    g = rng()
    return pd.DataFrame({"a": g.normal(size=n), "b": g.normal(size=n)}).sample(frac=1, random_state=1)


def csv_of(data, path):
    from upland.io.formats import open_source

    data.to_csv(path / "rows.csv")
    return open_source(path / "rows.csv").read()


WITH_INDEX = {
    "CSV": lambda data, path: csv_of(data, path),
    "pandas from CSV": lambda data, path: data.reset_index(names="Unnamed: 0"),
    "saved twice": lambda data, path: data.assign(**{"Unnamed: 0": 1}).reset_index(names="Unnamed: 0.1")[
        ["Unnamed: 0.1", "Unnamed: 0", "a", "b"]
    ],
    "Arrow": lambda data, path: pa.Table.from_pandas(data, preserve_index=True),
    "polars": lambda data, path: pl.from_arrow(pa.Table.from_pandas(data, preserve_index=True)),
    "polars from CSV": lambda data, path: pl.DataFrame({"": data.index.to_list(), **data.to_dict("list")}),
    "two levels": lambda data, path: pa.Table.from_pandas(
        data.set_index(pd.MultiIndex.from_arrays([data.index, data.index])), preserve_index=True
    ),
}


@pytest.mark.parametrize("name", WITH_INDEX)
def test_an_index_is_left_out_and_said_once(name, tmp_path):
    table, plain = WITH_INDEX[name](frame(), tmp_path), frame()
    with pytest.warns(UserWarning, match="the index of a pandas frame, and (is|are) left out") as caught:
        encoder = TableEncoder().fit(table)
    assert len(caught) == 1
    assert encoder.column_names == ("a", "b")
    expected = TableEncoder().fit(plain).transform(plain)
    np.testing.assert_array_equal(encoder.transform(table), expected)
    np.testing.assert_array_equal(encoder.transform(plain), expected)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(encoder.transform(plain.to_numpy()), expected)
    again = TableEncoder.from_state(*encoder.to_state())
    np.testing.assert_array_equal(again.transform(plain), expected)
    fitted = TableEncoder().fit(plain)
    np.testing.assert_array_equal(fitted.transform(table), expected)
    by_position = TableEncoder().fit(plain.to_numpy())
    with pytest.warns(UserWarning, match="fitted without feature names"):
        np.testing.assert_array_equal(by_position.transform(table), expected)


def test_an_index_may_be_named():
    table = frame().reset_index(names="Unnamed: 0")
    TableEncoder(ignore=["Unnamed: 0"]).fit(table)
    assert TableEncoder(categorical=["Unnamed: 0"]).fit(table).column_names == ("Unnamed: 0", "a", "b")
    renamed = table.rename(columns={"Unnamed: 0": "row"})
    with pytest.warns(UserWarning, match="column 'row' identifies the rows"):
        assert TableEncoder().fit(renamed).column_names == ("row", "a", "b")


@pytest.mark.parametrize(
    "names", [["a", ""], ["a", "Unnamed: 0"], ["a", "Unnamed: 1"], ["a", "__index_level__"]]
)
def test_a_column_elsewhere_is_no_index(names):
    g = rng()
    assert TableEncoder().fit(pa.table([g.normal(size=9), g.normal(size=9)], names)).column_names == tuple(
        names
    )


def test_nothing_but_an_index_is_refused():
    with pytest.raises(ValueError, match="every column is ignored or holds the index of a pandas frame"):
        TableEncoder().fit(pa.table({"__index_level_0__": np.arange(9)}))


def test_the_columns_must_still_be_as_many():
    with pytest.warns(UserWarning, match="left out"):
        encoder = TableEncoder().fit(frame().reset_index(names="Unnamed: 0"))
    with pytest.raises(ValueError, match="X has 4 features, but TableEncoder is expecting 3"):
        encoder.transform(np.zeros((2, 4)))


# -- sequences ---------------------------------------------------------------------------------------------


def test_a_meter_among_the_channels_of_a_series_is_named():
    g = rng()
    series = pd.DataFrame({"wave": np.sin(np.arange(300) / 5), "meter": g.exponential(size=300).cumsum()})
    with pytest.warns(UserWarning, match="column 'meter' only rises"):
        SequenceEncoder().fit(series)


def test_what_rises_in_each_of_many_sequences_is_a_channel():
    g = rng()
    sequences = [np.stack([np.arange(40), g.normal(size=40)], axis=1) for _ in range(9)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SequenceEncoder().fit(sequences)


def test_the_index_of_a_long_frame_is_left_out():
    g = rng()
    long = pd.DataFrame(
        {"Unnamed: 0": np.arange(80), "id": np.repeat(["a", "b"], 40), "flow": g.normal(size=80)}
    )
    with pytest.warns(UserWarning, match=re.escape("column 'Unnamed: 0' holds the index")):
        encoder = SequenceEncoder(id="id").fit(long)
    assert encoder.column_names == ("flow",)
    np.testing.assert_array_equal(encoder.steps(long.drop(columns="Unnamed: 0")), encoder.steps(long))
