"""p-values of episodes from peaks of blocks: how long blocks are, and the rate of false episodes."""

import warnings

import numpy as np
import pytest
from scipy.signal import lfilter

from upland.calibration.block_calibration import (
    BlockCalibration,
    Memory,
    Stretches,
    autocorrelations,
    block_calibration,
    block_peaks,
    memory_of,
)
from upland.calibration.conformal import Calibration


def autoregressive(rng, steps, phi):
    """A stationary series of variance 1."""
    noise = rng.normal(size=steps) * np.sqrt(1 - phi**2)
    noise[0] = rng.normal()
    return lfilter([1.0], [1.0, -phi], noise)


def calibrated(scores, cross=False):
    lengths = np.array([scores.size])
    return block_calibration([Stretches(scores, lengths, memory_of(scores, lengths))], cross)


# -- how far scores depend on each other ---------------------------------------------------------------------


def test_autocorrelations_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    scores, lengths = rng.permutation(90).astype(float), np.array([50, 40])
    ranks = (scores + 1) / 90
    parts = [part - part.mean() for part in np.split(ranks, [50])]
    expected = []
    for lag in range(6):
        products = [part[: part.size - lag] * part[lag:] for part in parts]
        expected.append(np.concatenate(products).mean())
    found = autocorrelations(scores, lengths, 5)
    np.testing.assert_allclose(found, np.array(expected) / expected[0], atol=1e-12)


def test_lags_longer_than_a_series_count_those_that_have_them():
    found = autocorrelations(np.arange(12.0), np.array([2, 10]), 9)
    assert found.shape == (10,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("phi", "low", "high"), [(0.0, 1, 1), (0.5, 3, 5), (0.9, 18, 26), (0.95, 34, 56)])
def test_the_lag_is_where_autocorrelations_end(phi, low, high):
    """phi^l = 0.1 at l = 0, 3.3, 21.9 and 44.9."""
    scores = autoregressive(np.random.default_rng(1), 20_000, phi)
    memory = memory_of(scores, np.array([scores.size]))
    assert memory.resolved
    assert low <= memory.lag <= high


def test_the_lag_does_not_depend_on_the_scale_of_scores():
    scores = autoregressive(np.random.default_rng(2), 5_000, 0.8)
    lengths = np.array([5_000])
    assert memory_of(np.exp(3 * scores), lengths) == memory_of(scores, lengths)


def test_a_cycle_is_not_over_where_it_crosses_zero():
    """Autocorrelations of a slowly fading cycle of 60 steps are zero after 15 already."""
    root = 0.99 * np.exp(2j * np.pi / 60)
    noise = np.random.default_rng(3).normal(size=42_000)
    scores = lfilter([1.0], np.poly([root, root.conj()]).real, noise)[2_000:]
    assert memory_of(scores, np.array([40_000])).lag > 120


def test_too_short_series_say_so():
    scores = autoregressive(np.random.default_rng(4), 400, 0.99)
    assert not memory_of(scores, np.array([400])).resolved
    trend = np.arange(1_000.0)
    assert not memory_of(trend, np.array([1_000])).resolved


def test_equal_scores_depend_on_nothing():
    assert memory_of(np.ones(100), np.array([60, 40])) == Memory(1, True)


def test_levels_of_series_are_no_dependence():
    """Two machines, one of which always scores higher, by noise that is independent within each."""
    rng = np.random.default_rng(5)
    scores = np.concatenate([rng.normal(size=3_000), 9 + rng.normal(size=3_000)])
    assert memory_of(scores, np.array([3_000, 3_000])) == Memory(1, True)


# -- blocks --------------------------------------------------------------------------------------------------


def test_blocks_are_cut_within_stretches_and_what_is_left_over_is_put_together():
    scores = np.array([1.0, 2, 3, 4, 5, 10, 20, 30, 7, 8])
    found = block_peaks(scores, np.array([5, 3, 2]), 3)
    assert found.tolist() == [3.0, 30.0, 7.0]  # 4 5 | 7 8: of these four one block, and 8 is left out


def test_blocks_longer_than_stretches_are_made_of_several():
    assert block_peaks(np.arange(8.0), np.array([2, 2, 2, 2]), 4).tolist() == [3.0, 7.0]


def test_the_length_is_that_of_the_fold_that_remembers_longest():
    scores = np.arange(100.0)
    folds = [Stretches(scores, np.array([100]), Memory(lag, True)) for lag in (2, 5)]
    found = block_calibration(folds, cross=True)
    assert (found.length, found.count, found.resolved) == (10, 20, True)
    assert found.peaks.folds.tolist() == [0] * 10 + [1] * 10


def test_blocks_are_no_longer_than_what_is_held_out():
    found = block_calibration([Stretches(np.arange(10.0), np.array([10]), Memory(50, True))], cross=False)
    assert (found.length, found.count, found.resolved) == (10, 1, False)


def test_p_values_compare_with_peaks_and_each_fold_with_its_own():
    split = BlockCalibration(Calibration(np.array([1.0, 2, 3])), 5)
    assert split.p_values(np.array([[0.0], [2], [9]])).tolist() == [1.0, 0.75, 0.25]
    cross = BlockCalibration(Calibration(np.array([1.0, 2, 3]), np.array([0, 0, 1])), 5)
    assert cross.p_values(np.array([[1.5, 3.5], [1.5, 2.5]])).tolist() == [0.5, 0.75]


def test_a_rest_of_a_series_is_a_block():
    assert BlockCalibration(Calibration(np.zeros(3)), 10).blocks_in(np.array([25, 10, 1])) == 5


# -- levels of steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.02, 0.05, 0.1, 0.3, 0.999])
def test_steps_are_flagged_at_the_level_where_their_block_p_value_is_at_most_alpha(alpha):
    rng = np.random.default_rng(6)
    scores = np.round(autoregressive(rng, 1_000, 0.5), 2)
    steps, blocks = Calibration(scores), calibrated(scores)
    level = blocks.level(alpha, steps)
    new = np.round(autoregressive(rng, 5_000, 0.5) * 1.5, 2)[:, None]
    flagged = steps.p_values(new) <= level
    assert flagged.any()
    assert np.array_equal(flagged, blocks.p_values(new) <= alpha)
    assert blocks.rate(level, steps) <= alpha


def test_a_calibration_of_steps_that_was_thinned_flags_no_more():
    rng = np.random.default_rng(7)
    scores = autoregressive(rng, 2_000, 0.5)
    steps, blocks = Calibration(scores[::4]), calibrated(scores)
    level = blocks.level(0.05, steps)
    new = autoregressive(rng, 20_000, 0.5)[:, None]
    flagged = steps.p_values(new) <= level
    assert flagged.any()
    assert (blocks.p_values(new[flagged]) <= 0.05).all()


def test_no_level_keeps_what_blocks_cannot_resolve():
    steps = Calibration(np.arange(100.0))
    blocks = BlockCalibration(Calibration(np.arange(9.0, 100, 10)), 10)
    assert blocks.level(0.09, steps) == 0
    assert blocks.level(0.1, steps) > 0  # 1 / 11
    assert [blocks.rate(alpha, steps) for alpha in (0.005, 0.05, 0.5)] == [1 / 11, 2 / 11, 6 / 11]


def test_levels_of_folds_are_between_those_of_each():
    rng = np.random.default_rng(8)
    parts = [autoregressive(rng, 3_000, 0.5) * scale for scale in (1.0, 3.0)]
    lengths = np.array([3_000])
    blocks = block_calibration([Stretches(part, lengths, memory_of(part, lengths)) for part in parts], True)
    steps = Calibration(np.concatenate(parts), np.repeat([0, 1], 3_000))
    levels = [calibrated(part).level(0.05, Calibration(part)) for part in parts]
    assert 0.7 * min(levels) <= blocks.level(0.05, steps) <= 1.3 * max(levels)


def test_a_short_calibration_is_warned_of():
    blocks = BlockCalibration(Calibration(np.arange(10.0)), 30, resolved=False)
    with pytest.warns(UserWarning) as caught:
        blocks.warn(0.05)
    first, second = (str(one.message) for one in caught)
    assert first == (
        "10 calibration blocks of 30 steps allow no p-value of an episode below 0.0909, so that none reaches "
        "alpha = 0.05: calibrate on at least 570 steps"
    )
    assert "too short to tell" in second
    one = BlockCalibration(Calibration(np.arange(1.0)), 30)
    assert one.doubts(0.05)[0].startswith("1 calibration block of 30 steps allows no p-value")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BlockCalibration(Calibration(np.arange(570.0 // 30)), 30).warn(0.05)


# -- the promise ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.95])
def test_false_episodes_a_block_keep_alpha_where_steps_depend_on_each_other(phi):
    """Twenty calibrations of 20,000 steps, each with a new series of as many; four standard errors of their
    mean are allowed.
    """
    shares = {0.05: [], 0.01: []}
    for seed in range(20):
        rng = np.random.default_rng([9, seed])
        blocks = calibrated(autoregressive(rng, 20_000, phi))
        p = blocks.p_values(autoregressive(rng, 20_000, phi)[:, None])
        found = block_peaks(-p, np.array([p.size]), blocks.length)
        for alpha, kept in shares.items():
            kept.append((-found <= alpha).mean())
    for alpha, kept in shares.items():
        error = np.std(kept, ddof=1) / np.sqrt(len(kept))
        assert 0.5 * alpha < np.mean(kept) <= alpha + 4 * error
