"""`upland alarms`: the table, the budget, and the model that it writes."""

import json

import numpy as np
import pandas as pd
import pytest

import upland as library
from upland.io.formats import open_source
from upland.scoring.alarm_history import FINE
from upland.scoring.alarms import levels_for

HOURS = 720


def values(count, seed):
    rng = np.random.default_rng(seed)
    flow = rng.normal(10, 2, count)
    return pd.DataFrame({"flow": flow, "pressure": 2 * flow + rng.normal(0, 0.3, count)})


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    """A folder with a model and the hours of two pumps, of which five belong to one event; read only."""
    folder = tmp_path_factory.mktemp("alarms")
    model = library.EnergyDetector(random_state=0, progress=False).fit(values(1_000, 0))
    library.save(model, folder / "model.safetensors")
    rows = values(HOURS, 1)
    rows.insert(0, "when", pd.date_range("2026-03-10", periods=HOURS, freq="h"))
    rows["pump"] = np.where(np.arange(HOURS) % 2, "a", "b")
    rows.loc[100:104, "pressure"] += 9
    rows.to_csv(folder / "history.csv", index=False)
    rows.to_parquet(folder / "history.parquet", index=False)
    return folder


@pytest.fixture
def asked(works):
    return ("alarms", works / "model.safetensors", works / "history.csv", "--time", "when")


def test_the_document_is_what_the_library_finds(works, asked, upland_json):
    detector = library.load(works / "model.safetensors")
    found = library.alarms(detector, pd.read_parquet(works / "history.parquet"), time="when", merge="2h")
    document = upland_json(*asked, "--merge", "2h", "--budget", "1 per day")
    assert document["levels"] == [level._asdict() for level in [*found.levels(), *found.levels("fdr")]]
    assert document["chosen"] == found.within("1 per day")._asdict()
    assert document["budget"]["held_out"] == [level._asdict() for level in found.held_out("1 per day")]
    assert document["alarms"][0]["first"] == 101
    assert document["alarms"][0]["rows"] == 5
    assert document["days"] == (HOURS - 1) / 24


def test_the_table_says_what_is_guaranteed_and_what_is_an_estimate(asked, upland):
    done = upland(*asked, "--budget", "1 per day")
    assert done.code == 0, done.err
    assert "false alarms: at most" in done.words
    assert "a day on average (alpha times 24.03 rows); p-values are exact" in done.words
    assert "chosen on this history, it is an estimate: the earlier half alone would choose" in done.words
    assert "2026-03-14 04:00 to 08:00" in done.words
    assert "takes" in done.words
    assert "calibration rows; the model has 200" in done.words


def test_the_budget_is_kept_and_written(works, asked, tmp_path, upland, upland_json):
    target = tmp_path / "chosen.safetensors"
    document = upland_json(*asked, "--budget", "1 per day", "--write", target)
    alpha = document["alpha"]
    assert document["chosen"]["rate"] <= 1
    levels = levels_for(200, FINE)
    larger = levels[levels.index(alpha) + 1]
    history = library.alarms(library.load(target), works / "history.csv", time="when")
    assert history.at(larger).rate > 1
    assert library.load(target).alpha_ == alpha
    assert library.load(works / "model.safetensors").alpha_ == 0.05
    rows = works / "history.parquet"
    flagged = upland_json("score", target, rows)
    assert (flagged["alpha"], flagged["flagged"]) == (alpha, document["chosen"]["flagged"])
    assert upland_json("score", target, rows, "--alpha", "0.05")["alpha"] == 0.05
    assert f"alpha {alpha:.4g}" in upland("info", target).words
    assert upland_json("info", target)["alpha"] == alpha
    assert f"false-alarm rate of flags where none is said: {alpha:g}" in upland("card", target).words


def test_a_model_is_changed_in_place_and_nothing_else_of_it(works, tmp_path, upland):
    model = tmp_path / "model.safetensors"
    model.write_bytes((works / "model.safetensors").read_bytes())
    rows = values(50, 4)
    before = library.load(model).assess(rows)
    done = upland(
        "alarms", model, works / "history.parquet", "--time", "when", "--budget", "5/week", "--in-place"
    )
    assert done.code == 0, done.err
    assert f"wrote {model}: its alpha is" in done.out
    after = library.load(model)
    assert after.alpha_ < 0.05
    assert all((x == y).all() for x, y in zip(before, after.assess(rows), strict=True))


def test_levels_are_written_as_a_table(asked, tmp_path, upland):
    path = tmp_path / "levels.csv"
    assert upland(*asked, "-o", path).code == 0
    found = open_source(path).read()
    assert found.column_names[:5] == ["alpha", "control", "cut", "flagged", "alarms"]
    assert upland(*asked, "-o", path).code == 3
    assert upland(*asked, "-o", path, "--overwrite").code == 0


def test_a_level_can_be_said(asked, tmp_path, upland_json):
    target = tmp_path / "m.safetensors"
    document = upland_json(*asked, "--alpha", "0.02", "--write", target)
    assert document["chosen"]["alpha"] == library.load(target).alpha_ == 0.02


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--budget", "3"], 1, "a budget is a number of alarms per time or per rows"),
        (["--budget", "0 per day"], 1, "at the smallest level that 200 calibration rows can resolve"),
        (["--budget", "1000000 per day"], 1, "it does not bound alpha"),
        (["--budget", "1 per day", "--merge", "400d"], 1, "it does not bound alpha"),
        (["--alpha", "0.001"], 1, "takes 999 calibration rows, and the model has 200"),
        (["--alpha", "2"], 2, "--alpha must lie between 0 and 1"),
        (["--alpha", "0.1", "--budget", "1 per day"], 2, "give one of them"),
        (["--in-place"], 2, "say --budget"),
        (
            ["--budget", "1/d", "--in-place", "--write", "x.safetensors"],
            2,
            "either --write FILE or --in-place",
        ),
        (["--budget", "1/d", "--write", "x.csv"], 2, "a model file ends in .safetensors"),
        (["--merge", "soon"], 1, "--merge is a number of rows, or a duration"),
        (["--id", "nothing"], 1, "--id nothing"),
        (["-o", "-"], 2, "levels are written into a file"),
        (["-o", "levels.docx"], 2, "unknown format"),
    ],
)
def test_what_cannot_be_is_refused(options, code, words, asked, tmp_path, monkeypatch, upland):
    monkeypatch.chdir(tmp_path)
    done = upland(*asked, *options)
    assert done.code == code, done.err
    assert words in done.words
    assert not list(tmp_path.iterdir())


def test_a_budget_that_the_calibration_cannot_resolve_says_how_many_rows_would(works, tmp_path, upland):
    rows = pd.read_parquet(works / "history.parquet")
    many = pd.concat([rows.assign(when=rows["when"] + pd.Timedelta(days=30 * turn)) for turn in range(20)])
    many.to_parquet(tmp_path / "long.parquet", index=False)
    done = upland(
        "alarms",
        works / "model.safetensors",
        tmp_path / "long.parquet",
        "--time",
        "when",
        "--budget",
        "0.2 per week",
    )
    assert done.code == 1
    expected = int(np.ceil(24 * 7 / 0.2)) - 1
    found = int(done.words.split(" on, which takes ")[1].split()[0].replace(",", ""))
    assert abs(found - expected) <= 1


def test_without_a_time_rates_are_per_rows(works, upland, upland_json):
    data = (works / "model.safetensors", works / "history.parquet")
    document = upland_json("alarms", *data, "--budget", "20 per 1000")
    assert document["per"] == "1,000 rows"
    assert document["chosen"]["alarms"] == document["chosen"]["flagged"] <= 20 * HOURS / 1000
    done = upland("alarms", *data, "--budget", "5 per day")
    assert "name a column of dates with --time" in done.words
    done = upland("alarms", *data, "--merge", "10min")
    assert "name their column with --time, or say a number of rows" in done.words


def test_days_first_are_said(works, tmp_path, upland, upland_json):
    rows = pd.read_parquet(works / "history.parquet").iloc[:24]
    rows.assign(when=rows["when"].dt.strftime("05/06/2026 %H:%M")).to_csv(tmp_path / "h.csv", index=False)
    data = ("alarms", works / "model.safetensors", tmp_path / "h.csv", "--time", "when")
    assert "--dayfirst" in upland(*data).words
    assert upland_json(*data, "--dayfirst")["days"] == 23 / 24
    assert upland_json(*data, "--dayfirst", "--alpha", "0.3")["alarms"][0]["start"].startswith("2026-06-05")


def test_quiet_says_nothing_and_json_goes_with_a_file(asked, tmp_path, upland):
    done = upland(*asked, "--quiet")
    assert (done.code, done.out) == (0, "")
    done = upland(*asked, "-o", tmp_path / "levels.parquet", "--json")
    assert json.loads(done.out)["output"] == str(tmp_path / "levels.parquet")
