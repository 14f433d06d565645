"""The test of p-values as a whole keeps its level however many rows share the calibration rows."""

import numpy as np
import pytest
from scipy.stats import binom, kstest

from upland.calibration.conformal import conformal_p_values
from upland.reporting.uniformity import BINS, EDGES, GapCounter, Urn, null_counts, uniformity

TRIALS, DRAWS = 400, 99
MOST = binom.ppf(0.9999, TRIALS, 0.05) / TRIALS
"""Of so many tests at level .05 no larger share rejects, but with probability 1e-4."""


def counter(calibration, new, seed=0):
    made = GapCounter(np.asarray(calibration, dtype=float), seed)
    for part in np.array_split(np.asarray(new, dtype=float), 3):
        made.see(part)
    return made


def normal(generator, count):
    return generator.normal(size=count)


def tied(generator, count):
    return generator.integers(0, 4, count).astype(float)


def constant(generator, count):
    return np.zeros(count)


@pytest.mark.parametrize("scores", [normal, tied, constant])
@pytest.mark.parametrize(("n", "m"), [(40, 2000), (500, 30), (19, 1), (200, 200)])
def test_the_level_is_kept(scores, n, m):
    generator = np.random.default_rng([n, m])
    p = [
        uniformity([[counter(scores(generator, n), scores(generator, m), trial)]], trial, DRAWS).p_value
        for trial in range(TRIALS)
    ]
    assert np.mean(np.array(p) <= 0.05) <= MOST
    assert np.mean(np.array(p) <= 0.5) > 0.3, "p-values are not merely large"


def test_a_test_for_independent_p_values_would_not_keep_it():
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(100):
        p = conformal_p_values(generator.normal(size=40), generator.normal(size=2000))
        rejected += kstest(p - generator.random(2000) / 41, "uniform").pvalue <= 0.05
    assert rejected > 60


def test_segments_have_an_urn_each_and_the_level_is_kept():
    generator = np.random.default_rng(1)
    p = []
    for trial in range(TRIALS):
        shifts = generator.normal(0, 5, 3)
        urns = [
            counter(generator.normal(shift, 1, n), generator.normal(shift, 1, m), trial)
            for shift, n, m in zip(shifts, (30, 100, 7), (500, 20, 40), strict=True)
        ]
        p.append(uniformity([urns], trial, DRAWS).p_value)
    assert np.mean(np.array(p) <= 0.05) <= MOST


def test_folds_that_see_the_same_rows_keep_the_level_together():
    generator = np.random.default_rng(2)
    p = []
    for trial in range(100):
        new = generator.normal(size=300)
        folds = [[counter(generator.normal(size=40), new, trial)] for _ in range(5)]
        p.append(uniformity(folds, trial, DRAWS).p_value)
    assert np.mean(np.array(p) <= 0.05) <= binom.ppf(0.9999, 100, 0.05) / 100


def test_a_shift_and_many_anomalies_are_found():
    generator = np.random.default_rng(3)
    calibration = generator.normal(size=500)
    assert uniformity([[counter(calibration, generator.normal(0.5, 1, 500))]]).p_value <= 0.01
    some = np.concatenate([generator.normal(size=900), generator.normal(5, 1, 100)])
    assert uniformity([[counter(calibration, some)]]).p_value <= 0.01


def test_draws_have_the_mean_and_the_spread_of_the_urn():
    n, m = 30, 400
    drawn = null_counts([Urn(n, m)], np.random.default_rng(4), 20_000) / m
    width = np.diff(EDGES)
    assert np.allclose(drawn.mean(axis=0), width, atol=4 * np.sqrt(width / 20_000) * 0.2 + 1e-4)
    generator = np.random.default_rng(5)
    real = np.array(
        [counter(generator.normal(size=n), generator.normal(size=m), t).counts for t in range(2500)]
    )
    reached, seen = np.cumsum(drawn, axis=1)[:, :-1], np.cumsum(real, axis=1)[:, :-1] / m
    assert np.allclose(reached.std(axis=0), seen.std(axis=0), rtol=0.15, atol=2e-4)


def test_the_band_holds_normal_bars_and_counts_are_all_rows():
    generator = np.random.default_rng(6)
    inside = []
    for trial in range(100):
        found = uniformity([[counter(generator.normal(size=100), generator.normal(size=1000), trial)]], trial)
        assert found.counts.sum() == 1000
        assert found.counts.shape == (BINS,)
        inside.append(np.mean((found.counts >= found.low) & (found.counts <= found.high)))
    assert 0.9 < np.mean(inside) <= 1
