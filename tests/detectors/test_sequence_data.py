"""What sequences a detector takes and what it refuses, its thresholds, and where its scores come from."""

import warnings

import numpy as np
import pandas as pd
import pytest

import normals
import upland
from normals import fitted, numbers, waves
from upland.catalogue import criteria_of

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:training did not move")
CRITERIA = ["auto", *criteria_of("energy", "sequence")]
UNITS = ["sequence", "step"]


def small(**options):
    return normals.small(upland.SequenceEnergyDetector, **options)


@pytest.fixture
def detector():
    return fitted(upland.SequenceEnergyDetector, criterion="reconstruction")


# -- what is taken -------------------------------------------------------------------------------------------


def lengths_of(*lengths):
    return [x[:n] for x, n in zip(waves(len(lengths), max(lengths)), lengths, strict=True)]


def with_missing():
    X = waves()
    X[::3, ::4, 1] = np.nan
    return X


TAKEN = {
    "five": lambda: waves(5),
    "two": lambda: waves(2),
    "one channel": lambda: waves(channels=1),
    "flat lists of one channel": lambda: [x[: 5 + n, 0] for n, x in enumerate(waves(9))],
    "a constant channel": lambda: np.concatenate([waves(), np.ones((24, 14, 1))], axis=2),
    "missing values": with_missing,
    "shorter than the frame": lambda: waves(20, 2),
    "some shorter than the frame": lambda: lengths_of(*[14, 2, 9, 1, 14, 3] * 3),
    "one long, four short": lambda: lengths_of(40, 5, 5, 5, 5),
    "one short, four long": lambda: lengths_of(2, 40, 40, 40, 40),
    "whole numbers": lambda: (10 * waves()).astype(int),
    "float32": lambda: waves().astype(np.float32),
}


@pytest.mark.parametrize("options", [{}, {"calibration": "auto"}, {"criterion": "reconstruction"}], ids=str)
@pytest.mark.parametrize("case", TAKEN)
def test_sequences_of_all_sorts_are_taken(case, options):
    X = TAKEN[case]()
    for per in UNITS:
        scores, p = small(**{"epochs": 1, "per": per} | options).fit(X).assess(X)
        there = np.isfinite(scores)
        assert there.sum() == (len(X) if per == "sequence" else sum(map(len, X)))
        assert ((p[there] > 0) & (p[there] <= 1)).all()
        assert len(np.unique(scores[there])) > 1


@pytest.mark.parametrize("criterion", CRITERIA)
def test_sequences_of_a_single_step(criterion):
    X = numbers(40, 2)[:, None]
    detector = small(criterion=criterion, frame="auto").fit(X)
    assert detector.plan_.architecture.frame == 1
    scores = detector.anomaly_score([X[0], X[1], np.full((1, 2), 30.0)])
    assert scores[2] > max(scores[:2])


@pytest.mark.parametrize("criterion", ["auto", "reconstruction"])
def test_all_constant_warns_and_still_tells_a_change(criterion):
    with pytest.warns(UserWarning, match="same anomaly score.*constant"):
        detector = small(criterion=criterion).fit(np.ones((20, 10, 2)))
    X = np.ones((3, 10, 2))
    X[1, 4:, 0], X[2, 4:, 0] = 1.5, 100.0
    scores = detector.anomaly_score(X)
    assert scores[0] < scores[1] < scores[2]


def test_missing_values_where_none_were_warn_and_are_strange(detector):
    X = waves(4, seed=2)
    X[1, 3:9, 1] = np.nan
    with pytest.warns(UserWarning, match="missing values in 'x1'"):
        scores = detector.anomaly_score(X)
    assert scores.argmax() == 1
    assert (scores[1] > 2 * scores[[0, 2, 3]]).all()


def test_a_gap_in_time_is_warned_of_once_a_call():
    frame = pd.DataFrame({"hour": np.r_[:60, 200:260], "flow": waves(1, 120, 1)[0, :, 0]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        detector = small(time="hour").fit(frame)
    assert sum("largest gap" in str(w.message) for w in caught) == 1
    with pytest.warns(UserWarning, match="largest gap is 141 times") as caught:
        detector.predict(frame)
    assert len(caught) == 1


def test_five_members_warn_once_of_what_is_said_of_the_time_of_the_steps():
    frame = pd.DataFrame({"hour": np.arange(120.0), "flow": waves(1, 120, 1)[0, :, 0]})
    detector = small(time="hour", calibration="cross").fit(frame)
    assert len(detector.members_) == 5
    gap = frame.assign(hour=np.r_[:60, 200:260])
    for new, words in ((frame.assign(hour=frame["hour"] * 9), "typically 9 apart"), (gap, "largest gap")):
        for read in (detector.anomaly_score, lambda new: upland.explain(detector, new)):
            with pytest.warns(UserWarning, match=words) as caught:
                read(new)
            assert sum(words in str(warning.message) for warning in caught) == 1


def test_categories_are_channels():
    frame = pd.concat([pd.DataFrame(x).assign(id=n) for n, x in enumerate(waves())])
    frame["mode"] = np.where(np.arange(len(frame)) % 2, "on", "off")
    found = small(id="id", criterion="reconstruction").fit(frame.rename(columns={0: "a", 1: "b"}))
    one = pd.DataFrame({"a": 0.0, "b": 0.0, "id": 0, "mode": ["on"] * 5 + ["burnt"] + ["on"] * 5})
    shares = upland.explain(found, one)
    assert shares.columns == ("a", "b", "mode")
    assert [row[0].column for row in shares.top(1)].count("mode") >= 1
    assert shares.shares[:, 2].argmax() in (5, 6, 7)


def test_ignored_channels_do_not_count():
    X = waves()
    other = np.concatenate([X, np.random.default_rng(5).normal(size=(24, 14, 1))], axis=2)
    one, two = small().fit(X), small(ignore=[2]).fit(other)
    np.testing.assert_array_equal(one.anomaly_score(X), two.anomaly_score(other))


# -- what is refused -----------------------------------------------------------------------------------------


SERIES = waves(1, 40)[0]
FRAME = pd.DataFrame({"hour": range(40), "flow": SERIES[:, 0]})
REFUSED = {
    "criterion": (
        {"criterion": "likelihood"},
        waves(),
        "criterion must be 'auto' or one of 'experts', 'score_test'",
    ),
    "per": ({"per": "window"}, waves(), "per must be one of 'auto', 'sequence', 'step', got 'window'"),
    "frame": ({"frame": 0}, waves(), "frame must be 'auto' or a whole number of at least 1, got 0"),
    "window": ({"window": 1}, waves(), "window must be .*at least 2, got 1"),
    "long window": ({"window": 99}, waves(), "window=99 is longer than the longest sequence, which has 14"),
    "stride": ({"window": 8, "stride": 9}, waves(), "stride=9 must not exceed window=8"),
    "time of an array": (
        {"time": "hour"},
        waves(),
        "time='hour' names a column of a frame, but X is an array",
    ),
    "id of a list": ({"id": "pump"}, list(waves()), "id='pump' names a column of a frame, but X is a list"),
    "no such time": ({"time": "minute"}, FRAME, "time='minute' names a column that is not in the table"),
    "twice": ({"time": "hour"}, pd.concat([FRAME, FRAME[7:8]]), "the series: 2 rows have the time stamp 7"),
    "one sequence": ({"window": None}, waves(1), "fewer than two windows"),
    "one block of windows": ({"window": 30, "stride": 5}, SERIES, "window"),
    "no sequence": ({}, [], "the list is empty"),
    "an empty sequence": ({}, [*waves(3), waves(1)[0][:0]], r"X\[3\] has no step"),
    "other channels": (
        {},
        [*waves(3), *waves(1, channels=3)],
        r"X\[3\] has 3 channel\(s\), but X\[0\] has 2",
    ),
    "nothing but NaN": ({}, np.concatenate([waves(5), np.full((1, 14, 2), np.nan)]), r"X\[5\]: no step"),
    "infinity": ({}, np.where(waves() > 1, np.inf, waves()), "inf"),
    "four dimensions": ({}, waves()[None], "reads sequences, but X holds images: use ImageEnergyDetector"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_by_name_before_training(case, monkeypatch):
    options, X, words = REFUSED[case]
    monkeypatch.setattr("upland.training.loop.Training.run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises((ValueError, TypeError), match=words):
        small(**options).fit(X)


REFUSED_NEW = {
    "other channels": (waves(3, channels=3), "X has 3 features, but SequenceEnergyDetector is expecting 2"),
    "a sequence of other channels": (SERIES[:, :1], "X has 1 features"),
    "no sequence": ([], "the list is empty"),
    "no array": (np.zeros((0, 14, 2)), "must not be empty"),
    "images": (np.zeros((3, 8, 8, 3)), "X holds images: use ImageEnergyDetector"),
    "infinity": (np.full((1, 4, 2), np.inf), "inf"),
    "text": ([["a", "b"]], "number|text|dimension"),
}


@pytest.mark.parametrize("case", REFUSED_NEW)
def test_new_data_that_are_no_such_sequences_are_refused_by_name(case, detector):
    X, words = REFUSED_NEW[case]
    for method in (detector.anomaly_score, detector.calibrate, lambda X: upland.explain(detector, X)):
        with pytest.raises((ValueError, TypeError), match=words):
            method(X)


def test_lacking_columns_are_named():
    frame = FRAME.assign(load=SERIES[:, 1])
    detector = small(time="hour").fit(frame)
    with pytest.raises(ValueError, match=r"missing column.*'load'"):
        detector.anomaly_score(frame.drop(columns="load"))
    with pytest.raises(ValueError, match="time='hour' names a column that is not in the table"):
        detector.anomaly_score(frame.drop(columns="hour"))


def test_sequences_are_refused_by_a_detector_of_tables():
    with pytest.raises(ValueError, match="X holds sequences: use SequenceEnergyDetector"):
        fitted().anomaly_score(waves())


# -- thresholds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per", UNITS)
@pytest.mark.parametrize("contamination", ["auto", 0.2])
def test_scikit_learns_methods_agree_with_the_offset(per, contamination):
    X, new = waves(100), np.concatenate([waves(15, seed=1), 2 * waves(15, seed=2)])
    detector = small(per=per, contamination=contamination).fit(X)
    scores = detector.score_samples(new)
    assert scores.shape == ((30,) if per == "sequence" else (30, 14))
    np.testing.assert_array_equal(scores, -detector.anomaly_score(new))
    np.testing.assert_array_equal(detector.decision_function(new), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(new) == -1, scores < detector.offset_)
    if contamination == "auto":
        np.testing.assert_array_equal(detector.predict(new) == -1, detector.flag(new, 0.05))
        assert 0 < (detector.predict(new) == -1).mean() < 1
    else:
        assert (detector.predict(X) == -1).mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("contamination", ["auto", 0.2])
def test_steps_of_a_detector_of_sequences_have_a_threshold_of_their_own(contamination):
    detector, new = small(contamination=contamination).fit(waves(100)), waves(20, seed=1).reshape(-1, 2)
    assert detector.unit_ == "sequence"
    np.testing.assert_array_equal(detector.predict(new) == -1, detector.flag(new, 0.05))


def test_steps_have_the_p_values_and_the_warnings_of_the_calibration_of_steps():
    """Some sequences cannot resolve an alpha that their many steps can."""
    detector = small(calibration="cross").fit(waves(10))
    assert detector.calibrations_["step"].smallest_p < 0.05 < detector.calibrations_["sequence"].smallest_p
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detector.flag(50 + waves(1, 40)[0]).any()
    with pytest.warns(UserWarning, match="10 calibration sequences cannot resolve"):
        detector.flag(waves(2))


@pytest.mark.parametrize("per", UNITS)
def test_calibrate_takes_the_place_of_the_held_out_windows(per):
    detector, fresh, new = small(per=per).fit(waves()), 1.2 * waves(30, seed=8), waves(9, seed=1)
    before = detector.anomaly_score(new)
    assert detector.calibrate(fresh) is detector
    np.testing.assert_array_equal(detector.anomaly_score(new), before)
    normal = detector.anomaly_score(fresh).ravel()
    assert detector.calibration_.size == normal.size
    np.testing.assert_array_equal(
        detector.p_values(new), upland.conformal_p_values(normal, before.ravel()).reshape(before.shape)
    )


# -- where a score comes from --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[("split", 3), ("cross", 1), ("split", 20)], ids=str)
def explained(request):
    calibration, frame = request.param
    return small(calibration=calibration, frame=frame, criterion="reconstruction", epochs=5).fit(waves(20))


def test_shares_of_sequences_sum_to_their_scores(explained):
    some = [*waves(3, seed=1), waves(1, 5, seed=2)[0], waves(1, 1, seed=3)[0]]
    found, scores = upland.explain(explained, some), explained.anomaly_score(some)
    assert [share.shape for share in found.shares] == [x.shape for x in some]
    assert all((share >= 0).all() for share in found.shares)
    np.testing.assert_allclose([share.sum() for share in found.shares], scores, rtol=1e-9)
    np.testing.assert_allclose(found.channels().sum(axis=1), scores, rtol=1e-9)
    np.testing.assert_allclose([part.sum() for part in found.steps()], scores, rtol=1e-9)
    for values, x in zip(found.values, some, strict=True):
        np.testing.assert_allclose(values.astype(float), x)


def test_shares_of_steps_sum_to_their_scores(explained):
    rows = waves(1, 50, seed=1)[0]
    found = upland.explain(explained, rows)
    assert found.shares.shape == (50, 2)
    np.testing.assert_allclose(found.shares.sum(axis=1), explained.anomaly_score(rows), rtol=1e-9)


@pytest.mark.parametrize("criterion", ["auto", "score_test", "max_channel"])
def test_other_criteria_have_shares_that_sum_to_their_scores_too(criterion):
    detector = fitted(upland.SequenceEnergyDetector, criterion=criterion)
    for X in (waves(1, 50, seed=1)[0], waves(4, seed=1), [x[:n] for n, x in enumerate(waves(9, seed=1), 1)]):
        found, scores = upland.explain(detector, X), detector.anomaly_score(X)
        np.testing.assert_allclose([share.sum() for share in found.shares], scores, rtol=1e-6)


@pytest.mark.parametrize("criterion", ["reconstruction", "auto"])
@pytest.mark.parametrize(("step", "channel"), [(0, 1), (7, 0), (13, 1)])
def test_a_planted_spike_is_named(step, channel, criterion):
    detector = fitted(upland.SequenceEnergyDetector, criterion=criterion, epochs=5)
    X = waves(3, seed=1)
    X[1, step, channel] += 9.0
    (reason,) = upland.explain(detector, X).top(1)[1]
    assert reason.column == f"x{channel} at {step}"
    assert reason.value == X[1, step, channel]
    assert abs(reason.expected - reason.value) > 2
    steps = upland.explain(detector, X[1]).top(1)
    assert steps[step][0].column == f"x{channel}"


def test_stamps_and_rows_of_a_shuffled_frame_keep_their_places():
    X = waves(6, seed=1)
    X[4, 9, 0] += 9.0
    frame = pd.concat([pd.DataFrame(x).assign(id=f"p{n}", hour=range(14)) for n, x in enumerate(X)])
    frame["hour"] = pd.Timestamp("2026-03-01") + pd.to_timedelta(frame["hour"], unit="h")
    frame = frame.rename(columns={0: "flow", 1: "load"}).sample(frac=1, random_state=0).reset_index(drop=True)
    detector = small(id="id", time="hour", criterion="reconstruction").fit(frame)
    found = upland.explain(detector, frame)
    np.testing.assert_allclose(found.shares.sum(axis=1), detector.anomaly_score(frame), rtol=1e-9)
    np.testing.assert_allclose(found.values[:, 0].astype(float), frame["flow"])
    whole = upland.explain(
        small(id="id", time="hour", criterion="reconstruction", per="sequence").fit(frame), frame
    )
    worst = int(np.argmax([share.sum() for share in whole.shares]))
    assert frame["id"].unique()[worst] == "p4"
    assert whole.top(1)[worst][0].column.startswith("flow at 2026-03-01T09:00:00")
