"""Who sees which row, how long a training lasts, and where its noise comes from."""

import numpy as np
import pytest
import torch

from normals import numbers, quick
from upland.data.rows import MemoryRows
from upland.detectors.fitting import (
    CALIBRATION_MOST,
    CALIBRATION_SHARE,
    FOLDS,
    SPLIT_FROM,
    VALIDATION_FROM,
    Recipe,
    as_energy,
    fit_member,
    held_out_rows,
)


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [2, 3, 10, SPLIT_FROM - 1, SPLIT_FROM, 10_000, 200_000])
def test_a_split_holds_out_one_sorted_share(n):
    (held,) = held_out_rows(n, "split", rng())
    assert len(held) == min(max(1, round(CALIBRATION_SHARE * n)), CALIBRATION_MOST)
    assert np.all(np.diff(held) > 0)
    assert held.min() >= 0
    assert held.max() < n


@pytest.mark.parametrize("n", [2, 3, 5, 11, 499])
def test_folds_hold_out_each_row_once(n):
    folds = held_out_rows(n, "cross", rng())
    assert len(folds) == min(FOLDS, n)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds)), np.arange(n))
    assert all(np.all(np.diff(fold) > 0) for fold in folds)


def test_auto_chooses_by_the_number_of_rows():
    assert len(held_out_rows(SPLIT_FROM, "auto", rng())) == 1
    assert len(held_out_rows(SPLIT_FROM - 1, "auto", rng())) == FOLDS


class Watched(MemoryRows):
    """Rows that remember which of them were asked for."""

    def __init__(self, X):
        super().__init__(X)
        self.asked = []

    def take(self, rows):
        self.asked.append(np.asarray(rows))
        return super().take(rows)


def recipe(**options):
    detector = quick(**options)
    return detector._recipe(7, detector._kind("table"))


@pytest.mark.parametrize("count", [2, 3, VALIDATION_FROM, 120])
def test_a_member_never_asks_for_its_held_out_rows(count):
    rows = Watched(numbers(count))
    held = held_out_rows(count, "split", rng())[0]
    fit_member(rows, held, recipe(), 0)
    asked = np.unique(np.concatenate(rows.asked))
    assert np.intersect1d(asked, held).size == 0
    assert np.union1d(asked, held).size == count


def test_early_stopping_never_sees_training_rows():
    rows = Watched(numbers(200))
    fit_member(rows, np.arange(40), recipe(keep_rows=0), 0)
    everything, training, validation = rows.asked[0], rows.asked[1], rows.asked[-1]
    assert np.intersect1d(training, validation).size == 0
    np.testing.assert_array_equal(np.union1d(training, validation), everything)


def test_the_noise_is_measured_on_training_rows():
    rows = Watched(numbers(200))
    member = fit_member(rows, np.arange(40), recipe(noise="auto"), 0)
    assert 0 < member.sigma < 2
    assert np.isin(rows.asked[2], rows.asked[1]).all()


def test_noise_given_is_noise_used():
    assert fit_member(MemoryRows(numbers()), np.arange(9), recipe(noise=0.37), 0).sigma == 0.37


def test_members_of_one_seed_differ():
    rows = MemoryRows(numbers())
    one, two, again = (fit_member(rows, np.arange(9), recipe(), number) for number in (0, 1, 0))
    first = [member.model.weights[0] for member in (one, two, again)]
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("rows", [10, 300, 5_000, 1_000_000])
def test_the_length_of_training(rows):
    batch = min(rows, 256)
    free, told = (recipe(epochs=epochs).settings(rows, 5, batch) for epochs in (None, 3))
    assert told.steps == 3 * (rows // batch)
    assert free.steps >= rows // batch
    assert free.batch == batch


def test_a_small_table_is_trained_longer_where_rows_outnumber_the_encoded_inputs():
    narrow, wide = (recipe(epochs=None).settings(100, width, 100).steps for width in (5, 500))
    assert narrow > wide


def test_every_purpose_has_randomness_of_its_own():
    made: Recipe = recipe()
    draws = {made.generator(*key).integers(2**62) for key in [(0,), (0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]}
    assert len(draws) >= 5  # (0,) and (0, 0) may agree: trailing zeros do not change a seed sequence


def test_a_module_is_copied_and_a_function_called():
    module = torch.nn.Linear(3, 1)
    copy = as_energy(module, 3)
    assert copy is not module
    assert torch.equal(copy.weight, module.weight)
    assert as_energy(lambda width: torch.nn.Linear(width, 1), 5).in_features == 5
