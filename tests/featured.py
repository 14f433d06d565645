"""Every source of features, photographs that are cut from a picture, and detectors of images by features."""

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

import upland
from upland.catalogue import FEATURES, load
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.image.weights import is_installed

NEEDS_WEIGHTS = pytest.mark.skipif(not is_installed(), reason="needs upland[backbone]")
"""A mark of tests of the bundled network."""

NAMES = [name if name == "pixels" else pytest.param(name, marks=NEEDS_WEIGHTS) for name in FEATURES]
"""The sources of features, as parameters of tests; those whose weights are absent are skipped."""


@cache
def _made(name):
    return load(FEATURES[name])()


def source(name):
    """A source of features: what does not learn is loaded once."""
    return load(FEATURES[name])() if name == "pixels" else _made(name)


def shades(count, shape, seed=0):
    """Images of `shape` (C, H, W) with edges and noise: `(count, H, W)` or `(count, H, W, C)` uint8."""
    channels, height, width = shape
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    angle, offset = rng.uniform(0, 2 * np.pi, (2, count, 1, 1, channels))
    waves = np.sin(0.7 * (np.cos(angle) * x[..., None] + np.sin(angle) * y[..., None]) + offset)
    found = (120 + 60 * waves + rng.normal(0, 10, waves.shape)).clip(0, 255).astype(np.uint8)
    return found[..., 0] if channels == 1 else found


def encoder(name, shape, count=12, seed=0):
    """An encoder of features that has learned from `shades`."""
    made = source(name)
    return FeatureEncoder(ImageEncoder(scaling=made.scaling), made).fit_batches([shades(count, shape, seed)])


def codes(made, shape, count=5, seed=1):
    """Codes of new images, as the source of an encoder takes them."""
    return made.pixels.transform(shades(count, shape, seed))


def photographs(count, side=32, seed=0, name="china.jpg"):
    """Squares out of a photograph: `(count, side, side, 3)` uint8."""
    picture, rng = load_sample_image(name), np.random.default_rng(seed)
    corners = zip(*(rng.integers(0, most - side, count) for most in picture.shape[:2]), strict=True)
    return np.stack([picture[y : y + side, x : x + side] for y, x in corners])


def detector(features, **options):
    """A detector of images by features, not fitted."""
    quiet = {"calibration": "split", "random_state": 0, "progress": False, "keep_rows": 20}
    return upland.ImageEnergyDetector(**quiet | {"features": features} | options)
