"""A file that is not held as a whole is one batch with the same decision."""

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

import upland
from upland.watch import batches
from upland.watch.batches import BatchReader

ROWS = 70_000
"""More than one piece."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and a file of rows in three formats whose last rows are anomalous."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)

    def rows(count):
        x = rng.normal(size=count)
        return {"a": x, "b": x + 0.1 * rng.normal(size=count)}

    detector = upland.VAEDetector(epochs=1, calibration="split", random_state=0, progress=False)
    upland.save(detector.fit(pa.table(rows(1_000))), folder / "model.safetensors")
    new = rows(ROWS)
    new["b"][-9_000:] += 90
    table = pa.table(new | {"lot": np.arange(ROWS) // 35_000, "time": np.arange(ROWS) * 60})
    csv.write_csv(table, folder / "new.csv")
    pq.write_table(table, folder / "new.parquet", row_group_size=40_000)
    return folder


def decided(folder, path, name, **options):
    with upland.Watch(folder / "model.safetensors", path / f"{name}.db", **options) as watch:
        decision = watch.update(folder / "new.parquet")
    assert decision.status == "taken", decision.reason
    return decision


@pytest.mark.parametrize("options", [{}, {"time": "time", "every": "7d"}], ids=["plain", "every"])
def test_a_decision_does_not_depend_on_how_much_is_held(options, folder, tmp_path, monkeypatch):
    whole = decided(folder, tmp_path, "whole", **options)
    monkeypatch.setattr(batches, "WHOLE", 1_000)
    pieces = decided(folder, tmp_path, "pieces", **options)
    assert pieces == whole
    assert whole.rows == ROWS
    assert whole.flagged_rows[0].reasons
    assert whole.flagged_rows[0].row >= ROWS - 9_000


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_of_a_large_file_only_groups_and_times_are_kept(suffix, folder, monkeypatch):
    detector = upland.load(folder / "model.safetensors")
    path = folder / f"new.{suffix}"
    monkeypatch.setattr(batches, "WHOLE", 1_000)
    reader = BatchReader("lot", "time", False)
    whole, rows, is_large = reader._whole(detector, path)
    assert (whole.column_names, rows, is_large) == (["lot", "time"], ROWS, True)
    batch = reader.read(detector, path)
    assert batch.data == path
    assert batch.names == ("0", "1")
    assert batch.of.sum() == ROWS - 35_000
    assert batch.moments[-1] == (ROWS - 1) * 60
    whole, rows, _ = BatchReader(None, None, False)._whole(detector, path)
    assert (whole.column_names, rows) == ([], ROWS)
    assert BatchReader(None, None, False).read(detector, path).data == path
