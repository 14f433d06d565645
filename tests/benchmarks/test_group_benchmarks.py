"""The benchmarks on groups: draws, measures, tests of drift, runners that go on, and their pages."""

import json
import math
import os
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.group_draws import Case, Contest, drawn, false_alarms, mixed, outlying_rows, p_values, single
from benchmarks.group_features import GroupFeatures
from benchmarks.group_peers import ColumnTests, StabilityIndex, distance
from scipy.stats import ks_2samp

import upland
from benchmarks import (
    group_draws,
    group_fdr,
    group_rows,
    groups,
    groups_tables,
    report,
    report_groups,
    speed_groups,
)
from estimators import EXAMPLES, FEATURES
from upland.groups.likelihood import Likelihood
from upland.groups.null import Null
from upland.groups.outputs import ModelOutputs

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("UPLAND_DATA", ROOT.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "adbench").is_dir(),
    reason=f"no sets in {DATA}: name the folder of data in UPLAND_DATA",
)


@pytest.mark.parametrize("name", ["ImageEnergyDetector", FEATURES])
def test_features_of_images_are_those_of_what_is_kept(name):
    found = GroupFeatures(EXAMPLES[name].fit(), groups.statistics_of("energy"))
    of_new, of_kept = found.of(EXAMPLES[name].new), found.held_out()
    assert {statistic: part.shape[1] for statistic, part in of_new.items()} == {
        statistic: part.shape[1] for statistic, part in of_kept.items()
    }
    assert all(part.isfinite().all() for part in of_new.values())


def source(seed=0):
    return np.random.default_rng(seed)


def column(values):
    return torch.as_tensor(values, dtype=torch.float64)[:, None]


# -- draws ---------------------------------------------------------------------------------------------------


def test_groups_are_disjoint_until_every_row_has_been_drawn():
    groups = drawn(20, 3, 15, source())
    assert groups.shape == (15, 3)
    assert all(len(set(group)) == 3 for group in groups)
    for start in (0, 6):
        assert len(set(groups[start : start + 6].ravel())) == 18
    with pytest.raises(ValueError, match="more than 2 rows"):
        drawn(2, 3, 1, source())


@pytest.mark.parametrize(("share", "size", "count"), [(0.2, 2, 1), (0.5, 5, 3), (0.2, 25, 5), (1.0, 10, 10)])
def test_a_mixture_has_its_share_of_outlying_rows(share, size, count):
    assert outlying_rows(share, size) == count
    groups = mixed(40, 30, share, size, 12, source())
    assert groups.shape == (12, size)
    assert np.all((groups < 40).sum(axis=1) == count)
    assert groups.max() < 70


def test_means_are_those_of_each_group():
    features = torch.from_numpy(source().normal(size=(9, 4)))
    groups = drawn(9, 3, 5, source())
    expected = torch.stack([features[torch.from_numpy(group)].mean(0) for group in groups])
    torch.testing.assert_close(group_draws.means(features, groups), expected)


@pytest.mark.parametrize(("rows", "size"), [(200, 4), (60, 20)])  # disjoint groups, permutations
def test_p_values_are_those_of_the_null(rows, size):
    null = Null(column(source().normal(size=rows)), Likelihood().value, 0.05)
    features = column(source(1).normal(size=50) + 0.5)
    groups = drawn(50, size, 4, source(2))
    expected = [null.p_value(features[torch.from_numpy(group)]).p for group in groups]
    np.testing.assert_allclose(p_values(null, features, groups), expected, rtol=0, atol=0)


# -- measures ------------------------------------------------------------------------------------------------


def contest(shift, size, rows=400):
    """Likelihood as the statistic, of rows that differ by a shift."""
    normal = column(source(0).normal(size=rows))
    made = Contest(Likelihood(), column(source(1).normal(size=rows)), normal, count=40, draws=2)
    outlying = column(source(2).normal(size=rows) + shift)
    groups = [drawn(rows, size, 40, source(draw)) for draw in (3, 4)] if size > 1 else [single(rows)]
    return made.measured(size, Case(outlying, groups))


def test_a_shift_is_measured():
    row = contest(3.0, 5)
    assert (row["auroc"], row["power"]) == (1.0, 1.0)
    assert row["alarms"] < 0.2
    assert (row["size"], row["tested"], row["method"]) == (5, 80, "disjoint groups")
    assert contest(0.0, 5)["auroc"] == pytest.approx(0.5, abs=0.15)


def test_single_rows_have_an_auroc_alone():
    row = contest(1.0, 1)
    assert set(row) == {"size", "auroc", "auroc_sd"}
    assert 0.7 < row["auroc"] < 0.85


def test_false_alarms_keep_the_level():
    pool = column(source(5).normal(size=600))
    found = false_alarms(Likelihood(), pool, 300, 5, redraws=60)
    assert abs(found["alarms"] - 0.05) < 4 * found["error"]
    assert (found["held_out"], found["method"], found["tested"]) == (300, "disjoint groups", 1200)
    assert false_alarms(Likelihood(), pool, 300, 400, redraws=2) == {}


# -- tests of drift ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", [None, 0])
def test_distances_and_p_values_are_those_of_scipy(rounding):
    reference, rows = source(0).normal(size=60), source(1).normal(size=(5, 12)) + 0.3
    if rounding is not None:
        reference, rows = reference.round(rounding), rows.round(rounding)
    expected = [ks_2samp(row, reference, method="asymp") for row in rows]
    np.testing.assert_allclose(distance(np.sort(reference), rows), [test.statistic for test in expected])
    tests = ColumnTests(reference[:, None])
    found = tests.p_values(tests.distances(rows[:, :, None]), 12)
    np.testing.assert_allclose(found, [test.pvalue for test in expected])


def test_bonferroni_counts_the_columns():
    tests = ColumnTests(source().normal(size=(50, 4)))
    one = ColumnTests(tests.reference[:, :1])
    distances = np.full((1, 1), 0.5)
    assert tests.p_values(distances, 10)[0] == pytest.approx(min(1, 4 * one.p_values(distances, 10)[0]))


def test_the_stability_index_is_the_formula():
    def rows(x):
        return ModelOutputs(torch.from_numpy(x), torch.zeros(len(x)), [])

    reference, new = source(0).normal(size=(500, 2)), source(1).normal(size=(40, 2)) + 1
    statistic = StabilityIndex().fit(rows(reference))
    edges = np.quantile(reference, np.arange(1, 10) / 10, axis=0)
    terms = []
    for d in range(2):
        counts = [np.bincount(np.searchsorted(edges[:, d], x[:, d]), minlength=10) for x in (reference, new)]
        p, q = ((count + 0.5) / (count.sum() + 5) for count in counts)
        terms.append(((q - p) * np.log(q / p)).sum())
    features = statistic.features(rows(new))
    found = statistic.value(features.mean(0, keepdim=True), torch.tensor([40.0]))
    assert float(found) == pytest.approx(np.mean(terms))


# -- tables --------------------------------------------------------------------------------------------------


def related(rows, seed=0):
    """Three columns, the last the sum of the others."""
    x = source(seed).normal(size=(rows, 3))
    x[:, 2] = x[:, 0] + x[:, 1] + 0.1 * x[:, 2]
    return x


def test_the_best_predicted_column_is_found():
    x = np.column_stack([source(1).normal(size=600), related(600)[:, [0, 1, 2]], np.ones(600)])
    column, share = group_rows.best_predicted(x, 0)
    assert column == 3
    assert share > 0.8


def test_a_permuted_column_keeps_its_values_in_the_group():
    rows = related(30)
    chosen = drawn(30, 5, 6, source())
    found = group_rows.permuted(rows, chosen, 1, source(1)).reshape(6, 5, 3)
    before = rows[chosen]
    np.testing.assert_array_equal(found[:, :, [0, 2]], before[:, :, [0, 2]])
    np.testing.assert_array_equal(np.sort(found[:, :, 1], axis=1), np.sort(before[:, :, 1], axis=1))
    assert not np.array_equal(found[:, :, 1], before[:, :, 1])


def test_a_split_shares_no_rows():
    x, y = np.arange(100.0)[:, None], (np.arange(100) >= 80).astype(np.int64)
    part = group_rows.split(x, y, 0)
    assert [len(rows) for rows in (part.train, part.normal, part.spare, part.anomalies)] == [40, 20, 20, 20]
    everything = np.concatenate([part.train, part.normal, part.spare, part.anomalies]).ravel()
    assert sorted(everything) == list(range(100))
    assert part.anomalies.min() >= 80


def little_table(folder):
    (folder / "adbench").mkdir()
    normal, outlying = related(1100), source(9).normal(size=(60, 3)) * 3
    y = np.repeat([0, 1], [1100, 60])
    np.savez(folder / "adbench" / "sums.npz", X=np.concatenate([normal, outlying]), y=y)
    return folder


def test_tables_from_rows_to_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(groups_tables.METHODS, "flow", partial(upland.FlowDetector, epochs=2))
    monkeypatch.setattr(groups_tables, "SIZES", (10,))
    monkeypatch.setattr(groups_tables, "ALARM_SIZES", (2,))
    monkeypatch.setattr(groups_tables, "statistics_of", lambda method: ["auto", "likelihood"])
    output = tmp_path / "tables.json"
    call = ["--data", str(little_table(tmp_path)), "--output", str(output), "--methods", "flow"]
    call += ["--groups", "8", "--draws", "2", "--redraws", "2"]
    assert groups_tables.main(call) == 0
    stored = output.read_text()
    rows = json.loads(stored)["rows"]
    cells = {(row["statistic"], row["case"]) for row in rows}
    assert {
        ("KS", "permuted"),
        ("PSI", "all anomalies"),
        ("auto", "permuted"),
        ("auto", "false alarms"),
    } <= cells
    assert all(row["column"] == 2 or row["r_squared"] > 0.8 for row in rows)
    groups_tables.main(call)
    assert output.read_text() == stored
    page = report.report([json.loads(stored)])
    assert "Permuted column, power by set, groups of 10" in page
    assert "| sums | 3 columns" in page


def test_false_discoveries_from_rows_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setitem(group_fdr.METHODS, "flow", partial(upland.FlowDetector, epochs=2))
    output = tmp_path / "fdr.json"
    call = ["--data", str(little_table(tmp_path)), "--output", str(output), "--methods", "flow"]
    call += ["--train", "300", "--sizes", "2", "--groups", "10", "--redraws", "20"]
    assert group_fdr.main(call) == 0
    stored = output.read_text()
    normal, permuted = json.loads(stored)["rows"]
    assert normal["held_out"] == 60
    assert normal["rate"] < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 20)
    assert normal["alarms"] == pytest.approx(0.05, abs=0.06)
    assert permuted["power"] > 0.9
    group_fdr.main(call)
    assert output.read_text() == stored
    assert "| sums | flow | normal | 2 | 10 | 60 | 20 |" in report.report([json.loads(stored)])


# -- images --------------------------------------------------------------------------------------------------


def test_contrast_is_about_the_mean_of_each_image():
    images = source().integers(60, 190, size=(3, 4, 4), dtype=np.uint8)
    found = groups.changed_contrast(images, 0.5)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.5)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 0.5 * images.std(axis=(1, 2)), rtol=0.05)


def test_every_set_has_its_outlying_sets():
    assert set(groups.FAR) == set(groups.TRAIN)
    assert set(groups.DEFAULT_SETS) <= {*groups.TRAIN, *groups.CLASSES}
    assert len(groups.CLASSES) == 10


def pictures(count, seed, bright):
    x = source(seed).integers(0, 60, size=(count, 8, 8), dtype=np.uint8)
    x[:, bright] += 150
    return x


def test_images_from_the_model_to_the_page(tmp_path, monkeypatch):
    normal = groups.Normal(pictures(200, 0, 1), pictures(60, 1, 1), pictures(60, 2, 1))
    monkeypatch.setattr(groups, "normal_images", lambda data, name, count: normal)
    monkeypatch.setattr(groups, "test_images", lambda data, name: pictures(60, 3, 6))
    monkeypatch.setattr(groups, "statistics_of", lambda method: ["auto", "likelihood"])
    monkeypatch.setitem(groups.METHODS, "flow", ("flow", {"depth": 2, "filters": 8}))
    monkeypatch.setattr(groups, "MANIPULATED", 6)
    monkeypatch.setattr(groups, "SIZES", (1, 2, 5))
    output = tmp_path / "groups.json"
    call = ["--data", str(tmp_path), "--models", str(tmp_path / "models"), "--output", str(output)]
    call += ["--sets", "MNIST", "--methods", "flow", "--epochs", "1", "--groups", "6", "--draws", "2"]
    assert groups.main(call) == 0
    stored = output.read_text()
    rows = json.loads(stored)["rows"]
    cases = {row["case"] for row in rows}
    assert {"notMNIST", "notMNIST, 20 % of each group", "notMNIST, shell", "contrast 0.5"} <= cases
    points = {groups.POINTS + name for name in groups.ONLY_POINTS["flow"]}
    assert {row["statistic"] for row in rows} == {"auto", "likelihood"} | points
    assert all(entry["size"] > 1 for row in rows if "of each" in row["case"] for entry in row["sizes"])
    groups.main(call)
    assert output.read_text() == stored
    page = report.report([json.loads(stored)])
    assert "| far pairs | flow auto |" in page
    assert "*published*" in page


def test_cases_are_sorted():
    def sort(name, case):
        return report_groups.sort({"set": name, "case": case})

    assert sort("MNIST", "notMNIST") == sort("MNIST", "contrast 0.5") == report_groups.FAR_PAIRS
    assert sort("MNIST", "contrast 1.5") == "contrast raised"
    assert sort("MNIST", "notMNIST, shell") == sort("MNIST", "notMNIST, contrast matched") == "manipulated"
    assert sort("MNIST", "notMNIST, 20 % of each group") == "20 % of each group"
    assert sort("Fashion-MNIST Bag", "Boot") == "single classes of Fashion-MNIST"


@needs_data
def test_tables_with_enough_normal_rows_are_named():
    names = groups_tables.names(DATA)
    assert len(names) == 15
    assert "waveform" in names
    assert "wine" not in names


# -- speed ---------------------------------------------------------------------------------------------------


def test_the_verdict_is_timed():
    detector, x, labels = speed_groups.prepared(Namespace(rows=400, groups=8, train=300, epochs=1))
    row = speed_groups.verdict(detector, x, labels, "typicality", False)
    assert row["seconds"] > 0
    assert row["peak_mb"] >= 0 or math.isnan(row["peak_mb"])
    assert speed_groups.null(detector, x, labels, "typicality", False)["seconds"] > 0
