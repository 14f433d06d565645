"""Test martingales: bets are fair, the wealth is that of the formulas, and it exceeds 1 / delta with
probability delta at most.
"""

import numpy as np
import pytest

from laws import standard_error
from upland.calibration.martingales import (
    JUMP_RATES,
    POWERS,
    SLOPES,
    Jumpers,
    Martingales,
    Powers,
    kept,
    put_in,
)

NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
U, W = (NODES + 1) / 2, WEIGHTS / 2
P, DENSITY = U**8, W * 8 * U**7
"""p and weights of integrals over (0, 1), for integrands that are infinite at 0."""


def histories():
    rng = np.random.default_rng(0)
    return {
        "none": np.empty(0),
        "one": np.array([0.3]),
        "normal": rng.random(700),
        "small": rng.random(600) ** 4,
        "large": 1 - rng.random(600) ** 4,
        "late change": np.concatenate([rng.random(1_000), rng.random(100) ** 3]),
    }


@pytest.mark.parametrize("name", histories())
def test_the_expected_wealth_after_a_bet_is_the_wealth_before(name):
    history = histories()[name]
    martingales = Martingales.begin(P.size)
    before = 0.0
    if history.size:
        before = martingales.update(np.broadcast_to(history, (P.size, history.size)))[0, -1]
    after = martingales.update(P[:, None])[:, 0]
    assert DENSITY @ np.exp(after - before) == pytest.approx(1, abs=1e-6)


def test_shares_put_in_and_left_sum_to_one():
    t = np.arange(1, 10_001)
    assert 0.5 + put_in(t).sum() + kept(t[-1]) == pytest.approx(1)
    assert (put_in(t) > 0).all()


def test_powers_have_the_wealth_of_the_formula():
    p = np.random.default_rng(0).random(300) ** 2
    wealth, expected = np.full(POWERS.size, 0.5), []
    for t, value in enumerate(p, start=1):
        wealth = (wealth + put_in(t)) * POWERS * value ** (POWERS - 1)
        expected.append(np.log(wealth.mean()))
    np.testing.assert_allclose(Powers.begin(1).update(p[None])[0], expected, rtol=1e-10, atol=1e-10)


def test_jumpers_have_the_wealth_of_the_formula():
    p = np.random.default_rng(0).random(1_200) ** 1.5
    totals = []
    for rate in JUMP_RATES:
        wealth, path = np.full(3, 0.5 / 3), []
        for t, value in enumerate(p, start=1):
            wealth = wealth + put_in(t) / 3
            wealth = ((1 - rate) * wealth + rate * wealth.sum() / 3) * (1 + SLOPES * (value - 0.5))
            path.append(wealth.sum())
        totals.append(path)
    np.testing.assert_allclose(
        Jumpers.begin(1).update(p[None])[0], np.log(np.mean(totals, axis=0)), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("value", [2.0**-54, 0.5, 1.0])
def test_wealth_of_any_size_is_a_number_and_what_is_left_is_never_lost(value):
    martingales = Martingales.begin(1)
    path = np.concatenate(
        [martingales.update(np.full((1, 5_000), part))[0] for part in (value, 1 - value / 2, 0.5, value)]
    )
    assert np.isfinite(path).all()
    assert (path >= np.log(kept(np.arange(1, path.size + 1))) - 1e-9).all()


@pytest.fixture(scope="module")
def peaks():
    rng = np.random.default_rng(0)
    return np.concatenate([Martingales.begin(100).update(rng.random((100, 500))).max(1) for _ in range(12)])


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.2])
def test_the_wealth_ever_reaches_1_over_delta_with_probability_delta_at_most(peaks, delta):
    hits = peaks >= -np.log(delta)
    assert hits.mean() <= delta + 3 * standard_error(hits)
    assert hits.mean() > delta / 10


def test_a_late_change_is_found_nearly_as_soon_as_an_early_one():
    """Wealth that was lost on normal rows need not be won back."""
    rng, rows = np.random.default_rng(0), 20_000
    change = rng.random((20, 300)) ** 2
    early = Martingales.begin(20).update(change)
    late = Martingales.begin(20).update(np.concatenate([rng.random((20, rows)), change], axis=1))[:, rows:]
    first = [np.median(np.argmax(path >= np.log(20), axis=1)) for path in (early, late)]
    assert 0 < first[0] < first[1] < 6 * first[0]
