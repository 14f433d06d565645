"""The benchmarks of the multi-scale energy: what a variant changes, contaminated data, products, the page."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from benchmarks.upland_methods import PAPER, UPLAND

from benchmarks import ablation, contaminated, products, protocols, report, speed
from laws import generator, normal
from upland import EnergyDetector
from upland.detectors import plan, table
from upland.models import kernel_prior, multiscale
from upland.models.energies import DenseEnergy
from upland.models.multiscale import MultiscaleEnergy

HEADER = {
    "date": "today",
    "processor": "none",
    "cores": 1,
    "threads": "1",
    "python": "3",
    "versions": {"upland": "0"},
}


def write_adbench(folder, names, n=160):
    """Sets of 3 columns of which the last rows are far off."""
    (folder / "adbench").mkdir()
    for seed, name in enumerate(names):
        draw = np.random.default_rng(seed)
        x, y = draw.normal(size=(n, 3)), np.zeros(n, dtype=int)
        x[-10:] += 6
        y[-10:] = 1
        np.savez(folder / "adbench" / f"{name}.npz", X=x, y=y)
    return folder


def kernel_on(x):
    kernel = kernel_prior.KernelPrior(x.shape[1])
    kernel.init_from_data(x, generator())
    return kernel


# -- variants ------------------------------------------------------------------------------------------------


def test_the_papers_model_is_one_plain_net():
    rows = np.random.default_rng(0).normal(size=(60, 3))
    detector = EnergyDetector(**PAPER, criterion="energy", epochs=1, progress=False, random_state=0)
    assert all(isinstance(model, DenseEnergy) for model in detector.fit(rows).models_)
    assert {"upland paper", "upland paper reconstruction"} <= set(UPLAND)


@pytest.mark.parametrize("variant", ablation.VARIANTS)
def test_a_variant_is_a_detector_and_leaves_no_trace(variant):
    arguments, constants = ablation.VARIANTS[variant]
    modules = (multiscale, kernel_prior, table, plan)
    before = [value for module in modules for value in vars(module).values()]
    rows = np.random.default_rng(0).normal(size=(60, 3))
    with ablation.changed(constants):
        made = EnergyDetector(epochs=1, progress=False, random_state=0, **arguments).fit(rows)
        assert np.isfinite(made.anomaly_score(rows)).all()
    after = [value for module in modules for value in vars(module).values()]
    assert all(one is other for one, other in zip(before, after, strict=True))


def test_views_are_those_that_are_named():
    x = normal(80, 3, dtype=torch.float32).exp()
    whole = kernel_on(x)
    seen = dict(
        zip(
            (kernel_prior.WIDE, kernel_prior.NARROW, None),
            (whole.view(x, i)[0] for i in range(3)),
            strict=True,
        )
    )
    for knees in [
        (kernel_prior.WIDE, kernel_prior.NARROW),
        (kernel_prior.WIDE, None),
        (kernel_prior.NARROW, None),
        (None,),
    ]:
        with ablation.changed(ablation.views(*knees)):
            kernel = kernel_on(x)
            assert len(kernel.standard_scores(x)) == len(knees)
            for number, knee in enumerate(knees):
                assert torch.equal(kernel.view(x, number)[0], seen[knee])


def test_ablation_goes_on(tmp_path, monkeypatch):
    data, output = write_adbench(tmp_path, ["a", "b"]), tmp_path / "ablation.json"
    call = ["--data", str(data), "--seeds", "0", "--output", str(output), "--variants"]
    monkeypatch.setitem(ablation.VARIANTS, "default", ({"epochs": 1}, {}))
    assert ablation.main([*call, "default", "--sets", "b"]) == 0
    (row,) = json.loads(output.read_text())["rows"]
    assert row["set"] == "b"
    assert {"auroc", "auprc", "fit_seconds"} <= set(row)
    monkeypatch.setattr(ablation, "run", lambda data, name, *_: {"auroc": 0.5, "name": name})
    assert ablation.main([*call, "default"]) == 0
    assert [row.get("name") for row in json.loads(output.read_text())["rows"]] == [None, "a"]


# -- contaminated data ---------------------------------------------------------------------------------------


def test_neighbours_leave_the_row_itself_out():
    x = normal(30, 2).numpy()
    gaps = np.linalg.norm(x[:, None] - x, axis=2)
    want = np.sort(gaps, axis=1)[:, 1:6].mean(axis=1)
    np.testing.assert_allclose(contaminated.other_neighbours(x, 0)(x), want, atol=1e-6)
    lof = contaminated.own_lof(np.concatenate([x, [[9.0, 9.0]]]), 0)
    assert lof(x).argmax() == 30


def test_anomalies_stay_in_the_training_rows(tmp_path, monkeypatch):
    data = write_adbench(tmp_path, ["a"])
    split = contaminated.contaminated_split(*protocols.load_adbench(data, "a"), 0)
    assert np.array_equal(split.train, split.test)
    assert len(split.train) == 160
    assert split.labels.sum() == 10
    monkeypatch.setattr(contaminated, "MOST", 50)
    rows = protocols.load_adbench(data, "a")
    some, again, other = (contaminated.contaminated_split(*rows, seed) for seed in (0, 0, 1))
    assert len(some.train) == 50
    assert np.array_equal(some.train, again.train)
    assert not np.array_equal(some.train, other.train)


def test_contaminated_goes_on(tmp_path):
    data, output = write_adbench(tmp_path, ["a", "b"]), tmp_path / "contaminated.json"
    call = ["--data", str(data), "--output", str(output), "--methods", "kNN", "PCA"]
    assert contaminated.main([*call, "--sets", "a"]) == 0
    first = json.loads(output.read_text())["rows"]
    assert contaminated.main([*call, "--seeds", "0", "1"]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert rows[:2] == first
    assert len(rows) == 8
    assert all(row["auroc"] > 0.9 for row in rows if row["method"] == "kNN")
    assert {row["n_rows"] for row in rows} == {160}


# -- speed ---------------------------------------------------------------------------------------------------


def multiplications(tasks, monkeypatch):
    """Multiplications of the products that a maker gives."""
    found = []
    monkeypatch.setattr(products, "_multiply", found.extend)
    tasks()
    return sum(out.numel() * left.shape[-1] for left, _, out in found)


def test_layer_sizes_of_both_models():
    assert speed.layer_sizes(DenseEnergy(5, (7, 9))) == (5, 7, 9)
    assert speed.layer_sizes(MultiscaleEnergy(5, (7, 9), n_nets=3)) == (5, 7, 9)


def test_several_nets_take_as_many_products(monkeypatch):
    sizes = (5, 7, 9)
    once = multiplications(lambda: products.training_products(8, sizes), monkeypatch)
    assert multiplications(lambda: products.batched_products(8, sizes, 3), monkeypatch) == 3 * once


def test_scoring_needs_every_scale_and_every_view(monkeypatch):
    model = MultiscaleEnergy(5, (7, 9), n_nets=3)
    model.init_from_data(normal(100, 5, dtype=torch.float32), generator())
    once = multiplications(lambda: products.scoring_products(8, (5, 7, 9)), monkeypatch)
    spared = (len(model.scales) - 1) * 8 * 5 * 7  # the first layer there, done once for all scales
    nets = 3 * (len(model.scales) * once - spared)
    padded = 128  # centres, to whole chunks
    assert (
        multiplications(lambda: products.multiscale_products(8, model.without_prior()), monkeypatch) == nets
    )
    want = nets + 3 * padded * 8 * 5
    assert multiplications(lambda: products.multiscale_products(8, model), monkeypatch) == want


def test_products_run_and_a_step_learns(monkeypatch):
    monkeypatch.setattr(speed, "STEP_WIDTH", 4)
    monkeypatch.setattr(speed, "STEP_HIDDEN", (6, 6))
    monkeypatch.setattr(speed, "STEP_BATCH", 8)
    products.batched_products(8, (4, 6, 6), 2)()
    products.multiscale_products(8, MultiscaleEnergy(4, (6, 6)))()
    update = speed.multiscale_step()
    losses = [float(update()) for _ in range(200)]
    assert np.mean(losses[-50:]) < np.mean(losses[:50])


def test_scoring_is_measured_for_the_default(monkeypatch):
    rows = []
    monkeypatch.setattr(speed, "note", lambda records, part, method, values: rows.append((method, values)))
    x = np.random.default_rng(0).normal(size=(600, 3))
    speed.score_over_products(Namespace(find=lambda **_: None), "few", x)
    assert [method for method, _ in rows] == ["matrix products alone (few)", "upland (few)"]
    assert rows[0][1]["share_of_bound"] == 1.0
    assert rows[1][1]["share_of_bound"] > 0


# -- the page ------------------------------------------------------------------------------------------------


def ablation_row(variant, name, auroc):
    return {"variant": variant, "set": name, "seed": 0, "fit_seconds": 1.0, "auroc": auroc, "auprc": 0.5}


def test_page_of_the_ablation():
    rows = [ablation_row("default", name, 0.75) for name in ("cardio", "wine")]
    rows.append(ablation_row("one net", "cardio", 0.5))
    page = report.report([{"header": HEADER, "rows": rows}])
    assert "| default | 75.00 | 50.00 | 75.00 | 50.00 |" in page
    assert "Not every set has a row of: one net (wine)." in page
    assert "Ablation" not in report.report([])


def test_page_of_contaminated_data():
    rows = [
        {"benchmark": "contaminated", "set": name, "seed": 0, "method": method}
        | {"fit_seconds": 2.0, "auroc": value, "auprc": 0.25}
        for name, method, value in [("a", "kNN", 0.5), ("a", "upland", 0.75), ("b", "kNN", 1.0)]
    ]
    page = report.report([{"header": HEADER, "rows": rows}])
    assert page.index("| upland | 75.00 | 25.00 | 2.0 |") < page.index("| kNN | 50.00 | 25.00 | 2.0 |")
    assert "Contaminated training data" in report.report([{"header": HEADER, "rows": rows[1:]}])
