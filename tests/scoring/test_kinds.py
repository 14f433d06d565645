"""The kind of a fault: planted ones of each, in noise, in waves and in channels that go together."""

from collections import Counter

import numpy as np
import pytest
from scipy.signal import lfilter

from upland.scoring.kinds import kind_of

BEFORE, LENGTH, SEEDS = 400, 60, 20


def noise(rng):
    """A series that depends on its past, and another that follows it."""
    first = lfilter([0.6], [1, -0.8], rng.normal(size=BEFORE + LENGTH + 50))[50:]
    return first, np.stack([first + 0.2 * rng.normal(size=first.size)], axis=1)


def wave(rng):
    """A wave of twenty steps with noise, and another that follows it."""
    turns = rng.uniform(0, 6) + 2 * np.pi * np.arange(BEFORE + LENGTH) / 20
    first = np.sin(turns) + 0.1 * rng.normal(size=turns.size)
    return first, np.stack([np.sin(turns - 0.5) + 0.1 * rng.normal(size=turns.size)], axis=1)


def planted(kind, series, rng):
    """The values of the episode with a fault of a kind."""
    own, other = series(rng)
    fault = own[BEFORE:].copy()
    scale, sign = own[:BEFORE].std(), rng.choice([-1, 1])
    if kind == "stuck":
        fault[:] = fault[0]
    elif kind == "drift":
        fault += sign * np.linspace(0, 8 * scale, LENGTH)
    elif kind == "spike":
        at = int(rng.integers(LENGTH - 2))
        fault[at : at + int(rng.integers(1, 3))] += sign * 12 * scale
    elif kind == "level shift":
        fault += sign * 5 * scale
    elif kind == "noise up":
        fault += 1.5 * scale * rng.normal(size=LENGTH)
    elif kind == "noise down":
        fault = np.convolve(own, np.ones(9) / 9, mode="same")[BEFORE:] if series is noise else fault
        if series is wave:
            fault = clean(own)
    elif kind == "changed rhythm":
        turns = rng.uniform(0, 6) + 2 * np.pi * np.arange(LENGTH) / rng.choice([11, 14, 28])
        fault = np.sin(turns) + 0.1 * rng.normal(size=LENGTH)
    elif kind == "lost relation":
        fault = noise(np.random.default_rng(rng.integers(2**31)))[0][-LENGTH:]
    return fault, own[:BEFORE], (other[BEFORE:], other[:BEFORE])


def clean(own):
    """The wave of a series without its noise."""
    turns = 2 * np.pi * np.arange(own.size) / 20
    waves = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    found, *_ = np.linalg.lstsq(waves, own, rcond=None)
    return (waves @ found)[BEFORE:]


CASES = [
    *((kind, series) for kind in ("stuck", "drift", "spike", "level shift") for series in (noise, wave)),
    *((kind, series) for kind in ("noise up", "noise down") for series in (noise, wave)),
    ("changed rhythm", wave),
    ("lost relation", noise),
]
"""The thresholds were set on seeds 0 to 19."""


def called(kind, series, first=100):
    """How often it is called what."""
    seeds = range(first, first + SEEDS)
    return Counter(kind_of(*planted(kind, series, np.random.default_rng([n, len(kind)]))) for n in seeds)


@pytest.mark.parametrize(("kind", "series"), CASES)
def test_a_planted_fault_is_named(kind, series):
    assert called(kind, series)[kind] >= 0.9 * SEEDS


@pytest.mark.parametrize("series", [noise, wave])
def test_normal_values_are_no_fault(series):
    assert called("nothing", series)[None] >= 0.9 * SEEDS


@pytest.mark.parametrize(("kind", "series"), [*CASES, ("nothing", noise)])
def test_the_kind_does_not_depend_on_units(kind, series):
    inside, before, (near, far) = planted(kind, series, np.random.default_rng(7))
    found = kind_of(inside, before, (near, far))
    assert kind_of(40 - 1e4 * inside, 40 - 1e4 * before, (near, far)) == found
    assert kind_of(1e-3 * inside, 1e-3 * before, (9 + 5 * near, 9 + 5 * far)) == found


def test_a_spike_may_be_one_step():
    before = np.random.default_rng(0).normal(size=100)
    assert kind_of(np.array([20.0]), before) == "spike"
    assert kind_of(np.array([0.1, 0.2]), before) is None


def test_too_little_before_says_nothing():
    rng = np.random.default_rng(1)
    inside = 9 + rng.normal(size=30)
    assert kind_of(inside, rng.normal(size=119)) is None
    assert kind_of(inside, rng.normal(size=120)) == "level shift"
    assert kind_of(np.empty(0), rng.normal(size=120)) is None


def test_missing_values_are_left_out():
    rng = np.random.default_rng(2)
    inside, before = 9 + rng.normal(size=40), rng.normal(size=400)
    inside[::7] = before[::9] = np.nan
    assert kind_of(inside, before, (np.zeros((40, 1)), np.zeros((400, 1)))) == "level shift"
    assert kind_of(np.full(20, np.nan), before) is None


def test_a_channel_that_hardly_ever_changes_is_not_stuck():
    before = np.repeat(np.random.default_rng(3).normal(size=20), 20)
    assert kind_of(np.full(20, before[-1]), before) is None
    assert kind_of(np.zeros(20), np.zeros(200)) is None


if __name__ == "__main__":
    for kind, series in [*CASES, ("nothing", noise), ("nothing", wave)]:
        print(kind, series.__name__, dict(called(kind, series)))
