"""The chaotic series: dynamics that hold everywhere but behind the seams, which are not to be seen."""

from functools import cache
from itertools import islice

import numpy as np
import pytest

from benchmarks import chaotic

NAMES = [
    f"{family}_{number}{'_noise' if number >= chaotic.PER_FAMILY // 2 else ''}"
    for family in chaotic.FAMILIES
    for number in range(chaotic.PER_FAMILY)
]
BEHIND = {"mackey_glass": 18, "henon": 4}  # steps that depend on both sides of a seam


@cache
def series():
    """Every series by its name."""
    return dict(chaotic.series())


def seams(split):
    """First step behind each seam."""
    return np.flatnonzero(np.diff(split.labels) == 1) + 1 + chaotic.LABELLED // 2


def behind(split, steps):
    found = np.zeros(len(split.labels), dtype=bool)
    for seam in seams(split):
        found[seam : seam + steps] = True
    return found


def residual(family, x):
    """What the equation of the family leaves of each step but the first 20."""
    if family == "henon":
        return x[20:] - (1.76 - x[17:-3] ** 2 - 0.1 * x[16:-4])
    delayed = x[1:-18]
    middle = (x[19:] + x[18:-1]) / 2.0
    produced = 0.25 * delayed / (1.0 + delayed**10)
    before = 0.25 * x[:-19] / (1.0 + x[:-19] ** 10)
    return (x[19:] - x[18:-1] - (produced + before) / 2.0 + 0.1 * middle)[1:]


@pytest.mark.parametrize("name", NAMES)
def test_a_series_has_a_normal_part_and_the_seams_that_it_names(name):
    split = series()[name]
    assert split.train.shape == (chaotic.TRAIN, 1)
    assert split.test.shape == (chaotic.TEST, 1)
    assert split.can_be_ranked
    assert len(seams(split)) == chaotic.SEAMS
    assert split.labels.sum() == chaotic.SEAMS * chaotic.LABELLED
    assert np.isfinite(split.test).all()


@pytest.mark.parametrize("name", [f"{family}_{number}" for family in BEHIND for number in range(3)])
def test_the_equation_holds_everywhere_but_behind_the_seams(name):
    family = name.rsplit("_", 1)[0]
    split = series()[name]
    found = np.abs(residual(family, split.test[:, 0]))
    broken = behind(split, BEHIND[family])[20:]
    assert np.abs(residual(family, split.train[:, 0])).max() < 0.05
    assert found[~broken].max() < 0.05
    assert found[broken].max() > 3 * found[~broken].max()


@pytest.mark.parametrize("name", NAMES)
def test_a_seam_is_no_larger_step_than_normal_ones(name):
    split = series()[name]
    normal = np.abs(np.diff(split.train[:, 0]))
    steps = np.abs(np.diff(split.test[:, 0]))
    assert steps[seams(split) - 1].max() <= np.quantile(normal, 0.999)
    assert split.test.min() >= split.train.min() - 0.1 * np.ptp(split.train)
    assert split.test.max() <= split.train.max() + 0.1 * np.ptp(split.train)


def test_the_second_end_is_the_nearest_in_value_and_derivative():
    t = np.arange(600.0)
    values = np.sin(2 * np.pi * t / 50) + 1e-3 * t / 600
    assert chaotic.ends(values, 120, 3)[1:] == (120, 120 + 100)
    assert chaotic.ends(np.sin(2 * np.pi * t / 130), 120, 1) == (pytest.approx(0, abs=1e-9), 120, 120 + 130)


def test_every_call_makes_the_same_series():
    for name, split in islice(chaotic.series(), chaotic.PER_FAMILY):
        np.testing.assert_array_equal(split.test, series()[name].test)
    assert len({split.test.tobytes() for split in series().values()}) == 3 * chaotic.PER_FAMILY
    assert sum(name.endswith("noise") for name in series()) == 9
