"""A series scored step by step: the numbers of one pass over it, from a state that is never changed."""

import copy
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.exceptions import NotFittedError

import upland
from laws import generator
from normals import SIZES, small, waves
from upland.catalogue import criteria_of
from upland.criteria import reading
from upland.detectors.one_row import one_row
from upland.detectors.stream import begin
from upland.models.recurrent import RecurrentEnergy

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")
CELLS = ["lstm", "gru", "rnn"]
CRITERIA = ["auto", *criteria_of("energy", "sequence")]


def series(count, seed=0):
    """Two channels that remember where they were; the second follows the first."""
    noise = np.random.default_rng(seed).normal(size=(count, 2))
    x = 0.5 * noise
    for t in range(1, count):
        x[t] = 0.7 * x[t - 1] + 0.5 * noise[t] + [0.0, 0.3 * x[t - 1, 0]]
    return x


def celled(cell):
    """A function that makes a recurrent energy with another cell."""
    return lambda width: RecurrentEnergy(width, (8, 4), frame=3, cell=cell, generator=generator())


def fit(X=None, **options):
    made = small(upland.SequenceEnergyDetector, **{"hidden": (8, 4)} | options)
    return made.fit(series(300) if X is None else X)


@pytest.fixture(scope="module")
def by_cell():
    """A detector with each cell; criteria are chosen afterwards."""
    return {cell: fit(model=None if cell == "lstm" else celled(cell)) for cell in CELLS}


def with_criterion(detector, criterion):
    """A copy that scores by another criterion."""
    other = copy.copy(detector).set_params(criterion=criterion)
    return other if criterion == "auto" else other.calibrate(series(200, seed=5))


def streamed(detector, rows, state=None):
    """Scores and p-values of the rows, one after the other, and the last state."""
    scores, p = [], []
    for row in rows:
        score, value, state = detector.score_next(state, row)
        scores.append(score)
        p.append(value)
    return np.array(scores), np.array(p), state


@pytest.fixture(scope="module", params=[(k, c) for k in CELLS for c in CRITERIA], ids="-".join)
def fitted(request, by_cell):
    cell, criterion = request.param
    return with_criterion(by_cell[cell], criterion)


@pytest.fixture(params=CRITERIA)
def by_criterion(request, by_cell):
    return with_criterion(by_cell["lstm"], request.param)


@pytest.fixture
def detector(by_cell):
    return copy.copy(by_cell["lstm"])


NEW = series(90, seed=1)


def new(detector):
    """Steps beyond the longest memory of a criterion; few where each takes long."""
    return NEW[:13] if detector.criterion == "energy" else NEW


# -- equal to the pass ---------------------------------------------------------------------------------------


def test_streaming_is_the_full_pass(fitted):
    rows = new(fitted)
    whole, p_whole = fitted.assess(rows)
    scores, p, _ = streamed(fitted, rows)
    np.testing.assert_allclose(scores, whole, rtol=1e-9)
    np.testing.assert_array_equal(p, p_whole)


@pytest.mark.parametrize("frame", [1, 2, 20])
def test_streaming_is_the_full_pass_at_every_frame(frame):
    detector = fit(frame=frame)
    np.testing.assert_allclose(streamed(detector, NEW[:40])[0], detector.anomaly_score(NEW[:40]), rtol=1e-9)


@pytest.mark.parametrize("criterion", ["auto", "score_test"])
def test_of_five_members_too(criterion):
    detector = fit(calibration="cross", criterion=criterion)
    rows = NEW[:30]
    whole, p_whole = detector.assess(rows)
    scores, p, _ = streamed(detector, rows)
    np.testing.assert_allclose(scores, whole, rtol=1e-9)
    np.testing.assert_array_equal(p, p_whole)
    assert detector.calibrations_["step"].method == "cross"


@pytest.mark.parametrize("at", [0, 1, 7])
def test_a_state_goes_into_arrays_and_back(fitted, at):
    rows = new(fitted)
    _, _, state = streamed(fitted, rows[:at])
    start = begin_of(fitted)
    arrays = (state or start).to_arrays()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float64)}
    again = start.with_arrays(arrays)
    expected, p, _ = streamed(fitted, rows[at:12], state)
    scores, p_again, _ = streamed(fitted, rows[at:12], again)
    np.testing.assert_array_equal(scores, expected)
    np.testing.assert_array_equal(p_again, p)


def test_arrays_of_another_fit_are_refused(by_cell):
    _, _, state = streamed(by_cell["lstm"], NEW[:3])
    arrays = state.to_arrays()
    with pytest.raises(ValueError, match="of another fit"):
        begin_of(by_cell["rnn"]).with_arrays(arrays)
    for name in arrays:
        with pytest.raises(ValueError, match=r"not whole|remembers"):
            begin_of(by_cell["lstm"]).with_arrays({key: arrays[key] for key in arrays if key != name})


def begin_of(detector):
    """The state before the first step."""
    name = detector.criterion_of("step")
    criteria = [detector.fitted_criterion(member, "step") for member in detector.members_]
    return begin(detector.members_, criteria, name)


def test_after_a_fit_on_whole_sequences_a_stream_is_a_sequence_of_its_own():
    X = series(500).reshape(25, 20, 2)
    detector = fit(X, per="step")
    whole = detector.anomaly_score(X[3:5])
    for row, sequence in enumerate(X[3:5]):
        np.testing.assert_allclose(streamed(detector, sequence)[0], whole[row], rtol=1e-9)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 7), (64, 100)])
def test_a_pass_in_stretches_is_one_pass(fitted, sizes, monkeypatch):
    rows = new(fitted)
    whole = fitted.anomaly_score(rows)
    monkeypatch.setattr(reading, "STRETCH", sizes[0])
    monkeypatch.setattr(reading, "TOGETHER", sizes[1])
    np.testing.assert_allclose(fitted.anomaly_score(rows), whole, rtol=1e-9)


@pytest.mark.parametrize("at", [1, 17, 64, 89])
def test_what_comes_later_changes_nothing_before_it(fitted, at):
    changed = NEW.copy()
    changed[at:] = 7.0
    before, after = fitted.anomaly_score(NEW), fitted.anomaly_score(changed)
    np.testing.assert_allclose(after[:at], before[:at], rtol=1e-9)
    np.testing.assert_allclose(fitted.anomaly_score(NEW[:at]), before[:at], rtol=1e-9)
    assert abs(after[at] - before[at]) > 1e-3 * abs(before[at])


def test_the_past_is_remembered(fitted):
    changed = NEW.copy()
    changed[40] += 6.0
    before, after = fitted.anomaly_score(NEW), fitted.anomaly_score(changed)
    assert not np.isclose(after[43:50], before[43:50], rtol=1e-9).any()


# -- the state -----------------------------------------------------------------------------------------------


def test_a_state_can_be_gone_on_from_twice(fitted):
    rows = new(fitted)
    _, _, state = streamed(fitted, rows[:10])
    one = streamed(fitted, rows[10:13], state)[0]
    streamed(fitted, 50 + rows[:3], state)
    two = streamed(fitted, rows[10:13], state)[0]
    np.testing.assert_array_equal(one, two)


def numbers_in(thing):
    """All tensors, arrays and whole numbers that a state holds, but for the models' weights."""
    if isinstance(thing, torch.nn.Module):
        return []
    if isinstance(thing, torch.Tensor):
        return [thing.detach().numpy()]
    if isinstance(thing, np.ndarray | int):
        return [np.asarray(thing)]
    if isinstance(thing, dict):
        thing = tuple(thing.values())
    parts = thing if isinstance(thing, tuple) else vars(thing).values() if "__dict__" in dir(thing) else ()
    return [number for part in parts for number in numbers_in(part)]


def test_nothing_in_a_state_is_changed_in_place(fitted):
    rows = new(fitted)
    state = streamed(fitted, rows[:10])[2]
    before = copy.deepcopy(numbers_in(state))
    after = numbers_in(fitted.score_next(state, rows[10]).state)
    assert all(np.array_equal(a, b) for a, b in zip(numbers_in(state), before, strict=True))
    assert sum(not np.array_equal(a, b) for a, b in zip(after, before, strict=True)) >= 2
    assert state.steps == 10


def test_a_state_does_not_grow(by_criterion):
    detector = by_criterion
    early = streamed(detector, NEW[:5])[2]
    late = streamed(detector, NEW[5:30], early)[2]
    assert [part.shape for part in numbers_in(late)] == [part.shape for part in numbers_in(early)]
    assert late.steps == 30


def test_two_streams_do_not_mix(detector):
    other = series(20, seed=8)
    apart = streamed(detector, NEW[:20])[0], streamed(detector, other)[0]
    states, together = [None, None], [[], []]
    for rows in zip(NEW[:20], other, strict=True):
        for stream, row in enumerate(rows):
            score, _, states[stream] = detector.score_next(states[stream], row)
            together[stream].append(score)
    np.testing.assert_array_equal(np.array(together), np.array(apart))


def test_streaming_leaves_the_detector_as_it_was(detector):
    before = copy.deepcopy([model.state_dict() for model in detector.models_])
    whole = detector.anomaly_score(NEW)
    streamed(detector, NEW[:10])
    for model, kept in zip(detector.models_, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
        assert next(model.parameters()).dtype == torch.float32
    np.testing.assert_array_equal(detector.anomaly_score(NEW), whole)


def test_the_same_bits_after_reload(by_criterion, tmp_path):
    detector = by_criterion
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    rows = new(detector)[:25]
    for one, two in zip(streamed(again, rows)[:2], streamed(detector, rows)[:2], strict=True):
        np.testing.assert_array_equal(one, two)


# -- the calibration of steps --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_seeds():
    return [fit(series(500, seed), random_state=seed) for seed in range(6)]


@pytest.mark.parametrize("criterion", ["auto", "score_test", "max_channel", "reconstruction"])
def test_a_new_normal_series_does_not_begin_with_an_alarm(of_seeds, criterion):
    first = []
    for seed, detector in enumerate(of_seeds):
        scoring = copy.copy(detector).set_params(criterion=criterion).calibrate(series(400, 50 + seed))
        first.append(scoring.p_values(series(30, 100 + seed))[:10])
    assert (np.array(first) <= 0.05).mean() < 0.3


@pytest.fixture(scope="module")
def trained():
    return fit(series(500), epochs=10)


@pytest.mark.parametrize("criterion", ["auto", "score_test", "max_channel", "reconstruction"])
def test_a_fault_that_lasts_raises_an_alarm(trained, criterion):
    detector = copy.copy(trained).set_params(criterion=criterion).calibrate(series(400, seed=7))
    rows = series(110, seed=2)
    rows[60:, 1] += 15.0
    _, p, _ = streamed(detector, rows)
    assert p[60:].min() == detector.calibrations_["step"].smallest_p
    assert p[-1] <= 0.05
    assert (p[:60] > 0.05).mean() > 0.7


# -- one step, in any form -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """Numbers beside a category, and some cells missing."""
    x, rng = series(300), np.random.default_rng(0)
    frame = pd.DataFrame({"time": np.arange(300), "flow": x[:, 0], "load": x[:, 1]})
    frame["valve"] = rng.choice(["open", "shut", None], 300, p=[0.6, 0.3, 0.1])
    frame.loc[::11, "load"] = np.nan
    return frame, fit(frame, time="time")


FORMS = {
    "mapping": lambda row: {k: None if pd.isna(v) else v for k, v in row.iloc[0, 1:].items()},
    "mapping with NaN": lambda row: row.iloc[0, 1:].to_dict(),
    "frame": lambda row: row.drop(columns="time"),
    "frame with its time": lambda row: row,
    "columns the other way round": lambda row: row[row.columns[::-1]],
    "arrow": lambda row: pa.Table.from_pandas(row.drop(columns="time"), preserve_index=False),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_step_in_any_form(mixed, form):
    frame, detector = mixed
    rows = frame.iloc[:24]
    found = streamed(detector, [FORMS[form](rows.iloc[[t]]) for t in range(24)])[0]
    np.testing.assert_allclose(found, detector.anomaly_score(rows), rtol=1e-9)


def test_missing_values_where_none_were_warn_and_are_strange(detector):
    state = streamed(detector, NEW[:20])[2]
    usual = detector.score_next(state, NEW[20])
    with pytest.warns(UserWarning, match="missing values"):
        found = detector.score_next(state, [np.nan, NEW[20, 1]])
    assert np.inf > found.anomaly_score > usual.anomaly_score


@pytest.fixture(scope="module")
def one_channel():
    return fit(series(300)[:, 0])


@pytest.mark.parametrize("x", [0.5, np.float64(0.5), [0.5], (0.5,), np.array([0.5]), np.array([[0.5]])])
def test_one_channel_may_be_a_single_number(one_channel, x):
    assert one_channel.score_next(None, x)[:2] == one_channel.score_next(None, np.array([0.5]))[:2]


def test_two_channels_as_a_list(detector):
    assert detector.score_next(None, [0.1, 0.2])[:2] == detector.score_next(None, np.array([0.1, 0.2]))[:2]


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [NEW[:2], pd.DataFrame(NEW[:3]), NEW[:0]], ids=["array", "frame", "none"])
def test_more_or_fewer_than_one_step_is_refused(rows):
    with pytest.raises(ValueError, match=f"takes one step at a time, got {len(rows)}"):
        one_row(rows)


@pytest.mark.parametrize(
    ("x", "words"),
    [([1.0, 2.0, 3.0], "3 features.*expecting 2"), (0.5, "1 features.*expecting 2")],
)
def test_another_number_of_channels_is_refused(detector, x, words):
    with pytest.raises(ValueError, match=words):
        detector.score_next(None, x)


def test_missing_columns_are_named(mixed):
    with pytest.raises(ValueError, match=r"missing column.*'load', 'valve'"):
        mixed[1].score_next(None, {"flow": 1.0})


def test_only_sequences_are_scored_step_by_step():
    able = {made for made in SIZES if "score_next" in dir(made)}
    assert able == {upland.SequenceEnergyDetector, upland.SequenceFlowDetector}


def test_nothing_without_a_fit():
    with pytest.raises(NotFittedError):
        small(upland.SequenceEnergyDetector).score_next(None, [0.0])


def test_a_criterion_that_is_not_calibrated_is_refused(detector):
    detector.set_params(criterion="energy")
    with pytest.raises(ValueError, match="calibrated for criterion='experts', but now criterion='energy'"):
        detector.score_next(None, NEW[0])


class Lost(RecurrentEnergy):
    """It gives no number once it has seen what is far out."""

    def advance(self, state, x):
        points, context, after = super().advance(state, x)
        return torch.where(points.abs() > 20, torch.nan, points), context, after


def test_a_score_that_is_no_number_is_refused():
    detector = fit(model=lambda width: Lost(width, (6,), generator=torch.Generator().manual_seed(0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(FloatingPointError, match="no number"):
            detector.score_next(None, [1e9, 0.0])
        with pytest.raises(FloatingPointError, match="no number"):
            detector.anomaly_score(np.array([[0.0, 0.0], [1e9, 0.0]]))


@pytest.mark.filterwarnings("ignore")
def test_a_state_of_another_fit_or_criterion_is_refused(tmp_path):
    first, second = (
        small(upland.SequenceEnergyDetector, epochs=2, per="step", random_state=seed).fit(waves())
        for seed in (0, 1)
    )
    series = waves(count=1, seed=5)[0]
    steps = waves(count=20, seed=6)
    _, _, state = first.score_next(None, series[0])
    with pytest.raises(ValueError, match="state is of another fit or criterion"):
        second.score_next(state, series[1])
    upland.save(first, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors")  # the same fit in another process
    assert (
        again.score_next(state, series[1]).anomaly_score == first.score_next(state, series[1]).anomaly_score
    )
    other = copy.copy(first).set_params(criterion="energy").calibrate(steps)
    with pytest.raises(ValueError, match="state is of another fit or criterion"):
        other.score_next(state, series[1])


FRAME = pd.DataFrame(series(200), columns=["speed", "load"]).assign(mode=["up", "down"] * 100)
STEP = FRAME.iloc[0]


@pytest.fixture(scope="module")
def framed():
    return fit(FRAME, categorical=["mode"], window=20)


STEPS = {
    "mapping": dict(STEP),
    "mapping to lists": {name: [value] for name, value in STEP.items()},
    "mapping to tensors": {**STEP, "speed": torch.tensor(STEP["speed"], dtype=torch.float64)},
    "mapping with more": {**STEP, "note": "x"},
    "list of a mapping": [dict(STEP)],
    "pandas row": STEP,
    "pandas row, columns in another order": STEP[::-1],
    "pandas frame": FRAME.iloc[:1],
    "named tuple": next(FRAME.itertuples(index=False)),
    "named tuple with the index": next(FRAME.itertuples()),
    "list": STEP.tolist(),
    "tuple": tuple(STEP),
    "list in a list": [STEP.tolist()],
    "array of objects": STEP.to_numpy(),
    "polars frame": pl.from_pandas(FRAME.head(1)),
    "polars row": pl.from_pandas(FRAME).row(0),
    "polars named row": pl.from_pandas(FRAME).row(0, named=True),
    "Arrow table": pa.Table.from_pandas(FRAME.head(1)),
    "Arrow batch": pa.RecordBatch.from_pandas(FRAME.head(1)),
}


@pytest.mark.filterwarnings("ignore:X (has|does not have)")
@pytest.mark.parametrize("container", STEPS)
def test_one_step_of_named_columns_whatever_holds_it(container, framed):
    assert framed.score_next(None, STEPS[container])[:2] == framed.score_next(None, dict(STEP))[:2]


NUMBERS = series(200)[0]
UNNAMED = {
    "list": NUMBERS.tolist(),
    "array of one row": NUMBERS[None],
    "masked array": np.ma.array(NUMBERS),
    "tensor": torch.from_numpy(NUMBERS),
    "tensor of one row": torch.from_numpy(NUMBERS)[None],
    "tensor with a gradient": torch.tensor(NUMBERS, requires_grad=True),
    "pandas series": pd.Series(NUMBERS),
    "polars series": pl.Series(NUMBERS),
    "Arrow array": pa.array(NUMBERS),
    "Arrow array in chunks": pa.chunked_array([NUMBERS]),
    "mapping": {"x0": NUMBERS[0], "x1": NUMBERS[1]},
}


@pytest.mark.filterwarnings("ignore:X (has|does not have)")
@pytest.mark.parametrize("container", UNNAMED)
def test_one_step_of_numbers_whatever_holds_it(container, by_cell):
    detector = by_cell["gru"]
    assert detector.score_next(None, UNNAMED[container])[:2] == detector.score_next(None, NUMBERS)[:2]


@pytest.mark.parametrize(
    "step", [0.5, np.float64(0.5), np.array(0.5), torch.tensor(0.5, dtype=torch.float64)]
)
def test_one_number_is_a_step_of_one_channel(step):
    detector = fit(series(200)[:, :1])
    assert detector.score_next(None, step)[:2] == detector.score_next(None, [0.5])[:2]


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (None, TypeError, "the values of one step.*got NoneType"),
        ("speed", TypeError, "got str"),
        ({1.0, 2.0}, TypeError, "got set"),
        (iter(NUMBERS), TypeError, "got iterator|got ndarray"),
        ({}, ValueError, "one step at a time, got 0"),
        (FRAME.head(2), ValueError, "one step at a time, got 2"),
        ({"speed": [1.0, 2.0], "load": [1.0, 2.0], "mode": ["up", "up"]}, ValueError, "got 2"),
        (np.zeros((1, 1, 3)), ValueError, r"one step, \(D,\) or \(1, D\)"),
        ({"speed": 1.0, "weight": 2.0, "mode": "up"}, ValueError, "missing column.*'load'"),
        (STEP.rename({"load": "weight"}), ValueError, "missing column.*'load'"),
        ([1.0, 2.0], ValueError, "X has 2 features"),
    ],
)
def test_what_is_no_step_is_refused_by_what_it_is(step, error, words, framed):
    with pytest.raises(error, match=words):
        framed.score_next(None, step)


def test_what_is_no_state_is_refused_by_what_it_is(framed, by_cell):
    first = framed.score_next(None, STEP)
    with pytest.raises(TypeError, match=r"give its \.state"):
        framed.score_next(first, STEP)
    assert framed.score_next(first.state, STEP).state.steps == 2  # as the message advises
    with pytest.raises(TypeError, match=r"score_next\(state, x_t\)"):
        framed.score_next(STEP, first.state)
    with pytest.raises(TypeError, match="or None before the first step, got dict"):
        framed.score_next({}, STEP)
    with pytest.raises(ValueError, match="begin again with state=None"):
        by_cell["gru"].score_next(first.state, NUMBERS)
