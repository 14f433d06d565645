"""The benchmark of the watch: what it simulates, its peers, and that a short run gives every table."""

import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

pytest.importorskip("river", reason="river is not installed: pip install 'upland[bench]'")

from benchmarks.guarantees_delays import first_at, of_rows, summary
from benchmarks.guarantees_dependence import autoregressive
from benchmarks.guarantees_discoveries import lond, lord
from benchmarks.guarantees_peers import GRID, PEERS, kswin_distances, tuned
from benchmarks.guarantees_streams import batch_distances, fixed_p, online_p
from benchmarks.report import report
from river import drift

from benchmarks import guarantees
from upland.calibration.online_false_discovery import ELond


def test_lond_is_that_of_the_library():
    log_e = np.random.default_rng(0).exponential(6, size=(5, 60))
    test = [ELond(0.1) for _ in log_e]
    expected = [[each.test(value) for value in row] for each, row in zip(test, log_e, strict=True)]
    np.testing.assert_array_equal(lond(-log_e, 0.1), expected)
    assert 10 < np.sum(expected) < 250


def test_lord_gains_level_by_discoveries_and_keeps_the_rate():
    """The first discovery gives half of alpha, each later one alpha."""
    t = np.arange(1, 10)
    shares = 0.07720838 * np.log(np.maximum(t, 2)) / (t * np.exp(np.sqrt(np.log(t))))
    p = np.ones((3, 9))
    p[1, 2] = p[2, 1] = p[2, 2] = 0.0
    levels = [
        0.05 * shares[8],
        0.05 * shares[8] + 0.05 * shares[5],
        0.05 * (shares[8] + shares[6]) + 0.1 * shares[5],
    ]
    for factor, expected in ((0.999, True), (1.001, False)):
        p[:, 8] = np.array(levels) * factor
        assert lord(p, 0.1)[:, 8].tolist() == [expected] * 3
    false = lord(np.random.default_rng(0).random((2_000, 50)), 0.1).any(axis=1)
    assert 0 < false.mean() < 0.1


def test_distances_of_batches_are_those_of_scipy():
    rng = np.random.default_rng(0)
    calibration, values = rng.normal(size=(2, 70)), rng.normal(size=(2, 45))
    found = batch_distances(calibration, values, 20)
    for k in range(2):
        for batch in range(2):
            part = values[k, batch * 20 : batch * 20 + 20]
            assert found[k, batch] == pytest.approx(ks_2samp(calibration[k], part).statistic)


@pytest.mark.parametrize("block", [1, 5])
def test_series_have_the_correlation_of_their_rows(block):
    rows = autoregressive(np.random.default_rng(0), 400, 300, 0.8, block)
    assert rows.std() == pytest.approx(1, abs=0.02)
    gaps = np.arange(-4, 5)
    expected = 0.8 if block == 1 else ((5 - abs(gaps)) / 25) @ 0.8 ** (5.0 + gaps)
    assert (rows[:, 1:] * rows[:, :-1]).mean() == pytest.approx(expected, abs=0.02)


def test_p_values_of_the_calibration_alone_are_uniform_and_depend_on_it():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 120))
    for p_values, dependent in ((fixed_p, True), (online_p, False)):
        p = p_values(list(scores[:, :20]), scores[:, 20:], rng)
        assert p.mean() == pytest.approx(0.5, abs=0.02)
        assert (p.mean(axis=1).var() * 100 * 12 > 3) == dependent


@pytest.mark.parametrize("name", ["Page-Hinkley", "ADWIN"])
def test_peers_are_tuned_to_the_budget_and_find_a_shift(name):
    rng = np.random.default_rng(0)
    null = rng.normal(size=(40, 1_000))
    setting = tuned(name, null, 300, 0.1)
    alarms = [
        np.mean([PEERS[name](row, value, 300) < 700 for row in null]) for value in (GRID[name][0], setting)
    ]
    assert alarms[1] <= 0.1 < alarms[0]
    shifted = rng.normal(size=1_000) + 3 * (np.arange(1_000) >= 600)
    assert 300 <= PEERS[name](shifted, setting, 300) < 400


def test_distances_of_kswin_are_those_of_river():
    values = np.random.default_rng(0).normal(size=(2, 300))
    values[:, 200:] += 1
    found = kswin_distances(values)
    for k in range(2):
        detector = drift.KSWIN(alpha=0.0, seed=0)
        for t, value in enumerate(values[k].tolist()):
            detector.update(value)
            if t >= 99:
                assert detector.p_value == pytest.approx(ks_2samp_p(found[k, t]))
            else:
                assert found[k, t] == -np.inf


def ks_2samp_p(distance):
    """The p-value of a distance between two samples of 30."""
    shift = round(distance * 30)
    return ks_2samp(np.arange(30.0), np.arange(30.0) + shift - 0.5).pvalue


def test_delays_are_counted_from_the_change():
    hits = np.zeros((3, 5_000), dtype=bool)
    hits[0, 1_010:] = hits[1, 10] = True
    at = first_at(hits)
    assert at.tolist() == [1_010, 10, 5_000]
    found = summary(at)
    assert found["median"] == (11 + 4_001) / 2
    assert found["missed"] == 0.5
    assert of_rows(np.array([[1.0, 2.0]])).tolist()[0][49:100:50] == [1.0, 2.0]


def test_a_short_run_gives_every_table(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.guarantees_discoveries.DISCOVERIES", {"few": (30, 5, 0.3, True)})
    monkeypatch.setattr("benchmarks.guarantees_delays.AFTER", 200)
    output = tmp_path / "guarantees.json"
    telemetry = {"A_train": np.random.default_rng(0).normal(size=(700, 2))}
    (tmp_path / "sequences").mkdir()
    np.savez(tmp_path / "sequences" / "smap.npz", **telemetry)
    short = [
        "--streams",
        "4",
        "--rows",
        "60",
        "--few",
        "4",
        "--others",
        "4",
        "--data",
        str(tmp_path),
        "--output",
        str(output),
    ]
    parts = ["alarms", "run_length", "discoveries", "dependence", "series"]
    assert guarantees.main([*short, "--parts", *parts]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert {row["part"] for row in rows} == set(parts)
    text = report([json.loads(output.read_text())])
    for title in ("False alarms ever", "Run length", "Online false", "Dependence", "Real series"):
        assert f"### {title}" in text
    guarantees.main([*short, "--parts", "alarms"])
    assert json.loads(output.read_text())["rows"] == rows
