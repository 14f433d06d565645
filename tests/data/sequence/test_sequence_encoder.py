"""Steps are encoded as rows of a table are: each alone, padding nowhere, every container alike."""

import datetime as dt
import json
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from upland.data.sequence import encoder as steps
from upland.data.sequence.container import as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows
from upland.data.table.encoder import TableEncoder

RNG = np.random.default_rng(0)
LONG = pd.DataFrame(
    {
        "pump": np.repeat(["a", "b", "c"], [5, 3, 4]),
        "when": [dt.datetime(2026, 1, 1) + dt.timedelta(hours=int(n)) for n in np.r_[:5, :3, :4]],
        "flow": RNG.normal(size=12),
        "valve": ["x", "y", "x", "x"] * 3,
        "unit": 7,
    }
)
NAMES = {"id": "pump", "time": "when"}
PARTS = [RNG.normal(size=(length, 2)) for length in (4, 2, 3)]


@pytest.fixture(scope="module")
def encoder():
    return SequenceEncoder(**NAMES).fit(LONG)


def test_steps_are_encoded_as_rows_of_a_table(encoder):
    table = LONG.drop(columns=["pump", "when"])
    np.testing.assert_array_equal(encoder.steps(LONG), TableEncoder().fit(table).transform(table))


def test_codes_have_the_promised_form(encoder):
    codes = encoder.transform(LONG)
    assert codes.shape == (3, 5, encoder.width)
    assert codes.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(codes).sum(axis=(1, 2)), np.array([5, 3, 4]) * encoder.width)
    assert np.isnan(codes[1, 3:]).all()
    assert (encoder.modality, encoder.shape, encoder.named) == ("sequence", (encoder.width,), True)
    assert encoder.inputs == encoder.column_names == ("flow", "valve", "unit")
    assert encoder.n_columns == 3
    assert encoder.slots.tolist() == [0, 1, 1, 1, 2]
    assert encoder.describe()[0] == {"name": "flow", "kind": "numeric"}
    np.testing.assert_array_equal(codes[np.isfinite(codes).all(axis=2)], encoder.steps(LONG))


@pytest.mark.parametrize("make", [pl.from_pandas, lambda f: pa.Table.from_pandas(f, preserve_index=False)])
def test_every_frame_gives_the_same_codes(make, encoder):
    np.testing.assert_array_equal(encoder.transform(make(LONG)), encoder.transform(LONG))
    np.testing.assert_array_equal(
        SequenceEncoder(**NAMES).fit(make(LONG)).transform(LONG), encoder.transform(LONG)
    )
    frames = [make(part.drop(columns="pump")) for _, part in LONG.groupby("pump")]
    alone = SequenceEncoder(time="when").fit(frames)
    np.testing.assert_array_equal(alone.transform(frames), encoder.transform(LONG))


def test_rows_in_any_order_and_columns_in_any_order_give_the_same_codes(encoder):
    shuffled = LONG.sample(frac=1, random_state=1)
    first = [encoder.transform(LONG)[list("abc").index(name)] for name in as_sequences(shuffled, **NAMES).ids]
    np.testing.assert_array_equal(encoder.transform(shuffled[LONG.columns[::-1]]), np.array(first))


def test_padding_does_not_leak():
    X = np.full((3, 6, 2), np.nan)
    for row, part in enumerate(PARTS):
        X[row, : len(part)] = part
    ragged, array = SequenceEncoder().fit(PARTS), SequenceEncoder().fit(X)
    assert ragged.to_state()[0] == array.to_state()[0]
    np.testing.assert_array_equal(ragged.transform(PARTS), array.transform(X))
    np.testing.assert_array_equal(ragged.steps(PARTS), array.steps(X))
    assert ragged.width == 2  # no mark of missing values
    assert ragged.transform(X).shape == (3, 4, 2)


def test_sequences_are_encoded_alone():
    encoder = SequenceEncoder().fit(PARTS)
    together = encoder.transform(PARTS)
    for row, part in enumerate(PARTS):
        np.testing.assert_array_equal(encoder.transform([part])[0], together[row, : len(part)])
        np.testing.assert_array_equal(encoder.transform(part)[0], together[row, : len(part)])
        np.testing.assert_array_equal(encoder.steps(part[1:2])[0], together[row, 1])


def test_fitting_on_batches_equals_fitting_on_all():
    whole, parts = SequenceEncoder().fit(PARTS), SequenceEncoder().fit_batches([[part] for part in PARTS])
    np.testing.assert_allclose(parts.transform(PARTS), whole.transform(PARTS), rtol=1e-6)
    rows = SequenceRows(PARTS)
    again = SequenceEncoder().fit_batches([rows.take(np.arange(3))])
    np.testing.assert_array_equal(again.transform(PARTS), whole.transform(PARTS))


def test_one_sequence_is_enough_to_learn_the_channels_but_one_step_is_not():
    assert SequenceEncoder().fit(np.array([1.0, 2.0])).width == 1
    with pytest.raises(ValueError, match="n_samples = 1"):
        SequenceEncoder().fit([np.array([1.0])])


def test_missing_values_and_constant_channels_follow_the_table():
    X = [part.copy() for part in PARTS]
    X[0][1, 0] = np.nan
    encoder = SequenceEncoder().fit(X)
    assert encoder.slots.tolist() == [0, 0, 1]
    with pytest.warns(UserWarning, match="missing values in 'x0'"):
        SequenceEncoder().fit(PARTS).transform(X)
    flat = SequenceEncoder().fit([np.ones((3, 1))])
    assert flat.transform([np.ones((3, 1))]).max() == 0
    with pytest.raises(ValueError, match="'x1' has no value in any of the 4 rows"):
        SequenceEncoder().fit([np.array([[1.0, np.nan]] * 4)])
    with pytest.raises(ValueError, match=r"infinity.*'x0'"):
        encoder.transform([np.array([[np.inf, 0.0]])])


def test_columns_to_ignore_and_categories_are_named():
    encoder = SequenceEncoder(**NAMES, ignore=["valve"], categorical=["unit"]).fit(LONG)
    assert encoder.column_names == ("flow", "unit")
    assert [column["kind"] for column in encoder.describe()] == ["numeric", "categorical"]
    np.testing.assert_array_equal(encoder.transform(LONG.drop(columns="valve")), encoder.transform(LONG))
    with pytest.raises(ValueError, match="every column is ignored"):
        SequenceEncoder(**NAMES, ignore=["flow", "valve", "unit"]).fit(LONG)
    with pytest.raises(ValueError, match="ignore names columns that are not in the table: 'when'"):
        SequenceEncoder(**NAMES, ignore=["when"]).fit(LONG)


def test_other_channels_are_refused(encoder):
    numbers = SequenceEncoder(owner="EnergyDetector").fit(PARTS)
    with pytest.raises(ValueError, match="X has 3 features, but EnergyDetector is expecting 2 features"):
        numbers.transform(np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match=r"missing column\(s\): 'flow', 'unit'"):
        encoder.transform(LONG.drop(columns=["flow", "unit"]))
    with pytest.raises(ValueError, match="time='when' names a column that is not in the table"):
        encoder.transform(LONG.drop(columns="when"))
    with pytest.raises(ValueError, match="column 'flow', row 1 holds 'high', which is not a number"):
        encoder.transform(LONG.assign(flow="high"))
    with pytest.raises(ValueError, match="not fitted yet"):
        SequenceEncoder().transform(PARTS)


def test_a_frame_at_fit_and_an_array_later_go_by_position():
    frame = LONG[["when", "flow", "unit"]].iloc[:5]
    encoder = SequenceEncoder(time="when").fit(frame)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        codes = encoder.transform(frame[["flow", "unit"]].to_numpy())
    np.testing.assert_array_equal(codes, encoder.transform(frame))


def test_numbers_go_back_to_the_users_columns(encoder):
    values = encoder.values(LONG)
    assert values["flow"].tolist() == LONG["flow"].tolist()
    decoded = encoder.decode(encoder.steps(LONG))
    np.testing.assert_allclose(decoded["flow"], LONG["flow"], rtol=1e-6)
    assert decoded["valve"].tolist() == LONG["valve"].tolist()


@pytest.mark.parametrize("limit", [steps.CODES_AT_ONCE, 0])
@pytest.mark.parametrize(
    "X", [LONG, pl.from_pandas(LONG), pa.Table.from_pandas(LONG)], ids=["pandas", "polars", "arrow"]
)
def test_stretches_are_parts_of_the_whole(limit, X, encoder, monkeypatch):
    monkeypatch.setattr(steps, "CODES_AT_ONCE", limit)
    codes = encoder.slices(X)
    whole = encoder.steps(X)
    for start, stop in ((0, 12), (0, 3), (2, 9), (11, 12)):
        np.testing.assert_array_equal(codes(start, stop), whole[start:stop])


def test_stretches_warn_once(monkeypatch):
    monkeypatch.setattr(steps, "CODES_AT_ONCE", 0)
    X = np.arange(8.0)
    encoder = SequenceEncoder().fit(X)
    X[[1, 5]] = np.nan
    codes = encoder.slices(X)
    with pytest.warns(UserWarning, match="missing values in 'x0'") as caught:
        parts = [codes(start, start + 2) for start in range(0, 8, 2)]
    assert len(caught) == 1
    assert np.concatenate(parts)[[1, 5]].tolist() == [[5.0], [5.0]]


def test_the_state_is_the_exact_way_back():
    many = LONG.assign(pump="a", when=range(12), valve=[f"v{n % 4}" for n in range(12)])
    encoder = SequenceEncoder(**NAMES, ignore=["unit"], owner="me").fit(many)
    manifest, tensors = encoder.to_state()
    again = SequenceEncoder.from_state(json.loads(json.dumps(manifest)), tensors)
    np.testing.assert_array_equal(again.transform(many), encoder.transform(many))
    assert (again.id, again.time, again.owner, again.inputs) == ("pump", "when", "me", encoder.inputs)
    assert again.to_state()[0] == manifest


def test_states_of_something_else_are_refused(encoder):
    manifest, tensors = encoder.to_state()
    with pytest.raises(ValueError, match="not the state of a SequenceEncoder: fields \\['more'\\]"):
        SequenceEncoder.from_state(manifest | {"more": 1}, tensors)
    with pytest.raises(ValueError, match="format is 9; this version reads 1"):
        SequenceEncoder.from_state(manifest | {"format": 9}, tensors)
    with pytest.raises(ValueError, match="not the state of a TableEncoder"):
        SequenceEncoder.from_state(manifest | {"table": {}}, tensors)
    with pytest.raises(ValueError, match=r"the sequence encoder: id cannot be \[1\]"):
        SequenceEncoder.from_state(manifest | {"id": [1]}, tensors)


# -- the sampling interval -----------------------------------------------------------------------------------


def series(step, rows=60):
    times = pd.date_range("2026-01-01", periods=rows, freq=step)
    return pd.DataFrame({"time": times, "x": np.sin(np.arange(rows)), "z": np.arange(rows) % 7.5})


@pytest.mark.parametrize(
    ("factor", "words"), [(0.1, "6 s"), (0.5, "30 s"), (2, "2 min"), (10, "10 min"), (240, "4 h")]
)
def test_steps_at_another_interval_than_those_of_the_fit_give_a_warning(factor, words):
    encoder = SequenceEncoder(time="time").fit(series("60s"))
    again = SequenceEncoder.from_state(*encoder.to_state())
    assert again.step == 60
    for fitted in (encoder, again):
        with pytest.warns(UserWarning, match=rf"typically {words} apart, those of the fit were 1 min"):
            fitted.slices(series(f"{60 * factor}s"))


@pytest.mark.parametrize("found", [series("60s"), series("75s"), series("60s").assign(time=range(60))])
def test_steps_at_about_the_same_interval_pass(found):
    encoder = SequenceEncoder(time="time").fit(found.assign(x=found["z"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.slices(found)
        SequenceEncoder(time="time").fit(series("60s")).slices(series("65s"))


def test_a_state_of_before_the_step_was_kept_loads():
    manifest, tensors = SequenceEncoder(time="time").fit(series("60s")).to_state()
    del manifest["step"]
    encoder = SequenceEncoder.from_state(manifest, tensors)
    assert encoder.step is None
    encoder.slices(series("10s"))
    with pytest.raises(ValueError, match="its step is 'x'"):
        SequenceEncoder.from_state({**manifest, "step": "x"}, tensors)
