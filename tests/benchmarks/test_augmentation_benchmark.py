"""The benchmark of images that are moved: rows of both methods, a second call, its section of a page."""

import json

import numpy as np
import pytest

from benchmarks import augmentation, report

pytestmark = pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha")


def test_rows_of_both_methods_and_their_page(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    rows = np.arange(10)[:, None]
    parts = {}
    for part, count in (("train", 60), ("test", 12)):
        y = np.repeat(np.arange(10, dtype=np.uint8), count)
        x = np.where(rows == y[:, None, None], 220, 20) + rng.integers(0, 20, (len(y), 10, 8))
        parts |= {f"x_{part}": x.astype(np.uint8), f"y_{part}": y}
    np.savez(tmp_path / "images" / "mnist.npz", **parts)
    monkeypatch.setattr(augmentation, "FITTED", 40)
    monkeypatch.setattr(augmentation, "FRESH", 20)
    monkeypatch.setattr(augmentation, "VARIATION", {"shift": 1, "light": 0.1})
    output = tmp_path / "augmentation.json"
    call = ["--data", str(tmp_path), "--output", str(output), "--sets", "MNIST", "--classes", "4", "5"]
    for _ in range(2):  # the second call finds the rows
        assert augmentation.main(call) == 0
        found = json.loads(output.read_text())["rows"]
        assert [(row["class"], row["method"]) for row in found] == [
            (name, method) for name in ("4", "5") for method in augmentation.METHODS
        ]
    plain, calibrated, augmented = found[:3]
    assert plain["moved_alarms"] > augmented["moved_alarms"]
    assert calibrated["moved_auroc"] == plain["moved_auroc"]  # which a calibration does not change
    assert report.main([str(output), "--output", str(tmp_path / "page.md")]) == 0
    page = (tmp_path / "page.md").read_text()
    assert "| MNIST, pixels | augmented | all 2 |" in page
    assert "| MNIST, pixels | as they are | odd 1 |" in page
