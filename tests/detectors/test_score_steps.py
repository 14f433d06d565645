"""Steps of many series at once: the numbers of each series alone, step by step, whatever comes together."""

import copy

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from safetensors.numpy import load, save

import upland
from normals import small
from upland.catalogue import criteria_of
from upland.detectors import past
from upland.detectors import stream as streams
from upland.models.recurrent import RecurrentEnergy

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")
CRITERIA = ["auto", *criteria_of("energy", "sequence")]
IDS = ["a", "b", "c"]


def series(count, seed=0):
    """Two channels that remember where they were."""
    x = np.random.default_rng(seed).normal(size=(count, 2))
    for t in range(1, count):
        x[t] += 0.7 * x[t - 1]
    return x


def fit(X=None, **options):
    made = small(upland.SequenceEnergyDetector, **{"hidden": (8, 4)} | options)
    return made.fit(series(300) if X is None else X)


@pytest.fixture(scope="module")
def plain():
    return fit()


@pytest.fixture(scope="module", params=CRITERIA)
def fitted(request, plain):
    if request.param == "auto":
        return plain
    return copy.copy(plain).set_params(criterion=request.param).calibrate(series(120, seed=5))


def interleaved(lengths, seed=0):
    """Rows of several series in random order, each series in its own order: ids and values."""
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(lengths)), lengths))
    parts = [series(length, 10 + number) for number, length in enumerate(lengths)]
    rows = np.empty((order.size, 2))
    for number, part in enumerate(parts):
        rows[order == number] = part
    return [IDS[number] for number in order], rows, parts


def assert_equal_to_each_alone(detector, ids, scores, p_values, parts):
    for name, part in zip(IDS, parts, strict=True):
        own = np.array(ids) == name
        whole, p = detector.assess(part)
        np.testing.assert_allclose(scores[own], whole, rtol=1e-9)
        np.testing.assert_array_equal(p_values[own], p)


LENGTHS = {"energy": [6, 1, 4]}


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_the_steps_of_many_series_are_the_pass_over_each(fitted, size):
    ids, rows, parts = interleaved(LENGTHS.get(fitted.criterion, [70, 3, 31]))
    state, scores, p_values = None, [], []
    for begin in range(0, len(rows), size):
        now = slice(begin, begin + size)
        found = fitted.score_steps(state, rows[now], ids=ids[now])
        state = found.state
        scores.append(found.anomaly_scores)
        p_values.append(found.p_values)
    assert_equal_to_each_alone(fitted, ids, np.concatenate(scores), np.concatenate(p_values), parts)
    assert dict(zip(state.ids, state.counts, strict=True)) == {
        n: len(p) for n, p in zip(IDS, parts, strict=True)
    }


@pytest.mark.parametrize("together", [1, 2, 7])
def test_however_many_steps_are_read_together(plain, together, monkeypatch):
    ids, rows, parts = interleaved([40, 3, 11])
    monkeypatch.setattr(past, "TOGETHER", together)
    found = plain.score_steps(None, rows, ids=ids)
    assert_equal_to_each_alone(plain, ids, found.anomaly_scores, found.p_values, parts)


def test_of_five_members_too():
    detector = fit(calibration="cross")
    ids, rows, parts = interleaved([20, 3, 11])
    first = detector.score_steps(None, rows[:15], ids=ids[:15])
    second = detector.score_steps(first.state, rows[15:], ids=ids[15:])
    scores, p = (np.concatenate(pair) for pair in zip(first[:2], second[:2], strict=True))
    assert_equal_to_each_alone(detector, ids, scores, p, parts)


def test_one_series_goes_on_by_steps_and_by_several(fitted):
    """The state of `score_next` and that of `score_steps` are one."""
    rows = series(12, seed=3)
    whole = fitted.anomaly_score(rows)
    one = fitted.score_next(None, rows[0])
    some = fitted.score_steps(one.state, rows[1:9])
    last = fitted.score_next(some.state, rows[9])
    rest = fitted.score_steps(last.state, rows[10:])
    found = [one.anomaly_score, *some.anomaly_scores, last.anomaly_score, *rest.anomaly_scores]
    np.testing.assert_allclose(found, whole, rtol=1e-9)
    assert rest.state.steps == 12


# -- the state -----------------------------------------------------------------------------------------------


def test_series_can_be_taken_out_and_gone_on_with(fitted):
    ids, rows, parts = interleaved([9, 4, 6])
    state = fitted.score_steps(None, rows, ids=ids).state
    more = series(3, seed=30)
    whole = fitted.anomaly_score(np.concatenate([parts[2], more]))[-3:]
    taken = state.of(["c"])
    np.testing.assert_allclose(fitted.score_steps(taken, more, ids="c").anomaly_scores, whole, rtol=1e-9)
    scores, now = [], taken
    for row in more:
        score, _, now = fitted.score_next(now, row)
        scores.append(score)
    np.testing.assert_allclose(scores, whole, rtol=1e-9)
    assert now.ids == ("c",)
    assert state.of(["b", "a"]).ids == ("b", "a")
    with pytest.raises(KeyError):
        state.of(["d"])


def test_nothing_in_a_state_is_changed_in_place(fitted):
    ids, rows, _ = interleaved([9, 4, 6])
    state = fitted.score_steps(None, rows, ids=ids).state
    before = {name: value.copy() for name, value in state.to_arrays().items()}
    first = fitted.score_steps(state, rows[:4], ids=["c", "a", "d", "c"])
    again = fitted.score_steps(state, rows[:4], ids=["c", "a", "d", "c"])
    np.testing.assert_array_equal(first.anomaly_scores, again.anomaly_scores)
    for name, value in state.to_arrays().items():
        np.testing.assert_array_equal(value, before[name])
    assert state.ids == tuple(dict.fromkeys(ids))


def test_arrays_of_a_state_are_copies_on_the_way_out_and_on_the_way_back(fitted):
    rows = series(6, seed=3)
    state = fitted.score_steps(None, rows[:4]).state
    expected = fitted.score_steps(state, rows[4:]).anomaly_scores
    arrays = state.to_arrays()
    again = state.with_arrays(arrays, state.ids)
    for value in arrays.values():
        value[:] = 5.0
    for each in (state, again):
        np.testing.assert_array_equal(fitted.score_steps(each, rows[4:]).anomaly_scores, expected)


def test_a_state_of_many_goes_into_a_file_and_back(fitted):
    ids, rows, _ = interleaved([9, 4, 6])
    state = fitted.score_steps(None, rows, ids=ids).state
    stored = save(state.to_arrays())
    again = fitted.score_next(None, rows[0]).state.with_arrays(load(stored), ids=state.ids)
    assert again.ids == state.ids
    np.testing.assert_array_equal(again.counts, state.counts)
    one, two = (fitted.score_steps(each, rows[:5], ids=ids[:5]) for each in (state, again))
    np.testing.assert_array_equal(one.anomaly_scores, two.anomaly_scores)
    np.testing.assert_array_equal(one.p_values, two.p_values)


def test_a_state_does_not_grow(fitted):
    rows = series(12, seed=3)
    sizes = []
    state = None
    for _ in range(3):
        state = fitted.score_steps(state, rows, ids=["a", "b"] * 6).state
        sizes.append({name: value.shape for name, value in state.to_arrays().items()})
    assert sizes[0] == sizes[1] == sizes[2]


# -- the work ------------------------------------------------------------------------------------------------


class Counted(RecurrentEnergy):
    """It counts how often it reads on, and what is read."""

    def __init__(self, width):
        super().__init__(width, (8, 4), frame=3)
        self.calls = []

    def advance(self, state, x):
        self.calls.append(tuple(x.shape[:2]))
        return super().advance(state, x)


def test_one_step_of_many_series_is_read_at_once():
    detector = fit(model=Counted)
    rows = series(200, seed=4)
    state = detector.score_steps(None, rows, ids=[*range(200)]).state
    (reader,) = state.readers
    reader.model.calls.clear()
    detector.score_steps(state, rows, ids=[*range(200)])
    detector.score_steps(state, rows[:100], ids=[*range(50)] * 2)
    assert reader.model.calls == [(200, 1), (50, 2)]


def test_no_model_is_copied_from_step_to_step(plain, monkeypatch):
    state = plain.score_next(None, [0.0, 0.0]).state
    monkeypatch.setattr(streams, "precise", None)
    after = plain.score_steps(state, series(5)).state
    assert plain.score_next(after, [0.0, 0.0]).state.readers is state.readers


# -- what holds the steps ------------------------------------------------------------------------------------


def minutes(frame):
    """A time stamp a minute for each pump."""
    return pd.Timestamp("2026-03-02") + pd.to_timedelta(frame.groupby("pump").cumcount(), unit="min")


@pytest.fixture(scope="module")
def framed():
    frame = pd.DataFrame(series(200), columns=["flow", "load"]).assign(pump=["x", "y"] * 100)
    frame["time"] = minutes(frame)
    return fit(frame, id="pump", time="time", window=20)


def steps_of(count=30):
    ids, rows, parts = interleaved([count // 2, 3, count // 3])
    frame = pd.DataFrame(rows, columns=["flow", "load"]).assign(pump=ids)
    frame["time"] = minutes(frame)
    return frame, parts


FRAMES = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "columns the other way round": lambda frame: frame[frame.columns[::-1]],
    "without time": lambda frame: frame.drop(columns="time"),
}


@pytest.mark.parametrize("form", FRAMES)
def test_a_frame_names_its_series_by_the_id_of_the_fit(form, framed):
    frame, _ = steps_of()
    expected = framed.anomaly_score(frame)
    found = framed.score_steps(None, FRAMES[form](frame))
    np.testing.assert_allclose(found.anomaly_scores, expected, rtol=1e-9)
    assert set(found.state.ids) == set(IDS)


def test_rows_are_put_in_the_order_of_time_and_scores_come_back_in_that_of_the_rows(framed):
    frame, _ = steps_of()
    shuffled = frame.sample(frac=1, random_state=0)
    expected = framed.anomaly_score(shuffled)
    np.testing.assert_allclose(framed.score_steps(None, shuffled).anomaly_scores, expected, rtol=1e-9)


IDS_AS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "pandas": pd.Series,
    "polars": pl.Series,
    "arrow": pa.array,
}


@pytest.mark.parametrize("form", IDS_AS)
def test_ids_in_any_form(form, plain):
    ids, rows, _ = interleaved([5, 2, 4])
    expected = plain.score_steps(None, rows, ids=ids)
    found = plain.score_steps(None, rows, ids=IDS_AS[form](ids))
    assert found.state.ids == expected.state.ids
    np.testing.assert_array_equal(found.anomaly_scores, expected.anomaly_scores)


# -- refusals ------------------------------------------------------------------------------------------------


def altered(arrays, name, change):
    return {key: change(value) if key.endswith(name) else value for key, value in arrays.items()}


WRONG = {
    "no arrays": lambda arrays: list(arrays),
    "float32": lambda arrays: altered(arrays, "state/cell", lambda value: value.astype(np.float32)),
    "whole numbers": lambda arrays: altered(arrays, "memory/levels", lambda value: value.astype(np.int64)),
    "lists": lambda arrays: altered(arrays, "memory/levels", lambda value: value.tolist()),
    "NaN": lambda arrays: altered(arrays, "state/cell", lambda value: value * np.nan),
    "infinity": lambda arrays: altered(arrays, "memory/levels", lambda value: value + np.inf),
    "steps of NaN": lambda arrays: altered(arrays, "steps", lambda value: value * np.nan),
    "half a step": lambda arrays: altered(arrays, "steps", lambda value: value + 0.5),
    "fewer than none": lambda arrays: altered(arrays, "steps", lambda value: -value),
    "too many": lambda arrays: altered(arrays, "steps", lambda value: value * 1e300),
    "one lacks": lambda arrays: {name: value for name, value in arrays.items() if name != "steps"},
    "one too many": lambda arrays: arrays | {"3/state/cell": arrays["0/state/cell"]},
    "far too large a level": lambda arrays: altered(arrays, "memory/levels", lambda value: value + 1e308),
    "a negative level": lambda arrays: altered(arrays, "memory/levels", lambda value: value - 1e6),
    "far too large a past": lambda arrays: altered(arrays, "memory/past", lambda value: value - 1e308),
    "a cell of its own": lambda arrays: altered(arrays, "state/cell", lambda value: value + 1e13),
    "another age": lambda arrays: altered(arrays, "memory/age", lambda value: value + 1),
    "other steps": lambda arrays: altered(arrays, "steps", lambda value: value + 1),
    "another shape": lambda arrays: altered(arrays, "state/cell", lambda value: value[:, :-1]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_arrays_that_no_state_gives_are_refused(plain, change):
    state = plain.score_steps(None, series(3), ids=["u", "v", "u"]).state
    arrays = state.to_arrays()
    with pytest.raises((ValueError, TypeError), match=r"state|steps"):
        state.with_arrays(change(arrays), state.ids)


def test_times_that_no_state_has_are_refused():
    gaps = np.random.default_rng(0).exponential(60, 300) + 1
    frame = pd.DataFrame(series(300), columns=["flow", "load"]).assign(time=np.cumsum(gaps))
    detector = fit(frame, time="time", window=20)
    assert detector.encoder_.clock.distance
    state = detector.score_steps(None, frame[:4], ids=["u", "v", "u", "v"]).state.with_series(["w"])
    arrays = state.to_arrays()
    again = state.with_arrays(arrays, state.ids).to_arrays()
    np.testing.assert_array_equal(again["0/memory/time"], arrays["0/memory/time"])
    for row, value in ((0, -np.inf), (0, [np.nan, 0.0]), (0, np.nan), (2, 0.0), (2, np.inf)):
        wrong = state.to_arrays()
        wrong["0/memory/time"][row] = value
        with pytest.raises(ValueError, match=r"memory/time must be (finite|NaN) where there were"):
            state.with_arrays(wrong, state.ids)


NO_IDS = [["u", "u"], "uv", b"uv", 2, (name for name in "uv")]
NO_ID = [[["u"], ["v"]], ["u", float("nan")], ["u", pd.NA], ["u", pd.NaT], [b"u", "v"], [{}, "v"]]


@pytest.mark.parametrize("ids", [*NO_IDS, *NO_ID], ids=range(11))
def test_ids_that_name_no_series_are_refused(plain, ids):
    state = plain.score_steps(None, series(2), ids=["u", "v"]).state
    for call in (lambda: state.with_arrays(state.to_arrays(), ids), lambda: state.of(ids)):
        with pytest.raises((ValueError, TypeError), match=r"^(ids|each series)"):
            call()
    if any(ids is some for some in NO_ID):
        with pytest.raises((ValueError, TypeError), match=r"^ids\[\d\] is "):
            plain.score_steps(state, series(2), ids=ids)


@pytest.mark.parametrize("ids", [(name for name in "uv"), b"uv", {"u": 1, "v": 2}, {"u", "v"}, iter("uv")])
def test_what_is_neither_one_id_nor_a_list_of_them_is_refused(plain, ids):
    with pytest.raises(TypeError, match=r"^ids(\[0\] is a bytes| must be one id, or a list .* got a )"):
        plain.score_steps(None, series(2), ids=ids)
    assert plain.score_steps(None, series(2), ids=range(2)).state.ids == (0, 1)


def test_a_state_in_the_place_of_the_steps_is_said_by_the_name_of_the_method(plain):
    found = plain.score_steps(None, series(2))
    for wrong in (found, found.state):
        for first in (None, series(2)):
            with pytest.raises(TypeError, match=r"score_steps\(state, X\)$"):
                plain.score_steps(first, wrong)
            with pytest.raises(TypeError, match=r"score_next\(state, x_t\)$"):
                plain.score_next(first, wrong)


def test_what_cannot_be_used_is_refused(plain, framed):
    rows = series(4)
    with pytest.raises(ValueError, match="4 steps, but 3 ids"):
        plain.score_steps(None, rows, ids=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"ids\[2\] is missing"):
        plain.score_steps(None, rows, ids=["a", "b", None, "c"])
    with pytest.raises(ValueError, match="whole sequences"):
        plain.score_steps(None, rows[None])
    with pytest.raises(ValueError, match=r"3 features.*expecting 2"):
        plain.score_steps(None, np.zeros((2, 3)))
    many = plain.score_steps(None, rows, ids=["a", "b", "a", "b"])
    with pytest.raises(ValueError, match=r"the state is of 2 series.*state\.of"):
        plain.score_next(many.state, rows[0])
    assert plain.score_next(many.state.of(["a"]), rows[0]).state.ids == ("a",)  # as the message advises
    with pytest.raises(TypeError, match=r"score_steps returned: give its \.state"):
        plain.score_steps(many, rows)
    with pytest.raises(ValueError, match="state is of another fit"):
        framed.score_steps(many.state, rows)
    with pytest.raises(ValueError, match="of 2 series, and there are 1 ids"):
        many.state.with_arrays(many.state.to_arrays())
    twice = steps_of()[0].assign(time=pd.Timestamp("2026-03-02"))
    with pytest.raises(ValueError, match=r"pump '.': .* rows have the time stamp"):
        framed.score_steps(None, twice)
