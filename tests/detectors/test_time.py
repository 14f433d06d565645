"""Time as engineers have it: irregular steps, gaps and the calendar in fitted detectors."""

import warnings

import numpy as np
import pandas as pd
import pytest

import normals
import upland
from upland.detectors.stream import begin
from upland.export.onnx import to_onnx

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
START = pd.Timestamp("2026-03-02")


def wave(count=300, seed=0, gaps=()):
    """A sine of two minutes, sampled at random times, 5 seconds apart in the mean."""
    rng = np.random.default_rng(seed)
    apart = rng.exponential(4, count) + 1
    apart[list(gaps)] += 47
    seconds = np.round(np.cumsum(apart), 3)
    angle = 2 * np.pi * seconds / 120
    values = np.stack([np.sin(angle), np.cos(angle)]) + rng.normal(0, 0.03, (2, count))
    return pd.DataFrame({"t": START + pd.to_timedelta(seconds, "s"), "x": values[0], "y": values[1]})


def meter(count, seed, gaps):
    """What was used since the last reading, which comes about every minute, and now and then after eight."""
    rng = np.random.default_rng(seed)
    apart = np.round(np.exp(rng.normal(np.log(60), 0.4, count)), 3)
    apart[list(gaps)] *= 8
    columns = {"use": apart * rng.normal(1, 0.05, count), "warmth": np.sin(np.arange(count) / 9)}
    return pd.DataFrame({"t": stamps_of(apart), **columns})


def stamps_of(apart):
    return START + pd.to_timedelta(np.cumsum(apart), "s")


def small(**options):
    usual = {"time": "t", "window": 30}
    return normals.small(upland.SequenceEnergyDetector, **usual | options)


def test_what_is_normal_after_a_gap_is_an_alarm_without_one():
    options = {"time": "t", "criterion": "reconstruction", **normals.QUIET}
    detector = upland.SequenceEnergyDetector(**options).fit(meter(1000, 1, range(20, 1000, 25)))
    assert detector.encoder_.clock.distance
    gaps = np.arange(50, 600, 25)
    new = meter(600, 2, gaps)
    after_gaps = np.mean(detector.p_values(new)[gaps] <= 0.05)
    apart = new["t"].diff().dt.total_seconds().fillna(0).to_numpy().copy()
    apart[gaps] /= 8
    without = np.mean(detector.p_values(new.assign(t=stamps_of(apart)))[gaps] <= 0.05)
    little = new.assign(use=np.where(np.isin(np.arange(600), gaps), new["use"] / 8, new["use"]))
    too_little = np.mean(detector.p_values(little)[gaps] <= 0.05)
    assert after_gaps < 0.4
    assert min(without, too_little) > 0.9


def test_streaming_equals_the_pass_and_states_are_kept(tmp_path):
    detector, new = small().fit(wave()), wave(40, 3)
    upland.save(detector, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    state, scores = None, []
    for number, row in enumerate(new.to_dict("records")):
        if number == 20:
            criteria = [detector.fitted_criterion(member, "step") for member in detector.members_]
            start = begin(detector.members_, criteria, detector.criterion_of("step"))
            state = start.with_arrays(state.to_arrays())
        score, _, state = detector.score_next(state, row)
        scores.append(score)
    np.testing.assert_allclose(scores, detector.anomaly_score(new), rtol=1e-9)
    with pytest.raises(ValueError, match="is not after that of the step before"):
        detector.score_next(state, new.iloc[3].to_dict())
    with pytest.raises(ValueError, match="names a column that is not in the table"):
        detector.score_next(state, {"x": 0.1, "y": 0.2})


def test_the_members_of_one_fit_have_one_clock():
    rng = np.random.default_rng(0)
    some = wave(200)
    apart = np.where(rng.random(200) < 0.06, 9.0, 5.0)  # about as irregular as a fold may doubt
    some["t"] = START + pd.to_timedelta(np.cumsum(apart), "s")
    detector = small(calibration="cross").fit(some)
    assert len({member.encoder.clock for member in detector.members_}) == 1
    assert np.isfinite(detector.anomaly_score(some)).all()


def test_regular_series_are_scored_as_without_stamps():
    some = wave(200).assign(t=pd.date_range(START, periods=200, freq="5s"))
    values = some[["x", "y"]]
    timed = small().fit(some)
    np.testing.assert_array_equal(
        timed.anomaly_score(some), small(time=None, per="step").fit(values).anomaly_score(values)
    )


def test_hours_are_known_with_the_calendar():
    """A level that belongs to the afternoon is an alarm at night."""
    rng = np.random.default_rng(0)
    stamps = pd.date_range(START, periods=14 * 48, freq="30min")
    busy = np.isin(stamps.hour, np.arange(12, 18))
    load = np.where(busy & (rng.random(stamps.size) < 0.5), 8.0, 2.0) + rng.normal(0, 0.3, stamps.size)
    days = pd.DataFrame({"t": stamps, "load": load})
    options = {"time": "t", "frame": 1, "criterion": "reconstruction", **normals.QUIET}
    detector = upland.SequenceEnergyDetector(calendar="auto", **options).fit(days)
    assert detector.encoder_.clock.parts == ("hour",)
    new = days.assign(t=days["t"] + pd.Timedelta(14, "D"))
    new.loc[48 * 5 + 4, "load"] = 8.0  # two in the morning
    p_values = detector.p_values(new)
    assert p_values[48 * 5 + 4] <= 0.02
    assert np.mean(p_values[busy] <= 0.02) < 0.1
    assert upland.explain(detector, new).columns == ("load",)


@pytest.mark.filterwarnings("ignore:training did not move")
def test_series_of_one_step_each_have_a_calendar_and_no_distance(tmp_path):
    stamps = pd.date_range(START, periods=60, freq="5h")
    some = wave(60).assign(t=stamps, id=np.arange(60))
    detector = small(id="id", calendar=True, window="auto").fit(some)
    assert detector.encoder_.step is None
    assert detector.encoder_.clock.parts == ("hour", "weekday")
    upland.save(detector, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(some), detector.anomaly_score(some))
    step = some.iloc[0].to_dict()
    assert again.score_next(None, step).anomaly_score == detector.score_next(None, step).anomaly_score


def test_what_cannot_be_without_time_says_so():
    detector = small(criterion="max_channel").fit(wave())
    with pytest.raises(ValueError, match="conditioned on time has no ONNX graph"):
        to_onnx(detector)
    with pytest.raises(ValueError, match="these data have no time column"):
        detector.anomaly_score(wave()[["x", "y"]].to_numpy())


def test_a_fit_and_a_score_of_irregular_steps_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "p-values are coarse|.*cannot resolve alpha")
        small().fit(wave(gaps=(50, 100))).anomaly_score(wave(seed=1, gaps=(70,)))
