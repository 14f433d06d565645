"""A fit, whatever the estimator: what it resolves, what it reads, and what a failure leaves."""

import copy
import json
import warnings

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import upland
from normals import NORMAL, SIZES, fitted, numbers, quick, small, waves
from programs import run_python
from upland.data.sequence import reader, windows
from upland.training.loop import Training

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


def groups_of(detector, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return detector.score_groups(X, np.arange(len(X)) // 10)


def test_the_window_and_the_stride_of_a_fit_cut_what_calibrates_later():
    series = waves(1, 400)[0]
    detector = small(upland.SequenceEnergyDetector, window=16, stride=16).fit(series)
    assert (detector.plan_.reader.window, detector.plan_.reader.stride) == (16, 16)
    same = copy.copy(detector).calibrate(series)
    detector.set_params(stride=4, window=8).calibrate(series)
    assert detector.calibrations_["sequence"].size == same.calibrations_["sequence"].size == 25
    for unit, calibration in detector.calibrations_.items():
        np.testing.assert_array_equal(calibration.scores, same.calibrations_[unit].scores)
    assert detector.fitted_params()["stride"] == 16


@pytest.mark.parametrize("made", SIZES)
def test_a_fit_says_what_it_resolved(made):
    detector = fitted(made)
    plan = detector.plan_
    assert plan.reader.modality == detector.modality == made.modality
    assert plan.unit == detector.unit_
    assert plan.training.epochs == (5 if made is upland.EnergyDetector else 2)
    assert plan.calibration == detector.calibration_.method == "split"
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()
    assert detector.params_ == detector.get_params()


def test_what_auto_came_to_for_sequences():
    detector = small(upland.SequenceEnergyDetector, frame="auto").fit(waves(steps=20))
    assert detector.plan_.reader.window is None
    assert detector.plan_.architecture.frame == detector.plan_.smoothing == 5
    series = small(upland.SequenceEnergyDetector, frame="auto").fit(waves(1, 600)[0])
    assert series.plan_.reader.window == series.plan_.smoothing == 60
    assert series.plan_.architecture.frame == 15


def test_a_second_fit_leaves_nothing_of_the_first():
    detector = fitted().fit(numbers(seed=1, columns=3))
    fresh = quick().fit(numbers(seed=1, columns=3))
    assert set(vars(detector)) == set(vars(fresh))
    np.testing.assert_array_equal(detector.assess(numbers(columns=3)), fresh.assess(numbers(columns=3)))


# -- what a failure leaves -----------------------------------------------------------------------------------

BREAKS = {
    "an argument": ({"patience": 0}, None),
    "other data": ({}, "upland.detectors.base.check_modality"),
    "the training": ({}, "upland.training.loop.Training.run"),
    "the calibration": ({}, "upland.detectors.base.calibration_of_folds"),
    "the offset": ({"contamination": 0.2}, "upland.detectors.base.Detector._offset"),
    "the warnings": ({}, "upland.detectors.base.warn_of_weak"),
}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("case", BREAKS)
@pytest.mark.parametrize("made", [upland.EnergyDetector, upland.SequenceEnergyDetector])
def test_a_second_fit_that_fails_anywhere_leaves_the_first_whole(made, case, error, monkeypatch, tmp_path):
    options, broken = BREAKS[case]
    detector, new = fitted(made), NORMAL[made.modality](seed=1)
    before, state = detector.assess(new), dict(vars(detector))

    def fails(*_, **__):
        raise error("on purpose")

    if broken:
        monkeypatch.setattr(broken, fails)
    detector.set_params(**options)
    with pytest.raises((ValueError, error), match=r"on purpose|patience"):
        detector.fit(2 * new + 1)
    assert vars(detector) == state | options
    np.testing.assert_array_equal(detector.assess(new), before)
    upland.save(detector, tmp_path / "m")
    np.testing.assert_array_equal(upland.load(tmp_path / "m").assess(new), before)


def test_a_diverging_training_says_what_to_try():
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        quick(learning_rate=1e30, epochs=30).fit(numbers())


def test_ctrl_c_leaves_the_best_model_so_far(monkeypatch):
    calls, original = iter(range(10_000)), Training._update

    def update(self, batch, generator):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return original(self, batch, generator)

    monkeypatch.setattr(Training, "_update", update)
    with pytest.warns(UserWarning, match="interrupted at step 25"):
        detector = quick(epochs=30, calibration="cross").fit(numbers())
    assert len(detector.members_) == 1
    assert detector.history_[0]["stopped"] == "interrupted"
    assert detector.calibration_.size == 24
    assert detector.flag(numbers() + 9).all()


ON_DATA = (
    *("anomaly_score", "p_values", "assess", "flag", "calibrate"),
    *("predict", "decision_function", "score_samples"),
)
CALLS = {name: lambda X: (X,) for name in ON_DATA} | {
    "info": lambda X: (),
    "fitted_params": lambda X: (),
    "check_alpha": lambda X: (0.1,),
    "score_groups": lambda X: (X, np.zeros(len(X))),
}


@pytest.mark.parametrize("made", SIZES)
@pytest.mark.parametrize("method", CALLS)
def test_nothing_without_a_fit(made, method):
    with pytest.raises(NotFittedError):
        getattr(small(made), method)(*CALLS[method](NORMAL[made.modality]()))


# -- progress ------------------------------------------------------------------------------------------------


def test_quiet_where_there_is_no_terminal(capsys):
    quick().set_params(progress="auto").fit(numbers()).predict(numbers())
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_request_stands_on_standard_error(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    quick().set_params(progress=True).fit(numbers())
    out, err = capsys.readouterr()
    assert out == ""
    assert "training" in err


# -- what is read, and how often -----------------------------------------------------------------------------


def test_sequences_are_read_once(monkeypatch):
    reads, read = [], windows.as_sequences

    def counted(*arguments, **named):
        reads.append(arguments)
        return read(*arguments, **named)

    for module in (windows, reader):
        monkeypatch.setattr(module, "as_sequences", counted)
    detector = small(upland.SequenceEnergyDetector).fit(waves())
    assert len(reads) == 1
    for method in ("anomaly_score", "p_values", "assess", "flag", "decision_function", "predict"):
        reads.clear()
        getattr(detector, method)(waves(seed=1))
        assert len(reads) == 1, method


# -- a new process -------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys, warnings, numpy as np, upland
warnings.simplefilter("ignore")
found = []
for model, rows in zip(sys.argv[1::2], sys.argv[2::2]):
    detector, X = upland.load(model), np.load(rows)
    verdicts = detector.score_groups(X, np.arange(len(X)) // 10)
    found.append([part.tolist() for part in (*detector.assess(X), verdicts.statistic, verdicts.p_value)])
print(json.dumps(found))
"""


def test_every_estimator_gives_the_same_bits_in_a_new_process(tmp_path):
    files, expected = [], []
    of_folds = (upland.EnergyDetector, upland.SequenceEnergyDetector, upland.ImageVAEDetector)
    cases = [(made, {}) for made in SIZES] + [(made, {"calibration": "cross"}) for made in of_folds]
    for number, (made, options) in enumerate(cases):
        X = NORMAL[made.modality](100)
        detector = small(made, epochs=1, **options).fit(X)
        files += [tmp_path / f"{number}.safetensors", tmp_path / f"{number}.npy"]
        upland.save(detector, files[-2])
        np.save(files[-1], X[:50])
        verdicts = groups_of(detector, X[:50])
        parts = (*detector.assess(X[:50]), verdicts.statistic, verdicts.p_value)
        expected.append([part.tolist() for part in parts])
    done = run_python("-c", ELSEWHERE, *files)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
