"""The band around what a model expects of a time step."""

import numpy as np
import pandas as pd
import pytest

import normals
import upland
from upland.scoring.words import reason_text

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


def series(count, seed):
    """Autocorrelated channels of other noise and size each, and a category."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, 2))
    for step in range(1, count):
        x[step] = 0.5 * x[step - 1] + rng.standard_t(5, 2) * [1.0, 30.0]
    day = {"t": pd.date_range("2026-03-02", periods=count, freq="min")}
    return pd.DataFrame(
        day | {"small": x[:, 0], "large": 500 + x[:, 1], "mode": rng.choice(["a", "b"], count)}
    )


@pytest.fixture(scope="module", params=["split", "cross"])
def fitted(request):
    options = {"time": "t", "window": 50, "calibration": request.param, "criterion": "reconstruction"}
    return normals.small(upland.SequenceEnergyDetector, **options).fit(series(700, 0))


def test_nine_of_ten_normal_values_lie_in_the_band(fitted):
    new = series(2000, 1)
    found = upland.explain(fitted, new)
    values, low, high = (part[:, :2].astype(float) for part in (found.values, found.low, found.high))
    inside = (low <= values) & (values <= high)
    learned = fitted.calibration_.size / len(fitted.members_)
    variance = 0.9 * 0.1 * (1 / learned + 1 / len(inside))
    within = 4 * np.sqrt(3 * variance)  # steps depend on each other: at most a third of them are fresh
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=within)
    assert (low < high).all()
    assert (found.low[:, 2] == None).all()  # noqa: E711 a category has no band


def test_a_value_far_off_is_outside_and_the_words_say_the_band(fitted):
    new = series(200, 1)
    new.loc[150, "small"] += 30.0
    reason = upland.explain(fitted, new).top(1)[150][0]
    assert reason.column == "small"
    assert not reason.low <= reason.value <= reason.high
    assert f"expected {reason.low:.4g} to {reason.high:.4g})" in reason_text(reason)


def test_bands_are_kept_in_a_file_and_taken_with_rows(fitted, tmp_path):
    new = series(60, 1)
    found = upland.explain(fitted, new)
    upland.save(fitted, tmp_path / "model.safetensors")
    again = upland.explain(upland.load(tmp_path / "model.safetensors"), new)
    np.testing.assert_array_equal(again.low, found.low)
    np.testing.assert_array_equal(found.take([3, 5]).high, found.high[[3, 5]])


def test_of_the_steps_of_an_array_and_of_rows_of_a_table():
    waves = normals.waves(24, 20)
    detector = normals.small(upland.SequenceEnergyDetector, per="step", criterion="max_channel").fit(waves)
    found = upland.explain(detector, waves[:3])
    assert found.low.shape == found.high.shape == (3, 20, 2)
    reason = found.top(1)[1][7][0]
    assert reason.low < reason.high
    of_rows = upland.explain(normals.fitted(), normals.numbers())
    assert of_rows.low is None
    assert of_rows.top(1)[0][0].low is None


@pytest.mark.parametrize("wrong", [np.zeros((2, 9), np.float32), np.full((2, 2), np.nan, np.float32)])
def test_a_band_of_something_else_is_refused(wrong):
    detector = normals.fitted(upland.SequenceEnergyDetector)
    manifest, tensors = detector.encoder_.to_state()
    with pytest.raises(ValueError, match="its band is not two for each channel"):
        type(detector.encoder_).from_state(manifest, tensors | {"band": wrong})
