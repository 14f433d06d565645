"""Laws of the experts of time steps: what each finds, how they are joined, and what a file may hold."""

import numpy as np
import pytest
import torch

import upland
from upland.criteria.step_experts import StepExperts
from upland.criteria.steps.fitted import EXPERTS, PARTS, part_of, smoothed
from upland.criteria.steps.part import Normal, spread

STEPS, BEGIN = 1_200, 700


def series(seed, faulty=None):
    """Two channels, the second follows the first; a switch; and a fault from `BEGIN` on."""
    generator = np.random.default_rng(seed)
    t = np.arange(STEPS)
    swing = np.sin(t / 15) + 0.3 * np.sin(t / 4.1)
    lag = np.sin((t - 6) / 15) + 0.3 * np.sin((t - 6) / 4.1)
    x = np.stack([swing, lag, (t // 40) % 2], axis=1) + [0.05, 0.05, 0.0] * generator.normal(size=(STEPS, 3))
    if faulty == "stuck":
        x[BEGIN:, 1] = x[BEGIN, 1]
    elif faulty == "shift":
        x[BEGIN:, 1] += 1.5
    elif faulty == "spike":
        x[BEGIN, 1] += 2.0
    elif faulty == "relation":
        x[BEGIN:, 1] = np.sin((t[BEGIN:] - 26) / 15) + 0.3 * np.sin((t[BEGIN:] - 26) / 4.1)
    elif faulty == "state":
        x[BEGIN:, 2] = 7.0
    return x


@pytest.fixture(scope="module")
def detector():
    return upland.SequenceEnergyDetector(random_state=0, epochs=2).fit(series(0))


def criterion(detector) -> StepExperts:
    found = detector.fitted_criterion(detector.members_[0], "step")
    assert isinstance(found, StepExperts)
    return found


@pytest.mark.parametrize(
    ("fault", "column"), [("stuck", 1), ("shift", 1), ("spike", 1), ("relation", 1), ("state", 2)]
)
def test_a_fault_is_flagged_within_64_steps_and_its_channel_named(detector, fault, column):
    x = series(1, fault)
    flags = detector.flag(x, alpha=0.01)
    after = np.flatnonzero(flags[BEGIN : BEGIN + 64])
    assert after.size
    shares = upland.explain(detector, x).shares[BEGIN + after[-1]]
    wanted = {column} if fault != "relation" else {0, 1}
    assert int(shares.argmax()) in wanted


def test_a_state_that_never_occurred_stays_anomalous(detector):
    assert detector.flag(series(2, "state"), alpha=0.01)[BEGIN + 8 :].mean() > 0.9


def test_normal_steps_are_mostly_not_flagged(detector):
    assert np.mean([detector.flag(series(seed), alpha=0.01).mean() for seed in (3, 4, 5)]) < 0.05


def test_shares_sum_to_the_score_of_each_step(detector):
    x = series(6, "shift")
    shares = upland.explain(detector, x).shares
    np.testing.assert_allclose(shares.sum(axis=1), detector.anomaly_score(x), rtol=1e-9)


def test_nothing_depends_on_later_steps(detector):
    x = series(7, "shift")
    np.testing.assert_array_equal(detector.anomaly_score(x)[:BEGIN], detector.anomaly_score(x[:BEGIN]))


def test_the_first_steps_of_a_series_have_what_is_usual(detector):
    x = series(8)
    x[:5] += 0.5
    assert np.isfinite(detector.anomaly_score(x)).all()
    assert detector.anomaly_score(series(8))[:5].max() < 2 * np.median(detector.anomaly_score(series(8)))


def test_the_first_steps_of_a_series_are_flagged_no_more_than_others(detector):
    starts = [detector.flag(series(seed), alpha=0.05)[:16].mean() for seed in range(20, 32)]
    assert np.mean(starts) < 0.1


def test_a_fault_is_flagged_for_three_spans_after_its_end_at_most(detector):
    x, normal = series(9, "shift"), series(9)
    x[BEGIN + 30 :] = normal[BEGIN + 30 :]
    late = (
        BEGIN
        + 30
        + max(expert.reach for expert in criterion(detector).experts)
        + 3 * detector.plan_.smoothing
    )
    assert detector.flag(x, alpha=0.05)[BEGIN : BEGIN + 30].mean() > 0.8
    assert detector.flag(x, alpha=0.05)[late:].mean() < 0.15


def test_all_experts_are_fitted_where_there_is_enough(detector):
    assert [expert.name for expert in criterion(detector).experts] == list(EXPERTS)


def test_channels_of_two_values_are_read_by_transitions_alone(detector):
    found = criterion(detector)
    assert found.states.tolist() == [2]
    assert found.measured.tolist() == [0, 1]


@pytest.mark.parametrize("change", ["shape", "nan", "name", "negative", "column", "type"])
def test_a_forged_state_is_refused(detector, change):
    found = criterion(detector)
    state = dict(found.state())
    if change == "shape":
        state["level/median"] = state["level/median"][:1]
    elif change == "nan":
        state["dynamics/coefficients"] = state["dynamics/coefficients"] * torch.nan
    elif change == "name":
        state["luck/usual"] = state["level/usual"]
    elif change == "negative":
        state["patch8/scale"] = -state["patch8/scale"]
    elif change == "column":
        state["relation/others"] = state["relation/others"] + 9
    else:
        state["subspace/mean"] = state["subspace/mean"].float()
    with pytest.raises(ValueError):
        StepExperts("step").check_state(found.model, state)


AXES = {
    "level/scale": 1e-320,
    "patch8/supports": (2, 4),
    "movement/mean": (1, 1),
    "movement/deviation": (1, 1),
    "subspace/mean": (1, 16),
    "dynamics/coefficients": (1, -3),
    "dynamics/frequencies": (2, -3),
    "relation/coefficients": (1, -3),
}


@pytest.mark.parametrize("name", AXES)
def test_arrays_of_other_sizes_are_refused(detector, name):
    found, change = criterion(detector), AXES[name]
    state = dict(found.state())
    if isinstance(change, tuple):
        axis, size = change
        state[name] = state[name].narrow(axis, 0, size % state[name].shape[axis]).clone()
    else:
        state[name] = torch.full_like(state[name], change)
    with pytest.raises(ValueError):
        StepExperts("step").check_state(found.model, state)


def test_a_file_without_experts_is_refused(detector):
    found = criterion(detector)
    with pytest.raises(ValueError, match="expert"):
        StepExperts("step").check_state(found.model, {"two_values": found.state()["two_values"]})


@pytest.mark.parametrize("value", [1.0, 1e6])
def test_a_channel_that_was_always_the_same_is_watched(value):
    """However long it was: its transitions are the less surprising the longer, and their bound is not."""
    generator, t = np.random.default_rng(0), np.arange(8_000)
    x = np.stack([np.sin(t / 5) + 0.1 * generator.normal(size=t.size), np.zeros(t.size)], axis=1)
    detector = upland.SequenceEnergyDetector(calibration="split", random_state=0, epochs=1).fit(x)
    new = x[:600].copy()
    new[300:400, 1] = value
    scores = detector.anomaly_score(new)
    assert scores[320:400].min() > scores[:300].max()


def test_a_channel_that_moves_in_one_half_only_is_saved_and_loaded(tmp_path):
    generator, t = np.random.default_rng(0), np.arange(1_000)
    half = np.r_[np.zeros(700), generator.normal(size=300)]
    x = np.stack([np.sin(t / 5) + 0.1 * generator.normal(size=t.size), half], axis=1)
    detector = upland.SequenceEnergyDetector(calibration="split", random_state=0, epochs=1).fit(x)
    upland.save(detector, tmp_path / "a.safetensors")
    again = upland.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(x), detector.anomaly_score(x))


REPEATING = {
    "square": lambda t: (t // 7) % 2,
    "saw": lambda t: t % 10,
    "sine": lambda t: np.sin(2 * np.pi * t / 25),
    "pulse": lambda t: t % 50 == 0,
}


@pytest.mark.parametrize("kind", REPEATING)
def test_a_stream_of_a_series_that_repeats_exactly_is_the_pass(kind):
    x = REPEATING[kind](np.arange(600)).astype(np.float64)[:, None]
    detector = upland.SequenceEnergyDetector(calibration="split", random_state=0, epochs=1).fit(x)
    state, streamed = None, []
    for step in x[:150]:
        score, _, state = detector.score_next(state, step)
        streamed.append(score)
    np.testing.assert_allclose(streamed, detector.anomaly_score(x[:150]), atol=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_a_number_depends_on_as_many_steps_as_it_says(name):
    generator = np.random.default_rng(0)
    steps = (
        generator.normal(size=(400, 2)) if name != "transitions" else generator.integers(0, 2, (400, 2)) * 1.0
    )
    part = part_of(name, 2).fit(Normal(steps, np.arange(100, 400), 0))
    piece = steps[None, 200 : 200 + part.reach + 4]
    whole = part.squares(piece)
    assert whole.shape == (1, 5, 2)
    np.testing.assert_allclose(part.squares(piece[:, 2 : 2 + part.reach])[:, 0], whole[:, 2], rtol=1e-9)
    assert (whole >= 0).all()


def test_means_go_on_where_they_ended():
    numbers = np.random.default_rng(0).random((2, 30, 3))
    levels = np.ones((2, 2, 3))
    whole = smoothed(numbers, levels, (4, 20))
    first = smoothed(numbers[:, :11], levels, (4, 20))
    rest = smoothed(numbers[:, 11:], first[:, -1], (4, 20))
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), whole, rtol=1e-12)


@pytest.mark.parametrize(("count", "most"), [(5, 9), (1000, 256), (257, 256), (100_000, 256), (6_001, 6_000)])
def test_some_steps_are_spread_over_all(count, most):
    found = spread(count, most)
    assert found.size == np.unique(found).size == min(count, most)
    gaps = np.diff(np.r_[-1, found, count])
    assert np.unique(gaps[1:-1]).size <= 3
    assert gaps.max() <= 3 * max(count / most, 1)
