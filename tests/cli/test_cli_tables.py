"""Scoring in batches is scoring at once: same verdicts for any batch size, same flags in two passes."""

import numpy as np
import pyarrow.parquet as pq
import pytest

import upland
from upland.cli.tables import score_file
from upland.cli.verdicts import ADDED, Asked
from upland.io.formats import open_source


@pytest.fixture(scope="module")
def detector(plant):
    return upland.load(plant / "pump.safetensors")


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
def test_any_batch_size_gives_the_same_outcome(detector, plant, tmp_path, control, size):
    source = open_source(plant / "new.csv")
    told = []
    target = tmp_path / "scored.parquet"
    asked = Asked(target, control=control, alpha=0.1, why=True, top=4, overwrite=True)
    outcome = score_file(detector, source, asked, batch_size=size, seen=told.append)
    table = source.read()
    scores, flags = detector.anomaly_score(table), detector.flag(table, alpha=0.1, control=control)
    scored = pq.read_table(target)
    assert scored.column_names[-4:] == list(ADDED)
    np.testing.assert_allclose(scored["anomaly_score"], scores, rtol=1e-7)
    np.testing.assert_array_equal(scored["is_anomaly"], flags)
    assert (outcome.rows, outcome.flagged) == (60, flags.sum())
    assert [row.number - 1 for row in outcome.strangest] == np.argsort(-scores, kind="stable")[:4].tolist()
    assert all(row.is_anomaly == flags[row.number - 1] for row in outcome.strangest)
    assert sum(told) == 60 * (2 if control == "fdr" else 1)


def test_reasons_are_those_of_explain(detector, plant):
    source = open_source(plant / "new.csv")
    outcome = score_file(detector, source, Asked(top=2), batch_size=16)
    table = source.read()
    places = [row.number - 1 for row in outcome.strangest]
    expected = upland.explain(detector, table.take(places)).top(3)
    assert [[r.column for r in row.reasons] for row in outcome.strangest] == [
        [r.column for r in e] for e in expected
    ]
