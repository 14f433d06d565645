"""The benchmark of a few labelled rows: draws, runner, methods, the page."""

import json

import numpy as np
import pytest
from benchmarks.table_tasks import Rows

from benchmarks import few_labels, report_labels

HEADER = {"date": "today", "processor": "none", "cores": 1, "threads": "1", "python": "3", "versions": {}}


def rows(count=120, anomalies=20, seed=0):
    draw = np.random.default_rng(seed)
    test = draw.normal(size=(80, 3))
    test[:anomalies, 1] += 3
    return Rows(draw.normal(size=(count, 3)), test, (np.arange(80) < anomalies).astype(np.int64))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "oddbench").mkdir()
    for seed, name in enumerate(("first", "second")):
        made = rows(seed=seed)
        path = tmp_path / "oddbench" / f"{name}.npz"
        np.savez(path, train=made.train, test=made.test, test_labels=made.labels)
    return tmp_path


def test_draws_are_nested_and_leave_the_others():
    labels = rows().labels
    one, five = (few_labels.drawn(labels, count, 3) for count in (1, 5))
    for known, count in ((one, 1), (five, 5)):
        assert labels[known.labelled].tolist() == [1] * count + [0] * few_labels.NORMALS
        assert sorted([*known.labelled, *known.others]) == list(range(80))
    assert set(one.labelled) < set(five.labelled)
    assert few_labels.drawn(labels, 11, 3) is None
    assert (few_labels.drawn(labels, 5, 4).labelled != five.labelled).any()


@pytest.mark.parametrize("name", few_labels.METHODS)
def test_every_method_scores_the_others_alike_in_any_order_of_calls(name):
    made = rows()
    first, second = (few_labels.drawn(made.labels, count, 0) for count in (1, 5))
    method = few_labels.METHODS[name](made, 0)
    method(first)
    found, fresh = method(second), few_labels.METHODS[name](made, 0)(second)
    assert found.scores.shape == second.others.shape
    assert (found.scores == fresh.scores).all()


@pytest.mark.parametrize("name", ["upland refine", "boosting", "DevNet"])
def test_methods_learn_from_labels(name):
    made = rows(count=400)
    known = few_labels.drawn(made.labels, 10, 0)
    scores = few_labels.METHODS[name](made, 0)(known).scores
    high = made.test[known.others, 1] > 2
    low = made.test[known.others, 1] < 1
    assert np.median(scores[high]) > np.quantile(scores[low], 0.9)


def test_the_command_goes_on_where_it_stopped(data, tmp_path):
    output = tmp_path / "few.json"
    given = ["--data", str(data), "--output", str(output), "--seeds", "0", "--methods", "upland"]
    few_labels.main([*given, "--anomalies", "1"])
    first = json.loads(output.read_text())["rows"]
    few_labels.main([*given, "--anomalies", "1", "5", "50"])
    found = json.loads(output.read_text())["rows"]
    assert found[: len(first)] == first
    assert {row["anomalies"] for row in found} == {1, 5}
    assert {row["half"] for row in found} == {"choose", "confirm"}
    assert all(0 <= row["false_alarms_0.05"] <= 1 for row in found)


def test_the_page_compares_at_the_same_tasks_and_seeds():
    def row(task, seed, method, auroc):
        about = {"collection": "oddbench", "half": "choose", "anomalies": 5, "kind": "real", "family": task}
        return about | {"task": task, "seed": seed, "method": method, "auroc": auroc, "auprc": 0.5}

    found = [
        *(row("a", seed, "upland", 0.8) for seed in (0, 1)),
        row("a", 0, "upland refine", 0.9),
        row("a", 1, "upland refine", 0.78),
    ]
    page = report_labels.few_labels(found)
    assert "OddBench, half for choosing: 1 tasks" in page
    assert "| 5 | upland refine | 84.00 ± 8.49 | 50.00 ± 0.00 | +4.00 | 50% | 50% | -2.0 |" in page
