"""E-values and the e-detector: means are 1, and false alarms are within the bounds."""

import numpy as np
import pytest
from scipy.special import ndtr

from laws import standard_error
from upland.calibration.e_detector import N_BETS, EDetector, log_e_value, log_e_values, log_products, sums

NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)
Z = 9 * NODES
P, DENSITY = ndtr(-Z), 9 * WEIGHTS * np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi)
"""p and weights of integrals over (0, 1)."""


def test_every_betting_function_has_mean_one():
    values = np.exp(log_products(sums(P[:, None])))
    assert values.shape == (P.size, N_BETS)
    np.testing.assert_allclose(DENSITY @ values, 1, atol=1e-4)


def test_e_values_of_one_and_of_two_rows_have_mean_one():
    assert DENSITY @ np.exp(log_e_values(sums(P[:, None]))) == pytest.approx(1, abs=1e-6)
    pairs = np.stack(np.meshgrid(P, P), axis=-1).reshape(-1, 2)
    both = np.exp(log_e_values(sums(pairs))).reshape(P.size, P.size)
    assert DENSITY @ both @ DENSITY == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("rows", [1, 10, 300])
def test_e_values_of_normal_batches_are_rarely_large(rows):
    log_e = log_e_values(sums(np.random.default_rng(0).random((20_000, rows))))
    for level in (2, 5, 20):
        hits = log_e >= np.log(level)
        assert hits.mean() <= 1 / level + 3 * standard_error(hits)


@pytest.mark.parametrize("change", ["higher", "lower", "more spread", "less spread"])
def test_e_values_of_changed_batches_grow_with_the_batch(change):
    z = np.random.default_rng(0).normal(size=(200, 400))
    z = {"higher": z + 0.5, "lower": z - 0.5, "more spread": 1.5 * z, "less spread": 0.7 * z}[change]
    small, large = (np.median(log_e_values(sums(ndtr(-z[:, :rows])))) for rows in (100, 400))
    assert large > 2 * small > 4


def test_products_are_over_rows():
    p = np.random.default_rng(0).random((3, 50)) ** 2
    whole = log_products(sums(p))
    np.testing.assert_allclose(log_products(sums(p[:, :20])) + log_products(sums(p[:, 20:])), whole)
    assert log_products(sums(np.array([[1.0]]))).max() < np.inf


def test_the_e_value_of_folds_is_their_mean():
    of = sums(np.random.default_rng(0).random((3, 50)) ** 2)
    assert np.exp(log_e_value(of)) == pytest.approx(np.exp(log_e_values(of)).mean())


@pytest.mark.parametrize("batches", [0, 1, 20])
def test_r_minus_the_number_of_batches_is_a_martingale(batches):
    detector = EDetector.begin(P.size)
    for p in np.random.default_rng(0).random((batches, 30)):
        detector.update(log_products(sums(np.broadcast_to(p, (P.size, 30)))))
    before = np.exp(detector.log_values[0])
    detector.update(log_products(sums(P[:, None])))
    assert DENSITY @ np.exp(detector.log_values) == pytest.approx(before + 1, rel=1e-4)


@pytest.mark.parametrize("bound", [20, 50])
def test_false_alarms_are_within_the_bounds(bound):
    streams, batches = 1_500, 300
    rng, detector = np.random.default_rng(0), EDetector.begin(streams)
    paths = []
    for _ in range(batches):
        detector.update(log_products(sums(rng.random((streams, 3)))))
        paths.append(detector.log_values)
    hit = np.stack(paths, axis=1) >= np.log(bound)
    length = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, batches)
    assert length.mean() >= bound
    for t in (bound // 10, bound // 2, bound):
        assert (length <= t).mean() <= t / bound + 3 * standard_error(length <= t)
    assert (length <= bound).mean() > 0.05
