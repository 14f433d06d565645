"""`upland report`: the page it writes, what it refuses, how it ends."""

import re

import pytest

from htmlpages import check_page
from plant import HEADER, pump_rows, write_csv


@pytest.fixture(autouse=True)
def no_vega(monkeypatch):
    """Pages without the script of Vega, which takes a second to put together."""
    monkeypatch.setattr("upland.reporting.html._vega", lambda: "0")


@pytest.fixture
def new(tmp_path):
    """New rows, of which 20 to 29 have a flow of 900."""
    rows = [[*row, "ab"[number // 30], number] for number, row in enumerate(pump_rows(60, 2))]
    for row in rows[20:30]:
        row[0] = 900.0
    write_csv(tmp_path / "new.csv", rows, [*HEADER, "lot", "minute"])
    return tmp_path / "new.csv"


def test_report_writes_a_page(upland, plant, new, tmp_path):
    target = tmp_path / "page.html"
    done = upland("report", plant / "pump.safetensors", new, "-o", target, "--by", "lot", "--time", "minute")
    assert done.code == 0
    assert f"wrote {target}" in done.out
    assert "of 60 rows in new.csv" in done.words
    text = check_page(target.read_text("utf-8")).text
    assert re.search(r"1\d rows: “flow” above what is normal", text)
    assert "Groups" in text
    assert "Over time" in text
    assert "pump.safetensors" in text


def test_report_in_json(upland_json, plant, new, tmp_path):
    target = tmp_path / "page.html"
    found = upland_json("report", plant / "pump.safetensors", new, "-o", target, "--alpha", "0.02")
    assert found["output"] == str(target)
    assert found["count"] == 60
    assert found["flagged"] >= 10
    assert "“flow” above what is normal" in found["causes"][0]["cause"]


def test_a_flag_can_be_an_exit_code(upland, plant, new, tmp_path):
    done = upland(
        "report", plant / "pump.safetensors", new, "-o", tmp_path / "a.html", "--fail-on-anomaly", "-q"
    )
    assert (done.code, done.out) == (10, "")


def test_an_existing_page_is_replaced_only_when_asked(upland, plant, new, tmp_path):
    target = tmp_path / "page.html"
    target.write_bytes(b"before")
    assert upland("report", plant / "pump.safetensors", new, "-o", target).code == 3
    assert target.read_bytes() == b"before"
    assert upland("report", plant / "pump.safetensors", new, "-o", target, "--overwrite", "-q").code == 0
    check_page(target.read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("-o", "page.txt"), "name the page *.html, such as page.html", 2),
        (("-o", "-"), "a page is written into a file", 2),
        (("-o", "page.html", "--alpha", "1"), "--alpha must lie between 0 and 1", 2),
        (("-o", "page.html", "--top", "0"), "--top", 2),
        (("-o", "nowhere/page.html"), "there is no folder nowhere", 3),
        (("-o", "page.html", "--time", "when"), "--time when names a column that is not in the table", 1),
        (("-o", "page.html", "--by", "when"), "there is no column 'when'", 1),
        (("-o", "page.html", "--by", "flow"), "column 'flow' is a feature", 1),
    ],
)
def test_what_cannot_be_done_leaves_no_page(
    upland, plant, new, tmp_path, monkeypatch, arguments, words, code
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = upland("report", plant / "pump.safetensors", new, *arguments)
    assert done.code == code
    assert words in done.words
    assert not list((tmp_path / "here").iterdir())
