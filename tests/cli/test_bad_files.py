"""A table of bad input for the command line: one exit code and one paragraph that says what is wrong."""

import json
import pickle

import pytest

from plant import HEADER, pump_rows, write_csv


def csv_of(rows, header=HEADER):
    return lambda path: write_csv(path, rows, header)


def text(content):
    return lambda path: path.write_bytes(content)


def cell(row, column, value, rows=40):
    table = pump_rows(rows, seed=4)
    for cells in table[row] if isinstance(row, slice) else [table[row]]:
        cells[column] = value
    return table


def with_column(name, values):
    return [[*row, values[place % len(values)]] for place, row in enumerate(pump_rows(300, 4))], [
        *HEADER,
        name,
    ]


BAD_TO_FIT = {
    "missing file": ("absent.csv", lambda path: None, 1, "does not exist"),
    "folder": ("data", lambda path: path.mkdir(), 1, "holds neither rows nor images: it is empty"),
    "directory": ("data.csv", lambda path: path.mkdir(), 1, "holds neither rows nor images: it is empty"),
    "empty file": ("data.csv", text(b""), 1, "is empty"),
    "header only": ("data.csv", csv_of([]), 1, "no rows"),
    "one row": ("data.csv", csv_of(pump_rows(1, 0)), 1, "data.csv has 1 row; at least 2 are needed"),
    "all missing column": (
        "data.csv",
        csv_of([[a, "", c, d] for a, _, c, d in pump_rows(40, 4)]),
        1,
        "pressure",
    ),
    "strings in a numeric column": ("data.csv", csv_of(cell(slice(0, 6), 0, "n.a. (sensor)")), 1, "flow"),
    "infinity": (
        "data.csv",
        csv_of(cell(7, 1, "inf")),
        1,
        "data.csv: column 'pressure' holds infinity in 1 row, the first is row 8",
    ),
    "a label column left in": (
        "data.csv",
        csv_of(*with_column("label", ["normal", "attack"])),
        1,
        "--ignore label",
    ),
    "free text": ("data.csv", csv_of(*with_column("note", [f"seen by {n}" for n in range(300)])), 1, "note"),
    "duplicate names": (
        "data.csv",
        csv_of(pump_rows(40, 4), ["flow", "flow", "valve", "running"]),
        1,
        "flow",
    ),
    "ragged line": ("data.csv", csv_of([*pump_rows(9, 4), ["1", "2"]]), 1, "line 11"),
    "no header": ("data.csv", csv_of([["3", "4"]], ["1", "2"]), 1, "header"),
    "not UTF-8": ("data.csv", text("größe,x\n1,2\n".encode("latin-1")), 1, "UTF-8"),
    "unknown suffix": ("data.ods", text(b"PK"), 1, "known are .csv"),
    "no Parquet": ("data.parquet", text(b"flow,pressure\n1,2\n"), 1, "cannot be read as Parquet"),
    "unknown column ignored": ("data.csv", csv_of(pump_rows(40, 4)), 1, "colour"),
}


@pytest.mark.parametrize("case", BAD_TO_FIT)
def test_fit_refuses(case, tmp_path, upland):
    name, make, code, words = BAD_TO_FIT[case]
    make(tmp_path / name)
    options = ("--ignore", "colour") if case == "unknown column ignored" else ()
    done = upland("fit", tmp_path / name, "-o", tmp_path / "model", "--epochs", "1", *options)
    check_refusal(done, code, words)
    assert not (tmp_path / "model").exists()


BAD_TO_SCORE = {
    "missing file": ("absent.csv", lambda path: None, 1, "does not exist"),
    "directory": ("data.csv", lambda path: path.mkdir(), 1, "is a folder"),
    "empty file": ("data.csv", text(b""), 1, "is empty"),
    "header only": ("data.csv", csv_of([]), 1, "no rows"),
    "missing column": ("data.csv", csv_of([row[1:] for row in pump_rows(9, 4)], HEADER[1:]), 1, "flow"),
    "renamed column": ("data.csv", csv_of(pump_rows(9, 4), ["Flow", *HEADER[1:]]), 1, "'flow'"),
    "retyped column": ("data.csv", csv_of([["low", *row[1:]] for row in pump_rows(9, 4)]), 1, "flow"),
    "infinity": (
        "data.csv",
        csv_of(cell(slice(3, 5), 1, "-inf")),
        1,
        "data.csv: column 'pressure' holds infinity in 2 rows, the first is row 4",
    ),
    "an array": ("data.npy", text(b"x"), 1, "the model is of tables, but"),
    "unknown suffix": ("data.json", text(b"{}"), 1, "known are .csv"),
}


@pytest.mark.parametrize("case", BAD_TO_SCORE)
def test_score_refuses(case, plant, tmp_path, upland):
    name, make, code, words = BAD_TO_SCORE[case]
    make(tmp_path / name)
    done = upland("score", plant / "pump.safetensors", tmp_path / name, "-o", tmp_path / "scored.csv")
    check_refusal(done, code, words)
    assert not (tmp_path / "scored.csv").exists()


def test_one_row_and_an_unseen_level_are_no_error(plant, tmp_path, upland_json):
    data = write_csv(tmp_path / "one.csv", [["10.0", "20.0", "ajar", "true"]])
    document = upland_json("score", plant / "pump.safetensors", data)
    assert (document["rows"], document["flagged"]) == (1, 1)
    assert document["most_anomalous"][0]["reason"][0]["column"] == "valve"


def corrupted(path, plant):
    data = bytearray((plant / "pump.safetensors").read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def truncated(path, plant):
    path.write_bytes((plant / "pump.safetensors").read_bytes()[:-100])


BAD_MODELS = {
    "missing": (lambda path, plant: None, "there is no file"),
    "directory": (lambda path, plant: path.mkdir(), "is a directory"),
    "empty": (lambda path, plant: path.touch(), "is empty"),
    "a CSV": (lambda path, plant: path.write_bytes((plant / "new.csv").read_bytes()), "is no model file"),
    "a word": (lambda path, plant: path.write_text("hi"), "is no model file"),
    "a pickle": (lambda path, plant: path.write_bytes(pickle.dumps({"weights": [1.0] * 9})), "never opens"),
    "corrupted": (corrupted, "corrupted"),
    "truncated": (truncated, "truncated"),
}


@pytest.mark.parametrize("command", ["score", "info", "calibrate"])
@pytest.mark.parametrize("case", BAD_MODELS)
def test_a_bad_model_is_refused(case, command, plant, tmp_path, upland):
    make, words = BAD_MODELS[case]
    make(tmp_path / "model", plant)
    rest = {
        "score": [plant / "new.csv"],
        "info": [],
        "calibrate": [plant / "new.csv", "-o", tmp_path / "new"],
    }
    done = upland(command, tmp_path / "model", *rest[command])
    check_refusal(done, 1, words)


@pytest.mark.parametrize("command", ["fit", "score", "calibrate", "demo"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(command, plant, tmp_path, upland):
    blocked = tmp_path / "file"
    blocked.touch()
    commands = {
        "fit": ("fit", plant / "normal.csv", "-o", blocked / "model"),
        "score": ("score", plant / "pump.safetensors", plant / "new.csv", "-o", blocked / "scored.csv"),
        "calibrate": ("calibrate", plant / "pump.safetensors", plant / "new.csv", "-o", blocked / "model"),
        "demo": ("demo", "--out", blocked),
    }
    check_refusal(upland(*commands[command]), 3, "cannot write")


@pytest.mark.parametrize("target", ["absent/model", "."])
def test_a_missing_folder_or_a_directory_as_output(target, plant, tmp_path, upland):
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / target, "--overwrite")
    check_refusal(done, 3, "cannot write")


def check_refusal(done, code, words):
    assert done.code == code, done.words
    assert words in done.words
    assert done.out == ""
    paragraph = done.err.splitlines()[-1]
    assert paragraph.startswith("error: ")
    assert all(line.startswith("warning: ") for line in done.err.splitlines()[:-1])


def test_errors_for_programs_are_json(plant, tmp_path, upland):
    done = upland("score", plant / "pump.safetensors", tmp_path / "absent.csv", "--json")
    assert done.code == 1
    assert done.out == ""
    error = json.loads(done.err)["error"]
    assert error["kind"] == "input"
    assert error["exit_code"] == 1
    assert "absent.csv" in error["message"]


def test_an_error_inside_upland_is_not_bad_input(plant, upland, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("upland.persistence.load", broken)
    done = upland("info", plant / "pump.safetensors")
    assert done.code == 70
    assert "an error inside upland: ZeroDivisionError: by design" in done.words


def test_the_traceback_is_there_for_those_who_ask(plant, tmp_path, capsys, monkeypatch):
    from upland.cli import program as cli

    monkeypatch.setenv("UPLAND_DEBUG", "1")
    monkeypatch.setattr("sys.argv", ["upland", "info", str(tmp_path / "absent")])
    with pytest.raises(SystemExit):
        cli.main()
    assert "Traceback" in capsys.readouterr().err
