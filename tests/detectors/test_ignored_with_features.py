"""Detectors of images by features with pixels that are left out: nothing they say depends on them."""

from functools import cache

import numpy as np
import pytest
from sklearn.base import clone

import upland
from featured import NAMES, detector, photographs

MASK = np.zeros((32, 32), dtype=bool)
MASK[10:18, 4:16], MASK[31, 31] = True, True
NEW = photographs(4, seed=1)
pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse")
sources = pytest.mark.parametrize("name", NAMES)


def with_others(X, seed=9):
    """The same images with other pixels where the mask is."""
    other = X.copy()
    other[:, MASK] = np.random.default_rng(seed).integers(0, 256, other[:, MASK].shape, dtype=np.uint8)
    return other


@cache
def fitted(name):
    return detector(name, ignore=MASK).fit(photographs(14))


@sources
def test_scores_shares_and_features_do_not_depend_on_ignored_pixels(name):
    made, other = fitted(name), with_others(NEW)
    assert not np.array_equal(other, NEW)
    np.testing.assert_array_equal(made.anomaly_score(NEW), made.anomaly_score(other))
    one, two = upland.explain(made, NEW), upland.explain(made, other)
    np.testing.assert_array_equal(one.shares, two.shares)
    assert not one.heat()[:, MASK].any()
    if one.expected is not None:
        np.testing.assert_array_equal(one.expected[:, ~MASK], two.expected[:, ~MASK])
        np.testing.assert_array_equal(two.expected[:, MASK], other[:, MASK])
    features = [made.encoder_.transform(X) for X in (NEW, other)]  # which is all that groups are tested by
    np.testing.assert_array_equal(*features)


@sources
def test_fits_do_not_depend_on_them(name):
    again = clone(fitted(name)).fit(with_others(photographs(14)))
    np.testing.assert_array_equal(again.assess(NEW), fitted(name).assess(NEW))
    np.testing.assert_array_equal(again.calibration_.scores, fitted(name).calibration_.scores)


@sources
def test_a_file_brings_them_back(name, tmp_path):
    made = fitted(name)
    upland.save(made, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    np.testing.assert_array_equal(again.get_params()["ignore"], MASK)
    np.testing.assert_array_equal(again.anomaly_score(with_others(NEW)), made.anomaly_score(NEW))
    assert made.info()["columns"][0]["kind"] == "uint8, 32 x 32, 97 pixels ignored"


@sources
def test_shares_still_sum_to_the_score(name):
    """What ignored pixels would have is divided among the others."""
    made = fitted(name)
    for X in (NEW, photographs(3, seed=5)):
        found = upland.explain(made, X).shares
        np.testing.assert_allclose(found.sum((1, 2, 3)), made.anomaly_score(X), rtol=1e-6)
        assert not found[:, MASK].any()
