"""The forecast in closed form: linear series to their noise, maps to theirs, no less of pure noise."""

import math

import pytest
import torch

from laws import generator, normal
from upland.models.autoregression import LEAST_RESIDUAL, OF_INPUTS, Autoregression, random_features


def windows_of(x, lags):
    """`(T, D)` -> windows `(M, lags D)` and the steps that follow."""
    return x.unfold(0, lags, 1)[:-1].flatten(1), x[lags:]


def fitted(x, lags, features=256):
    model = Autoregression(x.shape[1], lags, features, generator())
    model.fit(*windows_of(x.float(), lags))
    return model


def residuals(model, x, lags):
    windows, steps = windows_of(x.float(), lags)
    return steps - model(windows)


def linear(steps, seed, noise=0.1):
    """Two channels that follow each other."""
    draws, x = noise * normal(steps, 2, seed=seed), torch.zeros(steps, 2, dtype=torch.float64)
    for t in range(2, steps):
        x[t, 0] = 0.6 * x[t - 1, 0] - 0.5 * x[t - 2, 1] + draws[t, 0]
        x[t, 1] = 0.5 * x[t - 1, 1] + 0.3 * x[t - 2, 0] + draws[t, 1]
    return x


def henon(steps, start=0.1):
    x = [start, start, 0.0, 0.0]
    while len(x) < steps:
        x.append(1.76 - x[-3] ** 2 - 0.1 * x[-4])
    return torch.tensor(x, dtype=torch.float64)[:, None]


def test_a_linear_series_is_forecast_up_to_its_noise():
    model = fitted(linear(3_000, seed=0), 6)
    away = residuals(model, linear(3_000, seed=1), 6)
    assert float(away.std()) < 1.03 * 0.1
    z, _ = model.whitening(away)
    assert float((z.var(0) - 1).abs().max()) < 0.12


def test_a_chaotic_map_is_forecast_where_no_linear_one_can():
    train, new = henon(3_000), henon(1_000, 0.12)
    of_features = residuals(fitted(train, 12), new, 12).std() / new.std()
    of_lags = residuals(fitted(train, 12, features=0), new, 12).std() / new.std()
    assert float(of_lags) > 0.5
    assert float(of_features) < 0.1


def test_noise_is_forecast_by_its_mean():
    noise = normal(2_000, 1, seed=2) + 5
    away = residuals(fitted(noise, 8), normal(2_000, 1, seed=3) + 5, 8)
    assert float(away.std()) < 1.03


def test_a_constant_channel_has_the_least_residual():
    model = fitted(torch.cat([normal(200, 1), torch.ones(200, 1, dtype=torch.float64)], 1), 3)
    scale = 1 / model.whitening.triangle.diagonal()
    assert float(scale[1]) == pytest.approx(LEAST_RESIDUAL, rel=0.01)


@pytest.mark.parametrize("steps", [2, 3, 9])
def test_few_steps_give_a_finite_forecast(steps):
    model = Autoregression(1, 4, 8, generator())
    windows, x = normal(steps, 4).float(), normal(steps, 1, seed=1).float()
    model.fit(windows, x)
    assert bool(model(windows).isfinite().all())
    assert bool(model.whitening(x)[0].isfinite().all())


def test_random_features_are_of_one_two_four_and_all_inputs():
    random, offsets = random_features(10, 40, generator())
    counts = (random != 0).sum(0).tolist()
    assert counts == [count or 10 for count in OF_INPUTS] * 10
    assert float(offsets.abs().max()) <= 1.5
    few, _ = random_features(3, 8, generator())
    assert (few != 0).sum(0).tolist() == [1, 2, 3, 3] * 2
    assert math.isfinite(float(few.sum()))
