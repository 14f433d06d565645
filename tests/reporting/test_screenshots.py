"""A page with everything in it, in a browser: drawn, without complaint, no wider than a telephone."""

import numpy as np
import PIL.Image
import pyarrow as pa
import pytest

import normals
import screenshots
import upland
from normals import slopes
from plant import pump_series
from upland.reporting.html import page_html
from upland.reporting.page import Page
from upland.reporting.report import report

pytestmark = [
    pytest.mark.skipif(screenshots.chromium() is None, reason="needs Chromium, which pip cannot install"),
    pytest.mark.filterwarnings("ignore:p-values are coarse", "ignore:.*cannot resolve alpha"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A file with the sections on series and on images."""
    data = pump_series(1, broken=("b", range(50, 54)))
    levels = pa.array(np.array(["open", "shut", None], dtype=object)[np.arange(data.num_rows) % 3].tolist())
    options = {"id": "pump", "time": "time", "epochs": 2, "criterion": "reconstruction"}
    series = normals.small(upland.SequenceEnergyDetector, **options)
    found = report(series.fit(data.append_column("state", levels)), data.append_column("state", levels))
    pictures = slopes(40)
    pictures[3, 2:4, 4:6] = 255
    images = report(normals.small(upland.ImageEnergyDetector).fit(slopes(60, seed=1)), pictures)
    whole = Page("Everything", found.page.summary, [*found.page.sections, *images.page.sections])
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_html(whole), encoding="utf-8")
    return path


def test_nothing_is_amiss_wide_and_narrow_light_and_dark(page, tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots, "VIEWS", [("wide", "light"), ("narrow", "dark")])
    complaints = screenshots.screenshots(page, tmp_path)
    assert complaints == {"page-wide-light.png": [], "page-narrow-dark.png": []}
    for name, width, dark in (("page-wide-light.png", 1280, False), ("page-narrow-dark.png", 390, True)):
        with PIL.Image.open(tmp_path / name) as shot:
            values = np.asarray(shot.convert("L")).astype(float)
        assert values.shape[1] == width
        assert (np.median(values) < 80) == dark
        assert values.std() > 5


AMISS = {
    "<script>console.error('bad')</script>": "bad",
    "<script>throw new Error('worse')</script>": "worse",
    "<img src='http://127.0.0.1:9/x.png'>": "asked for http://127.0.0.1:9/x.png",
    "<div style='width:3000px'>x</div>": "pixels wide",
    "<p data-spec='x'>no chart</p>": "not every chart is drawn",
    "<p>fine</p>": None,
}


def test_what_is_amiss_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots, "TURNS", 3)
    file = tmp_path / "page.html"
    with screenshots.browsing() as browser:
        for body, complaint in AMISS.items():
            file.write_text(f"<!doctype html><meta charset=utf-8><link rel=icon href=data:,><body>{body}")
            browser.open(file, 1280, "light")
            found = browser.complaints()
            if complaint is None:
                assert found == []
            else:
                assert any(complaint in line for line in found), (body, found)
