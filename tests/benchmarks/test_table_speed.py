"""The speed of tables: what recording finds, what a bound replays, what a worker measures."""

import json

import numpy as np
import pytest
import torch
from benchmarks.recorded import Recorded

from benchmarks import recorded, speed_tables


def kinds(found):
    return [operation.kind for operation in found.operations]


def test_operations_are_recorded_by_kind_and_results_stay():
    x, w = torch.randn(6, 4, dtype=torch.float32), torch.randn(4, 5, dtype=torch.float32)
    with Recorded() as found:
        out = torch.log1p(torch.exp(x @ w)).topk(2).values
    assert kinds(found) == ["products", "transcendental", "transcendental", "selection"]
    assert torch.equal(out, torch.log1p(torch.exp(x @ w)).topk(2).values)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_composed_operations_are_recorded_as_their_parts(mode):
    x, w = torch.randn(6, 4, dtype=torch.float32), torch.randn(5, 4, dtype=torch.float32)
    with mode(), Recorded() as found:
        torch.nn.functional.linear(x, w)
        torch.einsum("bnd,bmd->bnm", x[None], w[None])
    assert kinds(found) == ["products", "products"]


def test_moved_bytes_are_those_of_inputs_and_outputs_but_not_of_views():
    x = torch.ones(8, 4, dtype=torch.float32)
    with Recorded() as found:
        _ = x.t().unsqueeze(0)
        assert found.moved == 0
        torch.exp(x)
    assert found.moved == 2 * 8 * 4 * 4


def test_a_bound_runs_its_kinds_alone_and_leaves_data_be():
    x, w = torch.ones(3, 3, dtype=torch.float32), torch.ones(3, 3, dtype=torch.float32)
    with Recorded() as found:
        x.exp_()
        _ = x @ w
    after = x.clone()
    with Recorded() as products:
        found.again("products")()
    assert kinds(products) == ["products"]
    with Recorded() as both:
        found.again("products", "transcendental")()
    assert kinds(both) == ["transcendental", "products"]
    assert torch.equal(x, after)


def test_every_kind_names_kernels_of_torch():
    for name in set().union(*recorded.KINDS.values(), recorded.VIEWS):
        assert hasattr(torch.ops.aten, name), name


def test_scoring_of_a_detector_is_bounded(monkeypatch):
    monkeypatch.setattr(speed_tables, "COPIED_BYTES", 2**12)
    train, test, labels = speed_tables.train_and_test(200)
    assert labels.sum() == 4
    found = speed_tables.bounded(speed_tables.fitted(train, 0, {"epochs": 1}), test)
    assert found["scoring"]["share_reached"] == 1
    assert {"scoring", "matrix products alone", "bytes moved"} <= set(found)
    assert all(values["rows_per_second"] > 0 for values in found.values())


def test_a_worker_measures_one_method(tmp_path, monkeypatch):
    monkeypatch.setitem(speed_tables.DETECTORS, "upland", {"epochs": 1})
    file = tmp_path / "one.json"
    assert speed_tables.main(["--worker", str(file), "--methods", "upland", "--rows", "200"]) == 0
    found = json.loads(file.read_text())
    assert {"auroc", "fit_seconds", "score_seconds", "rows_per_second", "file_megabytes"} == set(found)
    assert found["file_megabytes"] > 0
    assert "file_megabytes" not in speed_tables.measured("IForest", 200)


def test_the_command_writes_a_row_for_each_method(tmp_path):
    output = tmp_path / "speed_tables.json"
    call = [
        "--output",
        str(output),
        "--rows",
        "200",
        "--parts",
        "table",
        "--methods",
        "no detector",
        "IForest",
    ]
    assert speed_tables.main(call) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["method"] for row in rows] == ["no detector", "IForest"]
    assert rows[0]["part"] == "200 rows x 30 columns"
    assert all(row["peak_megabytes"] > 20 for row in rows)
    assert np.isfinite(rows[1]["rows_per_second"])
    assert speed_tables.main(call) == 0
    assert json.loads(output.read_text())["rows"] == rows
