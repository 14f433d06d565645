"""Windows: every step is in one, blocks share none, and what makes no sense is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from upland.data.sequence.container import as_sequences
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.sequence.windows import SequenceRows


def series(*lengths):
    """Sequences whose values count the steps of all."""
    values = np.arange(float(sum(lengths)))
    return np.split(values, np.cumsum(lengths)[:-1])


def steps_of(rows, number):
    return rows.take(np.array([number])).table[:, 0].astype(int).tolist()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(2, 20), st.data())
def test_windows_cover_every_step_and_blocks_share_none(lengths, window, data):
    window = min(window, max(lengths))
    assume(window >= 2)
    assume(len(lengths) > 1 or lengths[0] > window)
    stride = data.draw(st.integers(1, window))
    sequences = as_sequences(series(*lengths))
    if len(lengths) == 1 and lengths[0] < 2 * window:  # all windows share steps: nothing could be held out
        with pytest.raises(ValueError, match=r"fewer than two windows|too few"):
            SequenceRows(sequences, window=window, stride=stride)
        return
    rows = SequenceRows(sequences, window=window, stride=stride)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    homes = {}
    for number in range(rows.n_rows):
        steps = steps_of(rows, number)
        whole = set(owner[steps])
        assert len(whole) == 1
        assert len(steps) == min(window, lengths[whole.pop()])
        assert steps == list(range(steps[0], steps[0] + len(steps)))
        for step in steps:
            homes.setdefault(step, set()).add(int(rows.blocks[number]))
    assert sorted(homes) == list(range(sum(lengths)))
    assert all(len(blocks) == 1 for blocks in homes.values())
    assert np.all(np.diff(rows.blocks) >= 0)


def test_the_last_window_is_aligned_to_the_end():
    rows = SequenceRows(series(11, 3, 8), window=4)
    assert [steps_of(rows, number)[0] for number in range(rows.n_rows)] == [0, 4, 7, 11, 14, 18]
    assert rows.blocks.tolist() == [0, 1, 1, 2, 3, 4]
    assert rows.window_ == 4
    assert rows.take(np.arange(6)).lengths.tolist() == [4, 4, 4, 3, 4, 4]


def test_overlapping_windows_stay_within_their_blocks():
    rows = SequenceRows(np.arange(100.0), window=10, stride=5)
    assert len(set(rows.blocks.tolist())) == 5
    assert rows.n_rows == 15
    many = SequenceRows(np.arange(10_000.0), window=10, stride=5)
    assert len(set(many.blocks.tolist())) == 100
    assert (
        SequenceRows([np.zeros(25)] * 40, window=10, stride=5).blocks.tolist()
        == np.repeat(np.arange(40), 4).tolist()
    )


SEQUENCES = {
    "series": (np.arange(40.0) ** 1.5, {"window": 8}),
    "overlapping": (np.arange(60.0) % 7, {"window": 8, "stride": 3}),
    "of several lengths": (series(11, 3, 8, 20), {"window": 5}),
    "whole, of several lengths": (series(9, 3, 8, 20, 1), {"window": None}),
    "padded": (np.where(np.arange(4)[:, None, None] + np.arange(6)[:, None] < 7, 0.5, np.nan), {}),
    "frame of columns of several kinds": (
        pd.DataFrame(
            {
                "id": np.repeat(np.arange(5), 7),
                "t": np.tile(np.arange(7)[::-1], 5),
                "v": np.arange(35.0) * np.pi,
                "w": np.where(np.arange(35) % 6 == 0, np.nan, 3.0),
                "x": np.array(["a", "b", "c"])[np.arange(35) % 3],
            }
        ).sample(frac=1, random_state=0),
        {"id": "id", "time": "t", "window": 4, "stride": 2},
    ),
}


@pytest.mark.parametrize("case", SEQUENCES)
def test_windows_of_codes_are_the_codes_of_windows(case):
    X, options = SEQUENCES[case]
    rows = SequenceRows(X, **options)
    encoder = SequenceEncoder(id=options.get("id"), time=options.get("time")).fit(rows.sequences)
    codes = encoder.steps(rows.sequences)
    generator = np.random.default_rng(0)
    for numbers in (
        np.arange(rows.n_rows),
        np.array([rows.n_rows - 1]),
        np.sort(generator.choice(rows.n_rows, 2, replace=False)),
        generator.permutation(rows.n_rows),
    ):
        found, expected = rows.windows_of_codes(codes, numbers), encoder.transform(rows.take(numbers))
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        assert found.tobytes() == expected.tobytes()


def frame(ids, steps):
    return pd.DataFrame(
        {"id": np.repeat(np.arange(ids), steps), "t": np.tile(np.arange(steps), ids), "v": 0.5}
    )


AUTO = [
    (np.zeros((5, 512, 1)), None, 5),
    (np.zeros((2, 24, 1)), None, 2),
    (np.zeros((1, 24, 1)), 8, 3),
    (np.zeros((2, 513, 1)), 51, 22),
    (np.zeros((2, 3000, 1)), 128, 48),
    (np.zeros(100_000), 128, 782),
    (np.zeros(1000), 100, 10),
    (np.zeros(100), 10, 10),
    (np.zeros(50), 8, 7),
    (np.zeros(9), 4, 3),
    ([np.zeros(30), np.zeros(600)], 60, 11),
    (frame(5, 24), None, 5),
    (frame(3, 24), 8, 9),
    (frame(6, 600), 60, 60),
]


@pytest.mark.parametrize(("X", "window", "count"), AUTO, ids=range(len(AUTO)))
def test_auto_cuts_long_sequences_and_few(X, window, count):
    names = {"id": "id", "time": "t"} if isinstance(X, pd.DataFrame) else {}
    rows = SequenceRows(X, **names)
    assert (rows.window_, rows.n_rows) == (window, count)


def test_rows_are_normal_rows():
    data = frame(5, 4).assign(w=np.arange(20))
    rows = SequenceRows(data, id="id", time="t")
    assert (rows.n_rows, rows.names, rows.in_memory) == (5, ["v", "w"], True)
    some = rows.take(np.array([1, 3]))
    assert some.ids == (1, 3)
    assert some.table["w"].tolist() == [4, 5, 6, 7, 12, 13, 14, 15]
    assert some.stamps.tolist() == [0, 1, 2, 3] * 2
    parts = list(rows.shuffled(np.random.default_rng(0), np.array([2]), 3))
    assert [part.n_sequences for part in parts] == [3, 1]
    assert sorted(name for part in parts for name in part.ids) == [0, 1, 3, 4]


def test_windows_know_their_rows_in_the_users_data():
    data = frame(1, 12).iloc[::-1].assign(w=np.arange(12))
    part = SequenceRows(data, id="id", time="t", window=4).take(np.array([1]))
    assert part.row_numbers.tolist() == [7, 6, 5, 4] == part.table["w"].tolist()
    assert part.label(0, 0) == (0, 4)


def digest(X, **options):
    return SequenceRows(X, **options).digest()


def test_the_digest_differs_between_fits():
    X = np.arange(24.0).reshape(4, 6, 1)
    other = X.copy()
    other[3, 5] += 1e-12
    assert digest(X) == digest(X.copy()) == digest(list(X))
    assert (
        len({digest(X), digest(other), digest(X, window=3), digest(X, window=4, stride=2), digest(X[:3])})
        == 5
    )
    assert digest([np.arange(2.0), np.arange(3.0)]) != digest([np.arange(2.0), np.arange(4.0)[:3] + 1])
    data = frame(5, 4)
    names = {"id": "id", "time": "t"}
    assert digest(data, **names) == digest(data.copy(), **names)
    assert digest(data, **names) != digest(data.assign(id=data["id"] + 1), **names)
    assert digest(data, **names) != digest(data.assign(t=data["t"] + 1), **names)
    lists = [np.arange(5.0)[:2], np.arange(5.0)[2:]]
    assert digest(lists) != digest([np.arange(5.0)[:3], np.arange(5.0)[3:]])


REFUSALS = [
    ({"window": 1}, ValueError, "window must be 'auto', None or a whole number of at least 2, got 1"),
    ({"window": 2.5}, ValueError, "got 2.5"),
    ({"window": True}, ValueError, "got True"),
    ({"window": "large"}, ValueError, "got 'large'"),
    ({"window": 4, "stride": 0}, ValueError, "stride must be None or a whole number of at least 1, got 0"),
    ({"window": 4, "stride": 1.5}, ValueError, "stride must be.*got 1.5"),
    ({"window": 4, "stride": 5}, ValueError, "stride=5 must not exceed window=4"),
    ({"window": None, "stride": 5}, ValueError, "stride=5 needs a window: window=None cuts nothing"),
    ({"window": 21}, ValueError, r"window=21 is longer than the longest sequence, which has 20 step\(s\)"),
    ({"stride": 9}, ValueError, "stride=9 exceeds the window of 8 steps that was chosen: name a window"),
    (
        {"window": 20},
        ValueError,
        r"1 sequence\(s\) of 20 step\(s\) make fewer than two windows with window=20: window=4",
    ),
    ({"window": None}, ValueError, "make fewer than two windows: window=4 would do"),
    ({"time": "t"}, ValueError, "time='t' names a column of a frame, but X is an array: leave time out"),
    ({"id": "pump"}, ValueError, "id='pump' names a column of a frame, but X is an array"),
    ({"id": ["pump"]}, TypeError, r"id must be the name of one column, got \['pump'\]"),
    ({"time": 1.5}, TypeError, "time must be the name of one column, got 1.5"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSALS, ids=range(len(REFUSALS)))
def test_arguments_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        SequenceRows(np.zeros(20), **options)


def test_what_is_too_little_is_refused():
    with pytest.raises(ValueError, match=r"1 sequence\(s\) of 3 step\(s\) are too few to fit on"):
        SequenceRows(np.zeros(3))
    with pytest.raises(
        ValueError, match="stride=2 needs a window, and by itself none is cut of 6 steps: name one"
    ):
        SequenceRows(np.zeros((4, 6, 1)), stride=2)
    assert SequenceRows(np.zeros(4)).n_rows == 2
    with pytest.raises(ValueError, match="window=3: window=2 would do"):
        SequenceRows(np.zeros(4), window=3)
    assert SequenceRows(np.zeros(4), window=2).n_rows == 2
    with pytest.raises(ValueError, match="id='pump' names a column of a frame, but X is a list"):
        SequenceRows([pd.DataFrame({"pump": [1, 1], "v": [1, 2]})] * 2, id="pump")
