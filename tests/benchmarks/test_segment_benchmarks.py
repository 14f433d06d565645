"""The benchmark of segments: made-up machines, anomalies, rows of results."""

import json

import numpy as np
import pytest

from benchmarks import segments


@pytest.mark.parametrize("mode", segments.MODES)
def test_machines_differ_in_what_is_said(mode):
    normal, new = segments.machines(mode, 30, 400, seed=0, new=5)
    assert len(normal) == 30 * 400
    assert new[segments.BY].value_counts().tolist() == [5] * 30
    by = normal.groupby(segments.BY)
    spread = by.std().mean().mean()
    means, scales = by.mean().std().mean() / spread, np.log(by.std()).std().mean()
    assert (means > 0.5) == (mode in ("means", "all"))
    assert (scales > 0.35) == (mode in ("scales", "all"))
    correlations = np.stack([part.drop(columns=segments.BY).corr().to_numpy() for _, part in by])
    assert (correlations.std(axis=0).max() > 0.3) == (mode in ("dependence", "all"))


def test_anomalies_are_what_they_are_called():
    _, new = segments.machines("all", 6, 10, seed=0)
    made = segments.anomalies(new, seed=1)
    x, of = new.drop(columns=segments.BY).to_numpy(), new[segments.BY].to_numpy()
    swapped = made["swapped"].drop(columns=segments.BY).to_numpy()
    for segment in range(6):
        here = of == segment
        np.testing.assert_array_equal(np.sort(swapped[here], axis=0), np.sort(x[here], axis=0))
        assert ((swapped[here] != x[here]).any(axis=0)).sum() == 3
    assert ((made["shifted"].drop(columns=segments.BY).to_numpy() != x).sum(axis=1) == 1).all()
    assert (made["moved"][segments.BY] != of).all()
    assert sorted(set(made["moved"][segments.BY])) == list(range(6))


def test_within_is_the_mean_over_segments():
    labels, of = np.array([0, 1, 0, 1, 0, 0]), np.array(["a", "a", "b", "b", "c", "c"])
    assert segments.within(labels, np.array([0, 1, 5, 4, 9, 9]), of) == 0.5


def test_it_writes_rows_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MODES", ("means",))
    output = tmp_path / "segments.json"
    call = [
        "--data",
        str(tmp_path),
        "--output",
        str(output),
        "--segments",
        "4",
        "--sizes",
        "10",
        "--seeds",
        "0",
    ]
    call += ["--stream", "200"]
    assert segments.main([*call, "--parts", "speed", "stream", "accuracy", "grouped"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["part"] for row in rows] == ["speed", "stream", "accuracy"]
    assert rows[0]["file_mb"] > rows[0]["single_file_mb"] > 0
    assert rows[2]["moved segments"] > 0.95 > rows[2]["swapped segments"] > rows[2]["swapped single"]
    assert segments.main([*call, "--parts", "speed", "accuracy"]) == 0
    assert json.loads(output.read_text())["rows"] == rows
