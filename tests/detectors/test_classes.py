"""Normal images of several classes: fits, verdicts on groups against a class, files, refusals."""

import copy

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.exceptions import NotFittedError

import upland
from upland.groups.tester import GroupTester
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

NAMES = ("left", "right", "top")
QUICK = {"random_state": 0, "progress": False, "levels": 1, "depth": 2, "filters": 4, "epochs": 8}


def pictures(count, seed=0, classes=NAMES):
    """Grey pictures `(count, 8, 8)` with a bright stripe on one side, and which side that is."""
    rng = np.random.default_rng(seed)
    labels = np.array([classes[number % len(classes)] for number in range(count)])
    x = 60 + rng.normal(0, 15, (count, 8, 8)) + rng.normal(0, 10, (count, 1, 1))
    x[labels == "left", :, :3] += 80
    x[labels == "right", :, 5:] += 80
    x[labels == "top", :3] += 80
    x[labels == "bottom", 5:] += 80
    return np.rint(x).clip(0, 255).astype(np.uint8), labels


def made(**options):
    return upland.ImageFlowDetector(**QUICK | {"calibration": "split"} | options)


@pytest.fixture(scope="module")
def fitted():
    X, classes = pictures(900)
    return made().fit(X, classes=classes)


def of_one_class(name, groups=10, size=5, seed=1):
    """Groups of pictures of one class, and the group of each."""
    X, labels = pictures(groups * size * len(NAMES), seed, (*NAMES[:1], name) if name not in NAMES else NAMES)
    return X[labels == name][: groups * size], np.repeat(np.arange(groups), size)


# -- verdicts ------------------------------------------------------------------------------------------------


def test_groups_of_the_class_pass_and_those_of_another_are_flagged(fitted):
    for name in NAMES:
        X, groups = of_one_class(name)
        own = fitted.score_groups(X, groups, classes=name, control="false_alarm")
        assert own.flag.sum() <= 3
        for other in set(NAMES) - {name}:
            found = fitted.score_groups(X, groups, classes=other, control="false_alarm")
            assert found.flag.all(), (name, other)
            assert (found.p_value < own.p_value).mean() > 0.8


def test_a_class_that_was_never_seen_is_none_of_them(fitted):
    X, groups = of_one_class("bottom")
    for name in NAMES:
        assert fitted.score_groups(X, groups, classes=name).flag.all()


def test_normal_groups_are_rejected_at_the_rate_that_is_kept():
    """Over redraws of the kept images too: 6 fits, 3 classes, groups of 1 and 4; 5 % +- 4 standard errors."""
    rejected = []
    for seed in range(6):
        normal, classes = pictures(600, 100 + seed)
        detector = made(random_state=seed, epochs=2).fit(normal, classes=classes)
        for name in NAMES:
            X, groups = of_one_class(name, 25, 4, 200 + seed)
            for size in (1, 4):
                labels = np.arange(25) if size == 1 else groups
                verdicts = detector.score_groups(
                    X[: len(labels)], labels, classes=name, control="false_alarm", reasons=False
                )
                rejected.append(verdicts.flag.mean())
    assert len(rejected) == 36
    assert np.mean(rejected) < 0.05 + 4 * np.std(rejected, ddof=1) / 6


def test_each_image_may_name_its_class_and_flags_are_of_all_groups_together(fitted):
    X, labels = pictures(60, seed=4)
    groups = np.array([f"{name} {number // 30}" for number, name in enumerate(labels)])
    together = fitted.score_groups(X, groups, classes=labels, alpha=0.1)
    assert set(together.group) == set(groups)
    for name in NAMES:
        own = labels == name
        alone = fitted.score_groups(X[own], groups[own], classes=name, alpha=0.1)
        where = [together.group.tolist().index(group) for group in alone.group]
        np.testing.assert_array_equal(together.statistic[where], alone.statistic)
        assert [together.columns[i] for i in where] == alone.columns
    order = np.random.default_rng(0).permutation(60)
    mixed = fitted.score_groups(X[order], groups[order], classes=labels[order], alpha=0.1)
    by_name = dict(zip(mixed.group, mixed.p_value, strict=True))
    assert [by_name[group] for group in together.group] == together.p_value.tolist()


def test_without_a_class_groups_are_compared_with_all(fitted):
    X, labels = pictures(30, seed=5)
    mixed = fitted.score_groups(X, np.zeros(30), reasons=False)
    one = fitted.score_groups(X[labels == "top"], np.zeros(10), reasons=False)
    of_plain = fitted.group_tester_.test
    x = fitted.encode(fitted.encoder_, fitted.encoder_.images(X))
    assert of_plain(x, np.zeros(30), 0.05, "fdr", "auto", False).p_value == mixed.p_value
    assert one.p_value <= 0.05


def test_the_tester_of_a_class_has_rows_of_that_class_alone(fitted):
    from upland.detectors.classes import reference_of_class

    member = fitted.members_[0]
    parts = [reference_of_class(member, number) for number in range(3)]
    for name in ("rows", "training_rows", "held_out"):
        stored = {"rows": "standard"}.get(name, name)
        whole = getattr(member, stored)
        assert sum(len(getattr(part, name)) for part in parts) == len(whole)
        for number, part in enumerate(parts):
            pixels = member.encoder.decode(getattr(part, name).numpy()).reshape(-1, 8, 8).astype(float)
            sides = np.stack(
                [pixels[:, :, :3].mean((1, 2)), pixels[:, :, 5:].mean((1, 2)), pixels[:, :3].mean((1, 2))]
            )
            assert (sides.argmax(0) == number).all()
        assert isinstance(GroupTester(parts[0]).reference.model.latents(parts[0].rows[:2]), list)


# -- fits ----------------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_mixture_and_finite(fitted):
    X, _ = pictures(40, seed=6)
    detector = copy.copy(fitted).set_params(criterion="likelihood")
    member = fitted.members_[0]
    x = torch.from_numpy(member.encoder.transform(member.encoder.images(X)))
    with torch.no_grad():
        expected = -member.model.log_prob(x)
    np.testing.assert_allclose(detector.anomaly_score(X), expected.numpy(), rtol=1e-6)


def test_classes_come_in_any_container_and_as_numbers():
    X, labels = pictures(120)
    codes = np.array([NAMES.index(name) for name in labels])
    containers = [
        codes,
        codes.tolist(),
        codes.astype(float),
        pd.Series(codes),
        pa.array(codes),
        torch.tensor(codes),
    ]
    scores = [made(epochs=3).fit(X, classes=one).anomaly_score(X[:4]) for one in containers]
    for found in scores[1:]:
        np.testing.assert_array_equal(found, scores[0])
    detector = made(epochs=3).fit(X, classes=codes)
    assert detector.classes_ == ("0", "1", "2")
    pd.testing.assert_frame_equal(
        detector.score_groups(X, codes, classes=codes).to_frame(),
        detector.score_groups(X, codes, classes=codes.astype(str)).to_frame(),
    )


def test_a_fit_without_classes_is_as_before_and_forgets_them():
    X, labels = pictures(120)
    plain = made(epochs=3).fit(X)
    again = made(epochs=3).fit(X, classes=labels).fit(X)
    assert plain.classes_ == again.classes_ == ()
    np.testing.assert_array_equal(plain.anomaly_score(X), again.anomaly_score(X))
    assert plain.info()["architecture"]["name"] == "glow"
    with pytest.raises(ValueError, match="without classes"):
        again.score_groups(X, labels, classes=labels)


def test_y_is_ignored():
    X, labels = pictures(120)
    np.testing.assert_array_equal(
        made(epochs=3).fit(X, labels).anomaly_score(X), made(epochs=3).fit(X).anomaly_score(X)
    )


def test_the_flow_is_trained_as_without_classes():
    X, labels = pictures(120)
    with_classes, without = made().fit(X, classes=labels), made().fit(X)
    flow = with_classes.members_[0].model.flow.state_dict()
    for name, value in without.members_[0].model.state_dict().items():
        assert torch.equal(flow[name], value), name


def test_cross_calibration_and_a_class_that_a_fold_lacks():
    X, labels = pictures(41, classes=("left", "right"))
    labels[:2] = "top"
    detector = made(calibration="cross", epochs=2).fit(X, classes=labels)
    assert len(detector.members_) == 5
    assert np.isfinite(detector.anomaly_score(X)).all()
    found = detector.score_groups(X[labels == "left"][:6], [0] * 6, classes="left", reasons=False)
    assert np.isfinite(found.statistic).all()
    with pytest.raises(ValueError, match="normal rows are kept"):
        detector.score_groups(X[:2], [0, 0], classes="top")


def test_a_folder_of_folders_has_its_classes_by_name(tmp_path):
    X, labels = pictures(120)
    for number, (pixels, name) in enumerate(zip(X, labels, strict=True)):
        inner = tmp_path / "normal" / name
        inner.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(inner / f"{number:03}.png")
    folder = tmp_path / "normal"
    detector = made(epochs=3).fit(folder, classes="subfolders")
    assert detector.classes_ == NAMES
    found = detector.score_groups(folder, np.zeros(120), classes="left", reasons=False)
    assert found.size.tolist() == [120]
    named = detector.score_groups(folder, np.sort(labels), classes="subfolders", reasons=False)
    assert sorted(named.group) == list(NAMES)
    with pytest.raises(ValueError, match="no sub-folder"):
        made().fit(folder / "left", classes="subfolders")
    with pytest.raises(ValueError, match="no sub-folder"):
        made().fit(X, classes="subfolders")


def test_an_interrupted_fit_goes_on_with_the_same_classes_alone(tmp_path):
    X, labels = pictures(120)
    path = tmp_path / "half.checkpoint"
    whole = made().fit(X, classes=labels, checkpoint=path)
    assert path.exists()
    again = made().fit(X, classes=labels, checkpoint=path)
    np.testing.assert_array_equal(whole.anomaly_score(X), again.anomaly_score(X))
    with pytest.raises(ValueError, match="checkpoint"):
        made().fit(X, classes=labels[::-1], checkpoint=path)


# -- calibration and files -----------------------------------------------------------------------------------


def test_fresh_normal_images_bring_their_classes(fitted):
    detector = copy.copy(fitted)
    X, labels = pictures(300, seed=7)
    detector.calibrate(X, classes=labels)
    assert detector.n_samples_fit_ == fitted.n_samples_fit_
    found, groups = of_one_class("left")
    assert detector.score_groups(found, groups, classes="right").flag.all()
    assert detector.score_groups(found, groups, classes="left", control="false_alarm").flag.sum() <= 3
    kept = detector.members_[0]
    assert len(kept.labels["held_out"]) == len(kept.held_out) == 300
    assert len(fitted.members_[0].labels["held_out"]) == len(fitted.members_[0].held_out)
    with pytest.raises(ValueError, match="with classes"):
        detector.calibrate(X)
    with pytest.raises(ValueError, match="no class 'odd'"):
        detector.calibrate(X, classes=["odd"] * 300)


def test_a_file_of_another_device_is_calibrated(fitted, tmp_path):
    upland.save(copy.copy(fitted).set_params(device="a device that is not here"), tmp_path / "m")
    again = upland.load(tmp_path / "m")
    X, labels = pictures(300, seed=7)
    expected = copy.copy(fitted).calibrate(X, classes=labels).p_values(X)
    np.testing.assert_array_equal(again.calibrate(X, classes=labels).p_values(X), expected)


def test_a_class_that_fresh_images_lack_is_named(fitted):
    detector = copy.copy(fitted)
    X, labels = pictures(300, seed=7)
    left = np.asarray(labels) == "left"
    detector.calibrate(X[left], classes=np.asarray(labels)[left])
    found, groups = of_one_class("left")
    assert np.isfinite(detector.score_groups(found, groups, classes="left").p_value).all()
    with pytest.raises(ValueError, match="class 'right' are kept: calibrate on some of each class"):
        detector.score_groups(found, groups, classes="right")


def test_a_detector_without_classes_is_calibrated_without(fitted):
    X, labels = pictures(120)
    detector = made(epochs=3).fit(X)
    with pytest.raises(ValueError, match="without classes"):
        detector.calibrate(X, classes=labels)
    with pytest.raises(NotFittedError):
        made().calibrate(X, classes=labels)


def test_a_file_keeps_classes_to_the_bit(fitted, tmp_path):
    path = tmp_path / "classes.safetensors"
    upland.save(fitted, path)
    loaded = upland.load(path)
    assert loaded.classes_ == NAMES
    X, labels = pictures(60, seed=8)
    np.testing.assert_array_equal(loaded.anomaly_score(X), fitted.anomaly_score(X))
    np.testing.assert_array_equal(loaded.p_values(X), fitted.p_values(X))
    pd.testing.assert_frame_equal(
        loaded.score_groups(X, labels, classes=labels).to_frame(),
        fitted.score_groups(X, labels, classes=labels).to_frame(),
    )
    upland.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("change", ["lacking", "long", "negative", "large", "float", "name", "twice", "one"])
def test_a_file_whose_classes_are_not_those_of_a_fit_is_refused(fitted, tmp_path, change):
    path = tmp_path / "classes.safetensors"
    upland.save(fitted, path)
    tensors, manifest = read_tensors(path)
    place = "0/classes/standard"
    codes = tensors[place]
    if change == "lacking":
        del tensors[place]
    elif change == "name":
        tensors["0/classes/other"] = codes
    elif change in ("twice", "one"):
        names = ["left", "left", "top"] if change == "twice" else ["left"]
        for record in (manifest["plan"]["architecture"], manifest["members"][0]["architecture"]):
            record["classes"] = names
    else:
        tensors[place] = {
            "long": np.concatenate([codes, codes]),
            "negative": codes - 1,
            "large": codes + 1,
            "float": codes.astype(np.float32),
        }[change]
    manifest["tensors"] = {name: [value.dtype.name, list(value.shape)] for name, value in tensors.items()}
    write_tensors(path, tensors, manifest, True)
    with pytest.raises(TensorFileError, match="class"):
        upland.load(path)


def test_arguments_that_change_after_the_fit_change_no_verdict(fitted):
    detector = copy.copy(fitted).set_params(depth=5, levels=2, random_state=9, keep_rows=3)
    X, labels = pictures(60, seed=8)
    np.testing.assert_array_equal(
        detector.score_groups(X, labels, classes=labels, reasons=False).statistic,
        fitted.score_groups(X, labels, classes=labels, reasons=False).statistic,
    )


# -- refusals ------------------------------------------------------------------------------------------------

BAD = {
    "too few": (lambda labels: labels[:-1], ValueError, "names 119, but there are 120 images"),
    "one class": (lambda labels: ["all"] * 120, ValueError, "there is one class, 'all'"),
    "one image": (lambda labels: ["odd", *labels[1:]], ValueError, "class 'odd' has one image"),
    "missing": (lambda labels: [None, *labels[1:]], ValueError, "1 of 120 images have no class"),
    "NaN": (lambda labels: [float("nan")] + [1.0] * 119, ValueError, "1 of 120 images have no class"),
    "two dimensions": (lambda labels: np.stack([labels] * 2, 1), ValueError, "classes must be one label"),
    "a word": (lambda labels: "folders", ValueError, "or 'subfolders', got 'folders'"),
    "bytes": (lambda labels: [b"a"] * 120, TypeError, "texts or numbers, not bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_classes_that_make_no_sense_are_refused_before_a_fit(case):
    change, error, words = BAD[case]
    X, labels = pictures(120)
    with pytest.raises(error, match=words):
        made().fit(X, classes=change(labels))


def test_a_refused_fit_leaves_the_earlier_one_whole(fitted):
    detector = copy.copy(fitted)
    X, labels = pictures(120)
    before = detector.anomaly_score(X)
    with pytest.raises(ValueError, match="one class"):
        detector.fit(X, classes=["all"] * 120)
    np.testing.assert_array_equal(detector.anomaly_score(X), before)
    assert detector.classes_ == NAMES
    assert detector.score_groups(X, labels, classes=labels, reasons=False).size.sum() == 120


def test_a_model_of_the_users_own_has_no_classes():
    from upland.models.glow import Glow

    X, labels = pictures(120)
    with pytest.raises(ValueError, match="leave model out"):
        made(model=lambda shape: Glow(shape, levels=1, depth=1, hidden=2)).fit(X, classes=labels)


def test_groups_against_a_class_are_refused_in_words(fitted):
    X, labels = pictures(30)
    groups = np.arange(30) // 10
    with pytest.raises(
        ValueError, match="no class 'odd': this detector was fitted on 'left', 'right', 'top'"
    ):
        fitted.score_groups(X, groups, classes="odd")
    with pytest.raises(ValueError, match=r"group 0 has rows of the classes 'left' and 'right'"):
        fitted.score_groups(X, groups, classes=labels)
    with pytest.raises(ValueError, match="names 29, but there are 30 images"):
        fitted.score_groups(X, groups, classes=labels[1:])
    with pytest.raises(ValueError, match="statistic must be one of"):
        fitted.score_groups(X, labels, classes=labels, statistic="odd")
    with pytest.raises(ValueError, match="there are 30 rows, but groups names 29"):
        fitted.score_groups(X, groups[1:], classes="left")
    with pytest.raises(NotFittedError):
        made().score_groups(X, groups, classes="left")
