"""Laws of splits: vectors keep neighbours together, and what does not suit is refused."""

import pytest
import torch

from latents import REFERENCE
from laws import normal
from upland.groups.splits import SPLITS, cut, latent_splits, suitable_splits


def test_splits_keep_neighbours_together():
    z = torch.arange(2 * 3 * 4 * 4).double().reshape(2, 3, 4, 4)
    torch.testing.assert_close(cut(z, "location")[1, 5, 0], z[1, :, 1, 1])
    torch.testing.assert_close(cut(z, "block")[0, 1, 0], z[0, 0, :2, 2:].flatten())
    torch.testing.assert_close(cut(z, "pair")[0, 0, 0], z[0, 0, 0, :2])
    torch.testing.assert_close(cut(z, "pair")[0, -1, 0], z[0, -1, -2:, -1])
    assert cut(z, "pair").shape == (2, 3 * (4 * 3 + 3 * 4), 1, 2)
    columns = torch.arange(10).double().reshape(1, 10)
    assert cut(columns, "pairs")[0, 3, 0].tolist() == [3, 4]
    assert cut(columns, "coordinate").shape == (1, 1, 10, 1)


@pytest.mark.parametrize(
    ("split", "shape"), [("location", (2, 5)), ("pairs", (2, 3, 4, 4)), ("pairs", (2, 1))]
)
def test_a_split_that_does_not_suit_is_refused(split, shape):
    with pytest.raises(ValueError, match=f"split '{split}'"):
        cut(normal(*shape), split)


def test_an_unknown_split_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=", ".join(SPLITS)):
        cut(normal(2, 3), "halves")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5,), ["whole", "coordinate"]),
        ((1,), ["whole"]),
        ((65,), ["coordinate", "pairs"]),
        ((3, 6, 4), ["location", "block", "pair"]),
        ((3, 1, 1), ["location"]),
        ((65, 1, 4), ["pair"]),
    ],
)
def test_the_splits_that_suit_a_shape_can_be_cut(shape, expected):
    assert suitable_splits(normal(2, *shape)) == expected
    for split in expected:
        assert cut(normal(2, *shape), split).shape[-1] <= 64


def test_every_level_has_its_splits():
    assert latent_splits(REFERENCE) == [
        ("location", 0),
        ("block", 0),
        ("pair", 0),
        ("whole", 1),
        ("coordinate", 1),
    ]
