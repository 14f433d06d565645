"""`to_onnx`: files, metadata, levels, and what is refused."""

import hashlib
import json
import stat
import sys

import onnx
import pytest

import upland
from estimators import EXAMPLES, EXPERTS
from exported import run
from upland.export.onnx import inputs_in, to_onnx


@pytest.fixture(scope="module")
def example():
    return EXAMPLES[EXPERTS]


@pytest.fixture(scope="module")
def detector(example):
    return example.fit()


@pytest.fixture
def stored(detector, tmp_path):
    path = tmp_path / "model.safetensors"
    upland.save(detector, path)
    return path


def metadata(data):
    return {entry.key: entry.value for entry in onnx.load_from_string(data).metadata_props}


def test_the_metadata_say_what_the_graph_is(detector, stored):
    data = to_onnx(stored, alpha=0.1)
    found, info = metadata(data), detector.info()
    assert found["upland.model_sha256"] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert found["upland.version"] == upland.__version__
    assert found["upland.guarantee"] == info["calibration"]["guarantee"]
    assert json.loads(found["upland.calibration"]) == info["calibration"]
    assert found["upland.alpha"] == "0.1"
    model = onnx.load_from_string(data)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    assert versions == {"": int(found["upland.opset"]), "ai.onnx.ml": 3}
    assert [output.name for output in model.graph.output] == ["anomaly_score", "p_value", "is_anomaly"]
    names = [column["column"] for column in inputs_in(data)]
    assert names == ["flow", "pressure", "valve"] == [given.name for given in model.graph.input]


def test_a_detector_and_its_file_give_the_same_graph(detector, stored):
    one, other = (onnx.load_from_string(to_onnx(thing)) for thing in (detector, stored))
    assert one.graph == other.graph
    assert "upland.model_sha256" not in metadata(to_onnx(detector))
    assert to_onnx(stored) == to_onnx(stored)


def test_the_file_is_its_owners_alone_and_is_not_replaced_unasked(stored, tmp_path):
    path = tmp_path / "model.onnx"
    data = to_onnx(stored, path, overwrite=False)
    assert path.read_bytes() == data
    assert sys.platform == "win32" or stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError, match="exists already"):
        to_onnx(stored, path, overwrite=False)
    to_onnx(stored, path, alpha=0.2)
    assert metadata(path.read_bytes())["upland.alpha"] == "0.2"


@pytest.mark.parametrize("alpha", [0.06, 0.3])
def test_flags_are_at_the_level_asked_for(detector, example, alpha):
    import onnxruntime

    session = onnxruntime.InferenceSession(to_onnx(detector, alpha=alpha))
    _, p, flags = run(session, example.rows)
    assert (flags == (p <= alpha)).all()
    assert (flags == detector.flag(example.rows, alpha=alpha)).all()


@pytest.mark.parametrize("alpha", [0, 1, -0.5, float("nan")])
def test_a_level_out_of_range_is_refused(detector, alpha):
    with pytest.raises(ValueError, match="alpha"):
        to_onnx(detector, alpha=alpha)


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(TypeError, match="to_onnx takes a detector"):
        to_onnx(upland.EnergyDetector)
    with pytest.raises(FileNotFoundError):
        to_onnx(tmp_path / "none.safetensors")


def test_the_criterion_is_that_of_the_calibration(detector):
    changed = upland.EnergyDetector(**detector.get_params()).fit(EXAMPLES[EXPERTS].rows)
    changed.set_params(criterion="energy")
    with pytest.raises(ValueError, match="calibrated for"):
        to_onnx(changed)


def test_what_is_no_graph_of_upland_is_refused():
    with pytest.raises(ValueError, match="no ONNX model"):
        inputs_in(b"nothing of the kind")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value], [onnx.helper.make_tensor_value_info("y", 1, [1])])
    with pytest.raises(ValueError, match="no ONNX model that upland wrote"):
        inputs_in(onnx.helper.make_model(graph).SerializeToString())


def test_without_the_package_one_line_says_what_to_install(detector, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"^The ONNX export needs onnx: pip install 'upland\[onnx\]'$"):
        to_onnx(detector)
