"""The share of a fault goes to its channel, also where the channels that it explains are forecast wrongly."""

import numpy as np
import pytest
from scipy.signal import lfilter

import upland


def followed(seed, length=1_500):
    """Noise, and a channel that is the mean of its last four steps with hardly any noise of its own."""
    rng = np.random.default_rng(seed)
    first = lfilter([1.0], [1.0, -0.5], rng.normal(size=length))
    second = lfilter(np.ones(4) / 4, [1.0], first) + 0.02 * rng.normal(size=length)
    return np.stack([first, second], axis=1)


@pytest.fixture(scope="module")
def detector():
    detector = upland.SequenceEnergyDetector(
        criterion="experts", calibration="split", random_state=0, epochs=3
    )
    return detector.fit(followed(0))


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("size", [-5.0, 5.0])
def test_the_largest_share_of_a_spike_is_of_its_channel(detector, channel, size):
    steps = followed(1)[:500]
    steps[300, channel] += size * steps[:, channel].std()
    shares = upland.explain(detector, steps).shares
    assert shares[300].argmax() == channel
    assert np.allclose(shares.sum(axis=1), detector.anomaly_score(steps))
