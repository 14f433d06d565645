"""Who sees which row, how long a training lasts, and where its noise comes from."""

import numpy as np
import pytest
import torch

import upland
from normals import numbers, quick
from upland.data.rows import MemoryRows
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import view_table
from upland.detectors.ensemble import offered_criteria
from upland.detectors.fitting import (
    CALIBRATION_MOST,
    CALIBRATION_SHARE,
    FOLDS,
    SPLIT_FROM,
    VALIDATION_FROM,
    Fitted,
    MemberFitter,
    calibration_method,
    held_out_rows,
)
from upland.detectors.own_modules import OwnModule
from upland.detectors.plan import MEMBER_STREAMS, STREAMS


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
    assert calibration_method(SPLIT_FROM, "auto") == "split"
    assert calibration_method(SPLIT_FROM - 1, "auto") == "cross"
    for asked in ("split", "cross"):
        assert {calibration_method(n, asked) for n in (2, SPLIT_FROM)} == {asked}


def plan_of(**options):
    detector = quick(**options)
    return detector._plan(None, detector._reader(), "split", 7)


def fit_member(rows, held_out, number=0, **options):
    detector = quick(**options)
    plan = detector._plan(rows, detector._reader(), "split", 7)
    offered = offered_criteria(detector.family, detector.modality, plan.architecture.model_type)
    criteria = offered.chosen(detector.criterion)
    fitter = MemberFitter(rows, plan, torch.device("cpu"), offered.homes, criteria)
    found: Fitted = fitter.fit(held_out, number)
    return found.member


class Beyond(MemoryRows):
    """Rows that are asked for when they are needed, and remember which were."""

    in_memory = False

    def __init__(self, X):
        super().__init__(X)
        self.asked = []

    def take(self, rows):
        self.asked.append(np.asarray(rows))
        return super().take(rows)


@pytest.fixture
def encoded(monkeypatch):
    """The rows that encoders learned from."""
    learned, fit = [], TableEncoder.fit_batches

    def watched(self, batches):
        batches = [view_table(batch).matrix for batch in batches]
        learned.append(np.concatenate(batches))
        return fit(self, batches)

    monkeypatch.setattr(TableEncoder, "fit_batches", watched)
    return learned


@pytest.mark.parametrize(
    ("rows_of", "count"),
    [(MemoryRows, count) for count in (2, 3, VALIDATION_FROM, 120)] + [(Beyond, 3), (Beyond, 120)],
)
def test_an_encoder_learns_from_all_rows_but_the_held_out_ones(count, rows_of, encoded):
    X = numbers(count)
    held = held_out_rows(count, "split", rng())[0]
    fit_member(rows_of(X), held)
    seen = np.delete(X, held, axis=0)
    np.testing.assert_array_equal(np.unique(encoded[-1], axis=0), np.unique(seen, axis=0))


def test_a_member_asks_for_its_held_out_rows_to_keep_and_to_score_them_alone():
    rows, held = Beyond(numbers(200)), np.arange(40)
    fit_member(rows, held, noise=0.5, prior="centre", n_nets=1, criterion="energy")
    *training, kept, scored = [asked for asked in rows.asked if np.isin(held, asked).any()]
    assert not training
    np.testing.assert_array_equal(kept, held)
    np.testing.assert_array_equal(scored, held)


def test_early_stopping_never_sees_training_rows():
    """Rows beyond memory: batches are of those that are neither held out nor checked."""
    rows, batches = Beyond(numbers(200)), []
    shuffled = rows.shuffled

    def watched(generator, skip, size):
        batches.append(np.setdiff1d(np.arange(200), skip))
        return shuffled(generator, skip, size)

    rows.shuffled = watched
    fit_member(rows, np.arange(40), keep_rows=0)
    everything, training = batches[0], batches[1]
    checked = next(asked for asked in rows.asked if not np.isin(asked, training).any())
    np.testing.assert_array_equal(np.union1d(training, checked), everything)
    np.testing.assert_array_equal(everything, np.arange(40, 200))
    assert np.intersect1d(training, checked).size == 0


def test_the_noise_is_measured_on_training_rows():
    rows = Beyond(numbers(200))
    member = fit_member(rows, np.arange(40), objective="sliced", keep_rows=0)
    assert 0 < member.sigma < 2
    _, start, near, checked = rows.asked[:4]  # the first are for the encoder
    assert np.intersect1d(near, checked).size == 0
    assert np.isin(start, near).all()
    assert np.union1d(near, checked).tolist() == list(range(40, 200))


def test_noise_given_is_noise_used():
    assert fit_member(MemoryRows(numbers()), np.arange(9), objective="sliced", noise=0.37).sigma == 0.37


def test_members_of_one_seed_start_alike_and_differ_by_the_rows_that_they_see():
    rows = MemoryRows(numbers())
    one, two, again = (fit_member(rows, np.arange(9), number) for number in (0, 1, 0))
    first = [member.model.weights[0] for member in (one, two, again)]
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("rows", [10, 300, 5_000, 1_000_000])
def test_the_length_of_training(rows):
    batch = min(rows, 256)
    free, given = (plan_of(epochs=epochs).settings(rows, 5, batch) for epochs in (None, 3))
    assert given.steps == 3 * (rows // batch)
    assert free.steps >= rows // batch
    assert free.batch == batch


def test_a_small_table_is_trained_longer_where_rows_outnumber_the_encoded_inputs():
    plan = plan_of(epochs=None, objective="sliced")
    narrow, wide = (plan.settings(100, width, 100).steps for width in (5, 500))
    assert narrow > wide


def test_every_purpose_has_randomness_of_its_own():
    plan = plan_of()
    shared = [plan.stream(name).integers(2**62) for name in STREAMS]
    own = [plan.stream(name, member).integers(2**62) for name in MEMBER_STREAMS for member in range(5)]
    assert len(set(shared)) == len(STREAMS)
    assert len(set(own)) == 5 * len(MEMBER_STREAMS)


def test_a_module_is_copied_and_a_function_called():
    module = torch.nn.Linear(3, 1)
    encoder = TableEncoder().fit(numbers(9, 3))
    copy = OwnModule(module).build(encoder).module
    assert copy is not module
    assert torch.equal(copy.weight, module.weight)
    assert OwnModule(lambda width: torch.nn.Linear(width, 1)).build(encoder).module.in_features == 3


def test_a_function_that_makes_a_model_is_seeded_and_leaves_torchs_own_source_alone():
    rows = np.random.default_rng(0).normal(size=(60, 3))

    def scores():
        detector = upland.EnergyDetector(
            model=lambda width: torch.nn.Sequential(
                torch.nn.Linear(width, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1)
            ),
            epochs=2,
            random_state=3,
            progress=False,
        )
        return detector.fit(rows).anomaly_score(rows)

    torch.rand(1)
    before = torch.get_rng_state()
    first = scores()
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)
    np.testing.assert_array_equal(first, scores())
