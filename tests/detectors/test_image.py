"""Energies of images: every promise made for tables, and where in an image a score comes from."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image

import normals
import upland
from laws import generator, standard_error
from normals import numbers, slopes
from upland.data.image import reader
from upland.data.image import rows as imagerows
from upland.data.image.rows import ImageRows
from upland.detectors.fitting import held_out_rows
from upland.models.convolutional import ConvolutionalEnergy
from upland.training.checkpoint import Checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


def small(**options):
    return normals.small(upland.ImageEnergyDetector, **options)


def folder_of(images, folder):
    """PNG files, named in the order of the images."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder


CASES = [("split", c) for c in ("auto", *("energy", "reconstruction"))] + [("cross", "auto")]


@pytest.fixture(params=CASES, ids="-".join)
def fitted(request):
    calibration, criterion = request.param
    return normals.fitted(upland.ImageEnergyDetector, calibration=calibration, criterion=criterion)


NEW = np.concatenate([slopes(20, seed=1), 255 - slopes(5, seed=2) // 2])


# -- images in -----------------------------------------------------------------------------------------------


def test_what_is_taken_for_images(tmp_path):
    grey, colour = slopes(6), slopes(6, channels=3)
    for X in (grey, colour, colour.transpose(0, 3, 1, 2), list(grey), grey > 120, folder_of(grey, tmp_path)):
        detector = small(epochs=1).fit(X)
        assert (detector.modality, detector.unit_) == ("image", "image")
        assert detector.n_samples_fit_ == 6
    assert small(epochs=1).fit(grey / 255.0).encoder_.shape == (1, 8, 7)


@pytest.fixture(scope="module")
def colour():
    X = slopes(channels=3)
    return X, small().fit(X).assess(X)


CONTAINERS = {
    "channels first": lambda X, folder: X.transpose(0, 3, 1, 2),
    "torch": lambda X, folder: torch.from_numpy(X),
    "list": lambda X, folder: list(X),
    "Pillow": lambda X, folder: [Image.fromarray(x) for x in X],
    "folder": lambda X, folder: folder_of(X, folder),
    "folder by text": lambda X, folder: str(folder_of(X, folder)),
    "paths": lambda X, folder: sorted(folder_of(X, folder).iterdir()),
    "npy": lambda X, folder: np.save(folder / "x.npy", X) or folder / "x.npy",
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_bits(container, colour, tmp_path):
    X, expected = colour
    same = CONTAINERS[container](X, tmp_path)
    np.testing.assert_array_equal(small().fit(same).assess(same), expected)


@pytest.mark.parametrize("shape", [(6, 6), (7, 5), (2, 9), (5, 2)])
def test_any_size(shape):
    X = slopes(20, *shape)
    new = slopes(20, *shape, seed=1)
    new[4] = np.random.default_rng(0).permutation(255 * (np.arange(new[4].size) % 2)).reshape(shape)
    assert small().fit(X).anomaly_score(new).argmax() == 4


def test_sizes_are_brought_to_one_where_that_is_asked():
    X = [*slopes(10), *slopes(10, 12, 10)]
    detector = small(epochs=1, size=(8, 7), mode="grey").fit(X)
    assert detector.anomaly_score(slopes(2, 20, 20, channels=3)).shape == (2,)
    assert detector.encoder_.shape == (1, 8, 7)


@pytest.mark.parametrize("count", [2, 5])
def test_few_images_are_enough(count):
    detector = small(epochs=1, calibration="auto").fit(slopes(count))
    assert detector.calibration_.size == count
    ranks = detector.p_values(NEW) * (count + 1)
    assert set(ranks.round(9)) <= set(range(1, count + 2))


def test_images_that_are_all_alike_still_tell_a_change():
    X = np.full((20, 6, 6), 90, np.uint8)
    with pytest.warns(UserWarning, match="same anomaly score"):
        detector = small().fit(X)
    X[1, 2:4, 2:4], X[2, 2:4, 2:4] = 100, 255
    scores = detector.anomaly_score(X[:3])
    assert scores[0] < min(scores[1:])


# -- a score depends on its image alone ----------------------------------------------------------------------


def test_the_same_bits_on_a_second_call(fitted):
    np.testing.assert_array_equal(fitted.assess(NEW), fitted.assess(NEW))
    assert fitted.unit_ == "image"


def test_nearly_the_same_in_any_batch_and_order(fitted):
    whole, order = fitted.anomaly_score(NEW), np.random.default_rng(0).permutation(len(NEW))
    alone = np.concatenate([fitted.anomaly_score(image[None]) for image in NEW])
    many = fitted.anomaly_score(np.concatenate([slopes(250, seed=4), NEW]))[250:]
    np.testing.assert_allclose(alone, whole, rtol=1e-7)
    np.testing.assert_allclose(many, whole, rtol=1e-7)
    np.testing.assert_allclose(fitted.anomaly_score(NEW[order]), whole[order], rtol=1e-7)
    assert len(np.unique(whole)) == len(NEW)


@pytest.mark.parametrize("at_once", [1, 8 * 7 * 3])
def test_nearly_the_same_piece_by_piece(fitted, at_once, monkeypatch):
    whole = fitted.anomaly_score(NEW)
    monkeypatch.setattr(reader, "PIXELS_AT_ONCE", at_once)
    np.testing.assert_allclose(fitted.anomaly_score(NEW), whole, rtol=1e-7)


def test_two_fits_with_one_seed_are_equal_and_another_seed_is_not():
    one, two, other = (small(random_state=seed).fit(slopes()).anomaly_score(NEW) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_users_images_and_global_randomness_are_left_alone():
    X = slopes()
    copied, before = X.copy(), torch.get_rng_state()
    upland.explain(small().fit(X), X)
    np.testing.assert_array_equal(X, copied)
    assert torch.equal(torch.get_rng_state(), before)


# -- persistence and checkpoints -----------------------------------------------------------------------------


def own(shape):
    return ConvolutionalEnergy(shape, (3,), 3, hidden=(4,), generator=generator())


SAVED = {
    "split": lambda: (small(), slopes(), None),
    "cross": lambda: (small(calibration="cross", contamination=0.2), slopes(10), None),
    "energy": lambda: (small(criterion="energy"), slopes(), None),
    "colour, sized": lambda: (small(size=(5, 6), mode="grey"), slopes(channels=3), None),
    "floats": lambda: (small(), slopes() / 255.0, None),
    "own": lambda: (small(model=own), slopes(), own),
}


@pytest.mark.parametrize("case", SAVED)
def test_the_same_bits_after_reload(case, tmp_path):
    detector, X, model = SAVED[case]()
    upland.save(detector.fit(X), tmp_path / "m")
    again = upland.load(tmp_path / "m", model=model)
    for method in ("anomaly_score", "p_values", "decision_function", "predict"):
        np.testing.assert_array_equal(getattr(again, method)(X), getattr(detector, method)(X))
    np.testing.assert_array_equal(upland.explain(again, X).shares, upland.explain(detector, X).shares)
    assert json.loads(json.dumps(again.info(), allow_nan=False)) == detector.info()


@pytest.mark.parametrize("criterion", ["reconstruction", "energy"])
@pytest.mark.parametrize("noise", [0.4, 2.5])
def test_centres_are_as_wide_as_the_noise_before_and_after_a_reload(noise, criterion, tmp_path):
    detector = small(noise=noise, n_centres=6, criterion=criterion).fit(slopes())
    assert {model.spread for model in detector.models_} == {noise}
    upland.save(detector, tmp_path / "m")
    again = upland.load(tmp_path / "m")
    assert {model.spread for model in again.models_} == {noise}
    np.testing.assert_array_equal(again.assess(NEW), detector.assess(NEW))


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("beyond_memory", [False, True])
@pytest.mark.parametrize("calibration", ["split", "cross"])
def test_a_fit_that_is_cut_off_at_every_check_ends_as_one_that_is_not(
    calibration, beyond_memory, tmp_path, monkeypatch
):
    if beyond_memory:
        monkeypatch.setattr(imagerows, "BYTES_IN_MEMORY", 1_000)
    X = folder_of(slopes(20), tmp_path / "normal")
    assert ImageRows(X).in_memory is not beyond_memory
    detector = small(calibration=calibration, batch_size=8)
    expected, save = copy.copy(detector).fit(X), Checkpoint.save

    def save_and_cut(self, number, training):
        save(self, number, training)
        raise PowerCut

    monkeypatch.setattr(Checkpoint, "save", save_and_cut)
    cuts = 0
    while "members_" not in vars(detector):
        try:
            detector.fit(X, checkpoint=tmp_path / "c")
        except PowerCut:
            cuts += 1
            assert cuts < 60, "the fit made no progress"
    assert cuts > 1
    np.testing.assert_array_equal(detector.assess(NEW), expected.assess(NEW))


def test_a_checkpoint_of_other_images_is_refused(tmp_path):
    X = slopes()
    small().fit(X, checkpoint=tmp_path / "c")
    X[3, 2, 2] += 1
    with pytest.raises(ValueError, match=r"the checkpoint of another fit .other values"):
        small().fit(X, checkpoint=tmp_path / "c")


# -- what calibrates has been seen by no one -----------------------------------------------------------------


@pytest.mark.parametrize("bytes_in_memory", [10**9, 1_000])
def test_held_out_images_changed_beyond_recognition_leave_the_member_as_it_was(
    bytes_in_memory, tmp_path, monkeypatch
):
    monkeypatch.setattr(imagerows, "BYTES_IN_MEMORY", bytes_in_memory)
    X = slopes()
    one = small().fit(folder_of(X, tmp_path / "one"))
    (held,) = held_out_rows(len(X), "split", one.plan_.stream("folds"))
    X[held] = 255 - X[held] // 3
    two = small().fit(folder_of(X, tmp_path / "two"))
    assert one.calibration_.size == len(held)
    assert not np.isin(one.calibration_.scores, two.calibration_.scores).any()
    for name, value in one.models_[0].state_dict().items():
        assert torch.equal(value, two.models_[0].state_dict()[name]), name
    assert one.encoder_.to_state()[0] == two.encoder_.to_state()[0]
    assert torch.equal(one.members_[0].standard, two.members_[0].standard)


@pytest.fixture(scope="module")
def redraws():
    """p-values of new normal images over redraws of everything."""
    found = []
    for seed in range(40):
        X = slopes(65, 4, 4, seed=seed)
        detector = small(epochs=1, noise=0.5, random_state=seed, model=own).fit(X[:25])
        found.append(detector.p_values(X[25:]))
    return np.array(found)


@pytest.mark.parametrize("alpha", [1 / 6, 1 / 3, 0.5])
def test_false_alarms_are_as_promised(redraws, alpha):
    share = (redraws <= alpha + 1e-9).mean(axis=1)
    assert abs(share.mean() - alpha) <= 3 * standard_error(share)


# -- thresholds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contamination", ["auto", 0.2])
def test_scikit_learns_methods_agree_with_the_offset(contamination):
    X = slopes(100)
    detector = small(contamination=contamination).fit(X)
    scores = detector.score_samples(NEW)
    np.testing.assert_array_equal(scores, -detector.anomaly_score(NEW))
    np.testing.assert_array_equal(detector.decision_function(NEW), scores - detector.offset_)
    np.testing.assert_array_equal(detector.predict(NEW) == -1, scores < detector.offset_)
    if contamination == "auto":
        np.testing.assert_array_equal(detector.predict(NEW) == -1, detector.flag(NEW))
    else:
        assert (detector.predict(X) == -1).mean() == pytest.approx(0.2, abs=0.01)


def test_calibrate_takes_the_place_of_the_held_out_images(tmp_path):
    detector, fresh = small(calibration="cross").fit(slopes(20)), slopes(30, seed=7)
    before = detector.anomaly_score(NEW)
    detector.calibrate(folder_of(fresh, tmp_path))
    assert detector.calibration_.method == "split"
    np.testing.assert_array_equal(detector.anomaly_score(NEW), before)
    np.testing.assert_array_equal(
        detector.p_values(NEW), upland.conformal_p_values(detector.anomaly_score(fresh), before)
    )


# -- refusals ------------------------------------------------------------------------------------------------

REFUSED = {
    "criterion": ({"criterion": "score_test"}, slopes(), "criterion must be 'auto' or one of"),
    "one image": ({}, slopes(1), "only 1 image"),
    "a table": ({}, numbers(), "reads images, but X holds a table: use EnergyDetector"),
    "two sizes": (
        {},
        [*slopes(3), *slopes(2, 9, 9)],
        "several sizes: image 0 is 8 x 7, image 3 is 9 x 9",
    ),
    "size": ({"size": (0, 4)}, slopes(), "size"),
    "mode": ({"mode": "cmyk"}, slopes(), "mode"),
    "NaN": ({}, np.full((5, 6, 6), np.nan), "image 0 has pixels that are NaN"),
    "no weights": ({"model": torch.nn.Flatten()}, slopes(), "no weights that can be trained: Flatten"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused_by_name_before_training(case, monkeypatch):
    options, X, words = REFUSED[case]
    monkeypatch.setattr("upland.training.loop.Training.run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises((ValueError, TypeError), match=words):
        small(**options).fit(X)


def test_an_empty_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=str(tmp_path)):
        small().fit(tmp_path)


def test_a_file_that_is_no_image_is_refused_by_name(tmp_path):
    folder_of(slopes(), tmp_path)
    (tmp_path / "017.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"017\.png"):
        small().fit(tmp_path)


REFUSED_NEW = {
    "size": (slopes(3, 9, 9), "image 0 is of 9 x 9 pixels, where the fit had 8 x 7"),
    "depth": (slopes(3) / 255.0, "of float64 pixels, where the fit had uint8"),
    "16 bits": (slopes(3).astype(np.uint16), "of uint16 pixels, where the fit had uint8"),
    "colour": (slopes(3, channels=3), "has 3 channels, where the fit had 1"),
    "none": (slopes(3)[:0], "no images"),
    "a table": (numbers(), "image|shape|dimension"),
    "no such folder": ("/no/such/folder", "no such file or folder"),
}


@pytest.mark.parametrize("case", REFUSED_NEW)
def test_new_images_of_another_kind_are_refused_by_name(case, fitted):
    X, words = REFUSED_NEW[case]
    for method in (fitted.anomaly_score, fitted.p_values, lambda X: upland.explain(fitted, X)):
        with pytest.raises((ValueError, TypeError, OSError), match=words):
            method(X)


# -- where a score comes from --------------------------------------------------------------------------------


@pytest.mark.parametrize("calibration", ["split", "cross"])
@pytest.mark.parametrize("channels", [1, 3])
def test_shares_of_pixels_sum_to_the_reconstruction_score(channels, calibration):
    X, new = slopes(20, channels=channels), slopes(5, channels=channels, seed=1)
    detector = small(criterion="reconstruction", calibration=calibration).fit(X)
    found = upland.explain(detector, new)
    assert found.shares.shape == (5, 8, 7, channels)
    assert (found.shares >= 0).all()
    np.testing.assert_allclose(found.shares.sum(axis=(1, 2, 3)), detector.anomaly_score(new), rtol=1e-7)
    np.testing.assert_array_equal(found.heat(), found.shares.sum(axis=3))
    np.testing.assert_array_equal(found.values, new.reshape(found.values.shape))
    assert found.expected.dtype == np.uint8
    assert found.expected.shape == found.values.shape


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 2), (6, 5)])
def test_a_planted_patch_is_where_the_heat_is(row, column):
    noise = np.random.default_rng(0).normal(0, 5, (106, 8, 7))
    X = (slopes(1) + noise).clip(0, 255).astype(np.uint8)
    detector, new = small(epochs=60, learning_rate=1e-2).fit(X[:100]), X[100:]
    new[2, row : row + 2, column : column + 2] = 255
    found = upland.explain(detector, new)
    reasons = found.top(4)[2]
    planted = {f"row {row + i}, column {column + j}" for i in (0, 1) for j in (0, 1)}
    assert {reason.column for reason in reasons} == planted
    assert [reason.share for reason in reasons] == sorted((r.share for r in reasons), reverse=True)
    assert reasons[0].value == 255 > reasons[0].expected
    patch = found.heat()[2, row : row + 2, column : column + 2]
    assert patch.sum() > 0.5 * found.heat()[2].sum()
    assert found.heat().sum(axis=(1, 2)).argmax() == 2
