"""Scoring in batches is scoring at once: same verdicts for any batch size, same flags in two passes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import upland
from upland.cli.results import Request
from upland.cli.scoring import score_path
from upland.cli.words import change_text
from upland.counterfactuals.result import Change
from upland.io.formats import TableWriter, open_source
from upland.scoring.columns import ADDED, COUNTERFACTUAL


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


@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
@pytest.mark.parametrize("size", [7, 1000])
def test_counterfactuals_are_those_of_explain(detector, plant, tmp_path, control, size, monkeypatch):
    monkeypatch.setattr("upland.cli.tables.AT_ONCE", 8 * size)
    target = tmp_path / "scored.parquet"
    request = Request(target, control=control, alpha=0.5, counterfactual=2, top=4)
    result = score_path(detector, plant / "new.csv", request)
    table, scored = open_source(plant / "new.csv").read(), pq.read_table(target)
    assert scored.column_names[-4:] == [*ADDED[:3], COUNTERFACTUAL]
    flagged = np.flatnonzero(scored["is_anomaly"])
    cut = 0.5 if control == "false_alarm" else max(np.asarray(scored["p_value"])[flagged])
    made = upland.explain(detector, table.take(flagged), "counterfactual", k=2, alpha=cut)
    words = np.full(60, "", dtype=object)
    words[flagged] = [change_text(*row) for row in zip(made.changes, made.found, made.p_after, strict=True)]
    assert scored[COUNTERFACTUAL].to_pylist() == words.tolist()
    assert [row.details[COUNTERFACTUAL] for row in result.findings] == [
        words[row.name - 1] or None for row in result.findings
    ]


def test_counterfactuals_are_shown_and_in_the_document(plant, tmp_path, upland, upland_json):
    given = ("score", plant / "pump.safetensors", plant / "new.csv", "--counterfactual", "4", "--top", "2")
    done = upland(*given)
    assert done.words.count("counterfactual: ") == 2
    assert " -> " in done.words
    for row in upland_json(*given)["most_anomalous"]:
        assert " -> " in row["counterfactual"]
    assert "counterfactual" not in upland_json(*given[:3])["most_anomalous"][0]
    refused = upland(
        "score",
        plant / "pump.safetensors",
        scored_already(plant, tmp_path),
        *given[3:5],
        "-o",
        tmp_path / "b.csv",
    )
    assert "with the names that scoring adds: counterfactual" in refused.words


def scored_already(plant, folder):
    rows = open_source(plant / "new.csv").read()
    with TableWriter(folder / "a.csv") as writer:
        writer.write(rows.append_column("counterfactual", pa.array([""] * len(rows))))
    return folder / "a.csv"


def test_what_a_counterfactual_says():
    when = np.datetime64("2026-03-02T10:00:00")
    changes = [
        Change("flow rate", 40.123456789, 12.5),
        Change("when", None, when),
        Change("id", 123456789, 7),
    ]
    words = "flow rate: 40.1235 -> 12.5, when: missing -> 2026-03-02 10:00:00, id: 123456789 -> 7 (p 0.12)"
    assert change_text(changes, True, 0.1234) == words
    assert (
        change_text(changes[:1], False, 0.01) == "none found; the best is flow rate: 40.1235 -> 12.5 (p 0.01)"
    )
    assert change_text([], False, 0.01) == "none found"
