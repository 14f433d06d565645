"""`upland export`."""

import onnxruntime
import pytest

import upland as library
from estimators import EXAMPLES, EXPERTS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.safetensors"
    library.save(EXAMPLES[EXPERTS].fit(), path)
    return path


def test_export_writes_a_graph_that_runs(upland, model, tmp_path):
    target = tmp_path / "model.onnx"
    done = upland("export", model, "-o", target, "--alpha", "0.1")
    assert done.code == 0
    assert f"wrote {target}: 3 input(s)" in done.out
    session = onnxruntime.InferenceSession(target)
    assert session.get_modelmeta().custom_metadata_map["upland.alpha"] == "0.1"


def test_export_in_json(upland_json, model, tmp_path):
    target = tmp_path / "model.onnx"
    found = upland_json("export", model, "-o", target)
    assert found["output"] == str(target)
    assert found["bytes"] == target.stat().st_size
    assert [column["name"] for column in found["inputs"]] == ["flow", "pressure", "valve"]


def test_an_existing_graph_is_replaced_only_when_asked(upland, model, tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"before")
    assert upland("export", model, "-o", target).code == 3
    assert target.read_bytes() == b"before"
    assert upland("export", model, "-o", target, "--overwrite", "-q").code == 0
    assert target.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("-o", "model.txt"), "name the file *.onnx, such as model.onnx", 2),
        (("-o", "-"), "a graph is written into a file", 2),
        (("-o", "model.onnx", "--alpha", "1"), "--alpha must lie between 0 and 1", 2),
        (("-o", "nowhere/model.onnx"), "there is no folder nowhere", 3),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    upland, model, tmp_path, monkeypatch, arguments, words, code
):
    monkeypatch.chdir(tmp_path)
    done = upland("export", model, *arguments)
    assert done.code == code
    assert words in done.words
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_refused(upland, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a\n1\n")
    done = upland("export", path, "-o", tmp_path / "model.onnx")
    assert done.code == 1
    assert "no model file" in done.words
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]
