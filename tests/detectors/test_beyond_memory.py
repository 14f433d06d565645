"""Files larger than memory: fitted and scored as they are read."""

import numpy as np
import pytest

from normals import as_parquet, mixed, quick
from upland.data import rows as memory


@pytest.fixture
def streaming(monkeypatch):
    monkeypatch.setattr(memory, "CELLS_IN_MEMORY", 100)


@pytest.mark.parametrize("method", ["split", "cross"])
def test_a_file_beyond_memory_fits_about_as_well(method, tmp_path, monkeypatch):
    path = as_parquet(mixed(900), tmp_path, row_group_size=200)
    rows = mixed(300, seed=4)
    broken = rows.assign(pressure=rows["pressure"] + 10)
    auroc = {}
    for cells in (memory.CELLS_IN_MEMORY, 100):
        monkeypatch.setattr(memory, "CELLS_IN_MEMORY", cells)
        detector = quick(hidden=(32, 32), epochs=10, learning_rate=1e-2, calibration=method).fit(path)
        auroc[cells] = np.mean(detector.anomaly_score(broken)[:, None] > detector.anomaly_score(rows)[None])
        assert detector.calibration_.size == (180 if method == "split" else 900)
    assert min(auroc.values()) > 0.9
    assert auroc[100] > max(auroc.values()) - 0.03


def test_streaming_is_a_function_of_the_seed(streaming, tmp_path):
    path = as_parquet(mixed(400), tmp_path, row_group_size=64)
    one, two = (quick().fit(path).anomaly_score(mixed(seed=1)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_streaming_really_streams(streaming, tmp_path):
    assert isinstance(memory.normal_rows(as_parquet(mixed(400), tmp_path)), memory.FileRows)


def test_scores_of_a_file_are_those_of_its_rows(tmp_path):
    detector, rows = quick().fit(mixed(300)), mixed(300, seed=6)
    path = as_parquet(rows, tmp_path, row_group_size=64)
    np.testing.assert_array_equal(detector.anomaly_score(path), detector.anomaly_score(rows))
