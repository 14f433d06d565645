"""What a fitted detector keeps: the arguments of its fit, and an earlier fit if a later one fails."""

import numpy as np
import pytest
from upland.detectors.energy import sequencing

import upland
from normals import numbers, quick
from upland.data.sequence import windows

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


def smooth(count=12, steps=20, seed=0):
    return np.random.default_rng(seed).normal(size=(count, steps, 2)).cumsum(axis=1)


def patches(count=30, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (count, 8, 7), dtype=np.uint8)


DATA = {"table": numbers, "image": patches, "sequence": smooth}
CHANGED = {
    "table": {"hidden": (3,), "noise": 9.0, "model": lambda width: None, "kind": "image"},
    "image": {"hidden": (3,), "noise": 9.0, "centres": 7, "filters": (2,), "kernel": 3, "pool": "max"},
    "sequence": {"hidden": (3,), "cell": "gru", "frame": 9, "window": 5, "smoothing": 2},
}
AFTER_A_FIT = [(kind, name) for kind, changed in CHANGED.items() for name in changed]


@pytest.mark.parametrize(("kind", "name"), AFTER_A_FIT)
def test_arguments_set_after_a_fit_do_not_reach_the_file(kind, name, tmp_path):
    options = {"filters": (3,), "kernel": 5, "hidden": (4,)} if kind == "image" else {}
    detector = quick(epochs=1, **options).fit(DATA[kind]())
    new = DATA[kind](seed=1)
    expected = detector.assess(new)
    detector.set_params(**{name: CHANGED[kind][name]})
    upland.save(detector, tmp_path / "m")
    np.testing.assert_array_equal(upland.load(tmp_path / "m").assess(new), expected)


@pytest.mark.parametrize("criterion", ["reconstruction", "energy"])
@pytest.mark.parametrize("noise", [0.4, 2.5])
def test_centres_of_images_are_as_wide_as_the_noise_before_and_after_a_reload(noise, criterion, tmp_path):
    detector = quick(epochs=2, noise=noise, centres=6, criterion=criterion).fit(patches())
    assert {model.spread for model in detector.models_} == {noise}
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    assert {model.spread for model in again.models_} == {noise}
    np.testing.assert_array_equal(again.assess(patches(seed=1)), detector.assess(patches(seed=1)))


def test_a_refit_as_another_kind_leaves_nothing_of_the_first(tmp_path):
    detector = quick(epochs=1).fit(smooth())
    assert detector.frame_ == 5
    detector.fit(numbers())
    assert not {"frame_", "window_", "smoothing_"} & set(vars(detector))
    fresh = quick(epochs=1).fit(numbers())
    assert set(vars(detector)) == set(vars(fresh))
    for number, each in enumerate((detector, fresh)):
        upland.save(each, tmp_path / str(number))
    assert {**vars(upland.load(tmp_path / "0"))}.keys() == {**vars(upland.load(tmp_path / "1"))}.keys()


BREAKS = {
    "an argument": ({"patience": 0}, None),
    "the offset": ({"contamination": 0.2}, "upland.detectors.base.Detector._offset"),
    "the columns": ({}, "upland.detectors.base.Detector._note_columns"),
    "the warnings": ({}, "upland.detectors.base.warn_of_weak"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_second_fit_that_fails_anywhere_leaves_the_first_whole(case, monkeypatch):
    options, broken = BREAKS[case]
    detector = quick(epochs=1).fit(smooth())
    before, state = detector.assess(smooth(seed=1)), dict(vars(detector))

    def fails(*_, **__):
        raise ValueError("on purpose")

    if broken:
        monkeypatch.setattr(broken, fails)
    detector.set_params(**options)
    with pytest.raises(ValueError, match=r"on purpose|patience"):
        detector.fit(numbers())
    assert vars(detector) == state | options
    np.testing.assert_array_equal(detector.assess(smooth(seed=1)), before)


def test_series_are_read_once(monkeypatch):
    reads, read = [], windows.as_sequences

    def counted(*arguments, **named):
        reads.append(arguments)
        return read(*arguments, **named)

    for module in (windows, sequencing):
        monkeypatch.setattr(module, "as_sequences", counted)
    detector = quick(epochs=1).fit(smooth())
    assert len(reads) == 1
    for method in ("anomaly_score", "p_values", "assess", "flag", "decision_function", "predict"):
        reads.clear()
        getattr(detector, method)(smooth(seed=1))
        assert len(reads) == 1, method
