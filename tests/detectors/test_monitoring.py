"""What a detector gives to its change monitor."""

import numpy as np
import pandas as pd
import pytest

import upland
from upland.detectors.monitoring import monitor_of


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3))


def detectors():
    machines = pd.DataFrame(rows(300), columns=list("abc")).assign(machine=["x", "y", "z"] * 100)
    small = {"random_state": 0, "progress": False, "epochs": 1}
    new = pd.DataFrame(rows(60, 1), columns=list("abc")).assign(machine=["x", "y", "new"] * 20)
    series, others = rows(300).reshape(30, 10, 3), rows(60, 1).reshape(6, 10, 3)
    return {
        "split": (upland.EnergyDetector(calibration="split", **small).fit(rows(300)), rows(60, 1), 1),
        "cross": (upland.EnergyDetector(calibration="cross", **small).fit(rows(100)), rows(60, 1), 5),
        "segments": (
            upland.SegmentedDetector(upland.EnergyDetector(**small), by="machine").fit(machines),
            new,
            1,
        ),
        "sequences": (upland.SequenceEnergyDetector(**small).fit(series), others, None),
    }


@pytest.fixture(scope="module")
def fitted():
    return detectors()


@pytest.mark.parametrize("name", ["split", "cross", "segments", "sequences"])
def test_values_of_members_are_what_p_values_are_made_of(fitted, name):
    detector, new, columns = fitted[name]
    assessment, values, segments, unit = detector.assess_members(new)
    for one, other in zip(assessment, detector.assess(new), strict=True):
        np.testing.assert_array_equal(one, other)
    assert values.shape == (len(new), columns or values.shape[1])
    if segments is not None:
        np.testing.assert_array_equal(segments, [0, 1, 3] * 20)
        p = detector.segment_calibration_.p_values(values[:, 0], segments)
    else:
        p = detector.calibrations_[unit].p_values(values)
    np.testing.assert_array_equal(p, assessment.p_value)


@pytest.mark.parametrize("name", ["split", "cross", "segments", "sequences"])
def test_a_monitor_takes_the_values_and_survives_the_file(fitted, name, tmp_path):
    detector, new, _ = fitted[name]
    upland.save(detector, tmp_path / "model.safetensors")
    _, values, segments, unit = detector.assess_members(new)
    evidence = [
        monitor_of(found, 3, unit=unit).update(values, segments)
        for found in (detector, upland.load(tmp_path / "model.safetensors"))
    ]
    assert evidence[0].counted + evidence[0].left_out == len(new)
    assert evidence[0].left_out == (20 if name == "segments" else 0)
    for one, other in zip(*evidence, strict=True):
        np.testing.assert_array_equal(one, other)
