"""The change monitor: its p-values are independent and uniform, and its state is the whole truth about it."""

import numpy as np
import pytest
from scipy.stats import kstest

from upland.calibration.e_detector import log_e_value, sums
from upland.calibration.martingales import Martingales
from upland.calibration.monitor import Monitor

ROWS = 400


def plain(rng):
    return [rng.normal(size=60)], rng.normal(size=(ROWS, 1)), None


def ties(rng):
    return [rng.integers(0, 4, 60)], rng.integers(0, 4, (ROWS, 1)), None


def constant(rng):
    return [np.zeros(25)], np.zeros((ROWS, 1)), None


def infinite(rng):
    """Most scores at the largest and the smallest number."""
    draw = [np.clip(np.rint(rng.normal(size=n) * 3), -1, 1) * np.finfo(float).max for n in (40, ROWS)]
    return [draw[0]], draw[1][:, None], None


def merged(rng):
    """More calibration scores than gaps."""
    return [rng.normal(size=3_000)], rng.normal(size=(ROWS, 1)), None


def merged_ties(rng):
    return [np.rint(5 * rng.normal(size=3_000))], np.rint(5 * rng.normal(size=(ROWS, 1))), None


def folds(rng):
    """Scores under members that differ, of the same rows."""
    rows = rng.normal(size=(ROWS, 1))
    held_out = [scale * rng.normal(size=20) + 0.1 * rng.normal(size=20) for scale in (1, 2, 3)]
    return held_out, rows * [1, 2, 3] + 0.1 * rng.normal(size=(ROWS, 3)), None


def segments(rng):
    """Of very different scores and sizes, one without calibration rows, and rows of an unseen one."""
    sizes, centres = np.array([50, 0, 7, 200]), np.array([0.0, 3.0, -5.0, 40.0, 7.0])
    of = np.repeat(np.arange(4), sizes)
    new = rng.integers(0, 5, ROWS)
    held_out = np.rint(2 * (rng.normal(size=of.size) + centres[of]))
    return (held_out, of, 4), np.rint(2 * (rng.normal(size=ROWS) + centres[new]))[:, None], new


STREAMS = [plain, ties, constant, infinite, merged, merged_ties, folds, segments]


def begun(calibration, seed, block=1):
    if isinstance(calibration, tuple):
        return Monitor.of_segments(*calibration, seed, block)
    return Monitor.begin(calibration, seed, block)


def updated(monitor, values, of, size):
    """The evidence of batches of one size."""
    return [
        monitor.update(values[start : start + size], None if of is None else of[start : start + size])
        for start in range(0, len(values), size)
    ]


@pytest.mark.parametrize("stream", STREAMS)
def test_p_values_are_independent_and_uniform(stream):
    draws = 150
    found = []
    for draw in range(draws):
        calibration, values, of = stream(np.random.default_rng(draw))
        p = begun(calibration, draw).update(values, of).p
        found.append(p[~np.isnan(p).any(axis=1)][:, -1][:300])
    p = np.array([row[:300] for row in found if len(row) == 300])
    assert len(p) > 0.9 * draws
    for position in (slice(0, 3), slice(100, 103), slice(297, 300)):
        assert kstest(p[:, position].ravel(), "uniform").pvalue > 1e-3
    assert kstest(p.ravel(), "uniform").pvalue > 1e-3
    # independent: of the value before, of the mean before, and of which the shared calibration would show
    # most, the mean of each stream is as spread as that of independent values
    centred = p - 0.5
    error = 1 / 12 / np.sqrt(len(p) * 299)
    assert abs((centred[:, 1:] * centred[:, :-1]).mean()) < 4 * error
    spread = len(p[0]) * 12 * (centred.mean(axis=1) ** 2)
    assert abs(spread.mean() - 1) < 4 * np.sqrt(2 / len(p))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("block", [1, 7])
def test_the_cut_into_batches_does_not_change_p_values_or_martingales(stream, block):
    calibration, values, of = stream(np.random.default_rng(0))
    values[200:] += 1  # a change
    whole, *others = (updated(begun(calibration, 3, block), values, of, size) for size in (400, 1, 129))
    assert whole[0].counted > 0
    for parts in others:
        assert np.array_equal(np.concatenate([part.p for part in parts]), whole[0].p, equal_nan=True)
        together = np.concatenate([part.log_martingale for part in parts])
        np.testing.assert_allclose(together, whole[0].log_martingale, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(parts[-1].log_peak, whole[0].log_peak, rtol=1e-10, atol=1e-10)
        assert sum(part.counted for part in parts) == whole[0].counted
        assert sum(part.left_out for part in parts) == whole[0].left_out


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("block", [1, 7])
def test_a_monitor_goes_on_bit_for_bit_from_its_arrays(stream, block):
    calibration, values, of = stream(np.random.default_rng(0))
    straight, again = begun(calibration, 3, block), begun(calibration, 3, block)
    for start in range(0, ROWS, 50):
        part = slice(start, start + 50)
        batch = values[part], None if of is None else of[part]
        again = Monitor.from_arrays({name: np.array(value) for name, value in again.to_arrays().items()})
        for one, other in zip(straight.update(*batch), again.update(*batch), strict=True):
            np.testing.assert_array_equal(one, other)
    for name, value in straight.to_arrays().items():
        np.testing.assert_array_equal(value, again.to_arrays()[name])


def test_rows_of_which_one_in_a_block_counts():
    """Of every seven consecutive rows of a segment one counts, at every position as often."""
    positions = []
    for seed in range(300):
        of = np.random.default_rng(seed).integers(0, 3, 150)
        monitor = Monitor.of_segments(np.zeros(30), np.repeat([0, 1, 2], 10), 3, seed, block=7)
        counts = ~np.isnan(monitor.update(np.zeros((150, 1)), of).p[:, 0])
        for segment in range(3):
            own = counts[of == segment]
            whole = own[: len(own) // 7 * 7].reshape(-1, 7)
            assert (whole.sum(axis=1) == 1).all()
            positions += whole.argmax(axis=1).tolist()
    share = np.bincount(positions, minlength=7) / len(positions)
    assert abs(share - 1 / 7).max() < 5 * np.sqrt(1 / 7 / len(positions))


def test_rows_of_a_stream_that_do_not_count_leave_the_martingale():
    monitor = Monitor.begin([np.arange(20.0)], 0, block=5)
    found = monitor.update(np.full((50, 1), 99.0))
    counts = ~np.isnan(found.p[:, 0])
    assert found.counted == counts.sum() == 10
    changes = np.diff(found.log_martingale, prepend=0.0) != 0
    np.testing.assert_array_equal(changes, counts)


@pytest.mark.parametrize("past", [0.0, 3.0, -3.0])
def test_e_values_of_normal_batches_are_rarely_large_whatever_came_before(past):
    log_e, online, draws = [], [], 250
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        monitor = Monitor.begin([rng.normal(size=40)], draw)
        for _ in range(3):
            monitor.update(rng.normal(size=(40, 1)) + past)
        found = monitor.update(rng.normal(size=(30, 1)))
        log_e.append(found.e_value)
        online.append(log_e_value(sums(found.p.T)))
    for level in (2, 5, 20):
        assert np.mean(np.array(log_e) >= np.log(level)) <= 1 / level + 3 * np.sqrt(1 / level / draws)
    # by ranks among all before they would be, where those before were not normal
    assert (np.mean(np.array(online) >= np.log(5)) > 0.5) == (past != 0)


def test_the_monitor_of_folds_has_the_largest_of_their_martingales_over_their_number():
    calibration, values, _ = folds(np.random.default_rng(0))
    monitor = Monitor.begin(calibration, 3)
    found = monitor.update(values + 1)
    paths = Martingales.begin(3).update(np.ascontiguousarray(found.p.T))
    np.testing.assert_allclose(found.log_martingale, paths.max(axis=0) - np.log(3))
    assert found.log_peak == max(0.0, found.log_martingale.max())


def test_a_change_is_found_and_the_e_detector_starts_again():
    rng = np.random.default_rng(0)
    monitor = Monitor.begin([rng.normal(size=500)], 0)
    before = [monitor.update(rng.normal(size=(50, 1))) for _ in range(20)]
    after = [monitor.update(rng.normal(size=(50, 1)) + 1) for _ in range(5)]
    assert max(found.log_peak for found in before) < np.log(20) < np.log(1e6) < after[-1].log_peak
    assert max(found.log_detector for found in before) < np.log(200) < np.log(1e6) < after[-1].log_detector
    assert max(found.e_value for found in before) < np.log(20) < min(found.e_value for found in after)
    monitor.restart_detector()
    assert monitor.update(rng.normal(size=(1, 1))).log_detector < np.log(20)
    assert monitor.log_peak == after[-1].log_peak


def test_a_batch_without_rows_says_nothing_and_changes_nothing():
    monitor = begun(*segments(np.random.default_rng(0))[:1], 3)
    monitor.update(np.zeros((5, 1)), np.zeros(5, dtype=np.int64))
    before = monitor.to_arrays()
    for values, of in ((np.empty((0, 1)), np.empty(0)), (np.zeros((3, 1)), np.full(3, 9))):
        found = monitor.update(values, of)
        assert (found.counted, found.left_out, found.e_value) == (0, len(values), 0.0)
        assert np.isnan(found.p).all()
    after = monitor.to_arrays() | {"numbers": before["numbers"]}  # rows are counted
    for name, value in before.items():
        np.testing.assert_array_equal(value, after[name])


REFUSED = {
    "scores must have shape": (np.zeros((4, 2)), None),
    "scores must have shape .*4,": (np.zeros(4), None),
    "NaN": (np.array([[0.0], [np.nan]]), None),
    "whole numbers of shape": (np.zeros((4, 1)), np.zeros(3)),
    "whole numbers": (np.zeros((4, 1)), np.full(4, -1)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_batch_that_is_refused_leaves_the_state(message):
    monitor = Monitor.begin([np.arange(9.0)], 0)
    monitor.update(np.zeros((3, 1)))
    before = monitor.to_arrays()
    with pytest.raises(ValueError, match=message):
        monitor.update(*REFUSED[message])
    for name, value in monitor.to_arrays().items():
        np.testing.assert_array_equal(value, before[name])


def test_segments_are_named_where_the_calibration_has_them():
    monitor = Monitor.of_segments(np.zeros(4), np.array([0, 0, 1, 1]), 2, 0)
    with pytest.raises(ValueError, match="those of the rows are lacking"):
        monitor.update(np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("seed", "block", "message"), [(-1, 1, "seed"), (1 << 63, 1, "seed"), (0, 0, "block")]
)
def test_arguments_that_make_no_sense_are_refused(seed, block, message):
    with pytest.raises(ValueError, match=message):
        Monitor.begin([np.zeros(3)], seed, block)


ANY_NUMBERS = {
    *("log_martingale", "log_r", "martingales/log_p", "martingales/entered", "martingales/exponent"),
}
"""Arrays that may hold any numbers."""


@pytest.mark.parametrize("name", sorted(Monitor.begin([np.arange(30.0)] * 2, 0).to_arrays()))
def test_a_state_that_is_not_whole_is_refused(name):
    arrays = Monitor.begin([np.arange(30.0)] * 2, 0).to_arrays()
    with pytest.raises(ValueError, match="lacking"):
        Monitor.from_arrays({key: value for key, value in arrays.items() if key != name})
    for wrong in (np.zeros(7), np.zeros((2, 2, 2, 2)), np.full(arrays[name].shape, -5)):
        if name in ANY_NUMBERS and wrong.shape == arrays[name].shape:
            continue
        with pytest.raises(ValueError):
            Monitor.from_arrays(arrays | {name: wrong})


BOUNDS = {"urns/codes"}
"""What only the calibration can tell."""


@pytest.mark.parametrize("name", sorted(Monitor.begin([np.arange(30.0)] * 2, 0).to_arrays().keys() - BOUNDS))
def test_a_state_with_numbers_that_no_stream_reaches_is_refused(name):
    arrays = Monitor.begin([np.arange(30.0)] * 2, 0).to_arrays()
    whole = np.issubdtype(arrays[name].dtype, np.integer)
    wrong = np.full_like(arrays[name], 1 << 62 if whole else np.nan)
    with pytest.raises(ValueError):
        Monitor.from_arrays(arrays | {name: wrong})
