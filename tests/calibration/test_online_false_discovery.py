"""e-LOND: its rate however e-values depend on each other, its state, and the e-values of p-values."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from laws import standard_error
from upland.calibration.online_false_discovery import ELond, gamma, log_e_values


def test_shares_sum_to_one():
    t = np.arange(1, 100_001)
    assert (np.diff(gamma(t)) < 0).all()
    assert gamma(t).sum() + 1 / np.log2(t[-1] + 2) == pytest.approx(1)


@pytest.mark.parametrize("p", [1.0, 1 - 1e-9, 0.995, 0.99, 0.5, 0.05, 1e-6, 1e-300])
def test_the_calibrator_is_the_mixture_of_powers(p):
    value = np.exp(log_e_values(p))
    mixture = quad(lambda k: k * np.exp((k - 1) * np.log(p)), 0, 1, epsabs=0, epsrel=1e-10)[0]
    assert value == pytest.approx(mixture, rel=1e-8)


def test_e_values_of_uniform_p_values_have_mean_one():
    pieces = [1e-300, 1e-100, 1e-30, 1e-10, 1e-4, 0.1, 1]
    on_log_scale = [
        quad(lambda y: np.exp(log_e_values(np.exp(y)) + y), np.log(low), np.log(high))[0]
        for low, high in pairwise(pieces)
    ]
    assert sum(on_log_scale) == pytest.approx(1 - 1 / np.log(1e300), abs=1e-3)


@pytest.mark.parametrize("p", [0.0, -0.1, 1.1, np.nan])
def test_what_is_no_p_value_is_refused(p):
    with pytest.raises(ValueError, match="in \\(0, 1\\]"):
        log_e_values([0.5, p])


@pytest.mark.parametrize("arguments", [(0,), (1.0,), (0.1, 3, 4), (0.1, 3, -1)])
def test_what_is_no_state_is_refused(arguments):
    with pytest.raises(ValueError, match=r"alpha must|cannot be"):
        ELond(*arguments)


def test_an_e_value_that_is_not_a_number_leaves_the_state():
    test = ELond(0.1)
    with pytest.raises(ValueError, match="NaN"):
        test.test(np.nan)
    assert test == ELond(0.1)


def test_discoveries_raise_the_levels_of_later_hypotheses():
    one, other = ELond(0.1), ELond(0.1)
    assert one.test(np.inf)
    assert not other.test(0.0)
    assert one.level == pytest.approx(2 * other.level)
    assert ELond(0.1, one.tested, one.discoveries).level == one.level
    assert other.level == pytest.approx(0.1 * gamma(2))


def proportions(log_e, null, alpha):
    """The false discovery proportion of each stream, its largest over time, and the share that is found."""
    found = []
    for row, true in zip(log_e, null, strict=True):
        test = ELond(alpha)
        hit = np.array([test.test(value) for value in row])
        path = np.cumsum(hit & true) / np.maximum(np.cumsum(hit), 1)
        found.append((path[-1], hit[~true].mean()))
    return np.array(found)


@pytest.mark.parametrize("dependence", ["independent", "one for all", "exclusive"])
def test_the_rate_is_kept_however_e_values_depend(dependence):
    """E-values that take all or nothing, at the level that e-LOND asks for: nothing is left to spare."""
    rng, alpha, streams, length = np.random.default_rng(0), 0.2, 4_000, 30
    null = np.arange(length) % 3 != 2
    needed = -np.log(alpha * gamma(np.arange(1, length + 1)) * (1 + np.cumsum(~null) - ~null))
    draws = {
        "independent": rng.random((streams, length)),
        "one for all": np.broadcast_to(rng.random((streams, 1)), (streams, length)),
        "exclusive": (rng.random((streams, 1)) + np.cumsum(np.exp(-needed))) % 1,
    }[dependence]
    log_e = np.where(null, np.where(draws < np.exp(-needed), needed + 1e-9, -np.inf), np.inf)
    shares = proportions(log_e, np.broadcast_to(null, log_e.shape), alpha)
    assert shares[:, 0].mean() <= alpha + 3 * standard_error(shares[:, 0])
    assert shares[:, 0].mean() > alpha / 20
    assert (shares[:, 1] == 1).all()
