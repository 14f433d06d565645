"""Photographs on the command line: features by themselves, maps, reasons without an expected value."""

import numpy as np
import pyarrow.csv as csv
import pytest
from PIL import Image

import upland as library
from featured import photographs
from upland.data.image.weights import is_installed


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of one part photographed again and again, and of such parts with a stain."""
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    part = photographs(1, 40)[0].astype(int)
    for name, count in {"normal": 22, "new": 4}.items():
        (root / name).mkdir()
        for number in range(count):
            shot = np.clip(part + rng.normal(0, 4, part.shape), 0, 255).astype(np.uint8)
            if name == "new" and number == 3:
                shot[8:18, 24:34] = rng.integers(0, 256, (10, 10, 3))
            Image.fromarray(shot).save(root / name / f"{number:02d}.png")
    return root


def test_from_a_folder_of_photographs_to_maps_and_reasons(folders, tmp_path, upland, upland_json):
    model, out, maps = tmp_path / "m", tmp_path / "s.csv", tmp_path / "maps"
    options = ("--calibration", "cross") if not is_installed() else ("--calibration", "split")
    document = upland_json("fit", folders / "normal", "-o", model, *options, "-q")["info"]
    assert (document["modality"], document["rows"]) == ("image", 22)
    features = library.load(model).plan_.reader.features
    assert features == ("efficientnet-lite0" if is_installed() else "pixels")
    found = upland_json("score", model, folders / "new", "-o", out, "--why", "--maps", maps, "--top", "2")
    assert found["most_anomalous"][0]["image"] == "03.png"
    table = csv.read_csv(out)
    assert table.column_names == ["image", "anomaly_score", "p_value", "is_anomaly", "reason"]
    reasons = " ".join(table["reason"].to_pylist())
    assert reasons
    if features != "pixels":
        assert not any(word in reasons for word in ("expected", "None", "missing", "nan"))
        assert found["most_anomalous"][0]["reason"][0].get("expected") is None
    assert len(list(maps.iterdir())) >= 2
    shown = upland("score", model, folders / "new", "--top", "2")
    assert shown.code == 0, shown.err
    assert not any(word in shown.words for word in ("None", "nan", "missing"))
    page = upland("report", model, folders / "new", "-o", tmp_path / "report.html")
    assert page.code == 0, page.err
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "03.png" in written
    assert ">None<" not in written
    assert "expected None" not in written
    info = upland("info", model)
    assert info.code == 0
    assert "images 22" in info.words
