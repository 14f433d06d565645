"""Files of every released format load and say what they said: a model saved once loads for ever."""

import inspect
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import upland
from upland.catalogue import DETECTORS, criteria_of
from upland.detectors.arguments import plain_argument
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("format-*/*.safetensors"))
RTOL = 1e-5
"""Nets run in float32, and another processor, thread count or version of PyTorch adds in another order."""

files = pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")


def expected_of(path):
    """The rows and what the detector said of them when it was saved."""
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    rows = record.pop("rows")
    return pd.DataFrame(rows) if isinstance(rows, dict) else np.array(rows, dtype=np.uint8), record


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=1e-9)


def scores_alike(detector, path):
    rows, expected = expected_of(path)
    scores = expected["scores"][detector.criterion_of(detector.unit_)]
    close(detector.anomaly_score(rows), scores)
    np.testing.assert_array_equal(detector.p_values(rows), expected["p_values"])


def test_there_is_a_small_file_of_each_estimator():
    names = {entry.home.split(":")[1] for entry in DETECTORS.values()} | {
        "EnergyDetector-of-experts",
        "SequenceEnergyDetector-of-experts",
    }
    assert {path.stem for path in (HERE / "format-2").glob("*.safetensors")} == names
    assert max(path.stat().st_size for path in HERE.glob("format-*/*")) < 60_000


@files
def test_it_says_what_it_said(path):
    detector = upland.load(path)
    rows, expected = expected_of(path)
    scores_alike(detector, path)
    assert detector.offset_ == expected["offset"]
    assert detector.info()["detector"] == path.stem.split("-")[0]
    close(upland.explain(detector, rows).shares, expected["shares"])
    if "groups" in expected:
        verdicts = detector.score_groups(rows, np.arange(len(rows)) % 2, reasons=False)
        close(verdicts.statistic, expected["groups"])
    assert set(expected["scores"]) <= set(criteria_of(detector.family, detector.modality))
    for criterion, scores in expected["scores"].items():
        detector.set_params(criterion=criterion)
        close(detector.anomaly_score(rows), scores)


@files
def test_it_is_saved_again_as_it_is(path, tmp_path):
    upland.save(upland.load(path), tmp_path / "again.safetensors")
    (tensors, manifest), (found, again) = read_tensors(path), read_tensors(tmp_path / "again.safetensors")
    later = again["arguments"].keys() - manifest["arguments"].keys()
    defaults = type(upland.load(path))().get_params()
    for name in later:  # arguments that came after the file hold their defaults
        assert again["arguments"].pop(name) == plain_argument(defaults[name])
    assert {key: part for key, part in again.items() if key != "versions"} == {
        key: part for key, part in manifest.items() if key != "versions"
    }
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


@files
def test_its_sizes_and_arguments_are_all_in_it(path, monkeypatch):
    """A default that a later version changes does not matter."""
    _, manifest = read_tensors(path)
    for member in manifest["members"]:
        assert None not in member["architecture"].values()
    init = type(upland.load(path)).__init__
    assert inspect.signature(init).parameters.keys() > manifest["arguments"].keys()
    monkeypatch.setattr(init, "__defaults__", ("another default",) * (len(init.__defaults__)))
    detector = upland.load(path)
    scores_alike(detector, path)


@files
def test_an_argument_that_a_later_version_adds_takes_its_default(path, tmp_path):
    tensors, manifest = read_tensors(path)
    manifest["arguments"] = {}
    write_tensors(tmp_path / "m", tensors, manifest)
    scores_alike(upland.load(tmp_path / "m"), path)


def test_a_sequence_file_holds_what_its_criteria_have_learned():
    tensors, manifest = read_tensors(HERE / "format-2" / "SequenceEnergyDetector.safetensors")
    names = criteria_of("energy", "sequence").keys() - {"experts"}  # which came later
    pairs = {(name, unit) for name in names for unit in ("step", "sequence")}
    assert {tuple(pair) for pair in manifest["members"][0]["criteria"]} == pairs
    assert {name.split("/")[2] for name in tensors if name.startswith("0/criteria/")} == {
        "max_channel",
        "score_test",
    }


def test_the_unreleased_first_format_is_refused_by_name():
    with pytest.raises(
        TensorFileError, match=r"is of format 1 of an unreleased upland 0\.1: fit again"
    ) as caught:
        upland.load(HERE / "format-1.safetensors")
    assert caught.value.reason == "older"
