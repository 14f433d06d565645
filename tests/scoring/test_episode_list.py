"""Episodes of flagged steps: which are one, and what each says of itself."""

import warnings

import numpy as np
import pandas as pd
import pytest

import upland
from upland.scoring.episode_list import channels_of, steps_a_day
from upland.scoring.episodes import episodes_of

STEPS = 2_000
QUICK = {"criterion": "max_channel", "smoothing": 1, "epochs": 1, "hidden": (8,)}
"""A criterion that remembers few steps, so that blocks are short."""


def normal(rng, steps=STEPS):
    return rng.normal(size=(steps, 3))


@pytest.fixture(scope="module")
def detector():
    """Fitted without smoothing, and calibrated on steps that are many for their short memory."""
    rng = np.random.default_rng(0)
    found = upland.SequenceEnergyDetector(**QUICK, calibration="split", random_state=0, progress=False)
    return found.fit(normal(rng, 800)).calibrate(normal(rng))


@pytest.fixture(scope="module")
def faulty():
    """A fault of channel x1 for thirty steps."""
    rows = normal(np.random.default_rng(1), 1_000)
    rows[400:430, 1] += 12
    return rows


# -- which are one -------------------------------------------------------------------------------------------


def spans(flagged, strong, owners=None, block=10, size=60):
    flags, sure = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    flags[flagged], sure[strong] = True, True
    owners = np.zeros(size, dtype=int) if owners is None else owners
    found = episodes_of(flags, owners, np.arange(size, dtype=float), sure, block)
    return list(zip(found.firsts.tolist(), found.lasts.tolist(), strict=True))


def test_sure_episodes_a_block_apart_are_one_with_all_between_them():
    assert spans([5, 10, 15], [5, 15]) == [(5, 15)]
    assert spans([5, 10, 16], [5, 16]) == [(5, 5), (10, 10), (16, 16)]


def test_episodes_that_are_not_sure_stay_apart():
    assert spans([5, 10, 15], [15]) == [(5, 5), (10, 10), (15, 15)]
    assert spans([5, 10, 15], []) == [(5, 5), (10, 10), (15, 15)]


def test_the_distance_is_from_the_end_to_the_next_start():
    assert spans([1, 4, 7, 17, 27], [1, 17, 27]) == [(1, 27)]


def test_sure_episodes_of_two_series_are_two():
    owners = np.repeat([0, 1], [8, 52])
    assert spans([5, 12], [5, 12], owners) == [(5, 5), (12, 12)]


def test_the_worst_step_of_joined_episodes_is_their_peak():
    scores = np.array([0, 9.0, 0, 0, 0, 0, 5, 0])
    found = episodes_of(scores > 1, np.zeros(8, dtype=int), scores, scores > 1, 6)
    assert [part.tolist() for part in found] == [[1], [6], [1]]


def test_sure_episodes_are_at_most_as_many_as_blocks_with_such_a_step():
    """The counting that the promise rests on, whatever the scores and wherever the blocks begin."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        flags, block = rng.random(200) < 0.2, int(rng.integers(1, 30))
        sure = flags & (rng.random(200) < 0.3)
        scores = rng.random(200) + sure
        found = episodes_of(flags, np.zeros(200, dtype=int), scores, sure, block)
        count = sum(sure[a : b + 1].any() for a, b in zip(found.firsts, found.lasts, strict=True))
        for shift in range(block):
            assert count <= np.unique((np.flatnonzero(sure) + shift) // block).size
        assert sum(b - a + 1 for a, b in zip(found.firsts, found.lasts, strict=True)) >= flags.sum()


# -- what they say -------------------------------------------------------------------------------------------


def test_a_fault_is_one_sure_episode_with_its_channel(detector, faulty):
    found = upland.episodes(detector, faulty)
    worst = found.worst(1)[0]
    assert (worst.series, worst.start) == (0, 400)
    assert 429 <= worst.end <= 429 + detector.plan_.architecture.frame  # what the criterion rests on
    assert worst.start <= worst.peak <= worst.end
    assert worst.steps == worst.end - worst.start + 1
    assert worst.p_value == detector.blocks_.smallest_p
    assert worst.confidence == 1 - worst.p_value
    assert worst.expected_false == pytest.approx(worst.p_value * found.searched)
    assert worst.channels[0].column == worst.reasons[0].column == "x1"
    assert len(worst.channels) == len(worst.reasons) == 3
    assert worst.kind == "level shift"
    assert worst in found.sure(0.01)


def test_they_are_those_of_the_scores_and_p_values_of_steps(detector, faulty):
    found = upland.episodes(detector, faulty, alpha=0.1)
    scores, p_values = detector.assess(faulty)
    flags = p_values <= 0.1
    covered = np.zeros(len(faulty), dtype=bool)
    for one in found:
        assert flags[[one.start, one.end]].all()
        assert (one.score, one.step_p_value) == (scores[one.peak], p_values[one.peak])
        assert one.score == scores[one.start : one.end + 1].max()
        assert not covered[one.start : one.end + 1].any()
        covered[one.start : one.end + 1] = True
    assert covered[flags].all()
    assert [one.start for one in found] == sorted(one.start for one in found)
    blocks = detector.blocks_
    peaks = np.array([[one.score] for one in found])
    np.testing.assert_allclose([one.p_value for one in found], blocks.p_values(peaks))


def test_a_stuck_channel_is_named_in_a_long_frame():
    """The kind is of the values in the order of time, whatever the order of the rows."""
    rng = np.random.default_rng(8)
    when = pd.date_range("2026-03-01", periods=800, freq="min")
    rows = pd.DataFrame(rng.normal(size=(800, 2)), columns=["flow", "load"])
    rows = rows.assign(when=when, mode=rng.choice(["a", "b"], 800))
    model = upland.SequenceEnergyDetector(
        time="when", **QUICK, calibration="split", random_state=0, progress=False
    ).fit(rows)
    rows.loc[500:520, "load"] = 7.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        worst = upland.episodes(model, rows.sample(frac=1, random_state=1)).worst(1)[0]
    assert worst.channels[0].column == "load"
    assert worst.kind == "stuck"


def test_folds_are_compared_with_their_own_peaks(faulty):
    crossed = upland.SequenceEnergyDetector(**QUICK, calibration="cross", random_state=0, progress=False).fit(
        normal(np.random.default_rng(2), 600)
    )
    found = upland.episodes(crossed, faulty)
    values = crossed.assess_members(faulty).values
    expected = crossed.blocks_.p_values(values)
    assert crossed.blocks_.peaks.method == "cross"
    for one in found:
        assert one.p_value == expected[one.start : one.end + 1].min()


def test_long_frames_name_series_and_times(faulty):
    rng = np.random.default_rng(3)
    when = pd.date_range("2026-03-01", periods=1_000, freq="10min")

    def frame(values):
        parts = [
            pd.DataFrame(part, columns=["flow", "load", "speed"]).assign(pump=name, when=when)
            for name, part in zip("ab", values, strict=True)
        ]
        return pd.concat(parts).sample(frac=1, random_state=0)

    pumps = upland.SequenceEnergyDetector(
        time="when",
        id="pump",
        **QUICK,
        calibration="split",
        random_state=0,
        progress=False,
    ).fit(frame([normal(rng, 1_000), normal(rng, 1_000)]))
    pumps.calibrate(frame([normal(rng, 1_000), normal(rng, 1_000)]))
    found = upland.episodes(pumps, frame([normal(rng, 1_000), faulty]))
    worst = found.worst(1)[0]
    assert (worst.series, worst.start) == ("b", when[400])
    assert worst.channels[0].column == "load"
    assert found.steps_a_day == 144
    assert found.false_a_day(0.01) == pytest.approx(0.01 * 144 / pumps.blocks_.length)
    table = found.to_arrow()
    assert table.num_rows == len(found)
    assert table["series"].to_pylist() == [one.series for one in found]
    assert found[0] == found.found[0]
    assert list(found[:2]) == list(found)[:2]


def test_nothing_flagged_is_no_episode(detector):
    found = upland.episodes(detector, np.zeros((50, 3)))
    assert (len(found), found.worst(3), found.sure(), found.false_a_day()) == (0, [], [], None)
    assert found.to_arrow().num_rows == 0


def test_channels_are_ranked_by_their_parts_of_all_steps():
    shares = np.array([[1.0, 0, 0, -5], [1.0, 6, 0, 0], [1.0, 0, 1, 0]])
    found = channels_of(("a", "b", "c", "d"), shares)
    assert [(one.column, round(one.part, 3)) for one in found] == [("b", 0.6), ("a", 0.3), ("c", 0.1)]
    assert [one.part for one in channels_of(("a",), np.zeros((2, 1)))] == [0]


def test_a_day_is_of_time_stamps_alone():
    from upland.data.sequence.container import as_sequences

    when = pd.date_range("2026-03-01", periods=5, freq="h")
    frame = pd.DataFrame({"t": when, "n": np.arange(5), "x": np.arange(5.0)})
    assert steps_a_day(as_sequences(frame, time="t")) == 24
    assert steps_a_day(as_sequences(frame[["n", "x"]], time="n")) is None
    assert steps_a_day(as_sequences(np.zeros((5, 2)))) is None


# -- what is refused and warned of ---------------------------------------------------------------------------


def test_episodes_are_of_steps(detector):
    rows = upland.EnergyDetector(random_state=0, epochs=1, progress=False).fit(np.eye(60))
    with pytest.raises(ValueError, match=r"episodes are stretches of time steps.*per='step'"):
        upland.episodes(rows, np.eye(60))
    with pytest.raises(ValueError, match="no scores of steps of these data"):
        upland.episodes(detector, np.zeros((4, 20, 3)))
    with pytest.raises(TypeError, match="episodes takes a detector of upland"):
        upland.episodes("model", np.eye(3))
    with pytest.raises(ValueError, match="alpha"):
        upland.episodes(detector, np.zeros((9, 3)), alpha=2)


def test_a_larger_alpha_than_that_of_the_flags_is_refused(detector, faulty):
    found = upland.episodes(detector, faulty, alpha=0.02)
    with pytest.raises(ValueError, match=r"flagged at 0\.02: alpha cannot be 0\.05"):
        found.sure(0.05)


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 0, 1, 2, float("inf"), "much", False])
def test_what_is_no_rate_is_refused_by_all_that_take_one(detector, faulty, wrong):
    found, history = upland.episodes(detector, faulty), upland.alarms(detector, faulty)
    for call in (found.sure, found.false_a_day, history.false_alarms, history.at):
        with pytest.raises(ValueError, match=r"^alpha must be between 0 and 1, got "):
            call(wrong)
    with pytest.raises(ValueError, match=r"flagged at 0\.05: alpha cannot be 0\.5"):
        found.false_a_day(0.5)


@pytest.mark.parametrize("wrong", [-1, 1.5, float("nan"), None, True, "all"])
def test_a_number_of_episodes_is_a_whole_one(detector, faulty, wrong):
    with pytest.raises(ValueError, match=r"^count must be a whole number of at least 0"):
        upland.episodes(detector, faulty).worst(wrong)
    assert upland.episodes(detector, faulty).worst(np.int64(1))


def test_there_is_no_false_alarm_where_no_step_can_be_flagged(detector, faulty):
    found = upland.alarms(detector, faulty)
    assert found.false_alarms(found.steps.smallest_p) > 0
    assert found.false_alarms(0.99 * found.steps.smallest_p) == 0


def test_too_few_blocks_are_warned_of(detector, faulty):
    with pytest.warns(UserWarning, match=r"calibration blocks of .* steps allow no p-value of an episode"):
        upland.episodes(detector, faulty, alpha=0.0007)


def test_a_model_without_blocks_has_no_p_values(detector, faulty):
    from sklearn.base import clone

    other = clone(detector)
    other.restore(detector.plan_, detector.members_, detector.calibrations_, detector.offset_, 9)
    found = upland.episodes(other, faulty)
    assert found.searched == 0
    assert found.sure() == []
    assert {(one.p_value, one.confidence, one.expected_false) for one in found} == {(None, None, None)}


@pytest.mark.parametrize(
    "blocks",
    [
        {"length": 0, "resolved": True},
        {"length": 2.0, "resolved": True},
        {"length": 2, "resolved": 1},
        {"length": 2},
        None,
    ],
)
def test_blocks_that_no_fit_leaves_are_refused(blocks, detector, tmp_path):
    from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

    upland.save(detector, tmp_path / "m.safetensors")
    tensors, manifest = read_tensors(tmp_path / "m.safetensors")
    write_tensors(tmp_path / "n.safetensors", tensors, manifest | {"blocks": blocks})
    with pytest.raises(TensorFileError, match="cannot be read"):
        upland.load(tmp_path / "n.safetensors")


def test_the_blocks_are_in_the_information(detector):
    found = detector.info()["calibration"]["blocks"]
    assert found == {
        "length": detector.blocks_.length,
        "count": detector.blocks_.count,
        "smallest_p": detector.blocks_.smallest_p,
        "resolved": True,
    }


def test_a_file_keeps_the_blocks(detector, faulty, tmp_path):
    upland.save(detector, tmp_path / "m.safetensors")
    loaded = upland.load(tmp_path / "m.safetensors")
    assert upland.episodes(loaded, faulty).found == upland.episodes(detector, faulty).found


# -- alarms --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def day():
    return normal(np.random.default_rng(4), 1_440)


def test_a_budget_by_blocks_flags_what_is_sure_of_an_episode(detector, day):
    """2 per 1,000 steps are 2 B / 1,000 a block."""
    found = upland.alarms(detector, day, merge=detector.blocks_.length)
    level = found.within("2 per 1000", by="blocks")
    alpha = 2 * detector.blocks_.length / 1_000
    block_p = detector.blocks_.p_values(detector.assess_members(day).values)
    assert np.array_equal(detector.flag(day, alpha=level.alpha), block_p <= alpha)
    assert found.false_alarms(level.alpha) <= 2
    assert level.alarms <= len(upland.episodes(detector, day, alpha=alpha).sure())


def test_a_budget_by_blocks_does_not_depend_on_the_history(detector, day, faulty):
    levels = [upland.alarms(detector, rows).within("2 per 1000", by="blocks").alpha for rows in (day, faulty)]
    assert levels[0] == levels[1]


def test_a_budget_that_blocks_cannot_resolve_names_the_calibration_it_takes(detector, day):
    from upland.scoring.budget import budget_of
    from upland.scoring.choice import chosen

    found = upland.alarms(detector, day)
    assert found.within("1 per 10000", by="blocks") is None
    length, count = detector.blocks_.length, detector.blocks_.count
    with pytest.raises(
        ValueError, match=f"{count:,} calibration blocks resolve .*calibrate on at least"
    ) as error:
        chosen(found, budget_of("1 per 10000"), "blocks")
    steps = int(str(error.value).split()[-2].replace(",", ""))
    assert steps in (10_000 - length, 10_000)  # 1 / (k + 1) <= alpha, as alpha is rounded
    assert 1 / (steps // length + 1) <= 1.0001 * length / 10_000
    with pytest.raises(ValueError, match="it does not bound alpha"):
        chosen(found, budget_of("900 per 1000"), "blocks")


def test_blocks_are_of_steps_alone(detector):
    table = upland.EnergyDetector(random_state=0, epochs=1, progress=False).fit(
        normal(np.random.default_rng(5), 60)
    )
    found = upland.alarms(table, normal(np.random.default_rng(6), 50))
    assert found.false_alarms(0.05) is None
    with pytest.raises(ValueError, match="the model has none for rows"):
        found.within("1 per 10", by="blocks")
    with pytest.raises(ValueError, match="by must be 'history' or 'blocks'"):
        found.within("1 per 10", by="days")
