"""Laws of reasons: the right kind, the right columns, the user's columns and not the encoded ones."""

import numpy as np
import pytest
import torch

from laws import normal
from upland.groups.reasons import Reasons, regions

NAMES = tuple(f"x{i}" for i in range(6))


def correlated(count, seed):
    """Six columns that share a factor."""
    shared, own = normal(count, 1, seed=2 * seed), normal(count, 6, seed=2 * seed + 1)
    return shared + 0.7 * own


@pytest.fixture(scope="module")
def reasons():
    return Reasons(correlated(800, 0), NAMES, torch.arange(6))


@pytest.mark.parametrize("seed", range(1, 11))
@pytest.mark.parametrize("size", [30, 200])
def test_a_shift_is_marginal_and_permuted_values_are_dependence(reasons, seed, size):
    shifted, permuted = correlated(size, seed), correlated(size, seed + 100)
    shifted[:, 3] += 1.5
    permuted[:, 2] = permuted[:, 2].roll(1)
    name, columns = reasons.of(shifted)
    assert (name, columns[0]) == ("marginals", "x3")
    name, columns = reasons.of(permuted)
    assert (name, columns[0]) == ("dependence", "x2")
    assert len(set(columns)) == 3


def test_encoded_inputs_of_one_column_count_together():
    normal_rows, new = normal(400, 5, seed=1), normal(60, 5, seed=2)
    new[:, 3:] += 2
    found = Reasons(normal_rows, ("size", "colour"), torch.tensor([0, 1, 1, 1, 1])).of(new)
    assert found == ("marginals", ("colour", "size"))


def test_one_column_cannot_depend():
    assert (
        Reasons(normal(300, 1), ("x0",), torch.zeros(1, dtype=torch.long)).of(normal(20, 1)).name
        == "marginals"
    )


def test_the_order_of_groups_changes_nothing(reasons):
    groups = [correlated(size, seed) for size, seed in ((1, 1), (7, 2), (900, 3), (7, 4))]
    forward = [reasons.of(group) for group in groups]
    fresh = Reasons(correlated(800, 0), NAMES, torch.arange(6))
    assert [fresh.of(group) for group in reversed(groups)] == forward[::-1]


def test_regions_of_images():
    names, numbers = regions((2, 6, 9))
    assert (names[0], names[4], names[8]) == ("top left", "middle centre", "bottom right")
    expected = np.repeat(np.repeat(np.arange(9).reshape(3, 3), 2, axis=0), 3, axis=1)
    np.testing.assert_array_equal(numbers.reshape(2, 6, 9), [expected, expected])
    normal_images, new = normal(300, 2, 6, 9, seed=1), normal(20, 2, 6, 9, seed=2)
    new[:, :, 4:, :3] += 3
    assert Reasons(normal_images, names, numbers).of(new).columns[0] == "bottom left"
