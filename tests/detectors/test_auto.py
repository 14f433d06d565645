"""`detector_for`: the estimator that reads such data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import upland
from normals import COMMON, NORMAL, SIZES, mixed, numbers, slopes, small, waves
from upland.catalogue import DETECTORS, FAMILIES, MODALITIES, load
from upland.data.modality import check_modality


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


DTYPES = ["bool", "uint8", "uint16", "int32", "int64", "float16", "float32", "float64"]
SHAPES = {2: (6, 4), 3: (6, 8, 8), 4: (6, 8, 8, 3)}


def verdicts(X):
    """What `detector_for` and each estimator's check say of data."""
    found = {"detector_for": type(upland.detector_for(X)).__name__}
    for family, modality in DETECTORS:
        try:
            check_modality(X, modality, family)
        except ValueError as error:
            found[family, modality] = str(error)
    return found


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_its_tensor_and_its_file_are_one(dtype, rank, tmp_path):
    array = (np.arange(np.prod(SHAPES[rank])) % 2).reshape(SHAPES[rank]).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", array)
    forms = [array, torch.from_numpy(array), tmp_path / "x.npy", str(tmp_path / "x.npy"), tmp_path / "x.npz"]
    expected = verdicts(array)
    for form in forms:
        assert verdicts(form) == expected
    if rank == 3:  # sequences or images, whatever the dtype
        assert set(expected) == {"detector_for", *(("energy", "table"), ("flow", "table"), ("vae", "table"))}
        for found in (list(array), list(torch.from_numpy(array))):
            assert verdicts(found) == expected


@pytest.mark.filterwarnings("ignore:p-values are coarse")
@pytest.mark.parametrize(
    ("family", "modality", "dtype"),
    [*((*pair, None) for pair in DETECTORS), ("energy", "sequence", "uint8"), ("energy", "image", "float64")],
)
def test_every_estimator_reads_an_array_its_tensor_and_its_file(family, modality, dtype, tmp_path):
    made, array = load(DETECTORS[family, modality].home), NORMAL[modality]()
    if dtype is not None:
        array = (100 * (array - array.min()) / np.ptp(array)).astype(dtype)
    np.save(tmp_path / "x.npy", array)
    forms = [array, torch.from_numpy(array), tmp_path / "x.npy"]
    forms += [list(array)] if modality != "table" else []
    fits = [made(**COMMON | SIZES[made]).fit(X) for X in forms]
    expected = fits[0].anomaly_score(array)
    for X, detector in zip(forms, fits, strict=True):
        np.testing.assert_array_equal(detector.anomaly_score(X), expected)
        np.testing.assert_array_equal(
            upland.explain(detector, X).shares, upland.explain(fits[0], array).shares
        )


@pytest.mark.filterwarnings("ignore:p-values are coarse")
@pytest.mark.parametrize("made", SIZES)
def test_a_path_where_nothing_is_is_not_found_anywhere(made, tmp_path):
    detector = small(made).fit(NORMAL[made.modality]())
    for name in ("absent", "absent.csv", "absent.npy", "absent.png", "absent.docx", "no/x.csv"):
        path = tmp_path / name
        calls = [small(made).fit, detector.anomaly_score, detector.p_values, detector.calibrate]
        calls += [upland.detector_for, lambda X, detector=detector: upland.explain(detector, X)]
        calls += [lambda X, detector=detector: detector.score_groups(X, [0])]
        for call in calls:
            with pytest.raises(FileNotFoundError, match=Path(name).name):
                call(path)


@pytest.mark.parametrize("model", ["gan", "", None, "Energy", [], np.array(["energy"])])
def test_an_unknown_family_is_refused_with_those_that_there_are(model):
    with pytest.raises(ValueError, match="model must be one of 'energy', 'flow', 'vae', got") as refused:
        upland.detector_for(numbers(), model=model)
    assert all(repr(name) in str(refused.value) for name in FAMILIES)


def test_an_unknown_modality_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"modality must be one of .*got \[\]"):
        upland.detector_for(numbers(), modality=[])
    with pytest.raises(ValueError, match=r"modality must be one of .*got 'video'") as refused:
        upland.detector_for(numbers(), modality="video")
    assert all(repr(name) in str(refused.value) for name in MODALITIES)


@pytest.mark.parametrize("model", ["vae"])
def test_a_family_without_an_estimator_of_sequences_is_refused_with_what_there_is(model):
    with pytest.raises(
        ValueError, match=f"no estimator of sequences with model='{model}': use model='energy', 'flow'$"
    ):
        upland.detector_for(waves(), model=model)


@pytest.mark.parametrize("name", ["banana", "kind", "window"])
def test_an_argument_that_the_class_has_not_is_pythons_own_error(name):
    with pytest.raises(TypeError, match=name):
        upland.detector_for(numbers(), **{name: 3})
