"""The share of a fault goes to its channel, also where the channels that it explains are forecast wrongly."""

import numpy as np
import pytest

import upland


def followed(seed, length=1_500):
    """A channel, and two that follow it with little noise."""
    rng = np.random.default_rng(seed)
    first = np.sin(2 * np.pi * np.arange(length) / 40) + 0.3 * rng.normal(size=length)
    second = 0.6 * first + 0.4 * np.roll(first, 1) + 0.05 * rng.normal(size=length)
    return np.stack([first, second, -first + 0.05 * rng.normal(size=length)], axis=1)


@pytest.fixture(scope="module")
def detector():
    detector = upland.SequenceEnergyDetector(
        criterion="experts", calibration="split", random_state=0, epochs=3
    )
    return detector.fit(followed(0))


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("fault", ["stuck", "shifted"])
def test_the_largest_share_is_of_the_channel_with_the_fault(detector, fault, channel):
    steps = followed(1)[:500]
    steps[300:, channel] = steps[300, channel] if fault == "stuck" else steps[300:, channel] + 3
    explained = upland.explain(detector, steps)
    assert np.bincount(explained.shares[340:400].argmax(axis=1), minlength=3).argmax() == channel
    assert np.allclose(explained.shares.sum(axis=1), detector.anomaly_score(steps))
