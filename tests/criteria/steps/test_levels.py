"""Movement of a channel: two-sided, beside slow swings too, and of a value that is repeated."""

import numpy as np
import pytest

from upland.criteria.steps.levels import Movement
from upland.criteria.steps.part import Normal

LENGTH = 2_000


def swings(seed, noise=0.2):
    """A swing of 80 steps with noise."""
    rng = np.random.default_rng(seed)
    turns = rng.uniform(0, 6) + 2 * np.pi * np.arange(LENGTH) / 80
    return (1.4 * np.sin(turns) + noise * rng.normal(size=LENGTH))[:, None]


@pytest.fixture(scope="module")
def movement():
    part = Movement()
    return part.fit(Normal(swings(0), np.arange(part.reach - 1, LENGTH), 0))


def largest_usual(part):
    return np.quantile(part.squares(swings(1)[None]), 0.999)


@pytest.mark.parametrize("noise", [0.04, 0.7])
def test_noise_that_is_less_or_more_than_usual_is_seen_beside_a_swing(movement, noise):
    assert np.median(movement.squares(swings(2, noise)[None])) > largest_usual(movement)


def test_a_value_that_stays_is_seen_from_few_repeats_on(movement):
    steps = swings(3)
    steps[1_000:] = steps[1_000]
    numbers = movement.squares(steps[None])[0, :, 0]
    begun = 1_000 - movement.reach + 1
    assert numbers[begun + 12] > largest_usual(movement)
    assert numbers[begun + 24 :].min() > 50 * largest_usual(movement)


def test_a_channel_that_often_repeats_values_may(movement):
    """The repeats of a channel that has as many in normal data are not anomalous."""
    coarse = Movement().fit(Normal(np.round(swings(0), 1), np.arange(movement.reach - 1, LENGTH), 0))
    rounded = np.round(swings(1), 1)
    assert np.median(coarse.squares(rounded[None])) < 4
    assert np.median(movement.squares(np.round(swings(1), 0)[None])) > largest_usual(movement)
