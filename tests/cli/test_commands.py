"""The command line from end to end: what it writes, what it says, how it leaves."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest

import upland as library
from plant import HEADER, pump_rows, read_csv, write_csv
from programs import COMMAND_LINE, run_python
from upland.io.formats import open_source
from upland.io.modelfile import read_tensors

FAST = ("--epochs", "2", "--calibration", "split")


def test_fit_writes_a_model_and_says_what_it_is(plant, tmp_path, upland):
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / "model.safetensors", *FAST)
    assert done.code == 0, done.err
    assert "2 numeric: flow, pressure; 1 categorical: valve; 1 boolean: running" in done.words
    assert "calibration method split, rows 80" in done.words
    assert f"wrote {tmp_path / 'model.safetensors'}" in done.words
    assert library.load(tmp_path / "model.safetensors").encoder_.column_names == tuple(HEADER)


def test_fit_passes_its_options_on(plant, tmp_path, upland_json):
    model = tmp_path / "model.safetensors"
    options = (
        "--criterion",
        "energy",
        "--noise",
        "0.5",
        "--ignore",
        "valve",
        "--ignore",
        "running",
        "--seed",
        "3",
    )
    document = upland_json("fit", plant / "normal.csv", "-o", model, *FAST, *options)
    assert document["model"] == str(model)
    parameters = library.load(model).get_params()
    assert parameters["criterion"] == "energy"
    assert parameters["noise"] == 0.5
    assert parameters["random_state"] == 3
    assert library.load(model).encoder_.column_names == ("flow", "pressure")


def test_fit_is_the_library_s_fit(plant, tmp_path, upland):
    assert upland("fit", plant / "normal.csv", "-o", tmp_path / "m", *FAST, "--seed", "1", "-q").code == 0
    by_hand = library.EnergyDetector(calibration="split", epochs=2, random_state=1).fit(plant / "normal.csv")
    table = open_source(plant / "normal.csv").read()
    np.testing.assert_array_equal(
        library.load(tmp_path / "m").anomaly_score(table), by_hand.anomaly_score(table)
    )


def test_quiet_says_nothing(plant, tmp_path, upland):
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / "m", *FAST, "--quiet")
    assert (done.code, done.out) == (0, "")


def test_score_appends_verdicts_and_keeps_every_cell(plant, tmp_path, upland_json):
    document = upland_json(
        "score", plant / "pump.safetensors", plant / "new.csv", "-o", tmp_path / "scored.csv"
    )
    before, after = read_csv(plant / "new.csv"), read_csv(tmp_path / "scored.csv")
    assert list(after[0]) == [*HEADER, "anomaly_score", "p_value", "is_anomaly"]
    assert [{name: row[name] for name in HEADER} for row in after] == before
    flags = [row["is_anomaly"] == "true" for row in after]
    assert all(flags[55:])
    assert document["rows"] == 60
    assert document["flagged"] == sum(flags) < 20
    assert document["output"] == str(tmp_path / "scored.csv")
    assert document["control"] == "false_alarm"
    assert {row["row"] for row in document["most_anomalous"][:5]} == {56, 57, 58, 59, 60}


def test_score_equals_the_library(plant, tmp_path, upland):
    done = upland("score", plant / "pump.safetensors", plant / "new.csv", "-o", tmp_path / "scored.parquet")
    assert done.code == 0, done.err
    scored = pq.read_table(tmp_path / "scored.parquet")
    detector = library.load(plant / "pump.safetensors")
    table = open_source(plant / "new.csv").read()
    np.testing.assert_array_equal(scored["anomaly_score"], detector.anomaly_score(table))
    np.testing.assert_array_equal(scored["p_value"], detector.p_values(table))
    np.testing.assert_array_equal(scored["is_anomaly"], detector.flag(table))


def test_score_says_why(plant, tmp_path, upland):
    done = upland(
        "score", plant / "pump.safetensors", plant / "new.csv", "-o", tmp_path / "scored.csv", "--why"
    )
    assert done.code == 0, done.err
    broken = read_csv(tmp_path / "scored.csv")[-1]
    first, *others = broken["reason"].split("; ")
    assert len(others) == 2
    assert first.split()[0] in ("flow", "pressure")
    assert "expected" in first
    assert "%" in first


def test_score_without_output_shows_the_most_anomalous_rows(plant, upland):
    done = upland("score", plant / "pump.safetensors", plant / "new.csv", "--top", "5")
    assert done.code == 0, done.err
    for number in range(56, 61):
        assert f" {number}*" in f" {done.out}"
    assert "of 60 rows flagged" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_fdr_is_decided_in_two_passes_as_on_the_whole_table(plant, tmp_path, upland_json):
    options = ("--control", "fdr", "--alpha", "0.2")
    document = upland_json(
        "score", plant / "pump.safetensors", plant / "new.csv", "-o", tmp_path / "s.parquet", *options
    )
    scored = pq.read_table(tmp_path / "s.parquet")
    expected = library.benjamini_hochberg(scored["p_value"].to_numpy(), alpha=0.2)
    np.testing.assert_array_equal(scored["is_anomaly"], expected)
    assert document["flagged"] == expected.sum() >= 5


def test_extra_columns_are_carried_through_and_listed_once(plant, tmp_path, upland):
    rows = [[f"id-{n}", *row] for n, row in enumerate(pump_rows(20, seed=3))]
    data = write_csv(tmp_path / "new.csv", rows, header=["part", *HEADER])
    done = upland("score", plant / "pump.safetensors", data, "-o", tmp_path / "scored.csv")
    assert done.code == 0
    assert done.err.count("part") == 1
    assert [row["part"] for row in read_csv(tmp_path / "scored.csv")] == [f"id-{n}" for n in range(20)]


def test_columns_named_like_the_added_ones_are_refused_or_replaced(plant, tmp_path, upland):
    model, once, twice = plant / "pump.safetensors", tmp_path / "once.csv", tmp_path / "twice.csv"
    assert upland("score", model, plant / "new.csv", "-o", once).code == 0
    done = upland("score", model, once, "-o", twice)
    assert done.code == 1
    assert "anomaly_score, p_value, is_anomaly" in done.words
    assert not twice.exists()
    assert upland("score", model, once, "-o", twice, "--replace-columns").code == 0
    assert twice.read_bytes() == once.read_bytes()


def test_order_of_columns_does_not_matter(plant, tmp_path, upland):
    turned = write_csv(tmp_path / "turned.csv", [row[::-1] for row in pump_rows(30, 5)], header=HEADER[::-1])
    straight = write_csv(tmp_path / "straight.csv", pump_rows(30, 5))
    for name in ("turned", "straight"):
        upland(
            "score", plant / "pump.safetensors", tmp_path / f"{name}.csv", "-o", tmp_path / f"{name}.parquet"
        )
    assert turned.read_text() != straight.read_text()
    columns = [pq.read_table(tmp_path / f"{name}.parquet")["p_value"] for name in ("turned", "straight")]
    assert columns[0] == columns[1]


def test_fail_on_anomaly(plant, tmp_path, upland):
    model = plant / "pump.safetensors"
    assert upland("score", model, plant / "new.csv", "--fail-on-anomaly").code == 10
    assert upland("score", model, plant / "new.csv", "--fail-on-anomaly", "--alpha", "1e-9").code == 0


def test_info(plant, upland, upland_json):
    document = upland_json("info", plant / "pump.safetensors")
    assert document["warnings"] == []
    done = upland("info", plant / "pump.safetensors")
    assert done.code == 0
    for word in ("flow", "pressure", "valve", "split", "exact"):
        assert word in done.out
        assert word in json.dumps(document)


def test_calibrate_renews_the_p_values_and_leaves_the_model(plant, tmp_path, upland):
    fresh = write_csv(tmp_path / "fresh.csv", pump_rows(150, seed=7))
    renewed = tmp_path / "renewed.safetensors"
    assert upland("calibrate", plant / "pump.safetensors", fresh, "-o", renewed).code == 0
    old, new = library.load(plant / "pump.safetensors"), library.load(renewed)
    assert (old.calibration_.size, new.calibration_.size) == (80, 150)
    rows = open_source(fresh).read()
    np.testing.assert_array_equal(old.anomaly_score(rows), new.anomaly_score(rows))
    assert upland("calibrate", renewed, plant / "normal.csv", "--in-place").code == 0
    assert library.load(renewed).calibration_.size == 400
    assert upland("calibrate", renewed, fresh).code == 2
    assert upland("calibrate", renewed, fresh, "--in-place", "-o", tmp_path / "x").code == 2


def test_a_checkpoint_is_resumed(plant, tmp_path, upland):
    model, checkpoint = tmp_path / "m", tmp_path / "c"
    arguments = ("fit", plant / "normal.csv", "-o", model, *FAST, "--checkpoint", checkpoint)
    assert upland(*arguments).code == 0
    first = library.load(model)
    written = read_tensors(checkpoint)[1]
    assert upland(*arguments, "--overwrite").code == 0
    assert read_tensors(checkpoint)[1] == written  # nothing was left to train
    np.testing.assert_array_equal(library.load(model).calibration_.scores, first.calibration_.scores)
    other = upland(*arguments, "--overwrite", "--seed", "1")
    assert other.code == 1
    assert "checkpoint of another fit" in other.words


@pytest.mark.parametrize("existing", ["model", "scored"])
def test_nothing_is_overwritten_unasked(plant, tmp_path, upland, existing):
    target = tmp_path / {"model": "model.safetensors", "scored": "scored.csv"}[existing]
    target.write_text("another")
    commands = {
        "model": ("fit", plant / "normal.csv", "-o", target, *FAST),
        "scored": ("score", plant / "pump.safetensors", plant / "new.csv", "-o", target),
    }
    done = upland(*commands[existing])
    assert done.code == 3
    assert f"{target} exists already" in done.words
    assert target.read_text() == "another"
    assert upland(*commands[existing], "--overwrite").code == 0
    assert target.read_bytes() != b"another"


@pytest.mark.parametrize("command", ["fit", "calibrate", "score"])
def test_the_input_is_never_the_output(command, plant, tmp_path, upland):
    data = tmp_path / "rows.csv"
    data.write_bytes((plant / "normal.csv").read_bytes())
    before = data.read_bytes()
    model = [] if command == "fit" else [plant / "pump.safetensors"]
    done = upland(command, *model, data, "-o", data, "--overwrite")
    assert done.code == 3
    assert "is the input itself" in done.words
    assert data.read_bytes() == before


def test_a_failure_while_scoring_leaves_nothing_behind(plant, tmp_path, upland):
    rows = pump_rows(30, 0)
    rows[-1][0] = "much"
    data = write_csv(tmp_path / "new.csv", rows)
    assert upland("score", plant / "pump.safetensors", data, "-o", tmp_path / "scored.csv").code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.csv"]


def test_interrupted(plant, tmp_path, upland, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("upland.cli.tables.with_verdicts", stop)
    done = upland("score", plant / "pump.safetensors", plant / "new.csv", "-o", tmp_path / "scored.csv")
    assert done.code == 130
    assert "interrupted" in done.err
    assert list(tmp_path.iterdir()) == []


def test_warnings_are_one_line_each(plant, tmp_path, upland, upland_json):
    data = write_csv(tmp_path / "few.csv", pump_rows(6, 0))
    done = upland("fit", data, "-o", tmp_path / "m", "--epochs", "2")
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    assert lines
    assert all(line.startswith("warning: ") for line in lines)
    assert "warnings.warn" not in done.err
    document = upland_json("fit", data, "-o", tmp_path / "m", "--epochs", "2", "--overwrite")
    assert [f"warning: {text}" for text in document["warnings"]] == lines


def test_help_loads_nothing_heavy():
    done = run_python("-X", "importtime", *COMMAND_LINE, "--help")
    for name in ("fit", "score", "info", "calibrate", "demo", "Exit codes", "UPLAND_DEBUG"):
        assert name in done.stdout
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert loaded.isdisjoint({"torch", "numpy", "pyarrow", "pandas", "sklearn", "scipy", "narwhals"})


@pytest.mark.parametrize("command", [(), ("--help",), ("fit", "--help"), ("score", "-h"), ("info", "--help")])
def test_help(upland, command):
    done = upland(*command)
    assert done.code == 0
    assert "Exit codes:" in done.words


def test_version(upland):
    assert upland("--version").out == f"upland {library.__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        ("predict",),
        ("fit", "normal.csv"),
        ("score", "model"),
        ("score", "model", "new.csv", "--control", "none"),
        ("score", "model", "new.csv", "--alpha", "much"),
        ("score", "model", "new.csv", "--alpha", "1.5"),
        ("score", "model", "new.csv", "--alpha", "0"),
        ("score", "model", "new.csv", "-o", "scored.xls"),
        ("fit", "normal.csv", "-o", "m", "--epochs", "0"),
        ("fit", "normal.csv", "-o", "m", "--colour", "red"),
    ],
)
def test_usage_errors(upland, command):
    done = upland(*command)
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    document = upland(*command, "--json")
    assert document.code == 2
    assert document.out == ""
    assert json.loads(document.err)["error"]["kind"] == "usage"


def test_a_reader_that_leaves_is_no_error(plant):
    read, write = os.pipe()
    os.close(read)
    done = run_python(*COMMAND_LINE, "info", plant / "pump.safetensors", "--json", stdout=write)
    os.close(write)
    assert "Traceback" not in done.stderr


def test_a_terminal_without_unicode_is_no_error(plant, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run_python(*COMMAND_LINE, "score", plant / "pump.safetensors", plant / "new.csv", "--top", "2")
    assert done.returncode == 0, done.stderr
    assert "of 60 rows flagged" in done.stdout
