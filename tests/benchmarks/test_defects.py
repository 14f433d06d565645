"""The benchmark of planted defects: pictures, defects, measures, peers, a runner that goes on, the page."""

import dataclasses
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from benchmarks.defect_kinds import DEFECTS, SHARE, STEP, VISIBLE
from benchmarks.defect_pictures import KINDS, REAL, half
from PIL import Image
from scipy import ndimage
from scipy.spatial.distance import mahalanobis
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from benchmarks import defect_kinds, defect_peers, defect_pictures, defects, localization, report

ROOT = Path(__file__).resolve().parents[2]
SMALL = 96
DATA = Path(os.environ.get("UPLAND_DATA", ROOT.parent / "shared" / "data"))


@cache
def found(kind, part):
    """Two pictures of a kind, or what is missing."""
    try:
        return KINDS[kind].views(kind, 0, 2, part, DATA)
    except FileNotFoundError as error:
        return error


def views(kind, part="test"):
    """Two pictures of a kind; skips where they are not there."""
    pictures = found(kind, part)
    if isinstance(pictures, FileNotFoundError):
        pytest.skip(str(pictures))
    return pictures


@pytest.fixture
def small(monkeypatch):
    """A kind with a few small pictures only, `weave`, and no network but the one that is given."""
    monkeypatch.setattr(defects, "bundled_maps", lambda: None)
    monkeypatch.setitem(KINDS, "weave", dataclasses.replace(KINDS["weave"], sizes=(4, 20)))
    monkeypatch.setattr(defect_pictures, "SIDE", SMALL)
    return "weave"


# -- pictures ------------------------------------------------------------------------------------------------


def test_halves_share_the_sorts_of_real_pictures():
    names = {name: {kind for kind in KINDS if half(kind) == name} for name in ("even", "odd")}
    assert names["even"] == {"bag", "china", "flower", "gravel", "weave"}
    assert names["odd"] == {"brick", "coffee", "grass", "sneaker", "wood"}
    for kinds in REAL.values():
        assert {half(kind) for kind in kinds} == {"even", "odd"}


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_a_kind_are_those_of_the_seed(kind):
    first, other = views(kind), views(kind, "train")
    again = KINDS[kind].views(kind, 0, 2, "test", DATA)
    for one, same, training in zip(first, again, other, strict=True):
        assert one.dtype == np.float32
        assert one.shape[:2] in ((256, 256), (128, 128))
        assert one.min() >= 0
        assert one.max() <= 255
        assert one.std() > 5
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, training)


@pytest.mark.parametrize("kind", REAL["textures"])
@pytest.mark.parametrize("seed", range(2))
def test_crops_of_train_and_test_share_no_pixel(kind, seed, monkeypatch):
    quarters = np.kron([[10, 80], [150, 220]], np.ones((256, 256))).astype(np.uint8)[..., None]
    monkeypatch.setattr(defect_pictures, "photograph", lambda name: quarters)
    seen = [set(np.unique(defect_pictures.texture(kind, seed, 20, part, None))) for part in ("train", "test")]
    assert len(seen[0] | seen[1]) == 4
    assert not seen[0] & seen[1]


def test_the_halves_of_a_photograph_go_by_the_seed(monkeypatch):
    quarters = np.kron([[10, 80], [150, 220]], np.ones((256, 256))).astype(np.uint8)[..., None]
    monkeypatch.setattr(defect_pictures, "photograph", lambda name: quarters)
    trained = {
        tuple(np.unique(defect_pictures.texture("brick", seed, 20, "train", None))) for seed in range(2)
    }
    assert trained == {(10, 150), (80, 220)}


def test_objects_of_train_and_test_are_of_the_sets_own_parts(tmp_path):
    (tmp_path / "images").mkdir()
    classes = np.repeat(np.arange(10), 3)
    parts = {
        f"x_{part}": np.full((30, 28, 28), 20 * number, dtype=np.uint8)
        for number, part in enumerate(("test", "train"))
    }
    np.savez(tmp_path / "images" / "fashion_mnist.npz", **parts, y_train=classes, y_test=classes)
    train = defect_pictures.objects("bag", 0, 5, "train", tmp_path)
    assert [picture.shape for picture in train] == 3 * [(128, 128, 1)]
    assert np.mean(train) == pytest.approx(20, abs=1e-3)
    assert np.mean(defect_pictures.objects("bag", 0, 5, "test", tmp_path)) == 0


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"fashion_mnist\.npz is not there: name the folder of data"):
        defect_pictures.load("bag", 0, tmp_path)
    monkeypatch.setattr(defect_pictures.importlib.util, "find_spec", lambda name: None)
    defect_pictures.photograph.cache_clear()
    with pytest.raises(FileNotFoundError, match="brick comes with scikit-image: pip install scikit-image"):
        defect_pictures.load("brick", 0)


def test_half_of_the_test_pictures_have_a_defect_each_as_often(small):
    split = defect_pictures.load(small, 0)
    assert split.train.shape == (4, SMALL, SMALL)
    assert split.test.shape == split.masks.shape == (20, SMALL, SMALL)
    assert split.train.dtype == split.test.dtype == np.uint8
    np.testing.assert_array_equal(split.labels, split.masks.any(axis=(1, 2)))
    np.testing.assert_array_equal(split.labels, [int(bool(name)) for name in split.defects])
    assert sorted(name for name in split.defects if name) == sorted(2 * list(DEFECTS))
    again, other = defect_pictures.load(small, 0), defect_pictures.load(small, 1)
    for one, same, different in zip(split[:4], again[:4], other[:4], strict=True):
        np.testing.assert_array_equal(one, same)
        assert one is split.labels or not np.array_equal(one, different)


def test_a_defect_changes_its_mask_and_nothing_else(small, monkeypatch):
    split = defect_pictures.load(small, 0)
    monkeypatch.setattr(
        defect_pictures,
        "planted",
        lambda picture, *rest: (picture, np.ones(picture.shape[:2], dtype=np.bool_)),
    )
    normal = defect_pictures.load(small, 0)
    difference = np.abs(split.test.astype(int) - normal.test)
    assert (difference[split.labels == 0] == 0).all()
    assert difference[~split.masks].max() <= 2 * STEP  # specks, and the light's factor
    assert difference[~split.masks].mean() < 0.1
    assert difference[split.masks].mean() > 0.5 * VISIBLE


# -- defects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_visible_local_and_of_its_size(name, kind):
    source = KINDS[kind]
    if name not in source.defects:
        pytest.skip(f"no {name} is planted on {kind}")
    picture = views(kind)[0]
    before = picture.copy()
    places = defect_pictures.allowed(picture, source)
    results = [
        defect_kinds.planted(
            picture, DEFECTS[name], places, source.blur, source.strength, np.random.default_rng(seed)
        )
        for seed in (0, 1)
    ]
    np.testing.assert_array_equal(picture, before)
    assert not np.array_equal(results[0][0], results[1][0])
    for damaged, mask in results:
        assert damaged.dtype == np.float32
        assert damaged.min() >= 0
        assert damaged.max() <= 255
        assert SHARE[0] <= mask.mean() <= SHARE[1]
        change = np.abs(damaged - picture).max(axis=2)
        assert change[mask].mean() >= source.strength * VISIBLE
        away = ndimage.distance_transform_edt(~mask)
        assert change[away > 0.15 * len(picture)].max() <= STEP


def test_what_cannot_be_seen_is_refused():
    flat = np.full((64, 64, 1), 100, dtype=np.float32)
    places = np.ones((64, 64), dtype=np.bool_)
    with pytest.raises(ValueError, match="no visible defect"):
        defect_kinds.planted(
            flat, lambda picture, *rest: picture + 5, places, 0.6, 1.0, np.random.default_rng(0)
        )


def test_a_mask_has_no_gaps_and_no_specks():
    before = np.zeros((256, 256, 1), dtype=np.float32)
    after = before.copy()
    after[50:90, 50:90] = 3 * STEP
    after[60:70, 60:70] = STEP / 2  # a hole
    after[50:90, 74:77] = 0  # a gap
    after[200:203, 200:203] = 3 * STEP  # a speck
    expected = np.zeros((256, 256), dtype=np.bool_)
    expected[50:90, 50:90] = True
    mask = defect_kinds.changed(before, after)
    expected[50:90, 74:77] = mask[50:90, 74:77]  # its ends are rounded
    np.testing.assert_array_equal(mask, expected)
    assert mask[54:86, 74:77].all()


# -- measures ------------------------------------------------------------------------------------------------


def heat_and_masks(seed, step=None):
    rng = np.random.default_rng(seed)
    masks = ndimage.gaussian_filter(rng.standard_normal((4, 32, 32)), (0, 3, 3))
    masks = masks > np.quantile(masks, 0.93)
    heat = ndimage.gaussian_filter(rng.standard_normal(masks.shape) + masks, (0, 1, 1))
    return (np.round(heat / step) * step if step else heat), masks


def by_thresholds(heat, masks, limit):
    """AUPRO by its definition: threshold after threshold, region after region."""
    regions = []
    for number, mask in enumerate(masks):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(number, labels == label) for label in range(1, count + 1)]
    false, overlap = [0.0], [0.0]
    for threshold in np.unique(heat)[::-1]:
        above = heat >= threshold
        false.append(above[~masks].mean())
        overlap.append(np.mean([above[number][region].mean() for number, region in regions]))
    grid = np.linspace(0, limit, 50_001)
    return np.trapezoid(np.interp(grid, false, overlap), grid) / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("step", [None, 0.1, 0.5])
def test_aupro_is_that_of_its_definition(step, limit):
    heat, masks = heat_and_masks(0, step)
    assert localization.aupro(heat, masks, limit) == pytest.approx(
        by_thresholds(heat, masks, limit), abs=1e-4
    )


def test_measures_of_a_perfect_map_and_of_any_rising_function():
    heat, masks = heat_and_masks(1)
    assert localization.measures(masks.astype(float), masks) == {"pixel_auroc": 1.0, "aupro": 1.0}
    risen = localization.measures(np.exp(heat), masks)
    assert risen == pytest.approx(localization.measures(heat, masks), abs=1e-12)
    assert risen["pixel_auroc"] == roc_auc_score(masks.ravel(), heat.ravel())


def test_regions_count_alike_whatever_their_size():
    masks = np.zeros((1, 40, 40), dtype=np.bool_)
    masks[0, :2, :2] = masks[0, 20:, 20:] = True
    for found, size in ((np.s_[0, :2, :2], 4), (np.s_[0, 20:, 20:], 400)):
        heat = np.zeros(masks.shape)
        heat[found] = 1.0
        assert masks[found].sum() == size
        assert localization.aupro(heat, masks, 1.0) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda heat, masks: (heat[0], masks[0]), r"must be \(N, H, W\) alike"),
        (lambda heat, masks: (heat[:, 1:], masks), r"must be \(N, H, W\) alike"),
        (lambda heat, masks: (np.where(masks, np.nan, heat), masks), "finite"),
        (lambda heat, masks: (heat, masks & False), "pixels of defects and others"),
        (lambda heat, masks: (heat, masks | True), "pixels of defects and others"),
    ],
)
def test_what_has_no_measure_is_refused(change, message):
    for measure in (localization.aupro, localization.pixel_auroc):
        with pytest.raises(ValueError, match=message):
            measure(*change(*heat_and_masks(2)))


# -- peers ---------------------------------------------------------------------------------------------------


def maps(pictures):
    """Two maps: pictures halved, and pictures at an eighth with another channel."""
    grey = pictures.reshape(*pictures.shape[:3], -1).mean(axis=3, dtype=np.float32)
    parts = []
    for step, scale in ((8, 1.0), (16, -2.0)):
        one = grey.reshape(len(grey), grey.shape[1] // step, step, -1, step).mean(axis=(2, 4))
        parts.append(np.stack([scale * one, one**2 / 255], axis=1))
    return parts


def pictures(count, seed=0, side=32, channels=(3,)):
    return np.random.default_rng(seed).integers(0, 256, size=(count, side, side, *channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_neighbours_on_pixels_are_those_of_scikit_learn(channels):
    train, test = pictures(9, 0, channels=channels), pictures(4, 1, channels=channels)
    result = defect_peers.neighbours(train, 0)(test)
    rows = [part.reshape(len(part), -1) / 255 for part in (train, test)]
    distances, nearest = NearestNeighbors(n_neighbors=5).fit(rows[0]).kneighbors(rows[1])
    np.testing.assert_allclose(result.scores, distances.mean(axis=1), rtol=1e-4)
    squares = (rows[1] - rows[0][nearest[:, 0]]) ** 2
    expected = defect_peers.smoothed(squares.reshape(4, 32, 32, -1).sum(axis=3))
    np.testing.assert_allclose(result.heat, expected, rtol=1e-3)


@pytest.mark.parametrize("fit", [defect_peers.neighbours, defect_peers.pca])
def test_a_heat_map_is_hottest_where_a_part_is_gone(fit):
    train = np.repeat(pictures(1), 8, axis=0)
    train = np.clip(train + np.random.default_rng(1).normal(0, 4, size=train.shape), 0, 255).astype(np.uint8)
    test = train[:2].copy()
    test[1, 20:26, 4:10] = 128
    result = fit(train[2:], 0)(test)
    assert result.scores[1] > result.scores[0]
    row, column = np.unravel_index(result.heat[1].argmax(), (32, 32))
    assert 20 <= row < 26
    assert 4 <= column < 10


def test_patches_are_the_channels_of_all_maps_at_a_place():
    train = pictures(3)
    result = defect_peers.patches(train, maps)
    fine, coarse = maps(train)
    assert result.features.shape == (3, 4, 4, 4)
    assert result.size == (32, 32)
    mean = ndimage.uniform_filter(fine[1, 0], 3, mode="nearest")
    np.testing.assert_allclose(result.features[1, :, :, 0], mean, rtol=1e-5)
    mean = ndimage.uniform_filter(coarse[1, 1], 3, mode="nearest")
    np.testing.assert_allclose(result.features[1, [0, 0, 3, 3], [0, 3, 0, 3], 3], mean.ravel(), rtol=1e-5)


def test_a_coreset_takes_the_farthest_patch_each_time():
    rows = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    chosen = defect_peers.coreset(rows, 12, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((5, defect_peers.PROJECTED), dtype=np.float32)
    projected = rows @ matrix
    distances = np.linalg.norm(projected[:, None] - projected[None], axis=2)
    assert len(set(chosen.tolist())) == 12
    for number in range(1, 12):
        assert chosen[number] == distances[:, chosen[:number]].min(axis=1).argmax()


def test_patch_neighbours_are_the_distances_to_the_nearest_kept(monkeypatch):
    monkeypatch.setattr(defect_peers, "CORESET", 1.0)
    train, test = (defect_peers.patches(pictures(count, count), maps) for count in (6, 3))
    result = defect_peers.patch_neighbours(train, 0)(test)
    rows = [part.features.reshape(-1, 4) for part in (train, test)]
    distances = NearestNeighbors(n_neighbors=1).fit(rows[0]).kneighbors(rows[1])[0].reshape(3, 4, 4)
    np.testing.assert_allclose(result.scores, distances.max(axis=(1, 2)), rtol=1e-3, atol=1e-2)
    expected = defect_peers.smoothed(defect_peers.enlarged(distances, (32, 32)))
    np.testing.assert_allclose(result.heat, expected, rtol=1e-3, atol=1e-2)
    same = defect_peers.patch_neighbours(train, 0)(train)
    assert same.scores.max() < 1e-2 * result.scores.max()


def test_patch_gaussians_are_mahalanobis_distances_of_their_place():
    train, test = (defect_peers.patches(pictures(count, count), maps) for count in (8, 3))
    result = defect_peers.patch_gaussian(train, 0)(test)
    distances = np.empty((3, 4, 4))
    for row, column in np.ndindex(4, 4):
        rows = train.features[:, row, column].astype(np.float64)
        inverse = np.linalg.inv(np.cov(rows.T) + defect_peers.RIDGE * np.eye(4))
        for number in range(3):
            distances[number, row, column] = mahalanobis(
                test.features[number, row, column], rows.mean(axis=0), inverse
            )
    np.testing.assert_allclose(result.scores, distances.max(axis=(1, 2)), rtol=1e-5)


# -- runner, page --------------------------------------------------------------------------------------------


def run(folder, *extra, maps=None):
    output = folder / "defects.json"
    defects.main(
        ["--data", str(folder), "--output", str(output), "--kinds", "weave", "--seeds", "0", *extra], maps
    )
    return json.loads(output.read_text())


def test_a_second_call_does_what_is_missing(small, tmp_path, monkeypatch):
    run(tmp_path, "--methods", "kNN", "OCSVM", "patch kNN")
    stored = run(tmp_path, "--methods", "kNN", "OCSVM", "patch kNN", "PCA", maps=maps)
    rows = {row["method"]: row for row in stored["rows"]}
    assert sorted(rows) == sorted(["kNN", "OCSVM", "PCA", "patch kNN"])
    assert len(stored["rows"]) == 4
    assert "note" not in rows["patch kNN"]
    assert "pixel_auroc" not in rows["OCSVM"]
    assert all(row["half"] == "even" and row["group"] == "generated" for row in rows.values())
    assert all(set(row["by_defect"]) == set(DEFECTS) for row in rows.values())
    monkeypatch.setattr(defects, "load", None)  # nothing is left to do
    assert run(tmp_path, "--methods", *rows, maps=maps) == stored


def test_without_a_backbone_the_row_is_a_note(small, tmp_path):
    stored = run(tmp_path, "--methods", "PCA", "patch Gaussian")
    assert [row.get("note") for row in stored["rows"]] == [None, defects.NOTE]
    text = report.report([stored])
    assert "Without rows: patch Gaussian; needs upland[backbone]." in text
    measured = stored["rows"][0]
    line = next(line for line in text.splitlines() if line.startswith("| PCA"))
    assert f"{100 * measured['auroc']:.2f}" in line
    assert f"{100 * measured['aupro']:.2f}" in line
    assert text.count("### Defects") == 2 + len(("auroc", "pixel_auroc", "aupro")) + 1


def test_sheets_show_each_defect_above_its_heat(small, tmp_path):
    run(tmp_path, "--methods", "kNN", "OCSVM", "patch kNN", "--sheets", str(tmp_path / "sheets"))
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["weave 0 kNN.png"]
    sheet = np.asarray(Image.open(tmp_path / "sheets" / "weave 0 kNN.png"))
    assert sheet.shape == (2 * SMALL, (len(DEFECTS) + 1) * SMALL, 3)
    red = (sheet == (255, 0, 0)).all(axis=2).reshape(2, SMALL, -1, SMALL).any(axis=(1, 3))
    assert red.tolist() == [[False, *len(DEFECTS) * [True]], (len(DEFECTS) + 1) * [False]]


def test_upland_gives_scores_and_heat_maps_of_the_pictures_size():
    train = pictures(20, side=16, channels=())
    result = defects.upland(train, 0, features="pixels")(train[:3])
    assert result.scores.shape == (3,)
    assert result.heat.shape == (3, 16, 16)


def test_means_are_over_seeds_that_have_every_kind():
    rows = [
        {
            "kind": kind,
            "seed": seed,
            "method": "kNN",
            "auroc": value,
            "fit_seconds": 1.0,
            "score_seconds": 1.0,
        }
        for kind, seed, value in (("a", 0, 0.5), ("b", 0, 0.7), ("a", 1, 0.1))
    ]
    text = report.report_defects.summary(rows)
    assert text.splitlines()[2] == "| kNN | 60.00 |  |  | 2.0 | 1 |"
