"""What is learned of rows in parts and merged is what is learned of all of them at once."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upland.data.table.encoder import TableEncoder
from upland.data.table.moments import RobustMoments, RunningMoments
from upland.io.cells import CellOptions

NUMBERS = st.one_of(
    st.integers(-5, 5).map(float),
    st.floats(-1e3, 1e3),
    st.sampled_from([1e300, -1e300, 1e-300, -9999.0, 1e9]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(NUMBERS, max_size=60), min_size=1, max_size=6))
def test_moments_of_parts_merge_to_those_of_the_whole(parts):
    values = np.array([value for part in parts for value in part])
    for made in (RunningMoments, RobustMoments):
        whole, merged = made(), made()
        whole.update(values)
        for part in parts:
            own = made()
            own.update(np.array(part))
            merged.merge(own)
        if made is RobustMoments:
            (whole, out), (merged, also) = whole.robust(), merged.robust()
            assert out == also
        assert merged.count == whole.count
        if not whole.count:
            continue
        assert (merged.low, merged.high) == (whole.low, whole.high)
        size = max(abs(whole.low), abs(whole.high))
        assert merged.mean == pytest.approx(whole.mean, rel=1e-12, abs=1e-12 * size)
        least = 1e-154  # the square of what is smaller is no number
        assert merged.deviation == pytest.approx(whole.deviation, rel=1e-7, abs=1e-12 * size + least)


def test_the_outermost_values_of_many_parts_are_counted_exactly():
    g = np.random.default_rng(0)
    values = np.round(g.standard_t(2, 60_000), 2)
    whole, merged = RobustMoments(), RobustMoments()
    whole.update(values.copy())
    for part in np.array_split(values, 17):
        own = RobustMoments()
        own.update(part)
        merged.merge(own)
    merged._keep_apart()
    whole._keep_apart()
    assert np.array_equal(whole._values, merged._values)
    assert np.array_equal(whole._counts, merged._counts)
    assert np.array_equal(whole._counts, [(values == value).sum() for value in whole._values])


def table(n, seed):
    g = np.random.default_rng(seed)
    missing = g.random(n) < 0.1
    numbers = g.normal(5, 3, n)
    start = datetime.datetime(2024, 1, 1)
    return pa.table(
        {
            "number": pa.array(numbers, mask=missing),
            "sentinel": np.where(np.arange(n) % 97 == 5, -1e7, numbers),
            "constant": np.full(n, 4.5),
            "huge": g.integers(2**60, 2**60 + 999, n),
            "text number": [f"{value:.2f} kg" for value in numbers],
            "level": g.choice(["a", "b", "c", "d"], n, p=[0.6, 0.3, 0.09, 0.01]),
            "flag": g.random(n) < 0.2,
            "date": [start + datetime.timedelta(hours=int(h)) for h in g.integers(0, 9_000, n)],
            "duration": pa.array(g.integers(0, 10**6, n), pa.duration("s")),
        }
    )


@pytest.mark.parametrize("dates", ["number", "parts"])
@pytest.mark.parametrize("cuts", [[1_000], [0, 1, 2, 900, 900], list(range(100, 1_500, 100))])
def test_an_encoder_learns_the_same_of_parts(cuts, dates):
    rows = table(1_500, 0)
    options = {"cells": CellOptions(dates=dates)}
    with pytest.warns(UserWarning):
        sampled = TableEncoder(**options).fit(rows.take(np.arange(0, 1_500, 7)))
    with pytest.warns(UserWarning):
        whole = TableEncoder(**options).read_as(sampled).fit(rows)
    encoder = TableEncoder(**options).read_as(sampled)
    summary = encoder.summary([])
    for start, stop in zip([0, *cuts], [*cuts, rows.num_rows], strict=True):
        if part := [rows.slice(start, stop - start)] if stop > start else []:
            summary.merge(encoder.summary(part))
        else:
            summary.merge(encoder.summary([]))
    with pytest.warns(UserWarning, match="'sentinel' holds"):
        encoder.fit_summary(summary)
    for found, wanted in zip(encoder.schema_.columns, whole.schema_.columns, strict=True):
        for name in ("name", "kind", "dtype", "levels", "rare", "form", "zoned", "origin", "parts"):
            assert getattr(found, name) == getattr(wanted, name), (wanted.name, name)
        for name in ("center", "scale", "missing", "shares", "rare_share", "part_scaling"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9), (wanted.name, name)


def test_parts_of_another_kind_are_refused():
    encoder = TableEncoder().read_as(TableEncoder().fit(pa.table({"a": [1.0, 2.0]})))
    summary = encoder.summary([pa.table({"a": [1.0, 2.0]})])
    with pytest.raises(ValueError, match="'a' is numeric in one batch, and date"):
        summary.merge(encoder.summary([pa.table({"a": [datetime.date(2024, 1, 1)]})]))
