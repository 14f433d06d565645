"""Numbers and dates written as text on the command line: what a refusal advises is an option that works."""

import csv
import re

import numpy as np
import pytest

NUMBERS = np.random.default_rng(0).integers(1, 60, 80)
DOUBTS = {
    "thousands": ([f"{n},250" for n in NUMBERS], ["--decimal .", "--decimal ,"]),
    "days": ([f"3/{n % 12 + 1}/2026" for n in NUMBERS], ["--dayfirst", "--monthfirst"]),
    "marker": (["-" if n % 9 == 0 else str(n % 8) for n in NUMBERS], ["--missing -"]),
}


def write(path, cells):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("v", "x"), *zip(cells, NUMBERS / 7, strict=False)])


@pytest.mark.parametrize("name", DOUBTS)
def test_every_option_that_a_refusal_names_makes_the_fit_succeed(name, tmp_path, upland, upland_json):
    cells, ways = DOUBTS[name]
    write(tmp_path / "rows.csv", cells)
    fit = (
        "fit",
        tmp_path / "rows.csv",
        "-o",
        tmp_path / "m.safetensors",
        "--epochs",
        "1",
        "--prior",
        "centre",
    )
    refused = upland(*fit)
    assert refused.code == 1
    assert re.search("column 'v'.*row 1", refused.words)
    for way in (*ways, "--categorical v"):
        assert way in refused.words
        done = upland(*fit, "--overwrite", *way.split())
        assert done.code == 0, done.err
        kinds = {
            column["name"]: column["kind"]
            for column in upland_json("info", tmp_path / "m.safetensors")["columns"]
        }
        assert (kinds["v"] == "categorical") == (way == "--categorical v")
        assert upland("score", tmp_path / "m.safetensors", tmp_path / "rows.csv").code == 0


def test_what_is_read_as_numbers_is_said_once_and_kept(tmp_path, upland, upland_json):
    write(tmp_path / "rows.csv", [f"{n}%" for n in NUMBERS])
    model = tmp_path / "m.safetensors"
    done = upland("fit", tmp_path / "rows.csv", "-o", model, "--epochs", "1", "--prior", "centre")
    assert done.err.count("warning: column 'v' is text, such as") == 1
    write(tmp_path / "new.csv", ["30%", "30.5%", "30 kW"])
    refused = upland("score", model, tmp_path / "new.csv")
    assert refused.code == 1
    assert "new.csv: column 'v', row 3 holds '30 kW', which is not a number" in refused.words
