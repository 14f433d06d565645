"""The benchmark on images: loader, protocols, peers, a runner that goes on, the page; what speed compares."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.speed_deep import ByAutograd
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks import crop_energy, images, report, report_images, speed_deep, timing
from featured import NEEDS_WEIGHTS, photographs
from upland.models.convolutional import ConvolutionalEnergy
from upland.models.recurrent import RecurrentEnergy

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UPLAND_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "images").is_dir(),
    reason=f"no images in {DATA}: name the folder of data in UPLAND_DATA",
)
STORED = {  # images of train, of test, shape
    "Fashion-MNIST": (60_000, 10_000, (28, 28)),
    "MNIST": (60_000, 10_000, (28, 28)),
    "CIFAR-10": (12_000, 3_000, (32, 32, 3)),
}


def pictures(count, number, seed=0):
    """Dark noise with a bright row, whose position is the class."""
    x = np.random.default_rng(seed).integers(0, 60, size=(count, 10, 6), dtype=np.uint8)
    x[:, number] += 190
    return x


@pytest.fixture
def folder(tmp_path):
    """A little set under the name and in the layout of a real one."""
    (tmp_path / "images").mkdir()
    parts = {}
    for part, count in (("train", 40), ("test", 12)):
        x = [pictures(count, number, seed=count + number) for number in range(10)]
        parts |= {
            f"x_{part}": np.concatenate(x),
            f"y_{part}": np.repeat(np.arange(10, dtype=np.uint8), count),
        }
    np.savez(tmp_path / "images" / "mnist.npz", **parts)
    return tmp_path


# -- sets, protocols -----------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("name", images.SETS)
def test_the_stored_sets_are_whole(name):
    data = images.load_images(DATA, name)
    assert (len(data.train), len(data.test), data.train.shape[1:]) == STORED[name]
    assert data.test.shape[1:] == data.train.shape[1:]
    assert data.train.dtype == data.test.dtype == np.uint8
    assert len(data.names) == 10
    assert set(data.train_classes) == set(data.test_classes) == set(range(10))


def test_another_class_is_the_anomaly(folder):
    data = images.load_images(folder, "MNIST")
    split = data.normal("3")
    assert (len(split.train), len(split.test), int(split.labels.sum())) == (40, 120, 108)
    np.testing.assert_array_equal(split.train, pictures(40, 3, seed=43))
    np.testing.assert_array_equal(np.flatnonzero(split.labels == 0), np.arange(36, 48))


def test_a_set_that_is_not_there_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"cifar10_12k_3k\.npz is not there"):
        images.load_images(folder, "CIFAR-10")


@pytest.mark.parametrize("rho", images.RHOS)
def test_the_share_mixed_in_is_rho_and_every_normal_row_stays(rho):
    labels = np.repeat([0, 1], [1000, 9000])
    rows = images.mixed(labels, rho, draw=0)
    assert len(set(rows.tolist())) == len(rows)
    assert labels[rows].mean() == pytest.approx(rho, abs=1e-3)
    assert set(range(1000)) <= set(rows.tolist())
    assert images.mixed(labels, rho, draw=0).tolist() == rows.tolist()
    assert images.mixed(labels, rho, draw=1).tolist() != rows.tolist()


def test_a_larger_share_holds_the_smaller():
    labels = np.repeat([0, 1], [90, 200])
    assert set(images.mixed(labels, 0.2, 5)) < set(images.mixed(labels, 0.4, 5))


def test_a_share_that_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match=r"share of 0\.5 takes 50 rows of other classes, there are 20"):
        images.mixed(np.repeat([0, 1], [50, 20]), 0.5, 0)


@pytest.mark.parametrize("normal", [892, 974, 980, 1000, 1135, 300])
def test_as_many_are_flagged_as_there_are_anomalies(normal):
    labels = np.repeat([0, 1], [normal, 9 * normal])
    scores = np.random.default_rng(0).normal(size=len(labels)) + labels
    for entry in images.measures(labels, scores)["mixed"]:
        assert entry["precision"] == entry["recall"] == pytest.approx(entry["f1"])


def test_measures_of_a_perfect_score_and_of_chance():
    labels = np.repeat([0, 1], [500, 1500])
    perfect = images.measures(labels, labels.astype(float))
    assert perfect["auroc"] == perfect["auprc"] == 1.0
    assert [entry["f1"] for entry in perfect["mixed"]] == pytest.approx([1.0] * 5)
    chance = images.measures(labels, np.random.default_rng(0).normal(size=2000))
    for entry in chance["mixed"]:
        assert entry["f1"] == pytest.approx(entry["rho"], abs=0.05)


# -- peers ---------------------------------------------------------------------------------------------------


PEERS = [
    pytest.param(name, marks=NEEDS_WEIGHTS) if name in images.OF_PHOTOGRAPHS else name
    for name in images.FITS
    if name != "upland"
]


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_tells_one_class_from_another(name, monkeypatch):
    monkeypatch.setattr(crop_energy, "CROPS", 400)
    fit, names = images.FITS[name]
    if name in images.OF_PHOTOGRAPHS:  # features of a network, which was made for photographs
        train, *tests = photographs(100, 48), photographs(30, 48, 1), photographs(30, 48, 2, "flower.jpg")
    else:
        train, *tests = pictures(200, 2), pictures(30, 2, seed=1), pictures(30, 7, seed=2)
    test = np.concatenate(tests)
    scores = fit(train, 0)
    assert tuple(scores) == names
    for score in scores.values():
        assert score(test).shape == (60,)
        assert roc_auc_score(np.repeat([0, 1], 30), score(test)) > 0.95


def test_the_neighbours_are_the_neighbours(monkeypatch):
    monkeypatch.setattr(images, "CHUNK", 7)
    train, test = pictures(50, 2), pictures(20, 4, seed=1)
    scores = images.neighbours(train, 0)
    index = NearestNeighbors(n_neighbors=5).fit(images.pixels(train).astype(np.float64))
    distances = index.kneighbors(images.pixels(test).astype(np.float64))[0]
    np.testing.assert_allclose(scores["1-NN"](test), distances[:, 0], rtol=1e-5)
    np.testing.assert_allclose(scores["kNN"](test), distances.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(scores["1-NN"](train), 0.0, atol=2e-3)


@pytest.mark.parametrize("count", [40, 200], ids=["fewer images than pixels", "more"])
def test_the_residual_is_what_the_components_leave(count):
    train, test = pictures(count, 2), pictures(20, 7, seed=1)
    rows, new = (images.pixels(x).astype(np.float64) for x in (train, test))
    model = PCA(n_components=0.95, svd_solver="full").fit(rows)
    left = new - model.inverse_transform(model.transform(new))
    np.testing.assert_allclose(images.pca(train, 0)["PCA"](test), (left**2).sum(axis=1), rtol=1e-8)


def test_a_support_vector_machine_sees_a_part_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(images, "SVM_ROWS", 50)
    train, test = pictures(200, 2), pictures(20, 7, seed=1)
    first, again, other = (images.ocsvm(train, seed)["OCSVM"](test) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


# -- runner and page -----------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was(folder, capsys):
    output = folder / "out.json"
    call = ["--data", str(folder), "--sets", "MNIST", "--output", str(output)]
    images.main([*call, "--methods", "kNN", "--seeds", "0", "--classes", "1", "8"])
    first = json.loads(output.read_text())["rows"]
    assert [(row["class"], row["method"]) for row in first] == [
        ("1", "1-NN"),
        ("1", "kNN"),
        ("8", "1-NN"),
        ("8", "kNN"),
    ]
    images.main([*call, "--methods", "kNN", "PCA", "--seeds", "0", "1"])
    rows = json.loads(output.read_text())["rows"]
    assert rows[: len(first)] == first
    keys = [tuple(row[key] for key in images.KEYS) for row in rows]
    assert len(set(keys)) == len(keys) == 60  # ten classes, two seeds, three methods
    both = [{**row, "seed": 0} for row in rows if row["class"] == "4" and row["method"] == "kNN"]
    assert both[0] == both[1], "what no seed changes is not run again"
    page = report.report([json.loads(output.read_text())])
    assert "## Images, one class normal in turn" in page
    assert "| PCA | 100.00 ± 0.00 | 100.00 ± 0.00 |" in page


def test_a_method_that_lacks_a_class_has_no_mean():
    rows = [
        {"set": "MNIST", "class": name, "seed": 0, "method": method, "auroc": 0.9, "auprc": 0.9,
         "mixed": images.measures(np.repeat([0, 1], 50), np.arange(100.0))["mixed"],
         "fit_seconds": 1.0, "score_seconds": 2.0}
        for name in "0123456789"
        for method in ("whole", "part")
        if method == "whole" or name < "5"
    ]  # fmt: skip
    page = report_images.images(rows)
    assert "| whole | 90.00 | 90.00 | 3.0 | 1.0 | 1 |" in page
    assert "| part | " not in page
    assert "| 4 | 90.00 | 90.00 |" in page
    assert "| 5 | 90.00 |  |" in page


def test_every_published_number_says_how_far_it_is_known():
    for row in report_images.published():
        names = ["mean", *images.SETS[row["set"]][1]]
        assert row["mark"] in ("V", "S", "M"), row
        assert row["class"] in names, row
        assert 0.4 < float(row["value"]) < 1, row
        assert row["source"], row
    dsebm = [row for row in report_images.published() if (row["set"], row["method"]) == ("CIFAR-10", "DSEBM")]
    mean = np.mean([float(row["value"]) for row in dsebm if row["class"] != "mean"])
    assert mean == pytest.approx(0.609, abs=1e-3)


# -- speed ---------------------------------------------------------------------------------------------------


def test_an_energy_by_autograd_is_the_same_energy():
    generator = torch.Generator().manual_seed(0)
    recurrent = RecurrentEnergy(3, (8, 8), 4, frame=2, generator=generator).double()
    series = torch.randn(2, 7, 3, dtype=torch.float64, generator=generator)
    (points, explicit), (same, automatic) = recurrent.factors(series), ByAutograd(recurrent).factors(series)
    assert torch.equal(points, same)
    torch.testing.assert_close(explicit.reconstruct(points), automatic.reconstruct(points))
    plain = ConvolutionalEnergy((1, 7, 9), (4, 4), 3, hidden=(8,), generator=generator).double()
    x = torch.randn(3, 1, 7, 9, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(plain.reconstruct(x), ByAutograd(plain).factors(x)[1].reconstruct(x))


@pytest.mark.parametrize("count", [1_000, 10_000])
@pytest.mark.parametrize("kind", ["windows", "images"])
def test_the_auto_encoder_has_about_as_many_weights(kind, count):
    builds = {
        "windows": lambda size: speed_deep.RecurrentAutoencoder(4, size),
        "images": lambda size: speed_deep.ConvolutionalAutoencoder((1, 9, 11), size, (2, 3)),
    }
    model = speed_deep.like(builds[kind], count)
    assert timing.n_weights(model) == pytest.approx(count, rel=0.1)
    x = torch.zeros((2, 5, 4) if kind == "windows" else (2, 1, 9, 11))
    assert model(x).shape == x.shape
    assert speed_deep.squared_error(model, x, 1).shape == (2,)


def test_what_is_timed_is_uplands_first_and_works():
    generator = torch.Generator().manual_seed(0)
    model, x = RecurrentEnergy(2, (4,), 3, generator=generator), torch.randn(3, 6, 2, generator=generator)
    before = copy.deepcopy(model.state_dict())
    tasks = speed_deep.training_tasks(model, speed_deep.RecurrentAutoencoder(2, 3), x)
    assert list(tasks) == ["upland", "autograd", "auto-encoder"]
    for task in tasks.values():
        task()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", speed_deep.IMAGES)
def test_every_image_net_is_scored_and_differentiated_both_ways(name):
    pixels = np.random.default_rng(0).integers(0, 256, size=(120, 8, 9, 3), dtype=np.uint8)
    detector = speed_deep.fitted(pixels, "image", **speed_deep.IMAGES[name])
    member = detector.members_[0]
    x = torch.from_numpy(member.encoder.transform(pixels[:4]))
    explicit, automatic = (
        of_gradient(member.model, task) for task in speed_deep.gradient_tasks(member.model, x).values()
    )
    assert len(explicit) == len(automatic) >= 4
    for ours, theirs in zip(explicit, automatic, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    peer = speed_deep.ConvolutionalAutoencoder(x.shape[1:], 2, (2, 3))
    ours, theirs = (task() for task in speed_deep.scoring_tasks(detector, pixels[:4], peer, x, 2).values())
    assert ours.shape == theirs.shape == (4,)


def test_the_convolutional_net_has_convolutions():
    assert any(w.ndim == 4 for w in speed_deep.plain((1, 28, 28)).parameters())


@pytest.mark.parametrize("steps", [None, 7])
def test_both_gradients_are_of_the_same_loss(steps):
    generator = torch.Generator().manual_seed(0)
    model, x = RecurrentEnergy(2, (4, 4), 3, generator=generator), torch.randn(3, 6, 2, generator=generator)
    explicit, automatic = (
        of_gradient(model, task) for task in speed_deep.gradient_tasks(model, x, steps).values()
    )
    assert len(explicit) == len(automatic) >= 4
    for ours, theirs in zip(explicit, automatic, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def of_gradient(model, task):
    model.zero_grad()
    task()
    return [w.grad for w in model.parameters() if w.grad is not None]


def test_a_series_is_written_piece_by_piece(tmp_path):
    speed_deep.write_series(tmp_path / "a.npy", 1000, piece=300)
    series = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert (series.shape, series.dtype) == ((1000, speed_deep.SERIES_CHANNELS), np.float32)
    assert np.abs(series[299:302]).sum() > 0
    assert np.isfinite(series).all()
