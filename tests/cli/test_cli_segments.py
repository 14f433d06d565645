"""A model for every segment from the command line: fit, score, info, calibrate, groups."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

import upland as library
from upland.cli.results import Request
from upland.cli.scoring import score_path
from upland.io.formats import open_source


def machines(count, seed):
    """Three machines at points of their own; names that are digits, as a CSV holds them."""
    rng = np.random.default_rng(seed)
    of = np.arange(count) % 3
    flow = rng.normal(10 * of, 1)
    return pa.table(
        {"flow": flow, "machine": of + 7, "load": 2 * flow + rng.normal(0, 0.2, count), "note": ["x"] * count}
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with normal.csv, new.csv (row 1 has the machine of row 2), new.parquet, models; read only."""
    folder = tmp_path_factory.mktemp("shop")
    csv.write_csv(machines(600, 0), folder / "normal.csv")
    new = machines(60, 1).to_pydict()
    new["machine"][0] = new["machine"][1]
    csv.write_csv(pa.table(new), folder / "new.csv")
    pq.write_table(pa.table(new), folder / "new.parquet")
    new["machine"][4] = 99
    csv.write_csv(pa.table(new), folder / "strange.csv")
    new["machine"][5] = None
    csv.write_csv(pa.table(new), folder / "lost.csv")
    for unseen in ("pooled", "error"):
        inner = library.EnergyDetector(random_state=0, progress=False, ignore=["note"])
        detector = library.SegmentedDetector(inner, by="machine", unseen=unseen).fit(folder / "normal.csv")
        library.save(detector, folder / f"{unseen}.safetensors")
    return folder


def test_fit_writes_a_model_of_segments(upland, shop, tmp_path):
    call = ("fit", shop / "normal.csv", "--by", "machine", "--ignore", "note", "-o", tmp_path / "m", "--json")
    done = upland(*call)
    assert done.code == 0, done.words
    info = json.loads(done.out)["info"]
    assert info["segments"]["count"] == 3
    assert info["segments"]["by"] == "machine"
    assert info["segments"]["unseen"] == "pooled"
    assert [column["name"] for column in info["columns"]] == ["flow", "load"]
    table = open_source(shop / "new.csv").read()
    models = [library.load(path) for path in (tmp_path / "m", shop / "pooled.safetensors")]
    np.testing.assert_array_equal(*(model.p_values(table) for model in models))
    done = upland("info", tmp_path / "m")
    assert "by machine, count 3" in done.words
    assert "exact in each segment" in done.words


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
@pytest.mark.parametrize("control", ["false_alarm", "fdr"])
@pytest.mark.parametrize("size", [7, 1000])
def test_score_is_the_library_in_batches(shop, tmp_path, name, control, size, monkeypatch):
    monkeypatch.setattr("upland.cli.tables.AT_ONCE", 8 * size)
    detector = library.load(shop / "pooled.safetensors")
    request = Request(tmp_path / "out.parquet", control=control, alpha=0.1, why=True, top=2)
    result = score_path(detector, shop / name, request)
    table = open_source(shop / name).read()
    scores, p_values = detector.assess(table)
    scored = pq.read_table(tmp_path / "out.parquet")
    np.testing.assert_allclose(scored["anomaly_score"], scores, rtol=1e-7)
    np.testing.assert_array_equal(scored["p_value"], p_values)
    np.testing.assert_array_equal(scored["is_anomaly"], detector.flag(table, alpha=0.1, control=control))
    assert scored["machine"].to_pylist() == pq.read_table(shop / "new.parquet")["machine"].to_pylist()
    assert result.findings[0].name == 1
    assert result.findings[0].reasons[0].column in ("flow", "load")
    assert result.details["extra_columns"] == []


def test_new_segments_are_scored_or_refused(upland, shop):
    assert upland("score", shop / "pooled.safetensors", shop / "strange.csv").code == 0
    done = upland("score", shop / "error.safetensors", shop / "strange.csv")
    assert done.code == 1
    assert "such as '99'; a fit with --unseen pooled scores such rows" in done.words
    assert upland("score", shop / "error.safetensors", shop / "new.csv").code == 0


def test_a_row_without_a_segment_is_refused(upland, shop, tmp_path):
    done = upland("score", shop / "pooled.safetensors", shop / "lost.csv", "-o", tmp_path / "out.csv")
    assert done.code == 1
    assert "1 of 60 rows have no 'machine', which names their segment, the first row 6" in done.words
    assert not (tmp_path / "out.csv").exists()
    done = upland("fit", shop / "lost.csv", "--by", "machine", "-o", tmp_path / "m")
    assert done.code == 1
    assert "the first row 6" in done.words


def test_calibrate_and_groups(upland, shop, tmp_path):
    csv.write_csv(machines(300, 3), tmp_path / "fresh.csv")
    call = ("calibrate", shop / "pooled.safetensors", tmp_path / "fresh.csv", "-o", tmp_path / "m", "--json")
    done = upland(*call)
    assert done.code == 0, done.words
    assert json.loads(done.out)["info"]["calibration"]["rows"] == 300
    done = upland("groups", tmp_path / "m", shop / "new.csv", "--by", "machine", "--json")
    assert [found["group"] for found in json.loads(done.out)["verdicts"]] == ["8", "9", "7"]


def test_info_says_one_calibration(upland, tmp_path):
    csv.write_csv(machines(120, 0), tmp_path / "normal.csv")
    call = ("fit", tmp_path / "normal.csv", "--by", "machine", "--calibration", "cross", "-o", tmp_path / "m")
    info = json.loads(upland(*call, "--json").out)["info"]
    assert info["calibration"]["method"] == info["plan"]["calibration"] == "split"


def test_a_column_that_is_not_there_is_refused(upland, shop, tmp_path):
    done = upland("fit", shop / "normal.csv", "--by", "pump", "-o", tmp_path / "m")
    assert done.code == 1
    assert "--by names columns that are not in the table: 'pump'" in done.words


SPELLINGS = [
    *(("True", "False"), ("TRUE", "FALSE"), ("1.0", "2.0"), ("+1", "+2"), ("1e3", "2e3"), ("0x1", "0x2")),
    *(("-0", "1"), (" 1", " 2"), ("1.", "2."), ("007", "008"), ("a ", " b"), ("1.0", "a"), ("1,234", "5")),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("spelling", SPELLINGS, ids=repr)
def test_a_segment_has_one_name_on_every_path(upland, tmp_path, spelling):
    """Whether a file of text or of typed values is fitted or scored, in Python or on the command line."""
    places = np.random.default_rng(0).permutation(np.arange(60) % 2)
    load = np.random.default_rng(1).normal(10.0 * places, 1)
    lines = [f'"{spelling[place]}",{value!r}' for place, value in zip(places, load.tolist(), strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["night,load", *lines]) + "\n")
    typed = open_source(tmp_path / "rows.csv").read()
    pq.write_table(typed, tmp_path / "rows.parquet")
    texts = {"night": [spelling[place] for place in places], "load": load}
    data = [tmp_path / "rows.csv", tmp_path / "rows.parquet", typed, typed.to_pandas(), texts]
    inner = library.EnergyDetector(random_state=0, progress=False)
    for number, rows in enumerate(data):
        detector = library.SegmentedDetector(inner, by="night", unseen="error").fit(rows)
        expected = detector.p_values(rows)
        for others in data:
            np.testing.assert_array_equal(detector.p_values(others), expected)
        library.save(detector, tmp_path / f"{number}.safetensors")
        done = upland("score", tmp_path / f"{number}.safetensors", data[0], "-o", tmp_path / f"{number}.csv")
        assert done.code == 0, done.words
        scored = csv.read_csv(tmp_path / f"{number}.csv")["p_value"]
        np.testing.assert_allclose(scored, expected)
    done = upland("calibrate", tmp_path / "0.safetensors", data[0], "-o", tmp_path / "m")
    assert done.code == 0, done.words
