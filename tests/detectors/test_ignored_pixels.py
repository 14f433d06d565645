"""Detectors of images with pixels that are left out: nothing they say depends on them."""

import copy
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import normals
import upland
from normals import slopes
from upland.catalogue import DETECTORS, criteria_of
from upland.io.modelfile import TensorFileError, read_tensors, write_tensors

MASK = np.zeros((8, 7), dtype=bool)
MASK[2:5, 1:4], MASK[7, 6] = True, True
MADE = {
    entry.home.split(":")[1]: getattr(upland, entry.home.split(":")[1])
    for (_, modality), entry in DETECTORS.items()
    if modality == "image"
}
CRITERIA = [
    (name, criterion)
    for name, made in MADE.items()
    for criterion in criteria_of(made.family, "image")
    if criterion != "experts"  # of features: test_ignored_with_features
]
pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")
estimators = pytest.mark.parametrize("name", MADE)


def with_others(X, seed=9):
    """The same images with other pixels where the mask is."""
    other = X.copy()
    other[:, MASK] = np.random.default_rng(seed).integers(0, 256, other[:, MASK].shape, dtype=np.uint8)
    return other


@pytest.fixture(scope="module")
def ready():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: normals.small(made, ignore=MASK).fit(slopes(40)) for name, made in MADE.items()}


@pytest.fixture
def fitted(ready):
    return copy.deepcopy(ready)


NEW = slopes(12, seed=1)
GROUPS = np.arange(12) % 2


@pytest.mark.parametrize(("name", "criterion"), CRITERIA)
def test_scores_shares_and_verdicts_do_not_depend_on_ignored_pixels(name, criterion, fitted):
    detector, other = fitted[name].set_params(criterion=criterion), with_others(NEW)
    np.testing.assert_array_equal(detector.anomaly_score(NEW), detector.anomaly_score(other))
    one, two = upland.explain(detector, NEW), upland.explain(detector, other)
    np.testing.assert_array_equal(one.shares, two.shares)
    np.testing.assert_array_equal(one.expected[:, ~MASK], two.expected[:, ~MASK])
    np.testing.assert_array_equal(two.expected[:, MASK], other[:, MASK][..., None])
    assert not one.heat()[:, MASK].any()


@estimators
def test_groups_and_fits_do_not_depend_on_them(name, fitted):
    detector, other = fitted[name], with_others(NEW)
    verdicts = [detector.score_groups(X, GROUPS, reasons=False) for X in (NEW, other)]
    np.testing.assert_array_equal(verdicts[0].statistic, verdicts[1].statistic)
    again = clone(detector).fit(with_others(slopes(40)))
    np.testing.assert_array_equal(again.anomaly_score(NEW), detector.anomaly_score(NEW))
    np.testing.assert_array_equal(again.calibration_.scores, detector.calibration_.scores)


@pytest.mark.parametrize("name", ["ImageEnergyDetector", "ImageVAEDetector"])
def test_shares_still_sum_to_nearly_the_score(name, fitted):
    detector = fitted[name].set_params(criterion="reconstruction")
    sums = upland.explain(detector, NEW).shares.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, detector.anomaly_score(NEW), rtol=0.1)
    assert (sums <= detector.anomaly_score(NEW) * (1 + 1e-9)).all()


def test_what_is_wrong_elsewhere_is_still_found():
    """And what is wrong under the mask is not, though without it that would be."""
    shown, hidden = NEW.copy(), NEW.copy()
    shown[0, 5:7, 4:6], hidden[1, 2:5, 1:4] = 255, 255
    made = {
        mask is None: normals.small(upland.ImageEnergyDetector, epochs=20, ignore=mask)
        for mask in (None, MASK)
    }
    whole, masked = (made[key].fit(slopes(60)) for key in (True, False))
    assert masked.anomaly_score(shown).argmax() == 0
    assert whole.anomaly_score(hidden).argmax() == 1
    np.testing.assert_array_equal(masked.anomaly_score(hidden), masked.anomaly_score(NEW))


@estimators
def test_a_file_brings_them_back(name, fitted, tmp_path):
    detector = fitted[name]
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    assert again.plan_ == detector.plan_
    np.testing.assert_array_equal(again.get_params()["ignore"], MASK)
    np.testing.assert_array_equal(again.anomaly_score(with_others(NEW)), detector.anomaly_score(NEW))
    upland.save(again, tmp_path / "n")
    assert (tmp_path / "n").read_bytes() == (tmp_path / "m").read_bytes()
    refitted = clone(again).fit(slopes(40))
    assert refitted.plan_.reader == detector.plan_.reader
    assert detector.info()["settings"]["ignore"].startswith("bool (8, 7), SHA-256 ")
    assert again.info()["columns"][0]["kind"] == "uint8, 8 x 7, 10 pixels ignored"


def forged(what, tensors, manifest):
    tensors = dict(tensors)
    if what == "no mask":
        del tensors["0/encoder/ignored"]
    elif what == "another mask":
        tensors["0/encoder/ignored"] = ~tensors["0/encoder/ignored"]
    elif what == "another digest":
        manifest["plan"]["reader"]["ignored"] = "bool (8, 7), SHA-256 00"
    elif what == "no digest":
        del manifest["plan"]["reader"]["ignored"]
    elif what == "a mask in the plan":
        manifest["plan"]["reader"]["mask"] = [[True]]
    elif what == "an argument":
        manifest["arguments"]["ignore"] = [[True]]
    manifest["tensors"] = {k: [v.dtype.name, list(v.shape)] for k, v in tensors.items()}
    return tensors, manifest


@pytest.mark.parametrize(
    "what", ["no mask", "another mask", "another digest", "no digest", "a mask in the plan", "an argument"]
)
def test_a_file_that_contradicts_itself_is_refused(what, fitted, tmp_path):
    upland.save(fitted["ImageEnergyDetector"], tmp_path / "m")
    tensors, manifest = forged(what, *read_tensors(tmp_path / "m"))
    write_tensors(tmp_path / "m", tensors, manifest)
    with pytest.raises(TensorFileError, match="ValueError: "):
        upland.load(tmp_path / "m")


def test_members_ignore_the_same_pixels(tmp_path):
    detector = normals.small(upland.ImageEnergyDetector, ignore=MASK, calibration="cross").fit(slopes(30))
    upland.save(detector, tmp_path / "m")
    assert upland.load(tmp_path / "m").encoder_.ignored.sum() == MASK.sum()
    tensors, manifest = read_tensors(tmp_path / "m")
    tensors["3/encoder/ignored"] = ~tensors["3/encoder/ignored"]
    write_tensors(tmp_path / "m", tensors, manifest)
    with pytest.raises(TensorFileError, match="the members are of other columns than each other"):
        upland.load(tmp_path / "m")


def test_a_checkpoint_is_of_the_mask_not_of_its_name(tmp_path):
    np.save(tmp_path / "mask.npy", MASK)
    detector = normals.small(upland.ImageEnergyDetector, ignore=tmp_path / "mask.npy")
    detector.fit(slopes(30), checkpoint=tmp_path / "c")
    clone(detector).set_params(ignore=MASK).fit(slopes(30), checkpoint=tmp_path / "c")
    np.save(tmp_path / "mask.npy", ~MASK)
    with pytest.raises(ValueError, match=r"checkpoint of another fit \(other ignore\)"):
        clone(detector).fit(slopes(30), checkpoint=tmp_path / "c")


@estimators
@pytest.mark.parametrize(
    "ignore", [np.ones((8, 7), dtype=bool), np.zeros(3, dtype=bool), 5, MASK.T, MASK * 1]
)
def test_a_wrong_mask_is_refused_by_name(name, ignore):
    with pytest.raises((ValueError, TypeError), match=r"^ignore (must|leaves|is)"):
        normals.small(MADE[name], ignore=ignore).fit(slopes(20))


def test_the_report_says_how_many_pixels_are_ignored(fitted, tmp_path):
    page = upland.report(fitted["ImageEnergyDetector"], with_others(NEW))
    page.save(tmp_path / "report.html")
    assert "10 pixels ignored" in (tmp_path / "report.html").read_text(encoding="utf-8")
