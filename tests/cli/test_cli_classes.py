"""Classes of normal images on the command line: sub-folders, files of labels, names, refusals."""

import numpy as np
import pytest
from PIL import Image

import upland as library


def written(root, count, seed):
    """So many pictures in two folders, `left` and `right`, by their bright side; returns where."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = ("left", "right")[number % 2]
        x = 60 + rng.normal(0, 15, (8, 8))
        x[:, :3] += 80 * (name == "left")
        x[:, 5:] += 80 * (name == "right")
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x.round().clip(0, 255).astype(np.uint8)).save(root / name / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("classes") / "normal", 400, 0)


@pytest.fixture(scope="module")
def fresh(folder):
    return written(folder.parent / "fresh", 40, 1)


@pytest.fixture(scope="module")
def model(folder):
    """Fitted on that folder by the library, as the command does it."""
    path = folder.parent / "m.safetensors"
    flow = library.ImageFlowDetector(random_state=0, epochs=5, depth=2, filters=4, progress=False)
    library.save(flow.fit(folder, classes="subfolders"), path)
    return path


@pytest.fixture(scope="module")
def labels(folder):
    """A file with the class of each normal picture, in the order of the folder."""
    path = folder.parent / "labels.csv"
    path.write_text("class\n" + "left\n" * 200 + "right\n" * 200)
    return path


@pytest.mark.parametrize("how", ["subfolders", "file"])
def test_a_fit_has_the_classes_of_sub_folders_or_of_a_file(upland, folder, labels, tmp_path, how):
    out = tmp_path / "m.safetensors"
    given = ("--classes", "subfolders" if how == "subfolders" else labels)
    done = upland("fit", folder, "--model", "flow", *given, "--epochs", 3, "-o", out, "--quiet")
    assert done.code == 0, done.err
    assert library.load(out).classes_ == ("left", "right")


def test_groups_are_tested_against_a_class(upland_json, model, fresh):
    path = fresh.parent / "expected.csv"
    path.write_text("class\n" + "left\n" * 20 + "right\n" * 20)
    options = ("--by", "folder", "--alpha", "0.01")
    for expected in ("subfolders", path):
        own = upland_json("groups", model, fresh, *options, "--classes", expected)
        assert [verdict["group"] for verdict in own["verdicts"]] == ["left", "right"]
        assert own["flagged"] == 0
    as_left = upland_json("groups", model, fresh, *options, "--classes", "left")
    assert [verdict["is_anomaly"] for verdict in as_left["verdicts"]] == [False, True]


def test_a_calibration_brings_classes(upland, model, folder, tmp_path):
    out = tmp_path / "m.safetensors"
    done = upland("calibrate", model, folder, "--classes", "subfolders", "-o", out, "--quiet")
    assert done.code == 0, done.err
    assert len(library.load(out).members_[0].labels["held_out"]) == 400
    done = upland("calibrate", model, folder, "-o", tmp_path / "n.safetensors", "--quiet")
    assert done.code != 0
    assert "fitted with classes: calibrate it with --classes" in done.words


def test_what_has_no_classes_says_so(upland, model, folder, works, tmp_path):
    out = tmp_path / "m.safetensors"
    done = upland("fit", folder, "--classes", "subfolders", "-o", out, "--quiet")
    assert (done.code, out.exists()) == (2, False)
    assert "--classes is for images and models that are fitted with --model flow" in done.words
    inside = ("fit", folder / "left", "--model", "flow", "--classes", "subfolders", "-o", out)
    assert "200 of 200 images lie in no sub-folder: with --classes subfolders" in upland(*inside).words
    done = upland("groups", model, folder, "--by", "folder", "--classes", "odd")
    assert done.code != 0
    assert "there is no class 'odd'" in done.words
    by = ("groups", works / "energy.safetensors", works / "new.csv", "--by", "shift", "--classes", "left")
    assert "--classes is for images" in upland(*by).words
