"""The change monitor: its p-values are independent and uniform, and its state is the whole truth about it."""

import numpy as np
import pytest
from scipy.stats import kstest

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
