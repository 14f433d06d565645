"""Energies of tables: any table in, a score of its row alone."""

import random
import warnings
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch

import normals
import upland
from normals import CONTAINERS, mixed, numbers, quick, with_criterion

METHODS = ["split", "cross"]
CRITERIA = ["experts", "multiscale", "reconstruction", "energy"]


@pytest.fixture(params=[(m, c) for m in METHODS for c in CRITERIA], ids="-".join)
def fitted(request):
    method, criterion = request.param
    return normals.fitted(calibration=method, **with_criterion(criterion))


@pytest.fixture(scope="module")
def pump():
    return quick(hidden=(32, 32), epochs=60, learning_rate=1e-2).fit(mixed(300))


# -- tables in -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    detector = quick().fit(mixed())
    return detector.anomaly_score(mixed(seed=1)), detector.calibration_.scores


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_scores(container, reference, tmp_path):
    convert = CONTAINERS[container]
    detector = quick().fit(convert(mixed(), tmp_path))
    np.testing.assert_array_equal(detector.calibration_.scores, reference[1])
    np.testing.assert_array_equal(detector.anomaly_score(convert(mixed(seed=1), tmp_path)), reference[0])
    assert detector.feature_names_in_.tolist() == list(mixed().columns)


def test_arrays_lists_and_unnamed_frames_give_the_same_scores():
    rows, whole = numbers(), normals.fitted()
    for same in (rows.tolist(), np.asfortranarray(rows), rows.astype(object), pd.DataFrame(rows)):
        detector = quick().fit(same)
        np.testing.assert_array_equal(detector.anomaly_score(same), whole.anomaly_score(rows))
        assert detector.n_features_in_ == 4
        assert "feature_names_in_" not in vars(detector)


def test_lists_keep_numbers_beside_text():
    rows = [[float(n % 7), "ab"[n % 2]] for n in range(120)]
    kinds = [column["kind"] for column in quick().fit(rows).encoder_.describe()]
    assert kinds == ["numeric", "categorical"]


def test_the_order_of_columns_does_not_matter(pump):
    rows = mixed(40, seed=2)
    np.testing.assert_array_equal(pump.anomaly_score(rows[rows.columns[::-1]]), pump.anomaly_score(rows))


def test_names_are_forgotten_when_fitted_again_without():
    detector = quick().fit(mixed()).fit(numbers())
    assert "feature_names_in_" not in vars(detector)
    assert detector.n_features_in_ == 4


@pytest.mark.parametrize("count", [2, 3, 4, 7, 18])
@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_few_rows_and_one_column_fit_with_a_warning(count, method):
    with pytest.warns(UserWarning, match=r"coarse.*nothing can be flagged at alpha = 0.05"):
        detector = quick(calibration=method).fit(numbers(count, 1))
    p = detector.p_values([[0.0], [500.0]])
    assert np.all((p > 0) & (p <= 1))
    assert p[1] == detector.calibration_.smallest_p


@pytest.mark.parametrize("method", ["auto", *METHODS])
def test_one_row_is_refused(method):
    with pytest.raises(ValueError, match="minimum of 2"):
        quick(calibration=method).fit(numbers(1, 3))


@pytest.mark.parametrize("method", METHODS)
def test_constant_columns_warn_and_still_tell_a_change(method):
    with pytest.warns(UserWarning, match="same anomaly score.*constant"):
        detector = quick(calibration=method).fit(np.ones((100, 2)))
    scores = detector.anomaly_score([[1.0, 1.0], [1.0, 1.5], [1.0, 1e9]])
    assert scores[0] < scores[1] < scores[2]


def test_a_constant_column_among_others_is_no_trouble():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick().fit(np.column_stack([numbers(), np.ones(120)]))


def test_rows_may_have_missing_cells():
    """What is missing as often as in the fit is normal, and the cells that are there still count."""
    rows = numbers(300)
    rows[::7, 1] = np.nan
    detector = quick(epochs=20).fit(rows)
    new = numbers(300, seed=1)
    new[::7, 1] = np.nan
    scores = detector.anomaly_score(new)
    assert (detector.p_values(new)[::7] <= 0.2).mean() == pytest.approx(0.2, abs=0.15)
    far = new.copy()
    far[::7, 0] = 9.0  # the columns that are there still tell
    assert (detector.anomaly_score(far)[::7] > scores[::7]).all()
    np.testing.assert_array_equal(detector.anomaly_score(far)[1::7], scores[1::7])


# -- a score depends on its row alone ------------------------------------------------------------------------


NEW = numbers(700, seed=3) * 2


def test_the_same_bits_on_a_second_call(fitted):
    np.testing.assert_array_equal(fitted.anomaly_score(NEW), fitted.anomaly_score(NEW))


@pytest.mark.parametrize("size", [1, 3, 255, 256, 257, 699])
def test_the_same_bits_in_any_batch(fitted, size):
    some = NEW if size > 3 else NEW[:60]
    parts = [fitted.anomaly_score(some[start : start + size]) for start in range(0, len(some), size)]
    np.testing.assert_array_equal(np.concatenate(parts), fitted.anomaly_score(some))


def test_the_same_bits_in_any_order(fitted):
    order = np.random.default_rng(0).permutation(len(NEW))
    np.testing.assert_array_equal(fitted.anomaly_score(NEW[order]), fitted.anomaly_score(NEW)[order])
    np.testing.assert_array_equal(fitted.p_values(NEW[order]), fitted.p_values(NEW)[order])


def test_the_same_bits_after_reload(fitted, tmp_path):
    upland.save(fitted, tmp_path / "model.safetensors")
    again = upland.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.anomaly_score(NEW), fitted.anomaly_score(NEW))


def threads_and_scores(detector):
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        yield detector.anomaly_score(NEW)
    torch.set_num_threads(before)


@pytest.mark.parametrize("hidden", [(16,), (1024, 1024)])
def test_nearly_the_same_on_another_number_of_threads(hidden):
    detector = quick(hidden=hidden, epochs=1).fit(numbers())
    one, two = threads_and_scores(detector)
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_two_fits_with_one_seed_are_equal_and_another_seed_is_not():
    one, two, other = (quick(random_state=seed).fit(numbers()).anomaly_score(NEW) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_random_state_object_is_a_seed_too():
    one, two = (quick(random_state=np.random.RandomState(4)).fit(numbers()) for _ in range(2))
    np.testing.assert_array_equal(one.anomaly_score(NEW), two.anomaly_score(NEW))


@pytest.mark.parametrize("method", METHODS)
def test_global_randomness_is_untouched(method):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    quick(calibration=method).fit(numbers()).anomaly_score(NEW)
    after = np.random.get_state(), torch.get_rng_state(), random.getstate()  # noqa: NPY002
    np.testing.assert_array_equal(before[0][1], after[0][1])
    assert before[0][2] == after[0][2]
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]


def test_the_users_rows_are_left_alone():
    rows, frame = numbers(), mixed()
    copies = rows.copy(), frame.copy()
    quick().fit(rows).anomaly_score(rows)
    quick().fit(frame).anomaly_score(frame)
    np.testing.assert_array_equal(rows, copies[0])
    pd.testing.assert_frame_equal(frame, copies[1])


# -- what it is good for -------------------------------------------------------------------------------------


def test_broken_rows_stand_out(pump):
    rows = mixed(200, seed=4)
    broken = rows.assign(pressure=rows["pressure"] + 15)
    assert np.mean(pump.anomaly_score(broken)[:, None] > pump.anomaly_score(rows)[None]) > 0.99
    assert pump.flag(broken).mean() > 0.95


def test_the_criterion_decides_the_score():
    scores = {name: normals.fitted(**with_criterion(name)).anomaly_score(NEW) for name in CRITERIA}
    assert not any(np.allclose(scores[a], scores[b]) for a, b in combinations(CRITERIA, 2))
    assert (scores["reconstruction"] >= 0).all()


def test_energies_are_in_nats_of_the_smoothed_density():
    """On a Gaussian the energy grows as 1/2 x^2 / (1 + sigma^2) in standard units."""
    rows = numbers(4000, 1)
    paper = {"noise": 0.5, "prior": "centre", "n_nets": 1, "criterion": "energy"}
    detector = quick(hidden=(64,), epochs=80, learning_rate=1e-2, **paper).fit(rows)
    x = np.linspace(-1.5, 1.5, 7)[:, None] * rows.std() + rows.mean()
    energy = detector.anomaly_score(x)
    expected = 0.5 * np.linspace(-1.5, 1.5, 7) ** 2 / (1 + 0.25)
    even = 0.5 * (energy + energy[::-1]) - energy[3]
    np.testing.assert_allclose(even, expected, atol=0.15)


def test_sliced_score_matching_trains():
    rows = numbers(1500, 3)
    detector = quick(objective="sliced", epochs=20).fit(rows)
    history = detector.history_[0]["validation"]
    assert min(history) < history[0]
    far = detector.anomaly_score(np.full((1, 3), 6.0))
    assert far > np.quantile(detector.anomaly_score(rows), 0.95)
