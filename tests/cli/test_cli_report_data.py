"""Pages of `upland report` on series and images, and that of `upland watch --report`."""

import json
import sys

import pyarrow as pa
import pyarrow.csv as csv
import pytest

from htmlpages import Parsed, check_page
from plant import pump_rows, write_csv
from upland.reporting import html

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
    """Pages without the scripts that draw, which take a second each; tests/reporting has them."""
    monkeypatch.setattr(html, "_vega", lambda: "")


@pytest.fixture
def page(upland, tmp_path):
    """The parsed page of a model and of data."""

    def made(model, data, *arguments):
        target = tmp_path / "page.html"
        done = upland("report", model, data, "-o", target, *arguments)
        assert done.code == 0, done.err
        assert f"wrote {target}" in done.out
        text = target.read_text(encoding="utf-8")
        assert len(text) < 2_000_000
        return check_page(text).text

    return made


@pytest.mark.parametrize("name", ["new.csv", "new.parquet"])
def test_the_series_with_the_fault(page, series, name):
    text = page(series / "steps.safetensors", series / name)
    assert "The worst: pump b, 2026-03-02 08:4" in text
    assert "pressure (" in text
    for heading in (
        "Episodes",
        "The worst episodes in detail",
        "Series compared",
        "pump a",
        "pump b",
        "pump c",
    ):
        assert heading in text


def test_whole_series_as_one(page, series):
    text = page(series / "whole.safetensors", series / "new.csv", "--alpha", "0.3")
    assert "3 sequences" in text


def test_the_same_fault_in_a_file_and_in_its_scores(upland, page, series, tmp_path):
    text = page(series / "steps.safetensors", series / "new.csv")
    scored = tmp_path / "scored.csv"
    assert upland("score", series / "steps.safetensors", series / "new.csv", "-o", scored, "-q").code == 0
    flagged = csv.read_csv(scored)["is_anomaly"].to_numpy()
    assert f"{flagged.sum()} of {flagged.size} steps" in text


def test_an_array_of_sequences(page, windows):
    text = page(windows / "model.safetensors", windows / "new.npz")
    assert "The worst: sequence 9, where x1 at 7 contributes most" in text


@pytest.mark.parametrize("name", ["new", "new.npy"])
def test_the_images_with_the_spot(page, pictures, name):
    text = page(pictures / "model.safetensors", pictures / name)
    assert ("odd-8.png: score" if name == "new" else "image 8: score") in text
    assert "most of its score arises in rows 2-3, columns 8-9" in text
    assert "Normal images" in text


def test_what_is_hostile_in_a_file_is_text(page, series, tmp_path):
    rows = csv.read_csv(series / "new.csv")
    names = [HOSTILE if name == "b" else name for name in rows["pump"].to_pylist()]
    target = tmp_path / "hostile.csv"
    csv.write_csv(rows.set_column(rows.column_names.index("pump"), "pump", pa.array(names)), target)
    assert f"The worst: pump {HOSTILE}, 2026-03-02 08:4" in page(series / "steps.safetensors", target)


@pytest.fixture
def watch(upland, plant, tmp_path):
    """Run a watch of a folder of three files, the last of which is broken."""
    incoming = tmp_path / "in"
    incoming.mkdir()
    for number in range(3):
        rows = pump_rows(60, 10 + number, shift=40.0 * (number == 2))
        write_csv(incoming / f"{number}.csv", rows)

    def run(*arguments):
        history = tmp_path / "watch.db"
        fixed = ("--history", history, "--stable", "0")
        return upland("watch", plant / "pump.safetensors", incoming, *fixed, *arguments)

    return run


def test_a_watch_writes_its_page_and_replaces_it(watch, tmp_path):
    target = tmp_path / "watch.html"
    for _ in range(2):
        done = watch("--report", target)
        assert done.code == 0, done.err
        assert f"wrote {target}" in done.out + done.err
        text = Parsed(target.read_text(encoding="utf-8")).text
        assert "Watch of watch.db" in text
        assert "3 batches with 180 rows were taken" in text
        assert "The data have changed" in text
    (tmp_path / "in" / "3.csv").write_text("flow\n1\n")
    lines = [json.loads(line) for line in watch("--report", target, "--json").out.splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    text = Parsed(target.read_text(encoding="utf-8")).text
    assert "Refused files" in text
    assert "3.csv" in text


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("watch.txt", 2, "name the page *.html, such as --report watch.html"),
        ("in", 2, "name the page *.html, such as --report in.html"),
        ("none/watch.html", 3, "none"),
    ],
)
def test_a_page_that_could_not_be_written_is_refused_before_any_file_is_taken(
    watch, name, code, words, tmp_path
):
    done = watch("--report", tmp_path / name)
    assert done.code == code
    assert words in done.err
    assert not (tmp_path / "watch.db").exists()


def test_a_page_needs_its_packages_before_any_file_is_taken(watch, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    done = watch("--report", tmp_path / "watch.html")
    assert done.code == 1
    assert "pip install 'upland[report]'" in done.err
    assert not (tmp_path / "watch.db").exists()
