"""Scoring in batches is scoring at once: same verdicts for any batch size, same flags in two passes."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import upland
from upland.cli.results import ADDED, Request
from upland.cli.scoring import score_path
from upland.io.formats import open_source


@pytest.fixture(scope="module")
def detector(plant):
    return upland.load(plant / "pump.safetensors")


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_batch_size_gives_the_same_result(detector, plant, tmp_path, control, size, monkeypatch):
    monkeypatch.setattr("upland.cli.tables.AT_ONCE", 8 * size)  # an eighth at a time, since all are explained
    target = tmp_path / "scored.parquet"
    request = Request(target, control=control, alpha=0.1, why=True, top=4)
    result = score_path(detector, plant / "new.csv", request)
    table = open_source(plant / "new.csv").read()
    scores, flags = detector.anomaly_score(table), detector.flag(table, alpha=0.1, control=control)
    scored = pq.read_table(target)
    assert scored.column_names[-4:] == list(ADDED)
    np.testing.assert_allclose(scored["anomaly_score"], scores, rtol=1e-7)
    np.testing.assert_array_equal(scored["is_anomaly"], flags)
    assert (result.count, result.flagged) == (60, flags.sum())
    assert [row.name - 1 for row in result.findings] == np.argsort(-scores, kind="stable")[:4].tolist()
    assert all(row.is_anomaly == flags[row.name - 1] for row in result.findings)


def test_reasons_are_those_of_explain(detector, plant):
    result = score_path(detector, plant / "new.csv", Request(top=2))
    table = open_source(plant / "new.csv").read()
    expected = upland.explain(detector, table.take([row.name - 1 for row in result.findings])).top(3)
    assert [row.reasons for row in result.findings] == expected
