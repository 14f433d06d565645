"""Flows and VAEs keep every promise of the energy detector: rows alone, reload, seeds, bad input."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from upland.criteria.judges import lengths
from upland.detectors.latent import FlowDetector, VAEDetector

import upland
from normals import CONTAINERS, mixed, numbers
from programs import run_python
from upland.models.flow import table_flow
from upland.models.vae import dense_vae

TABLES = {
    FlowDetector: ("auto", "likelihood", "typicality", "divergence"),
    VAEDetector: ("auto", "reconstruction", "likelihood", "typicality", "divergence"),
}
IMAGES = {
    FlowDetector: ("auto", "combined", "divergence", "likelihood", "typicality", "complexity"),
    VAEDetector: ("auto", "reconstruction", "likelihood", "combined"),
}
EVERY = [pytest.param(kind, by, id=f"{kind.__name__}-{by}") for kind, names in TABLES.items() for by in names]
OF_IMAGES = [
    pytest.param(kind, by, id=f"{kind.__name__}-{by}") for kind, names in IMAGES.items() for by in names
]
DETECTORS = list(TABLES)


def quick(made=FlowDetector, **options):
    small = {"hidden": (8,), "epochs": 3, "random_state": 0, "progress": False}
    return made(**small | ({"layers": 2} if made is FlowDetector else {"latent": 2}) | options)


def pictures(count=120, seed=0, shape=(8, 6)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centers = rng.uniform(2, 5, (count, 2))
    blobs = np.exp(-((y - centers[:, :1, None]) ** 2 + (x - centers[:, 1:, None]) ** 2) / 4)
    return (200 * blobs + rng.uniform(0, 20, blobs.shape)).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted():
    return {kind: quick(kind, calibration="split").fit(numbers(200)) for kind in DETECTORS}


@pytest.fixture(scope="module")
def seeing():
    small = {"calibration": "split", "hidden": (4,)}
    return {
        FlowDetector: quick(depth=1, **small).fit(pictures()),
        VAEDetector: quick(VAEDetector, **small).fit(pictures()),
    }


@pytest.mark.parametrize(("kind", "by"), EVERY)
def test_a_rows_score_is_of_that_row_alone(fitted, kind, by):
    detector = fitted[kind].set_params(criterion=by)
    rows = numbers(300, seed=1)
    whole = detector.anomaly_score(rows)
    assert whole.shape == (300,)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(detector.anomaly_score(rows), whole)
    np.testing.assert_allclose(detector.anomaly_score(rows[::-1])[::-1], whole, rtol=1e-7)
    np.testing.assert_allclose(
        [detector.anomaly_score(row[None])[0] for row in rows[:5]], whole[:5], rtol=1e-7
    )


@pytest.mark.parametrize(("kind", "by"), OF_IMAGES)
def test_an_images_score_is_of_that_image_alone(seeing, kind, by):
    detector = seeing[kind].set_params(criterion=by)
    images = pictures(20, seed=1)
    whole = detector.anomaly_score(images)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(detector.anomaly_score(images[::-1])[::-1], whole, rtol=1e-7)
    np.testing.assert_allclose(detector.anomaly_score(images[:1]), whole[:1], rtol=1e-7)


@pytest.mark.parametrize(("kind", "by"), EVERY)
def test_a_reloaded_detector_gives_the_same_bits(kind, by, tmp_path):
    rows, new = numbers(150), numbers(40, seed=2)
    detector = quick(kind, criterion=by).fit(rows)
    upland.save(detector, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors")
    assert type(again) is kind
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.p_values(new), detector.p_values(new))


@pytest.mark.parametrize(("kind", "by"), OF_IMAGES)
def test_a_reloaded_detector_of_images_gives_the_same_bits(seeing, kind, by, tmp_path):
    detector = seeing[kind].set_params(criterion=by)
    detector.calibrate(pictures(seed=3))
    upland.save(detector, tmp_path / "m.safetensors")
    again, new = upland.load(tmp_path / "m.safetensors"), pictures(20, seed=1)
    np.testing.assert_array_equal(again.anomaly_score(new), detector.anomaly_score(new))
    np.testing.assert_array_equal(again.p_values(new), detector.p_values(new))


@pytest.mark.parametrize("kind", DETECTORS)
def test_two_fits_with_one_seed_are_equal_and_another_differs(kind):
    rows = numbers()
    first, second, other = (quick(kind, random_state=seed).fit(rows) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.anomaly_score(rows), second.anomaly_score(rows))
    assert not np.array_equal(first.anomaly_score(rows), other.anomaly_score(rows))


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_scores(kind, container, tmp_path):
    convert = CONTAINERS[container]
    found = quick(kind).fit(convert(mixed(), tmp_path)).anomaly_score(convert(mixed(seed=1), tmp_path))
    np.testing.assert_array_equal(found, quick(kind).fit(mixed()).anomaly_score(mixed(seed=1)))


@pytest.mark.parametrize("kind", DETECTORS)
def test_far_rows_are_flagged_and_have_reasons(kind):
    rows = mixed(400)
    detector = quick(kind, epochs=20).fit(rows)
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


def test_heat_of_a_flow_lies_where_a_picture_is_damaged(seeing):
    images = pictures(4, seed=1)
    damaged = images.copy()
    damaged[:, 6:, 4:] = 255 - damaged[:, 6:, 4:]
    detector = seeing[FlowDetector]
    more = upland.explain(detector, damaged).heat() - upland.explain(detector, images).heat()
    assert (more.sum((1, 2)) > 0).all()
    y, x = np.unravel_index(more.sum(0).argmax(), more.shape[1:])
    assert y >= 4
    assert x >= 3


@pytest.mark.parametrize("kind", DETECTORS)
def test_an_interrupted_fit_goes_on_from_its_checkpoint(kind, tmp_path):
    rows = numbers()
    whole = quick(kind).fit(rows)
    kept = quick(kind).fit(rows, checkpoint=tmp_path / "c")
    again = quick(kind).fit(rows, checkpoint=tmp_path / "c")
    np.testing.assert_array_equal(kept.anomaly_score(rows), whole.anomaly_score(rows))
    np.testing.assert_array_equal(again.anomaly_score(rows), whole.anomaly_score(rows))


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "score_test"}, "criterion"),
        ({"hidden": ()}, "hidden"),
        ({"noise": -1.0}, "noise"),
        ({"epochs": 0}, "epochs"),
        ({"kind": "sequence"}, "EnergyDetector"),
        ({"keep_rows": -1}, "keep_rows"),
        ({"model": nn.Identity()}, "weights"),
        ({"model": nn.Linear(4, 1)}, "latents"),
    ],
)
def test_arguments_that_make_no_sense_are_named(kind, options, message):
    with pytest.raises(ValueError, match=message):
        quick(kind, **options).fit(numbers())


def test_sizes_of_a_flow_and_a_vae_are_checked():
    for options in ({"layers": 0}, {"depth": 0}, {"levels": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            quick(**options).fit(numbers())
    with pytest.raises(ValueError, match="latent"):
        quick(VAEDetector, latent=0).fit(numbers())


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_column_of_the_wrong_kind_is_named(kind):
    detector = quick(kind).fit(mixed())
    with pytest.raises(ValueError, match="pressure"):
        detector.anomaly_score(mixed(seed=1).drop(columns="pressure"))


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        (FlowDetector, lambda width: table_flow(width, 1, (4,))),
        (VAEDetector, lambda width: dense_vae(width, (4,), 1)),
    ],
)
def test_a_model_of_ones_own_is_trained_and_reloaded(kind, made, tmp_path):
    rows = numbers()
    detector = quick(kind, model=made).fit(rows)
    upland.save(detector, tmp_path / "m.safetensors")
    again = upland.load(tmp_path / "m.safetensors", model=made)
    np.testing.assert_array_equal(again.anomaly_score(rows), detector.anomaly_score(rows))


def test_likelihood_of_a_trained_flow_nears_the_truth():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2_000, 2)) * [1.0, 3.0] + [5.0, -2.0]
    detector = FlowDetector(random_state=0, epochs=20, noise=0.05, progress=False).fit(rows)
    found = detector.anomaly_score(rows[:200])
    truth = 0.5 * (((rows[:200] - [5.0, -2.0]) / [1.0, 3.0]) ** 2).sum(1)
    assert np.corrcoef(found, truth)[0, 1] > 0.95


def test_groups_judge_alike_in_a_new_process(tmp_path):
    rows = numbers(200)
    detector = quick(calibration="split").fit(rows)
    upland.save(detector, tmp_path / "m.safetensors")
    np.save(tmp_path / "rows.npy", numbers(40, seed=1))
    told = run_python(
        "-c",
        "import json, numpy as np, upland; "
        f"d = upland.load(r'{tmp_path}/m.safetensors'); "
        f"v = d.score_groups(np.load(r'{tmp_path}/rows.npy'), np.arange(40) // 10); "
        "print(json.dumps(v.statistic.tolist()))",
    )
    here = detector.score_groups(numbers(40, seed=1), np.arange(40) // 10)
    assert json.loads(told.stdout) == here.statistic.tolist()


def test_no_generator_of_torchs_own_is_touched():
    before = torch.get_rng_state()
    quick().fit(numbers())
    quick(VAEDetector).fit(pd.DataFrame(numbers()))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("options", "count"), [({"keep_rows": 0}, 40), ({}, 9)])
def test_a_criterion_without_rows_to_compare_with_is_refused_before_training(options, count, monkeypatch):
    monkeypatch.setattr("upland.detectors.base.fit_members", None)
    with pytest.raises(ValueError, match=r"combined.*keep_rows.*12 normal images"):
        quick(kind="image", **options).fit(pictures(count))


def test_pixels_of_floats_are_as_complex_as_their_levels():
    images = pictures()
    plain = quick(kind="image", depth=1, criterion="complexity", hidden=(4,)).fit(images)
    floats = quick(kind="image", depth=1, criterion="complexity", hidden=(4,)).fit(images / np.float32(255))
    new = pictures(10, seed=1)
    of_levels = lengths(plain.members_[0], torch.from_numpy(plain.encoder_.transform(new)))
    fractions = torch.from_numpy(floats.encoder_.transform(new / np.float32(255)))
    np.testing.assert_allclose(lengths(floats.members_[0], fractions), of_levels, rtol=0.1)
