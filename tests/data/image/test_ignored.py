"""Pixels that are left out of every image: masks, and what the encoder learns without them."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from upland.data.image.encoder import ImageEncoder
from upland.data.image.ignored import as_ignored, brought_to

RNG = np.random.default_rng(0)
MASK = np.zeros((6, 5), dtype=bool)
MASK[1:3, 2:], MASK[5, 0] = True, True
SCALINGS = ["contrast", "channel", "pixel", "levels"]
scalings = pytest.mark.parametrize("scaling", SCALINGS)

PICTURES = {
    "grey": RNG.integers(0, 256, (9, 6, 5), dtype=np.uint8),
    "colour": RNG.integers(0, 256, (9, 6, 5, 3), dtype=np.uint8),
    "16 bits": RNG.integers(0, 65536, (9, 6, 5), dtype=np.uint16),
    "bool": RNG.integers(0, 2, (9, 6, 5)).astype(bool),
    "float": RNG.normal(3, 5, (9, 6, 5)),
}
pictures = pytest.mark.parametrize("X", PICTURES.values(), ids=PICTURES)


def with_others(X, mask, seed=1):
    """The same images with other pixels where the mask is, of floats among them very large ones."""
    generator, other = np.random.default_rng(seed), X.copy()
    shape = X[:, mask].shape
    if X.dtype.kind == "f":
        other[:, mask] = generator.choice([-1e300, 0.0, 1e-300, 7.5, 1e300], shape)
    else:
        most = np.iinfo(X.dtype).max if X.dtype.kind == "u" else 1
        other[:, mask] = generator.integers(0, most, shape, endpoint=True).astype(X.dtype)
    return other


# -- masks ---------------------------------------------------------------------------------------------------


def saved(path, pixels):
    PIL.Image.fromarray(pixels).save(path)
    return path


FORMS = {
    "array": lambda folder: MASK,
    "lists": lambda folder: MASK.tolist(),
    "tensor": lambda folder: torch.from_numpy(MASK.copy()),
    "grey file": lambda folder: saved(folder / "m.png", MASK.astype(np.uint8)),
    "text": lambda folder: str(saved(folder / "m.png", 255 * MASK.astype(np.uint8))),
    "1 bit": lambda folder: saved(folder / "m.png", MASK),
    "16 bits": lambda folder: saved(folder / "m.tif", MASK.astype(np.uint16)),
    "blue": lambda folder: saved(folder / "m.bmp", MASK[..., None] * np.array([0, 0, 9], dtype=np.uint8)),
    "npy": lambda folder: np.save(folder / "m.npy", MASK) or folder / "m.npy",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask(form, tmp_path):
    found = as_ignored(FORMS[form](tmp_path))
    np.testing.assert_array_equal(found, MASK)
    assert found.dtype == np.bool_


def test_a_mask_is_a_copy_that_cannot_be_written():
    given = MASK.copy()
    found = ImageEncoder(ignore=given).ignored
    given[:] = False
    np.testing.assert_array_equal(found, MASK)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = True


def test_nothing_ignored_is_no_mask():
    assert as_ignored(None) is None
    assert as_ignored(np.zeros((6, 5), dtype=bool)) is None


def transparent(folder):
    clear = np.dstack([MASK * np.uint8(255)] * 3 + [MASK * np.uint8(200)])
    return saved(folder / "clear.png", clear)


WRONG = {
    "numbers": (lambda folder: MASK.astype(int), TypeError, r"ignore must be a boolean array.*mask > 0"),
    "names": (lambda folder: ["label"], TypeError, "ignore must be a boolean array"),
    "one number": (lambda folder: True, ValueError, r"ignore must be .* got the shape \(\)"),
    "colour": (lambda folder: MASK[..., None], ValueError, r"ignore must be .* got the shape \(6, 5, 1\)"),
    "all": (lambda folder: np.ones((6, 5), dtype=bool), ValueError, "ignore leaves out every pixel"),
    "no file": (lambda folder: folder / "no.png", FileNotFoundError, r"no\.png: there is no such file"),
    "no image": (lambda folder: "label", ValueError, r"ignore must be .* got the path label"),
    "no array": (lambda folder: folder / "no.npy", FileNotFoundError, r"no\.npy"),
    "alpha": (transparent, ValueError, r"clear\.png is not all opaque: save it without alpha"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_mask_is_refused(case, tmp_path):
    make, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        as_ignored(make(tmp_path))


@pytest.mark.parametrize("size", [(6, 5), (12, 10), (3, 2), (4, 9), (60, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_stays_of_a_resized_image_has_no_part_of_an_ignored_pixel(size, dtype):
    mask = np.zeros((8, 7), dtype=bool)
    mask[5:7, 1:3], mask[0, 6] = True, True
    X = RNG.integers(0, 200, (3, 8, 7)).astype(dtype)
    encoder = ImageEncoder(size=size, scaling="channel", ignore=mask)
    assert encoder.ignored.shape == size
    assert 0 < encoder.ignored.sum() < encoder.ignored.size
    other = X.copy()
    other[:, mask] = 255 - other[:, mask]
    encoder.fit(X)
    np.testing.assert_array_equal(encoder.transform(X), encoder.transform(other))


def test_a_mask_in_the_size_that_images_are_brought_to_is_taken_as_it_is():
    X = RNG.integers(0, 256, (4, 12, 20), dtype=np.uint8)
    encoder = ImageEncoder(size=(6, 5), mode="rgb", ignore=MASK).fit(X)
    np.testing.assert_array_equal(encoder.ignored, MASK)
    assert not encoder.transform(X)[:, :, MASK].any()


def test_a_mask_of_which_nothing_stays_at_a_size_is_refused():
    stripes = np.zeros((8, 8), dtype=bool)
    stripes[::2] = True
    with pytest.raises(ValueError, match="ignore leaves no pixel of images of 2 x 2 that counts"):
        brought_to(stripes, (2, 2))


def test_a_mask_of_another_size_than_the_images_is_refused():
    with pytest.raises(ValueError, match=r"ignore is of 6 x 5 pixels, images of 5 x 6: give it in their"):
        ImageEncoder(ignore=MASK).fit(PICTURES["grey"].transpose(0, 2, 1))


# -- codes ---------------------------------------------------------------------------------------------------


@scalings
@pytest.mark.filterwarnings("error")
@pictures
def test_ignored_pixels_are_zero_and_change_nothing(scaling, X):
    """Neither what is learned nor any code, and they give no warning either."""
    encoder = ImageEncoder(scaling=scaling, ignore=MASK).fit(X)
    codes = encoder.transform(X)
    assert not codes[:, :, MASK].any()
    assert codes[:, :, ~MASK].any()
    other = with_others(X, MASK)
    again = ImageEncoder(scaling=scaling, ignore=MASK).fit(other)
    for name in ("mean", "scale"):
        np.testing.assert_array_equal(getattr(again, name), getattr(encoder, name))
    np.testing.assert_array_equal(encoder.transform(other), codes)


@scalings
@pictures
def test_the_rest_is_encoded_as_images_of_it_alone(scaling, X):
    """Pixels below the mask have the codes of images that end above it."""
    mask = np.zeros((6, 5), dtype=bool)
    mask[5:] = True
    masked = ImageEncoder(scaling=scaling, ignore=mask).fit(X).transform(X)
    alone = ImageEncoder(scaling=scaling).fit(X[:, :5]).transform(X[:, :5])
    np.testing.assert_allclose(masked[:, :, :5], alone, rtol=1e-6, atol=1e-6)


@scalings
@pictures
def test_what_is_expected_of_an_ignored_pixel_is_the_pixel(scaling, X):
    encoder = ImageEncoder(scaling=scaling, ignore=MASK).fit(X)
    new = with_others(X, MASK)
    codes = encoder.transform(new)
    shown = encoder.decode(codes + 0.1, like=new)
    np.testing.assert_array_equal(shown[:, MASK], encoder.values(new)[:, MASK])
    kept = encoder.decode(codes, like=new)[:, ~MASK].astype(float)
    np.testing.assert_allclose(kept, encoder.values(new)[:, ~MASK].astype(float), rtol=1e-5, atol=1e-4)


@scalings
def test_the_state_holds_the_mask(scaling):
    X = PICTURES["colour"]
    encoder = ImageEncoder(scaling=scaling, ignore=MASK).fit(X)
    manifest, tensors = encoder.to_state()
    again = ImageEncoder.from_state(json.loads(json.dumps(manifest)), tensors)
    np.testing.assert_array_equal(again.ignored, MASK)
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))
    assert again.describe()[0]["kind"] == "uint8, 6 x 5, 7 pixels ignored"
    assert "ignored" not in ImageEncoder(scaling=scaling).fit(X).to_state()[1]


@pytest.mark.parametrize(
    "mask", [MASK.T, MASK.astype(np.uint8), MASK[..., None], np.zeros_like(MASK), np.ones_like(MASK)]
)
def test_a_state_with_another_mask_is_refused(mask):
    manifest, tensors = ImageEncoder(ignore=MASK).fit(PICTURES["grey"]).to_state()
    with pytest.raises(ValueError, match=r"the ignored pixels must be booleans of shape \(6, 5\)"):
        ImageEncoder.from_state(manifest, tensors | {"ignored": mask})
