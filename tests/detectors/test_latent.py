"""Flows and VAEs keep every promise of the energies: rows alone, reload, seeds, bad input."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import normals
import upland
from normals import CONTAINERS, mixed, numbers
from upland import FlowDetector, ImageFlowDetector, ImageVAEDetector, VAEDetector
from upland.criteria.complexity import compressed_lengths, step_of_pixels
from upland.models.flow import table_flow
from upland.models.vae import dense_vae

TABLES = {
    FlowDetector: ("auto", "likelihood", "typicality", "divergence"),
    VAEDetector: ("auto", "reconstruction", "likelihood", "typicality", "divergence"),
}
IMAGES = {
    ImageFlowDetector: (
        *("auto", "divergence_complexity", "divergence", "likelihood", "typicality", "complexity"),
    ),
    ImageVAEDetector: ("auto", "reconstruction", "likelihood", "divergence_complexity"),
}
EVERY = [pytest.param(made, by, id=f"{made.__name__}-{by}") for made, names in TABLES.items() for by in names]
OF_IMAGES = [
    pytest.param(made, by, id=f"{made.__name__}-{by}") for made, names in IMAGES.items() for by in names
]
DETECTORS = list(TABLES)


def quick(made=FlowDetector, **options):
    return normals.small(made, **{"epochs": 3} | options)


def blobs(count=120, seed=0, shape=(8, 6)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centers = rng.uniform(2, 5, (count, 2))
    blobs = np.exp(-((y - centers[:, :1, None]) ** 2 + (x - centers[:, 1:, None]) ** 2) / 4)
    return (200 * blobs + rng.uniform(0, 20, blobs.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted():
    return {made: quick(made).fit(numbers(200)) for made in DETECTORS}


@pytest.fixture(scope="module")
def on_images():
    return {made: quick(made).fit(blobs()) for made in IMAGES}


@pytest.mark.parametrize(("made", "by"), EVERY)
def test_a_rows_score_is_of_that_row_alone(fitted, made, by):
    detector = copy.copy(fitted[made]).set_params(criterion=by)
    rows = numbers(300, seed=1)
    whole = detector.anomaly_score(rows)
    assert whole.shape == (300,)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(detector.anomaly_score(rows), whole)
    np.testing.assert_allclose(detector.anomaly_score(rows[::-1])[::-1], whole, rtol=1e-7)
    np.testing.assert_allclose(
        [detector.anomaly_score(row[None])[0] for row in rows[:5]], whole[:5], rtol=1e-7
    )


@pytest.mark.parametrize(("made", "by"), OF_IMAGES)
def test_an_images_score_is_of_that_image_alone(on_images, made, by):
    detector = copy.copy(on_images[made]).set_params(criterion=by)
    images = blobs(20, seed=1)
    whole = detector.anomaly_score(images)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(detector.anomaly_score(images[::-1])[::-1], whole, rtol=1e-7)
    np.testing.assert_allclose(detector.anomaly_score(images[:1]), whole[:1], rtol=1e-7)


@pytest.mark.parametrize(("made", "by"), EVERY)
def test_a_reloaded_detector_gives_the_same_bits(fitted, made, by, tmp_path):
    new = numbers(40, seed=2)
    detector = copy.copy(fitted[made]).set_params(criterion=by).calibrate(numbers(seed=3))
    upland.save(detector, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors")
    assert type(again) is made
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.p_values(new), detector.p_values(new))


@pytest.mark.parametrize(("made", "by"), OF_IMAGES)
def test_a_reloaded_detector_of_images_gives_the_same_bits(on_images, made, by, tmp_path):
    detector = copy.copy(on_images[made]).set_params(criterion=by)
    detector.calibrate(blobs(seed=3))
    upland.save(detector, tmp_path / "m.safetensors")
    again, new = upland.load(tmp_path / "m.safetensors"), blobs(20, seed=1)
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.p_values(new), detector.p_values(new))


@pytest.mark.parametrize("made", DETECTORS)
def test_two_fits_with_one_seed_are_equal_and_another_differs(made):
    rows = numbers()
    first, second, other = (quick(made, random_state=seed).fit(rows) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.anomaly_score(rows), second.anomaly_score(rows))
    assert not np.array_equal(first.anomaly_score(rows), other.anomaly_score(rows))


@pytest.fixture(scope="module")
def of_a_frame():
    return {made: quick(made, epochs=1).fit(mixed()).anomaly_score(mixed(seed=1)) for made in DETECTORS}


@pytest.mark.parametrize("made", DETECTORS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_scores(made, container, of_a_frame, tmp_path):
    convert = CONTAINERS[container]
    found = (
        quick(made, epochs=1).fit(convert(mixed(), tmp_path)).anomaly_score(convert(mixed(seed=1), tmp_path))
    )
    np.testing.assert_array_equal(found, of_a_frame[made])


@pytest.mark.parametrize("made", DETECTORS)
def test_far_rows_are_flagged_and_have_reasons(made):
    rows = mixed(400)
    detector = quick(made, epochs=20).fit(rows)
    odd = mixed(3, seed=5)
    odd.loc[1, "flow"] = 90.0
    assert detector.flag(odd, alpha=0.05).tolist()[1]
    assert detector.anomaly_score(odd).argmax() == 1
    assert upland.explain(detector, odd).top(1)[1][0].column in ("flow", "pressure")


def test_a_flows_reasons_are_what_another_value_would_save():
    rows = mixed(400)
    detector = quick(epochs=20).fit(rows)
    odd = mixed(2, seed=5)
    odd.loc[1, "flow"] = 90.0
    reason = upland.explain(detector, odd).top(1)[1][0]
    better = odd.copy()
    better.loc[1, reason.column] = reason.expected
    saved = detector.anomaly_score(odd)[1] - detector.anomaly_score(better)[1]
    assert reason.share == pytest.approx(saved, rel=0.01)
    assert saved > 0


def test_heat_of_a_flow_lies_where_an_image_is_damaged(on_images):
    images = blobs(4, seed=1)
    damaged = images.copy()
    damaged[:, 6:, 4:] = 255 - damaged[:, 6:, 4:]
    detector = on_images[ImageFlowDetector]
    more = upland.explain(detector, damaged).heat() - upland.explain(detector, images).heat()
    assert (more.sum((1, 2)) > 0).all()
    y, x = np.unravel_index(more.sum(0).argmax(), more.shape[1:])
    assert y >= 4
    assert x >= 3


@pytest.mark.parametrize("made", DETECTORS)
def test_a_fit_with_a_checkpoint_equals_one_without_and_can_be_read_again(made, tmp_path):
    rows, settings = numbers(), {"calibration": "cross", "epochs": 1}
    whole = quick(made, **settings).fit(rows)
    kept, again = (quick(made, **settings).fit(rows, checkpoint=tmp_path / "c") for _ in range(2))
    np.testing.assert_array_equal(kept.anomaly_score(rows), whole.anomaly_score(rows))
    np.testing.assert_array_equal(again.anomaly_score(rows), whole.anomaly_score(rows))


@pytest.mark.parametrize("made", DETECTORS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "score_test"}, "criterion"),
        ({"hidden": ()}, "hidden"),
        ({"noise": -1.0}, "noise"),
        ({"epochs": 0}, "epochs"),
        ({"keep_rows": -1}, "keep_rows"),
        ({"model": nn.Identity()}, "weights"),
        ({"model": nn.Linear(4, 1)}, "latents"),
    ],
)
def test_arguments_that_make_no_sense_are_named(made, options, message):
    with pytest.raises(ValueError, match=message):
        quick(made, **options).fit(numbers())


@pytest.mark.parametrize("made", DETECTORS)
def test_a_column_of_the_wrong_kind_is_named(made):
    detector = quick(made).fit(mixed())
    with pytest.raises(ValueError, match="pressure"):
        detector.anomaly_score(mixed(seed=1).drop(columns="pressure"))


@pytest.mark.parametrize(
    ("made", "model"),
    [
        (FlowDetector, lambda width: table_flow(width, 1, (4,))),
        (VAEDetector, lambda width: dense_vae(width, (4,), 1)),
    ],
)
def test_a_model_of_ones_own_is_trained_and_reloaded(made, model, tmp_path):
    rows = numbers()
    detector = quick(made, model=model).fit(rows)
    upland.save(detector, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors", model=model)
    np.testing.assert_array_equal(again.anomaly_score(rows), detector.anomaly_score(rows))


def test_likelihood_of_a_trained_flow_nears_the_truth():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2_000, 2)) * [1.0, 3.0] + [5.0, -2.0]
    detector = FlowDetector(random_state=0, epochs=20, noise=0.05, progress=False).fit(rows)
    found = detector.anomaly_score(rows[:200])
    truth = 0.5 * (((rows[:200] - [5.0, -2.0]) / [1.0, 3.0]) ** 2).sum(1)
    assert np.corrcoef(found, truth)[0, 1] > 0.95


def test_no_generator_of_torchs_own_is_touched():
    before = torch.get_rng_state()
    quick().fit(numbers())
    quick(VAEDetector).fit(pd.DataFrame(numbers()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("options", "count"), [({"keep_rows": 0}, 40), ({}, 9)])
def test_a_criterion_without_rows_to_compare_with_is_refused_before_training(options, count, monkeypatch):
    monkeypatch.setattr("upland.training.loop.Training.run", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"divergence_complexity.*keep_rows.*12 normal images"):
        quick(ImageFlowDetector, **options).fit(blobs(count))


def test_pixels_of_floats_are_as_complex_as_their_levels():
    images, new = blobs(), blobs(10, seed=1)
    lengths = []
    for scale in (1, np.float32(1 / 255)):
        detector = quick(ImageFlowDetector, criterion="complexity").fit(images * scale)
        member = detector.members_[0]
        codes = torch.from_numpy(member.encoder.transform(new * scale))
        lengths.append(compressed_lengths(codes, step_of_pixels(member.reference)))
    np.testing.assert_allclose(lengths[1], lengths[0], rtol=0.1)
