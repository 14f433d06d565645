"""Flows of features of images: a fit, its criteria, groups and their rates, files, refusals."""

import json

import numpy as np
import pytest
import torch

import upland
from toys.tiny_features import TINY
from upland.catalogue import FEATURES
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.image.features import VectorsAlone
from upland.detectors.image_gaussian import GaussianOfFeatures
from upland.detectors.shapes import check_shapes
from upland.groups.auto import are_reduced, default_components
from upland.groups.likelihood import Likelihood
from upland.groups.mmd import MeanDiscrepancy
from upland.io.modelfile import read_tensors, write_tensors
from upland.models.feature_gaussian import FeatureGaussian

QUICK = {"features": TINY, "random_state": 0, "progress": False}


@pytest.fixture(scope="module", autouse=True)
def tiny_is_known():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FEATURES, TINY, "toys.tiny_features:tiny")
        yield


def pictures(count, seed=0, stripes=False):
    """Colour pictures `(count, 40, 40, 3)` of smooth waves, or of stripes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40] / 40
    phase, slope = rng.uniform(0, 6, (count, 3, 1, 1)), rng.normal(0, 1, (count, 1, 1, 1))
    waves = np.sin(phase + 3 * x + slope * y * (10 if stripes else 1)) + (np.sin(60 * x) if stripes else 0)
    found = 128 + 50 * waves + rng.normal(0, 5, waves.shape)
    return np.rint(found).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def made(**options):
    return upland.ImageFlowDetector(**QUICK | {"calibration": "split"} | options)


@pytest.fixture(scope="module")
def fitted():
    return made().fit(pictures(600))


# -- a fit ---------------------------------------------------------------------------------------------------


def test_it_is_a_gaussian_of_unit_vectors_without_a_map(fitted):
    (member,) = fitted.members_
    assert isinstance(member.model, FeatureGaussian)
    assert member.architecture == GaussianOfFeatures(64)
    assert isinstance(member.encoder.source, VectorsAlone)
    codes = member.encoder.transform(pictures(5, 1))
    assert codes.shape == (5, 14)
    for part in (codes[:, :6], codes[:, 6:]):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1, rtol=1e-6)
    scores = fitted.anomaly_score(pictures(5, 1))
    np.testing.assert_allclose(scores, -member.model.log_prob(torch.from_numpy(codes)), rtol=1e-6, atol=1e-4)


def test_other_pictures_are_flagged_and_normal_ones_seldom(fitted):
    assert fitted.flag(pictures(100, 1, stripes=True)).mean() > 0.5
    assert fitted.flag(pictures(200, 2)).mean() < 0.12


def test_a_tenth_of_the_images_is_left_out_for_statistics(fitted):
    (member,) = fitted.members_
    assert len(member.standard) == 48
    assert len(member.training_rows) == 432
    assert len(member.held_out) == 120
    known = {row.tobytes() for row in member.training_rows.numpy()}
    for others in (member.standard, member.held_out):
        assert not known & {row.tobytes() for row in others.numpy()}


def test_two_fits_are_equal_and_cross_calibration_has_five_members():
    normal, new = pictures(60), pictures(5, 1)
    one, two = (made(calibration="cross").fit(normal) for _ in range(2))
    assert len(one.members_) == 5
    assert np.array_equal(one.anomaly_score(new), two.anomaly_score(new))
    assert np.array_equal(one.p_values(new), two.p_values(new))


def test_its_criteria_are_those_of_a_density_and_of_latents(fitted):
    assert fitted.criterion_ == "likelihood"
    assert set(fitted.offered_.homes) == {"likelihood", "typicality", "divergence"}
    for criterion in fitted.offered_.homes:
        detector = made(criterion=criterion).fit(pictures(300))
        scores = [detector.anomaly_score(pictures(50, 1, stripes)) for stripes in (False, True)]
        assert np.median(scores[1]) > np.quantile(scores[0], 0.9), criterion
    for criterion in ("complexity", "divergence_complexity", "experts"):
        with pytest.raises(ValueError, match="criterion must be 'auto' or one of"):
            made(criterion=criterion).fit(pictures(30))


def test_glow_keeps_its_criteria():
    detector = upland.ImageFlowDetector(depth=1, filters=2, levels=1, epochs=8, random_state=0)
    detector.fit(pictures(100)[:, :8, :8])
    assert detector.criterion_ == "divergence_complexity"
    assert "complexity" in detector.offered_.homes
    assert detector.plan_.reader.features is None


def test_shares_have_no_place_and_are_even_over_the_image(fitted):
    found = upland.explain(fitted, pictures(3, 1, stripes=True))
    assert found.shares.shape == (3, 40, 40, 3)
    assert (found.shares > 0).all()
    even = found.shares.mean(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found.shares / even, np.ones(found.shares.shape), rtol=1e-9)
    assert found.expected is None


# -- groups --------------------------------------------------------------------------------------------------


def test_groups_of_other_pictures_of_a_mixture_and_of_copies_are_flagged(fitted):
    groups = np.repeat(np.arange(6), 5)
    other, normal = pictures(30, 3, stripes=True), pictures(30, 4)
    mixed = normal.copy()
    mixed[np.arange(30) % 5 < 3] = other[np.arange(30) % 5 < 3]
    copies = np.repeat(pictures(2, 5), 15, axis=0)
    for X in (other, mixed):
        assert fitted.score_groups(X, groups, control="false_alarm").flag.mean() > 0.8
    assert fitted.score_groups(copies, np.repeat([0, 1], 15), control="false_alarm").flag.all()


@pytest.fixture(scope="module")
def fits():
    """Eight detectors of fresh images, and new images for each."""
    return [
        (made(random_state=seed).fit(pictures(500, 100 + seed)), pictures(200, 200 + seed))
        for seed in range(8)
    ]


@pytest.mark.parametrize("statistic", ["auto", "likelihood", "divergence"])
def test_normal_groups_are_rejected_at_the_rate_that_is_kept(fits, statistic):
    """Over 8 fits with fresh images, 40 groups each of 1 and of 5 images: 5 % +- 4 standard errors."""
    rejected = []
    for detector, new in fits:
        for labels in (np.arange(40), np.repeat(np.arange(40), 5)):
            found = detector.score_groups(
                new[: len(labels)], labels, control="false_alarm", statistic=statistic, reasons=False
            )
            rejected.append(found.flag.mean())
    assert np.mean(rejected) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / (40 * len(rejected)))


def test_auto_is_the_likelihood_and_the_mean_discrepancy(fitted):
    reference = fitted.members_[0].reference
    outputs = reference.outputs(reference.reference_rows())
    assert not are_reduced(outputs)  # eight of 14 numbers would be: these latents are as many as the numbers
    few = FeatureGaussian(fitted.encoder_.layout, 3).eval()
    few.init_from_data(reference.reference_rows())
    reduced = outputs._replace(levels=few.latents(outputs.points))
    assert are_reduced(reduced)
    assert [type(part) for part in default_components(reduced)] == [Likelihood, MeanDiscrepancy]


# -- files and plans -----------------------------------------------------------------------------------------


def test_a_file_gives_the_same_scores_and_says_that_there_is_no_map(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    upland.save(fitted, path)
    again, new = upland.load(path), pictures(20, 1)
    assert np.array_equal(again.anomaly_score(new), fitted.anomaly_score(new))
    assert np.array_equal(again.p_values(new), fitted.p_values(new))
    groups = np.repeat(np.arange(4), 5)
    assert np.array_equal(again.score_groups(new, groups).p_value, fitted.score_groups(new, groups).p_value)
    assert again.plan_ == fitted.plan_
    reader = fitted.plan_.to_json()["reader"]
    assert reader["maps"] is False
    assert reader["features"] == TINY
    json.dumps(fitted.plan_.to_json())


@pytest.mark.parametrize("name", ["mean", "axes", "variances", "rest"])
def test_a_file_with_other_weights_is_refused(fitted, tmp_path, name):
    path = tmp_path / "model.safetensors"
    upland.save(fitted, path)
    tensors, header = read_tensors(path)
    whole = f"0/model/{name}"
    write_tensors(
        path, dict(tensors) | {whole: tensors[whole][:1] if name != "rest" else -tensors[whole]}, header
    )
    with pytest.raises(ValueError, match=r"weights|positive"):
        upland.load(path)


def test_the_shapes_are_those_of_the_model(fitted):
    (member,) = fitted.members_
    weights = member.model.state_dict()
    check_shapes(member.architecture, member.encoder, weights)
    with pytest.raises(ValueError, match="must be"):
        check_shapes(GaussianOfFeatures(3), member.encoder, weights)
    built = GaussianOfFeatures(10**12).build(member.encoder)
    assert built.axes.shape == (14, 14)


# -- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"levels": 2}, {"depth": 4}, {"filters": 8}, {"noise": 0.1}, {"epochs": 3}, {"patience": 2}]
)
def test_what_only_glow_has_is_refused_with_features(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} has no meaning beside features"):
        made(**options).fit(pictures(30))


def test_features_that_there_are_not_are_refused_by_name():
    with pytest.raises(ValueError, match=r"features must be one of 'pixels', .*got 'auto'"):
        made(features="auto").fit(pictures(30))


def test_classes_are_of_pixels():
    with pytest.raises(ValueError, match="leave features out"):
        made().fit(pictures(30), classes=["a", "b"] * 15)


# -- the encoder ---------------------------------------------------------------------------------------------


def test_vectors_alone_are_those_of_the_source_scaled():
    from toys.tiny_features import tiny

    source, X = tiny(), pictures(4)
    pixels = ImageEncoder(scaling="levels")
    alone = FeatureEncoder(pixels, VectorsAlone(source)).fit_batches([X])
    whole = FeatureEncoder(ImageEncoder(scaling="levels"), source).fit_batches([X]).transform(X)[:, :14]
    for where in (slice(0, 6), slice(6, 14)):
        part = whole[:, where]
        expected = part / np.linalg.norm(part, axis=1, keepdims=True)
        np.testing.assert_allclose(alone.transform(X)[:, where], expected, rtol=1e-5)
    assert alone.layout.map == (0, 1, 1)
    restored = FeatureEncoder.restored(VectorsAlone(tiny()), *alone.to_state())
    assert np.array_equal(restored.transform(X), alone.transform(X))
