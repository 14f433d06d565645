"""The benchmark of devices: rows of the CPU are written, and scores of the stored model are the same."""

import json

import pytest

from benchmarks import devices
from upland.data.image.weights import is_installed

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("part", ["flow of features", "energy"])
def test_a_row_for_the_device(part, tmp_path, monkeypatch):
    if part == "flow of features" and not is_installed():
        pytest.skip("needs upland[backbone]")
    monkeypatch.setitem(devices.CASES, part, devices.CASES[part]._replace(side=32))
    arguments = ["--output", str(tmp_path / "d.json"), "--share", "0.01", "--threads", "1"]
    for _ in range(2):  # the second call finds the row
        assert devices.main([*arguments, "--parts", part, "--devices", "cpu"]) == 0
        (row,) = json.loads((tmp_path / "d.json").read_text())["rows"]
    assert (row["part"], row["method"], row["difference"]) == (part, "cpu", 0)
    assert row["score_images_per_second"] > 0
