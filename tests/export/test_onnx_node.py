"""The JavaScript example gives the numbers that upland gives."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from estimators import EXAMPLES, EXPERTS
from upland.export.onnx import to_onnx

ROOT = Path(__file__).resolve().parents[2]
SCRIPT, PAGE = ROOT / "examples" / "onnx" / "score.mjs", ROOT / "docs" / "onnx.md"
MODULES = "ONNXRUNTIME_NODE"
"""The environment variable that names the folder `node_modules` with onnxruntime-node."""


def test_the_page_shows_the_example():
    (block,) = re.findall(r"^```js\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block in SCRIPT.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:missing values in")
def test_javascript_gives_the_same_numbers(tmp_path):
    node, modules = shutil.which("node"), os.environ.get(MODULES)
    if node is None or modules is None:
        pytest.skip(f"needs node, and {MODULES}: the folder node_modules that holds onnxruntime-node")
    example = EXAMPLES[EXPERTS]
    rows = example.new.astype(object)
    rows.loc[1, "flow"] = rows.loc[2, "valve"] = None
    rows.loc[3, "valve"], rows.loc[4, "pressure"] = "never", -40.0
    detector = example.fit()
    to_onnx(detector, tmp_path / "model.onnx")
    (tmp_path / "columns.json").write_text(json.dumps(rows.to_dict("list")))
    (tmp_path / "node_modules").symlink_to(Path(modules).resolve())
    shutil.copy(SCRIPT, tmp_path)
    command = [node, SCRIPT.name, "model.onnx", "columns.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found, wanted = json.loads(done.stdout), detector.assess(rows)
    np.testing.assert_allclose(found["anomaly_score"], wanted.anomaly_score, rtol=1e-5)
    assert (np.array(found["p_value"]) == wanted.p_value).all()
    assert found["is_anomaly"] == (wanted.p_value <= 0.05).tolist()
