"""Laws of every source of features: an image's are its own, and lead back to where they come from."""

from functools import cache

import numpy as np
import pytest
import torch

from featured import NAMES, codes, encoder, source
from upland.data.image.features import NAMES as PLACES
from upland.data.image.features import WHOLE

SHAPES = [(1, 8, 8), (3, 9, 13), (1, 40, 64), (3, 33, 32), (1, 5, 2)]
sources = pytest.mark.parametrize("name", NAMES)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
BAD_STATES = {
    "a field more": lambda manifest, tensors: (manifest | {"more": 1}, tensors),
    "no field": lambda manifest, tensors: ({}, tensors),
    "a tensor more": lambda manifest, tensors: (manifest, tensors | {"more": np.zeros(1, np.float32)}),
}


@cache
def fitted(name, shape):
    """A source that has learned, codes of new images, and the features of these."""
    made = encoder(name, shape)
    x = codes(made, shape)
    return made.source, x, made.source.transform(x)


@sources
@shapes
def test_the_layout_says_how_many_features_there_are(name, shape):
    made, x, found = fitted(name, shape)
    layout = made.layout(shape)
    assert found.shape == (len(x), layout.width)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert min(layout.vectors) > 0
    assert layout.width == sum(layout.vectors) + np.prod(layout.map)


@sources
@shapes
def test_features_of_an_image_are_the_same_bits_alone_and_among_others(name, shape):
    made, x, found = fitted(name, shape)
    before = x.copy()
    np.testing.assert_array_equal(made.transform(x[2:3])[0], found[2])
    np.testing.assert_array_equal(made.transform(x[::-1].copy())[::-1], found)
    np.testing.assert_array_equal(x, before)
    assert made.transform(x[:0]).shape == (0, found.shape[1])
    assert len(np.unique(found, axis=0)) == len(x)


@sources
@shapes
def test_shares_of_features_are_shares_of_pixels_with_the_same_sum(name, shape):
    made, _, found = fitted(name, shape)
    rng, of_vectors = np.random.default_rng(0), made.layout(shape).of_vectors
    shares = rng.exponential(size=(4, found.shape[1]))
    shares[1, :of_vectors] = 0
    shares[2, of_vectors:] = 0
    shares[3] = 0
    pixels = made.to_pixels(shares, shape)
    assert pixels.shape == (4, *shape)
    assert (pixels >= 0).all()
    np.testing.assert_allclose(pixels.sum(axis=(1, 2, 3)), shares.sum(axis=1), rtol=1e-12)
    assert not pixels[3].any()
    np.testing.assert_allclose(made.to_pixels(7 * shares[:1], shape), 7 * pixels[:1], rtol=1e-12)
    np.testing.assert_allclose(made.to_pixels(shares[1:2], shape)[0], pixels[1], rtol=1e-12)


@sources
@shapes
def test_every_number_of_a_vector_is_of_a_part_of_the_image(name, shape):
    made, _, _ = fitted(name, shape)
    regions = made.regions(shape)
    assert regions.shape == (made.layout(shape).of_vectors,)
    assert set(regions.tolist()) <= set(range(WHOLE + 1))
    assert len(PLACES) == WHOLE + 1


@sources
def test_a_share_of_a_part_lies_in_that_part(name):
    shape = (1, 24, 27)
    made, _, found = fitted(name, shape)
    for number, region in enumerate(made.regions(shape).tolist()):
        if region == WHOLE or number % 41:
            continue
        shares = np.zeros((1, found.shape[1]))
        shares[0, number] = 1
        heat = made.to_pixels(shares, shape)[0, 0]
        row, column = divmod(region, 3)
        inside = heat[8 * row : 8 * row + 8, 9 * column : 9 * column + 9].sum()
        assert inside == pytest.approx(1)


@sources
@shapes
def test_a_source_is_the_same_bits_out_of_its_state(name, shape):
    made, x, found = fitted(name, shape)
    manifest, tensors = made.to_state()
    again = source(name)
    again.restore(manifest, {key: value.copy() for key, value in tensors.items()})
    np.testing.assert_array_equal(again.transform(x), found)
    assert again.layout(shape) == made.layout(shape)
    assert again.to_state()[0] == manifest
    for key, value in again.to_state()[1].items():
        np.testing.assert_array_equal(value, tensors[key])


@sources
@pytest.mark.parametrize("case", BAD_STATES)
def test_what_is_not_its_state_is_refused(name, case):
    manifest, tensors = fitted(name, (1, 8, 8))[0].to_state()
    with pytest.raises(ValueError, match=r"not the state of"):
        source(name).restore(*BAD_STATES[case](manifest, tensors))


@sources
def test_each_value_of_a_state_is_checked(name):
    manifest, tensors = fitted(name, (1, 8, 8))[0].to_state()
    for key, value in manifest.items():
        for wrong in (None, [], "word", -1.0, np.inf, float("nan"), 10**400, 1, True):
            if wrong is value:
                continue
            with pytest.raises(ValueError):
                source(name).restore(manifest | {key: wrong}, tensors)
    for key, value in tensors.items():
        lacking = {other: part for other, part in tensors.items() if other != key}
        nowhere = value.copy()
        nowhere.reshape(-1)[0] = np.nan
        wrongs = (nowhere, value.astype(np.float64), value[None], value[:-1], value[:0], np.float32(1))
        for wrong in wrongs:
            with pytest.raises(ValueError):
                source(name).restore(manifest, lacking | {key: np.asarray(wrong)})
        with pytest.raises(ValueError):
            source(name).restore(manifest, lacking)


@sources
def test_nothing_depends_on_the_state_of_the_program(name):
    """Nor changes it: torch's default dtype, its threads, its and NumPy's global seeds."""
    shape = (3, 33, 32)
    expected, threads = fitted(name, shape)[2], torch.get_num_threads()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(3)
        fitted.cache_clear()
        found = fitted(name, shape)[2]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(torch.get_rng_state(), before)


@sources
def test_images_that_are_all_one_shade_have_features(name):
    made = encoder(name, (1, 8, 8))
    flat = np.zeros((3, *codes(made, (1, 8, 8)).shape[1:]), dtype=np.float32)
    assert np.isfinite(made.source.transform(flat)).all()
    other = source(name)
    other.fit(flat)
    found = other.transform(np.concatenate([flat, codes(made, (1, 8, 8))]))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], found[1])


@sources
def test_two_images_are_enough_to_learn_from(name):
    for shape in SHAPES:
        other = source(name)
        x = codes(encoder(name, shape), shape, 2)
        other.fit(x)
        assert np.isfinite(other.transform(x)).all()
