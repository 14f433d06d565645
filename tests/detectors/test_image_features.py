"""Detectors of images by features: which are chosen, what is refused, and every promise with both of them."""

import copy
import json
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.base import clone
from sklearn.datasets import load_digits

import upland
from featured import NAMES, NEEDS_WEIGHTS, detector, photographs
from laws import standard_error
from normals import slopes
from upland.data.image.container import as_images
from upland.data.image.photographs import suitable_features
from upland.detectors.image import NETS_ONLY
from upland.scoring.regions import regions

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
sources = pytest.mark.parametrize("name", NAMES)
NEW = np.concatenate([photographs(5, seed=1), 255 - photographs(2, seed=2)])


@cache
def fitted(name, calibration="split"):
    X = photographs(14) if calibration == "split" else photographs(5)
    return detector(name, calibration=calibration).fit(X)


# -- which features, and which energy ------------------------------------------------------------------------


def test_by_default_images_that_are_no_photographs_have_the_features_of_pixels():
    found = detector("auto").fit(slopes(12))
    assert (found.plan_.reader.features, found.criterion_) == ("pixels", "experts")
    assert clone(found).features == "auto"


def test_photographs_have_those_that_suit_them():
    X = photographs(6)
    found = detector("auto").fit(X)
    assert found.plan_.reader.features == suitable_features(as_images(X))
    assert found.criterion_ == "experts"


OTHERS = {
    "hidden": (4,),
    "filters": (2,),
    "kernel_size": 3,
    "pool": "max",
    "n_centres": 4,
    "noise": 0.5,
    "objective": "sliced",
    "model": torch.nn.Flatten(),
    "epochs": 1,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "patience": 2,
}


def test_every_argument_of_the_deep_energy_is_tried():
    assert set(OTHERS) == set(NETS_ONLY)


@pytest.mark.parametrize("argument", OTHERS)
@pytest.mark.parametrize("features", [{"energy": "experts"}, {"features": "pixels"}])
def test_an_argument_of_the_deep_energy_contradicts_experts(argument, features):
    (other,) = features
    options = {"features": "auto", argument: OTHERS[argument]} | features
    with pytest.raises((ValueError, TypeError)) as caught:
        detector(**options).fit(slopes(12))
    assert argument in str(caught.value)
    assert other in str(caught.value)


def test_features_contradict_the_deep_energy_by_name():
    with pytest.raises((ValueError, TypeError)) as caught:
        detector("pixels", energy="dsebm").fit(slopes(12))
    assert "features" in str(caught.value)
    assert "energy" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"epochs": 1}, {"energy": "dsebm", "epochs": 1}, {"hidden": (4,), "epochs": 1}]
)
def test_an_argument_of_the_deep_energy_selects_it(options):
    found = detector("auto", **options).fit(slopes(12))
    assert found.plan_.architecture.name != "product of experts of images"
    assert found.plan_.reader.features is None
    assert found.criterion_ == "reconstruction"


@pytest.mark.parametrize(("argument", "value"), [
    ("features", "resnet"), ("features", 3), ("energy", "deep"), ("energy", "multiscale"), ("energy", None),
])  # fmt: skip
def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(argument, value):
    options = {"features": "auto"} | {argument: value}
    with pytest.raises((ValueError, TypeError), match=argument) as caught:
        detector(**options).fit(slopes(12))
    assert ("pixels" if argument == "features" else "dsebm") in str(caught.value)


def test_weights_that_are_not_installed_are_asked_for_before_images_are_read(monkeypatch):
    monkeypatch.setattr("upland.data.image.weights._path", lambda: None)
    with pytest.raises(ImportError, match=r"upland\[backbone\]"):
        detector("efficientnet-lite0").fit(photographs(4))
    with pytest.warns(UserWarning, match=r"images are photographs.*upland\[backbone\]"):
        assert detector("auto").fit(photographs(4)).plan_.reader.features == "pixels"


# -- a score depends on its image alone ----------------------------------------------------------------------


@sources
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_the_same_numbers_on_a_second_call_in_any_batch_and_order(name, calibration):
    made = fitted(name, calibration)
    whole = made.anomaly_score(NEW)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(made.anomaly_score(NEW), whole)
    np.testing.assert_allclose(made.anomaly_score(NEW[::-1])[::-1], whole, rtol=1e-7)
    np.testing.assert_allclose(made.anomaly_score(NEW[3:4]), whole[3:4], rtol=1e-7)
    assert len(np.unique(whole)) == len(NEW)
    assert made.calibration_.method == calibration
    ranks = made.p_values(NEW) * (made.calibration_.size + 1)
    np.testing.assert_allclose(ranks, ranks.round(), atol=1e-9)


@sources
def test_two_fits_with_one_seed_are_equal_bit_for_bit_and_leave_the_programs_randomness(name):
    before = torch.get_rng_state()
    again = detector(name).fit(photographs(14))
    np.testing.assert_array_equal(again.assess(NEW), fitted(name).assess(NEW))
    assert torch.equal(torch.get_rng_state(), before)


@sources
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_the_same_bits_after_reload(name, calibration, tmp_path):
    made = fitted(name, calibration)
    upland.save(made, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    assert again.plan_ == made.plan_
    np.testing.assert_array_equal(again.assess(NEW), made.assess(NEW))
    np.testing.assert_array_equal(upland.explain(again, NEW).shares, upland.explain(made, NEW).shares)
    assert json.loads(json.dumps(again.info(), allow_nan=False)) == made.info()
    upland.save(again, tmp_path / "n")
    assert (tmp_path / "n").read_bytes() == (tmp_path / "m").read_bytes()


@NEEDS_WEIGHTS
def test_a_model_of_a_network_says_what_it_needs_where_that_is_not_installed(tmp_path, monkeypatch):
    upland.save(fitted("efficientnet-lite0"), tmp_path / "m")
    monkeypatch.setattr("upland.data.image.weights._path", lambda: None)
    with pytest.raises((ImportError, ValueError), match=r"upland\[backbone\]"):
        upland.load(tmp_path / "m")


# -- what calibrates -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redraws():
    """p-values of new normal images over redraws of everything."""
    found = []
    for seed in range(30):
        X = slopes(65, 4, 4, seed=seed)
        made = detector("pixels", random_state=seed, keep_rows=0).fit(X[:25])
        found.append(made.p_values(X[25:]))
    return np.array(found)


@pytest.mark.parametrize("alpha", [1 / 6, 1 / 3, 0.5])
def test_false_alarms_are_as_promised(redraws, alpha):
    share = (redraws <= alpha + 1e-9).mean(axis=1)
    assert abs(share.mean() - alpha) <= 3 * standard_error(share)


def test_groups_of_normal_images_are_called_anomalous_as_seldom_as_promised():
    """100 groups of five unseen digits, 50 of each of two fits; and groups of others are found."""
    digits, alpha, hits = load_digits().images.astype(np.uint8), 0.05, 0
    groups = np.repeat(np.arange(50), 5)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(digits))
        made = detector("pixels", random_state=seed, keep_rows=100).fit(digits[order[:120]])
        verdicts = made.score_groups(digits[order[200:450]], groups, reasons=False)
        hits += int((np.asarray(verdicts.p_value) <= alpha).sum())
    assert hits <= binom.ppf(0.999, 100, alpha)
    others = made.score_groups(16 - digits[order[200:225]], groups[:25], reasons=False)
    assert (np.asarray(others.p_value) <= alpha).all()


@NEEDS_WEIGHTS
@pytest.mark.filterwarnings("ignore:among 2 groups")
def test_groups_of_photographs_have_verdicts():
    made = fitted("efficientnet-lite0")
    verdicts = made.score_groups(NEW, [0, 0, 0, 1, 1, 1, 1])
    assert np.isfinite(np.asarray(verdicts.p_value)).all()


# -- where a score comes from --------------------------------------------------------------------------------


@sources
@pytest.mark.filterwarnings("ignore:among 2 groups")
def test_a_new_calibration_keeps_what_groups_and_files_need(name, tmp_path):
    made = copy.deepcopy(fitted(name)).calibrate(photographs(12, seed=4))
    assert made.members_[0].held_out.shape == (12, made.encoder_.layout.of_vectors)
    found = made.score_groups(NEW, np.repeat([0, 1], [5, 2]))
    upland.save(made, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    np.testing.assert_array_equal(again.assess(NEW), made.assess(NEW))
    kept = again.score_groups(NEW, np.repeat([0, 1], [5, 2]))
    np.testing.assert_array_equal(kept.p_value, found.p_value)


def test_a_part_that_is_hotter_than_all_normal_images_is_seen():
    """Floats beyond those of the fit, where each normal image has its highest values: nothing clips them."""
    warm = np.random.default_rng(0).normal(305, 0.5, (24, 32, 32))
    warm[:, :4, :4] = 310.0
    hot = warm[-4:].copy()
    hot[:, :4, :4] += 100.0
    made = detector("auto").fit(warm)
    assert made.plan_.reader.features == "pixels"
    assert (made.anomaly_score(hot) > 2 * made.anomaly_score(warm).max()).all()


@sources
def test_floats_beyond_those_of_the_fit_are_not_cut_off(name):
    photos = photographs(14)[..., 0] / 1000.0
    made = detector(name).fit(photos + 300)
    beyond = [made.encoder_.transform(NEW[:1, ..., 0] / 1000.0 * factor + 300) for factor in (2.0, 3.0)]
    assert not np.array_equal(*beyond)


@pytest.mark.parametrize("count", [3, 5])
@sources
def test_scores_of_few_images_are_finite_and_of_a_size_that_can_be_read(name, count):
    made = detector(name, calibration="cross").fit(photographs(count))
    assert (made.anomaly_score(np.concatenate([photographs(count), NEW])) < 1e4).all()


@sources
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_shares_of_pixels_sum_to_the_score(name, calibration):
    made = fitted(name, calibration)
    found = upland.explain(made, NEW)
    assert found.shares.shape == NEW.shape
    assert (found.shares >= 0).all()
    np.testing.assert_allclose(found.shares.sum(axis=(1, 2, 3)), made.anomaly_score(NEW), rtol=1e-6)
    np.testing.assert_array_equal(found.values, NEW)
    assert (found.expected is None) is (name != "pixels")
    if found.expected is not None:
        assert (found.expected.shape, found.expected.dtype) == (NEW.shape, NEW.dtype)
    for reasons in (found.top(2), regions(found, 2)):
        assert len(reasons) == len(NEW)
        assert (reasons[0][0].expected is None) is (name != "pixels")


@sources
def test_what_is_wrong_in_one_part_is_shown_there(name):
    """Of a part that is photographed again and again."""
    rng = np.random.default_rng(0)
    normal = np.clip(photographs(1, 48).astype(int) + rng.normal(0, 4, (21, 48, 48, 3)), 0, 255).astype(
        np.uint8
    )
    made, new = detector(name).fit(normal[:20]), normal[20:].repeat(2, axis=0)
    new[1, 8:20, 28:40] = rng.integers(0, 256, (12, 12, 3))
    scores, heat = made.anomaly_score(new), upland.explain(made, new).heat()[1]
    assert scores[1] > 1.5 * scores[0]
    y, x = np.unravel_index(int(heat.argmax()), heat.shape)
    assert 4 <= y < 24
    assert 24 <= x < 44
