"""The benchmarks on sequences and series: loaders, splits, peers, runners that go on, the page."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks import chaotic, report, sequences, series, series_peers, telemetry

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UPLAND_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "sequences").is_dir(),
    reason=f"no sequences in {DATA}: name the folder of data in UPLAND_DATA",
)
WIDE = {  # sequences of train, of test, channels, classes
    "NATOPS": (180, 180, 24, 6),
    "JapaneseVowels": (270, 370, 12, 9),
    "BasicMotions": (40, 40, 6, 4),
    "Epilepsy": (137, 138, 3, 4),
    "ItalyPowerDemand": (67, 1029, 1, 2),
    "GunPoint": (50, 150, 1, 2),
}


def waves(count, lengths, turn, seed=0):
    """Sequences (T_i, 2): a sine and its cosine; `turn` is how fast they go round."""
    rng = np.random.default_rng(seed)
    found = []
    for length in rng.choice(lengths, count):
        phase = turn * np.arange(length) + rng.uniform(0, 0.3)
        found.append(np.stack([np.sin(phase), np.cos(phase)], 1) + rng.normal(0, 0.05, (length, 2)))
    return found


def stored_folder(folder):
    """Little sets under the names and in the layout of the real ones."""
    rng = np.random.default_rng(0)
    (folder / "sequences").mkdir()
    slow, fast = (np.stack([steps[:, 0] for steps in waves(20, [30], turn)]) for turn in (0.2, 0.5))
    x, y = np.concatenate([slow, fast]).astype(np.float32), np.repeat(["1", "2"], 20)
    np.savez(
        folder / "sequences" / "GunPoint.npz", x_train=x[::2], y_train=y[::2], x_test=x[1::2], y_test=y[1::2]
    )
    values = rng.normal(size=(400, 3)).astype(np.float32)
    values[300:310] += 6
    labels = series_labels(200, 100, 110)
    parts = {f"{name}_{part}": values[:200] for name in ("A_1", "P_2") for part in ("train", "test")}
    parts |= {"A_1_test": values[200:], "A_1_label": labels, "P_2_label": labels}
    np.savez(folder / "sequences" / "smap.npz", **parts)
    whole, quiet = series_labels(400, 300, 310), series_labels(400, 0, 50)
    np.savez(
        folder / "sequences" / "nab.npz",
        g__a__value=values[:, 0], g__a__label=whole, g__a__time=np.arange(400),
        g__b__value=values[:, 1], g__b__label=quiet, g__b__time=np.arange(400),
    )  # fmt: skip
    return folder


def series_labels(length, first, end):
    return ((np.arange(length) >= first) & (np.arange(length) < end)).astype(np.uint8)


# -- loaders -------------------------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("name", series.SETS)
def test_the_stored_sets_are_whole(name):
    data = series.load_sequences(DATA, name)
    channels = {steps.shape[1] for steps in [*data.train, *data.test]}
    assert (len(data.train), len(data.test), *channels, len(data.classes)) == WIDE[name]
    assert all(np.isfinite(steps).all() for steps in [*data.train, *data.test]), "padding leaked in"


@needs_data
@pytest.mark.parametrize(
    ("name", "count", "trained", "scored", "share"),
    [("smap", 53, 135_183, 427_617, 0.1279), ("msl", 27, 58_317, 73_729, 0.1053)],
)
def test_the_stored_channels_are_whole(name, count, trained, scored, share):
    splits = [split for _, split in series.load_collection(DATA, name)]
    labels = np.concatenate([split.labels for split in splits])
    assert (len(splits), sum(len(split.train) for split in splits), len(labels)) == (count, trained, scored)
    assert labels.mean() == pytest.approx(share, abs=1e-4)
    assert all(split.can_be_ranked for split in splits)


@needs_data
def test_six_of_the_58_series_of_nab_cannot_be_ranked():
    splits = [split for _, split in series.load_collection(DATA, "nab")]
    assert (len(splits), sum(split.can_be_ranked for split in splits)) == (58, 52)
    assert all(len(split.train) == int(0.15 * (len(split.train) + len(split.test))) for split in splits)


def test_padding_is_cut_and_time_comes_first():
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    x[1, :, 2] = np.nan
    first, second = series.sequences_of(x, np.array([3, 2]))
    np.testing.assert_array_equal(first, [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(second, [[6, 9], [7, 10]])


def test_another_class_is_the_anomaly(tmp_path):
    data = series.load_sequences(stored_folder(tmp_path), "GunPoint")
    split = data.normal("2")
    assert (len(split.train), len(split.test), split.labels.tolist()) == (10, 20, [1] * 10 + [0] * 10)
    np.testing.assert_array_equal(split.train[0], data.train[10])
    assert split.train[0].shape == (30, 1)


def test_each_series_has_its_own_parts(tmp_path):
    stored_folder(tmp_path)
    ((name, channel),) = series.load_collection(tmp_path, "smap")  # P-2 is left out
    assert (name, channel.train.shape, channel.test.shape, channel.labels.sum()) == (
        "A_1",
        (200, 3),
        (200, 3),
        10,
    )
    both = dict(series.load_collection(tmp_path, "nab"))
    assert {name: split.can_be_ranked for name, split in both.items()} == {"g__a": True, "g__b": False}
    assert (both["g__a"].train.shape, both["g__a"].test.shape) == ((60, 1), (340, 1))
    assert np.flatnonzero(both["g__a"].labels)[0] == 240


def test_a_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"NATOPS\.npz is not there"):
        series.load_sequences(tmp_path, "NATOPS")


# -- peers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", series_peers.SEQUENCE_PEERS)
def test_every_peer_tells_fast_waves_from_slow_ones(name):
    if name.startswith("HMM"):
        pytest.importorskip("hmmlearn", reason="hmmlearn is not installed: pip install hmmlearn")
    train = waves(20, [30, 36, 40], 0.2)
    test = [*waves(10, [33, 36], 0.2, seed=1), *waves(10, [33, 36], 0.5, seed=2)]
    scores = series_peers.SEQUENCE_PEERS[name](train, 0)(test)
    assert scores.shape == (20,)
    assert roc_auc_score(np.repeat([0, 1], 10), scores) > 0.8


@pytest.mark.parametrize("name", ["PCA", "kNN", "IForest", "KMeans", "KMeansAD", "POLY", "OCSVM", "LOF"])
def test_every_peer_on_windows_finds_a_level_that_jumps(name):
    rng = np.random.default_rng(0)
    steps = np.sin(0.3 * np.arange(900))[:, None] + rng.normal(0, 0.1, (900, 2))
    steps[700:720] += 4.0
    labels = series_labels(500, 300, 320)
    scores = series_peers.SERIES_PEERS[name](steps[:400], 0)(steps[400:])
    assert scores.shape == (500,)
    assert roc_auc_score(labels, scores) > 0.95


def test_a_method_of_one_channel_does_not_see_the_others():
    rng = np.random.default_rng(0)
    steps = np.sin(0.3 * np.arange(700))[:, None] + rng.normal(0, 0.1, (700, 3))
    other = np.concatenate([steps[:, :1], rng.normal(size=(700, 2))], axis=1)
    for name in ("PCA first", "kNN first", "POLY"):
        fit = series_peers.SERIES_PEERS[name]
        np.testing.assert_array_equal(fit(steps[:400], 0)(steps[400:]), fit(other[:400], 0)(other[400:]))


def test_resampling_keeps_the_ends_and_is_linear():
    steps = np.array([[0.0, 8.0], [1.0, 4.0], [2.0, 0.0]])
    found = series_peers.resampled(steps, 5)
    np.testing.assert_allclose(found, np.stack([np.linspace(0, 2, 5), np.linspace(8, 0, 5)], axis=1))
    assert series_peers.resampled(steps, 3) is steps


def test_a_window_scores_its_middle_step():
    steps = np.zeros((100, 1))
    steps[40] = 1.0
    rows = series_peers.windows(steps, 8)
    assert rows.shape == (93, 8)
    position = np.flatnonzero(rows[:, 4])[0]  # the window in whose middle the step stands
    scores = series_peers.centred((np.arange(93) == position).astype(float), 8)
    assert (scores.shape, np.argmax(scores)) == ((100,), 40)


def test_windows_hold_all_channels_step_by_step():
    steps = np.arange(10.0).reshape(5, 2)
    np.testing.assert_array_equal(series_peers.windows(steps, 2)[1], [2, 3, 4, 5])


def test_rounding_is_no_variation():
    train = [np.random.default_rng(seed).normal(size=(50, 1)) for seed in range(8)]
    train = [((x - x.mean()) / x.std()).astype(np.float32).astype(np.float64) for x in train]
    features = series_peers.Summarised(train)
    assert np.abs(features(train)[:, :2]).max() < 1e-5, "mean and deviation are the same in every sequence"
    assert features(train)[:, 2:].std(axis=0) == pytest.approx(np.ones(4))


# -- runners and page ----------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was(tmp_path, capsys):
    output = tmp_path / "out.json"
    call = [
        "--data",
        str(stored_folder(tmp_path)),
        "--sets",
        "GunPoint",
        "--output",
        str(output),
        "--methods",
    ]
    sequences.main([*call, "PCA flat", "--seeds", "0"])
    first = json.loads(output.read_text())["rows"]
    sequences.main([*call, "PCA flat", "kNN flat", "--seeds", "0", "1"])
    rows = json.loads(output.read_text())["rows"]
    assert rows[: len(first)] == first
    keys = [tuple(row[key] for key in sequences.KEYS) for row in rows]
    assert len(set(keys)) == len(keys) == 8  # two classes, two seeds, two methods
    page = report.report([json.loads(output.read_text())])
    assert "one class normal in turn" in page
    assert "| PCA flat |" in page


def test_the_chaotic_series_are_a_collection_that_needs_no_data(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(chaotic, "FAMILIES", {"mackey_glass": chaotic.FAMILIES["mackey_glass"]})
    output = tmp_path / "out.json"
    call = ["--data", str(tmp_path), "--output", str(output), "--collections", "chaotic", "--seeds", "0"]
    telemetry.main([*call, "--methods", "KMeans", "--most-series", "2"])
    rows = json.loads(output.read_text())["rows"]
    assert [row["series"] for row in rows] == ["mackey_glass_0", "mackey_glass_1"]
    assert "### Chaotic: 2 series, 12,000 scored steps" in report.report([json.loads(output.read_text())])


def test_telemetry_leaves_out_what_cannot_be_ranked(tmp_path, capsys):
    output = tmp_path / "out.json"
    call = ["--data", str(stored_folder(tmp_path)), "--output", str(output)]
    telemetry.main([*call, "--methods", "PCA", "kNN", "--collections", "smap", "nab", "--seeds", "0", "1"])
    assert "nab: 1 without an anomaly to rank: g__b" in capsys.readouterr().out
    rows = json.loads(output.read_text())["rows"]
    assert all(row["range_auc_pr"] > 0.5 for row in rows)
    assert {(row["collection"], row["series"]) for row in rows} == {("smap", "A_1"), ("nab", "g__a")}
    assert len(rows) == 8
    assert all(row["vus_pr"] > 0.5 and row["auroc"] > 0.8 for row in rows)
    page = report.report([json.loads(output.read_text())])
    assert "### SMAP: 1 series, 200 scored steps" in page
    assert "### NAB: 1 series, 340 scored steps" in page
