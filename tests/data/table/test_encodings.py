"""The formulas: monotone, finite, invertible."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from upland.data.table import encodings as en
from upland.models import views

FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXTREMES = np.array(
    [-1.7e308, -1e300, -1e9, -7.0, -5.0, -1.0, 0.0, 5e-324, 1.0, 5.0, 7.0, 1e9, 1e300, 1.7e308]
)


def test_squash_is_the_identity_near_and_logarithmic_far():
    knee = en.KNEE
    z = np.array([0.0, 1.5, -knee, knee + 1, -knee - 100])
    expected = [0.0, 1.5, -knee, knee + np.log(2.0), -(knee + np.log(101.0))]
    np.testing.assert_allclose(en.squash(z), expected, rtol=1e-15)


def test_squash_keeps_nan():
    assert np.isnan(en.squash(np.array([np.nan, 9.0]))).tolist() == [True, False]


def test_squash_is_monotone_and_finite_over_all_doubles():
    codes = en.squash(EXTREMES.copy())
    assert np.isfinite(codes.astype(np.float32)).all()
    assert np.all(np.diff(codes) >= 0)
    assert np.abs(codes).max() < 720


def test_squash_has_a_continuous_slope():
    step = 1e-6
    inside, outside = np.diff(en.squash(np.array([en.KNEE - step, en.KNEE, en.KNEE + step]))) / step
    assert inside == pytest.approx(outside, abs=1e-5)


@given(st.floats(-1e6, 1e6))
def test_unsquash_undoes_squash(z):
    there = en.squash(np.array([z]))
    np.testing.assert_allclose(en.unsquash(there), [z], rtol=1e-9, atol=1e-12)


@given(FINITE, FINITE, st.floats(1e-300, 1e300))
def test_numeric_codes_are_finite_whatever_the_value(x, center, scale):
    code = en.encode_numeric(np.array([x]), center, scale)
    assert np.isfinite(code.astype(np.float32)).all()
    assert np.isfinite(en.decode_numeric(code, center, scale)).all()


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(1e-2, 1e3))
def test_numeric_round_trip(x, center, scale):
    code = en.encode_numeric(np.array([x]), center, scale)
    np.testing.assert_allclose(en.decode_numeric(code, center, scale), [x], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("center", [0.0, 7.0, -1e-3, 1e12])
def test_a_constant_is_zero_and_anything_else_is_far_and_ordered(center):
    away = center + np.array([-1e290, -10.0, -1.0, 0.0, 1.0, 10.0, 1e290]) * max(abs(center), 1.0) / 1e3
    codes = en.encode_constant(away, center)
    assert codes[3] == 0.0
    assert np.all(np.abs(np.delete(codes, 3)) >= en.FAR)
    assert np.all(np.diff(codes) > 0)
    assert np.isfinite(codes).all()


def test_a_constant_survives_one_rounding_to_float32():
    assert en.encode_constant(np.array([float(np.float32(0.1))]), 0.1).tolist() == [0.0]
    assert en.encode_constant(np.array([0.1 + 1e-6]), 0.1)[0] > en.FAR


def test_constant_round_trip():
    x = np.array([-50.0, 3.0, 4.0, 1e9])
    np.testing.assert_allclose(en.decode_constant(en.encode_constant(x, 3.0), 3.0), x, rtol=1e-12)


@pytest.mark.parametrize(
    "shares", [[1.0], [0.5, 0.5], [0.7, 0.2, 0.1], [0.999, 0.001], [0.25] * 4, list(np.full(200, 1 / 200))]
)
def test_a_one_hot_column_has_mean_zero_and_variance_one(shares):
    p = np.array(shares)
    scale = en.deviation_of_levels(p)
    assert scale >= en.LEAST_SCALE
    hit, miss = en.encode_levels(p)
    raw_hit, raw_miss = (1 - p) / scale, -p / scale
    mean = p * raw_hit + (1 - p) * raw_miss
    variance = np.sum(p * raw_hit**2 + (1 - p) * raw_miss**2)
    np.testing.assert_allclose(mean, 0.0, atol=1e-12)
    assert variance == pytest.approx(1.0 if len(p) > 1 else 0.0)
    near = np.abs(raw_hit) <= en.FAR
    np.testing.assert_array_equal(hit[:-1][near], raw_hit[near])
    assert (hit[-1], miss[-1]) == (en.FAR, 0.0)


def test_levels_round_trip():
    p = np.array([0.6, 0.3, 0.1])
    hit, miss = en.encode_levels(p)
    codes = np.tile(miss, (3, 1))
    codes[np.arange(3), np.arange(3)] = hit[:3]
    assert en.decode_levels(codes, p).tolist() == [0, 1, 2]


@pytest.mark.parametrize("knee", [0.5, 1.0, 2.0, 4.0])
def test_the_views_of_the_models_begin_at_the_knee_of_the_codes(knee):
    """`models.views` cannot import this package, so that it has a copy of the constant."""
    assert views.CODES_KNEE == en.KNEE
    z = np.array([-30.0, -2.5, -1.0, 0.0, 1.5, en.KNEE, 3.0, 50.0])
    codes = torch.from_numpy(en.squash(z.copy()))
    expected = np.copysign(np.minimum(np.abs(z), knee) + np.log1p(np.maximum(np.abs(z) - knee, 0)), z)
    np.testing.assert_allclose(views.log_compressed(codes, knee)[0].numpy(), expected, rtol=1e-12)
