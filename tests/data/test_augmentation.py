"""`upland.augment_images`: each copy is its image moved and in another light, within what was asked."""

import itertools
import re

import numpy as np
import pytest

import upland

rng = np.random.default_rng(0)
GREY = rng.integers(40, 160, (5, 9, 7), dtype=np.uint8)
SOURCES = {
    "grey": GREY,
    "colour": rng.integers(40, 160, (5, 9, 7, 3), dtype=np.uint8),
    "channels first": rng.integers(40, 160, (5, 3, 9, 7), dtype=np.uint8),
    "16 bits": rng.integers(0, 60_000, (5, 9, 7), dtype=np.uint16),
    "floats": rng.uniform(-1, 1, (5, 9, 7)).astype(np.float32),
    "booleans": rng.random((5, 9, 7)) < 0.5,
    "a list": list(GREY),
}


def channels_last(name):
    images = np.asarray(SOURCES[name])
    return images.transpose(0, 2, 3, 1) if name == "channels first" else images


def moved(image, down, right):
    padded = np.pad(image, [(9, 9), (7, 7)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    return padded[9 - down : 18 - down, 7 - right : 14 - right]


def step_of(image, copy, most):
    """The move that makes a copy of an image; None where there is none."""
    steps = itertools.product(range(-most, most + 1), repeat=2)
    return next((step for step in steps if np.array_equal(moved(image, *step), copy)), None)


@pytest.mark.parametrize("name", SOURCES)
def test_each_copy_is_its_image_moved_by_no_more_than_asked(name):
    images = channels_last(name)
    made = upland.augment_images(SOURCES[name], shift=2, copies=3, random_state=0)
    assert made.dtype == images.dtype
    assert made.shape == (15, *images.shape[1:])
    steps = [step_of(images[number % 5], copy, 2) for number, copy in enumerate(made)]
    assert None not in steps
    assert len(set(steps)) > 5
    assert max(map(abs, itertools.chain(*steps))) == 2


@pytest.mark.parametrize("name", [name for name in SOURCES if name != "booleans"])
def test_the_light_of_a_copy_is_one_factor_within_what_was_asked(name):
    images = channels_last(name).astype(np.float64)
    made = upland.augment_images(SOURCES[name], light=0.3, copies=2, random_state=1).astype(np.float64)
    limits = (images.min(), images.max()) if name == "floats" else (0, 65_535 if name == "16 bits" else 255)
    error = 1e-6 if name == "floats" else 0.5 + 0.25  # of rounding, and of the factor
    factors = []
    for number, copy in enumerate(made):
        image = images[number % 5]
        inside = (copy > limits[0]) & (copy < limits[1])
        factor = (copy * image)[inside].sum() / np.square(image[inside]).sum()
        np.testing.assert_allclose(copy[inside], factor * image[inside], atol=error)
        factors.append(factor)
        assert limits[0] <= copy.min() <= copy.max() <= limits[1]
    assert 0.69 < min(factors) < 0.9
    assert 1.1 < max(factors) < 1.31


@pytest.mark.parametrize("name", SOURCES)
def test_without_variation_copies_are_the_images(name):
    images = channels_last(name)
    np.testing.assert_array_equal(
        upland.augment_images(SOURCES[name], copies=2), np.concatenate([images] * 2)
    )


def test_a_seed_decides():
    first, again, other = (
        upland.augment_images(GREY, shift=2, light=0.1, random_state=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_folder_and_sizes(tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for number, image in enumerate(GREY):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    np.testing.assert_array_equal(upland.augment_images(tmp_path), GREY)
    assert upland.augment_images(tmp_path, size=(4, 6), mode="rgb").shape == (5, 4, 6, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shift": -1}, "shift must be a whole number from 0 to 6, less than a side, got -1"),
        ({"shift": 7}, "shift must be a whole number from 0 to 6, less than a side, got 7"),
        ({"shift": 1.5}, "shift must be a whole number from 0 to 6, less than a side, got 1.5"),
        ({"light": 1}, "light must be a number from 0 to less than 1, got 1"),
        ({"light": float("nan")}, "light must be a number from 0 to less than 1, got nan"),
        ({"light": "a"}, "light must be a number from 0 to less than 1, got 'a'"),
        ({"copies": 0}, "copies must be a whole number of at least 1, got 0"),
        ({"random_state": -1}, "random_state must be None or a whole number of at least 0, got -1"),
        ({"random_state": True}, "random_state must be None or a whole number of at least 0, got True"),
        ({"random_state": [1]}, "random_state must be None or a whole number of at least 0, got [1]"),
        ({"copies": True}, "copies must be a whole number of at least 1, got True"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        upland.augment_images(GREY, **arguments)


def test_small_types_of_numbers_are_whole_numbers():
    made = [upland.augment_images(GREY, shift=kind(3), random_state=kind(0)) for kind in (int, np.uint8)]
    np.testing.assert_array_equal(*made)


def test_light_changes_no_fourth_channel():
    images = rng.integers(40, 160, (5, 9, 7, 4), dtype=np.uint8)
    made = upland.augment_images(images, light=0.5, random_state=0)
    np.testing.assert_array_equal(made[..., 3], images[..., 3])
    assert (made[..., :3] != images[..., :3]).any()


def test_booleans_have_no_light():
    with pytest.raises(ValueError, match="light has no meaning for booleans: leave it out"):
        upland.augment_images(SOURCES["booleans"], light=0.1)
