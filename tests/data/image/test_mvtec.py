"""Folders in the layout of MVTec AD, made from scikit-learn's digits with planted defects."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

import upland

DIGITS = load_digits()
ZEROS = (DIGITS.images[DIGITS.target == 0] * 15.9).astype(np.uint8)
SPOTS = {"scratch": (slice(0, 8), slice(6, 7)), "spot": (slice(2, 4), slice(2, 4))}


def saved(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def category(folder, normal="good", name="{}_mask.png", suffix=".png"):
    """60 normal images to fit on, 11 to test, and 5 of each kind of defect with masks."""
    for number, image in enumerate(ZEROS[:60]):
        saved(folder / "train" / normal / f"{number:03d}{suffix}", image)
    for number, image in enumerate(ZEROS[60:71]):
        saved(folder / "test" / normal / f"{number}{suffix}", image)
    for kind, where in SPOTS.items():
        for number, image in enumerate(ZEROS[71:76]):
            image, mask = image.copy(), np.zeros((8, 8), dtype=np.uint8)
            image[where], mask[where] = 255 - image[where], 255
            saved(folder / "test" / kind / f"{number:03d}{suffix}", image)
            saved(folder / "ground_truth" / kind / name.format(f"{number:03d}"), mask)
    return folder


LAYOUTS = {
    "MVTec": {},
    "names alone": {"name": "{}.png"},
    "other suffixes": {"name": "{}.bmp", "suffix": ".tif"},
    "ok": {"normal": "ok"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_images_their_kinds_and_their_masks(layout, tmp_path):
    options = LAYOUTS[layout]
    normal, suffix = options.get("normal", "good"), options.get("suffix", ".png")
    data = upland.load_mvtec(str(category(tmp_path, **options)))
    assert [path.name for path in data.train] == [f"{n:03d}{suffix}" for n in range(60)]
    assert data.kinds == [normal] * 11 + ["scratch"] * 5 + ["spot"] * 5
    assert [path.parent.name for path in data.test] == data.kinds
    assert [path.stem for path in data.test[:11]] == [str(n) for n in range(11)]  # 2 before 10
    assert (data.labels.dtype, data.labels.tolist()) == (np.int64, [0] * 11 + [1] * 10)
    for number, kind in enumerate(data.kinds):
        expected = np.zeros((8, 8), dtype=bool)
        if kind != normal:
            expected[SPOTS[kind]] = True
        found = data.mask(number)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.bool_
        np.testing.assert_array_equal(data.mask(number, (16, 24)), expected.repeat(2, 0).repeat(3, 1))
        assert data.mask(number, (4, 4)).shape == (4, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.train = []


def test_the_whole_way_to_heat_maps(tmp_path):
    data = upland.load_mvtec(category(tmp_path))
    detector = upland.ImageEnergyDetector(epochs=20, random_state=0, progress=False).fit(data.train)
    scores = detector.anomaly_score(data.test)
    assert scores[data.labels == 1].mean() > scores[data.labels == 0].mean()
    heat = upland.explain(detector, data.test).heat()
    truth = np.stack([data.mask(number) for number in range(len(data.test))])
    bad = data.labels == 1
    assert heat[bad][truth[bad]].mean() > 2 * heat[bad][~truth[bad]].mean()


def without(folder, *names):
    for name in names:
        path = folder / name
        path.rename(folder.parent / path.name)
    return folder


LACKING = {
    "train/good": (("train/good",), r"no category in the layout of MVTec AD: it lacks train/good$"),
    "test": (("test",), r"it lacks test, with a folder of images for each kind$"),
    "a mask": (
        ("ground_truth/spot/003_mask.png",),
        r"test/spot/003\.png has no mask: there is no .*ground_truth/spot/003_mask\.png, nor 003\.png",
    ),
    "masks of a kind": (("ground_truth/spot",), r"test/spot/000\.png has no mask"),
}


@pytest.mark.parametrize("case", LACKING)
def test_what_lacks_is_named(case, tmp_path):
    names, message = LACKING[case]
    with pytest.raises(ValueError, match=message):
        upland.load_mvtec(without(category(tmp_path / "cap"), *names))


def test_without_any_masks_there_are_still_images_and_labels(tmp_path):
    data = upland.load_mvtec(without(category(tmp_path / "cap"), "ground_truth"))
    assert data.labels.sum() == 10
    assert not data.mask(0).any()
    with pytest.raises(FileNotFoundError, match="ground_truth: there is no such folder, nor any mask"):
        data.mask(20)


def test_the_folder_above_and_no_folder(tmp_path):
    category(tmp_path / "all" / "cap")
    with pytest.raises(ValueError, match=r"all is no category .*it lacks train/good; cap in it is one$"):
        upland.load_mvtec(tmp_path / "all")
    category(tmp_path / "all" / "nut")
    with pytest.raises(ValueError, match=r"lacks train/good; cap, nut in it are$"):
        upland.load_mvtec(tmp_path / "all")
    with pytest.raises(FileNotFoundError, match="none: there is no such folder"):
        upland.load_mvtec(tmp_path / "none")
    (tmp_path / "all" / "cap" / "test" / "bent").mkdir()
    with pytest.raises(ValueError, match="bent holds no images: it is empty"):
        upland.load_mvtec(tmp_path / "all" / "cap")


def test_a_mask_of_another_size_is_named(tmp_path):
    data = upland.load_mvtec(category(tmp_path))
    saved(tmp_path / "ground_truth" / "spot" / "004_mask.png", np.zeros((8, 9), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"004_mask\.png is of 8 x 9 pixels, but .*004\.png of 8 x 8"):
        data.mask(20)
