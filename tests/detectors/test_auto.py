"""`detector_for`: the estimator that reads such data."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import upland
from normals import COMMON, NORMAL, SIZES, mixed, numbers, slopes, waves
from upland.catalogue import DETECTORS, FAMILIES, MODALITIES, load


def write_folder(path):
    path.mkdir()
    for number, image in enumerate(slopes(4)):
        Image.fromarray(image).save(path / f"{number}.png")
    return path


def write_csv(path):
    mixed().to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


LONG = pd.DataFrame({"pump": np.repeat(["a", "b"], 20), "hour": [*range(20)] * 2, "flow": np.arange(40.0)})
LOOKS = {
    "array": (lambda folder: numbers(), {}, "table"),
    "list of rows": (lambda folder: numbers().tolist(), {}, "table"),
    "frame": (lambda folder: mixed(), {}, "table"),
    "tensor": (lambda folder: torch.from_numpy(numbers()), {}, "table"),
    "file of rows": (write_csv, {}, "table"),
    "three dimensions of floats": (lambda folder: waves(), {}, "sequence"),
    "list of arrays": (lambda folder: list(waves()), {}, "sequence"),
    "time": (lambda folder: LONG, {"time": "hour"}, "sequence"),
    "id": (lambda folder: LONG, {"id": "pump"}, "sequence"),
    "three dimensions of bytes": (lambda folder: slopes(), {}, "image"),
    "four dimensions": (lambda folder: slopes(channels=3) / 255.0, {}, "image"),
    "Pillow": (lambda folder: [Image.fromarray(image) for image in slopes(3)], {}, "image"),
    "folder": (write_folder, {}, "image"),
}


@pytest.mark.parametrize("case", LOOKS)
def test_the_modality_goes_by_the_look_of_the_data(case, tmp_path):
    data, params, modality = LOOKS[case]
    detector = upland.detector_for(data(tmp_path / "x"), **params)
    assert type(detector) is load(DETECTORS["energy", modality].home)
    assert detector.modality == modality
    assert not detector.__sklearn_is_fitted__()


@pytest.mark.filterwarnings("ignore:p-values are coarse")
@pytest.mark.parametrize(("family", "modality"), DETECTORS)
def test_every_estimator_is_found_by_family_and_modality_and_fits(family, modality):
    made = load(DETECTORS[family, modality].home)
    assert (made.family, made.modality) == (family, modality)
    X, params = NORMAL[modality](), COMMON | SIZES[made]
    detector = upland.detector_for(X, model=family, **params)
    assert type(detector) is made
    assert {name: detector.get_params()[name] for name in params} == params
    same = upland.detector_for(X, model=family, modality=modality, **params)
    np.testing.assert_array_equal(detector.fit(X).anomaly_score(X), same.fit(X).anomaly_score(X))


def test_the_modality_may_be_named_where_data_could_be_several():
    assert isinstance(upland.detector_for(waves(), modality="image"), upland.ImageEnergyDetector)
    assert isinstance(upland.detector_for(numbers(), modality="sequence"), upland.SequenceEnergyDetector)


@pytest.mark.parametrize("model", ["gan", "", None, "Energy"])
def test_an_unknown_family_is_refused_with_those_that_there_are(model):
    with pytest.raises(ValueError, match="model must be one of 'energy', 'flow', 'vae', got") as refused:
        upland.detector_for(numbers(), model=model)
    assert all(repr(name) in str(refused.value) for name in FAMILIES)


def test_an_unknown_modality_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"modality must be one of .*got 'video'") as refused:
        upland.detector_for(numbers(), modality="video")
    assert all(repr(name) in str(refused.value) for name in MODALITIES)


@pytest.mark.parametrize("model", ["flow", "vae"])
def test_a_family_without_an_estimator_of_sequences_is_refused_with_what_there_is(model):
    with pytest.raises(ValueError, match=f"no estimator of sequences with model='{model}': use.*'energy'$"):
        upland.detector_for(waves(), model=model)


@pytest.mark.parametrize("name", ["banana", "kind", "window"])
def test_an_argument_that_the_class_has_not_is_pythons_own_error(name):
    with pytest.raises(TypeError, match=name):
        upland.detector_for(numbers(), **{name: 3})
