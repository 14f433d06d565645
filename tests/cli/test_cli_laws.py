"""Laws over every command: one name for a thing, messages in the words of the command line, help, exits."""

import re
import typing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
import typer

import upland as library
from plant import related, shifts, waves, write_csv
from programs import COMMAND_LINE, run_python
from upland.catalogue import FORMATS
from upland.cli import console
from upland.cli.program import EXIT_CODES, app
from upland.io import advice
from upland.io.images import SUFFIXES

COMMANDS = typer.main.get_command(app).commands
ARGUMENTS = {
    "fit": ["normal.csv", "-o", "m"],
    "score": ["m", "new.csv"],
    "groups": ["m", "new.csv", "--by", "a"],
}
SCORED = {
    "rows": ("plant", "pump.safetensors", "new.csv"),
    "steps": ("series", "steps.safetensors", "new.csv"),
    "sequences of a table": ("series", "whole.safetensors", "new.csv"),
    "sequences": ("windows", "model.safetensors", "new.npz"),
    "images": ("pictures", "model.safetensors", "new.npy"),
}
OTHER_NAMES = {"flag", "made_of", "why", "strangest"}


def options(kind):
    """Command, option and choices of every option that has some; or, of the numbers, the least value."""
    for command, arguments in ARGUMENTS.items():
        for option in COMMANDS[command].params:
            if option.param_type_name != "option":
                continue
            choices = typing.get_args(option.type_descriptor.annotation)
            if kind == "choices" and choices and all(isinstance(choice, str) for choice in choices):
                yield pytest.param(
                    [command, *arguments], option.opts[0], choices, id=f"{command}{option.opts[0]}"
                )
            if kind == "numbers" and option.type_descriptor.annotation in (int, float):
                yield pytest.param([command, *arguments], option.opts[0], id=f"{command}{option.opts[0]}")


# -- names ---------------------------------------------------------------------------------------------------


def keys_in(document):
    """Every key of a JSON document, at any depth."""
    if isinstance(document, dict):
        return set(document) | {key for value in document.values() for key in keys_in(value)}
    return {key for value in document for key in keys_in(value)} if isinstance(document, list) else set()


@pytest.mark.parametrize("data", [*SCORED, "groups"])
def test_a_thing_has_one_name_in_files_documents_and_tables(data, request, tmp_path, upland, upland_json):
    if data == "groups":
        works = request.getfixturevalue("works")
        asked, findings = (
            ("groups", works / "energy.safetensors", works / "new.csv", "--by", "shift"),
            "verdicts",
        )
    else:
        fixture, model, new = SCORED[data]
        folder = request.getfixturevalue(fixture)
        asked, findings = ("score", folder / model, folder / new), "most_anomalous"
    written = ("-o", tmp_path / "s.csv", *(["--why"] if asked[0] == "score" else []))
    document, shown = upland_json(*asked, *written), upland(*asked).out
    columns = set(csv.read_csv(tmp_path / "s.csv").column_names)
    assert {"p_value", "is_anomaly", "reason"} <= columns & set(document[findings][0])
    assert not OTHER_NAMES & (columns | keys_in(document))
    assert re.search(r"p-value +(episode's +)?reason *$", shown, re.MULTILINE)
    assert not re.search(r"\bmade of\b|\bwhy *$|strangest", shown, re.MULTILINE)


@pytest.mark.parametrize("data", ["rows", "steps", "sequences of a table"])
def test_columns_keep_their_names_and_the_note_is_of_what_is_carried(data, request, tmp_path, upland):
    fixture, model, new = SCORED[data]
    folder = request.getfixturevalue(fixture)
    table = csv.read_csv(folder / new)
    csv.write_csv(table.append_column("note", pa.array(["x"] * table.num_rows)), tmp_path / "n.csv")
    done = upland("score", folder / model, tmp_path / "n.csv", "-o", tmp_path / "s.csv")
    columns = csv.read_csv(tmp_path / "s.csv").column_names
    assert set(columns) - {"anomaly_score", "p_value", "is_anomaly"} <= {*table.column_names, "note"}
    assert ("carried through: note" in done.words) == ("note" in columns)
    assert "carried through" not in upland("score", folder / model, tmp_path / "n.csv").words


# -- usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "option", "choices"), [*options("choices")])
def test_what_is_none_of_the_choices_is_named_and_the_nearest_suggested(command, option, choices, upland):
    for choice in (choice for choice in choices if len(choice) > 1):
        done = upland(*command, option, f"{choice[:-1]}")
        assert done.code == 2
        assert done.err.startswith(f"error: {option}: {choice[:-1]!r} is not one of ")
        assert f"did you mean {choice!r}?" in done.words
    assert "did you mean" not in upland(*command, option, "0").words


@pytest.mark.parametrize(("command", "option"), [*options("numbers")])
@pytest.mark.parametrize("value", ["-1", "much", "nan"])
def test_a_number_out_of_range_is_a_usage_error_that_names_its_option(command, option, value, upland):
    done = upland(*command, option, value)
    assert done.code == 2
    assert done.err.startswith(f"error: {option} must ")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("fit", "normal.csv", "-o", "m", "--noise", "0"), "--noise must be a positive number"),
        (("fit", "normal.csv", "-o", "m", "--device", "foo"), "--device is cpu, cuda, mps or auto"),
        *(
            (("fit", "normal.csv", "-o", f"m{suffix}"), f"m{suffix} is named like data")
            for suffix in (*FORMATS, ".npy", ".npz", *sorted(SUFFIXES))
        ),
        (("calibrate", "m", "normal.csv", "-o", "n.CSV"), "n.CSV is named like data"),
    ],
)
def test_what_is_wrong_before_anything_is_read(command, words, upland):
    done = upland(*command)
    assert done.code == 2
    assert done.err.startswith(f"error: {words}")


@pytest.mark.parametrize("name", ["model", "model.foo", "model.v2", "model.csv.safetensors"])
def test_a_model_has_any_other_name(name, plant, tmp_path, upland):
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / name, "--epochs", "1", "-q")
    assert done.code == 0, done.err
    assert library.load(tmp_path / name).encoder_.named


# -- messages ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A folder with data that cannot be used."""
    folder = tmp_path_factory.mktemp("odd")
    rows = [[n % 7, n % 5, f"at {n}", "t"] for n in range(40)]
    write_csv(folder / "text.csv", rows, ["a", "b", "when", "word"])
    write_csv(folder / "one.csv", rows[:1], ["a", "b", "when", "word"])
    csv.write_csv(pa.table(related(9, 0)), folder / "others.csv")
    infinite = related(40, 0)
    infinite["b"][[11, 30]] = np.inf
    csv.write_csv(pa.table(infinite), folder / "infinite.csv")
    csv.write_csv(shifts().slice(0, 1), folder / "shift.csv")
    np.save(folder / "lost.npy", np.where(np.arange(30)[:, None, None] == 4, np.nan, waves(30, 0)))
    np.save(folder / "names.npy", np.full((30, 12, 2), "a"))
    np.save(folder / "labels.npy", np.repeat(["left", "right"], 15))
    np.save(folder / "waves.npy", waves(30, 0))
    np.save(folder / "image.npy", np.zeros((1, 8, 8), np.uint8))
    np.save(folder / "colours.npy", np.zeros((9, 8, 8, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("fit odd/text.csv --ignore nope", "error: --ignore names columns that are not in the table: 'nope'"),
        (
            "fit odd/text.csv --categorical nope",
            "error: --categorical names columns that are not in the table",
        ),
        (
            "fit odd/text.csv --time when",
            "holds text, for example 'at 0' in row 1: write numbers, or dates as in ISO 8601",
        ),
        ("fit odd/text.csv --time a", "name the column that identifies sequences (--id)"),
        ("fit odd/text.csv --time a --id a", "error: --id and --time name the same column: 'a'"),
        ("fit odd/one.csv", "odd/one.csv has 1 row; at least 2 are needed"),
        ("fit odd/infinite.csv", "infinite.csv: column 'b' holds infinity in 2 rows, the first is row 12"),
        ("fit odd/lost.npy", "lost.npy: sequence 4: no step is left"),
        ("fit odd/names.npy", "names.npy has the dtype <U1, which is no number"),
        ("fit odd/image.npy", "error: odd/image.npy holds 1 image; at least 2 are needed"),
        ("fit odd/colours.npy --modality sequence", "of shape (9, 8, 8, 3), which is none of sequences"),
        ("fit odd/labels.npy --modality image", "of shape (30,), which is none of images"),
        ("score windows/model odd/colours.npy", "got an array of 4 dimensions"),
        ("score pictures/model odd/labels.npy", "images are of bool, uint8"),
        (
            "score works/energy odd/text.csv",
            "missing column(s): 'c'; odd/text.csv has 'a', 'b', 'when', 'word'",
        ),
        ("score works/energy odd/infinite.csv", "infinite.csv: column 'b' holds infinity in 2 rows"),
        ("score works/energy odd/waves.npy", "the model is of tables, but"),
        (
            "score windows/model odd/others.csv",
            "others.csv has 3 columns ('a', 'b', 'c'), but the model was",
        ),
        (
            "groups works/energy odd/shift.csv --by shift --statistic divergence",
            "has none: fit with --model flow",
        ),
        (
            "groups windows/model odd/waves.npy --by odd/labels.npy --statistic mmd",
            "tested by their anomaly scores: --statistic is one of 'auto'",
        ),
    ],
)
def test_messages_name_files_and_options(command, words, odd, works, windows, pictures, tmp_path, upland):
    folders = {"odd": odd, "works": works, "windows": windows, "pictures": pictures}

    def path(word):
        folder, slash, name = word.partition("/")
        return folders[folder] / (name if "." in name else f"{name}.safetensors") if slash else word

    name, *rest = command.split()
    target = ["-o", tmp_path / "m", "--epochs", "1"] if name == "fit" else []
    done = upland(name, *map(path, rest), *target)
    assert done.code == 1
    assert words.replace("odd/", f"{odd}/") in done.words


def test_every_part_of_a_message_has_a_form_for_the_command_line():
    parts = [advice.Argument("n_nets", 3), advice.Estimator("vae"), advice.Wording("X", "{data}")]
    parts += [advice.Infinity("a", "infinite"), advice.Argument("groups")]
    text = advice.Advice(*(piece for part in parts for piece in (part, " ")))
    assert str(text) == "n_nets=3 a VAEDetector X infinite groups "
    shown = console.shown(text, Path("a.npy"))
    assert shown == "--nets 3 --model vae a.npy a.npy: column 'a' holds infinity --by "
    assert len(typing.get_args(advice.Part)) == 1 + len({type(part) for part in parts})


# -- info ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        "plant/pump",
        "works/flow",
        "works/vae",
        "series/steps",
        "series/whole",
        "windows/model",
        "pictures/model",
    ],
)
def test_info_shows_what_the_fit_came_to_by_the_names_of_arguments(model, request, upland, upland_json):
    fixture, name = model.split("/")
    path = request.getfixturevalue(fixture) / f"{name}.safetensors"
    detector, document = library.load(path), upland_json("info", path)
    plan = document["plan"]
    assert set(plan) - {"steps"} <= set(detector.get_params())
    assert not {"auto", "bin"} & {value for value in plan.values() if isinstance(value, str)}
    assert plan["calibration"] == detector.calibration_.method
    assert plan["batch_size"] == detector.plan_.training.batch_size
    assert document["criteria"] == {unit: detector.criterion_of(unit) for unit in detector.calibrations_}
    shown = upland("info", path).words
    for part in (*(f"{name} " for name in plan), *document["criteria"].values()):
        assert part in shown
    assert "auto" not in shown


# -- help and exits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_breaks_no_line_within_a_paragraph(command):
    paragraphs = COMMANDS[command].help.split("\n\n")
    assert all("\n" not in paragraph and paragraph.endswith((".", "?")) for paragraph in paragraphs)


INTERRUPT = """
import sys
class Finder:
    def find_spec(self, name, *_):
        if name == {name!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    "module", ["typer", "upland.cli.console", "rich.console", "numpy", "pyarrow", "torch"]
)
def test_an_interruption_of_an_import_leaves_no_traceback(module, plant):
    code = INTERRUPT.format(name=module) + COMMAND_LINE[1]
    done = run_python("-c", code, "score", plant / "pump.safetensors", plant / "new.csv")
    assert done.returncode == 130, done.stderr
    assert done.stderr in (
        "error: interrupted; nothing was written\n",
        "" if module == "rich.console" else None,
    )


def test_every_exit_code_is_in_every_table():
    page = (Path(__file__).parents[2] / "docs" / "command_line.md").read_text(encoding="utf-8")
    for code in (0, 1, 2, 3, 10, 70, 129, 130, 143):
        assert re.search(rf"\b{code}\b", EXIT_CODES)
        for text in (console.__doc__, page):
            assert re.search(rf"^\| {code} \|", text, re.MULTILINE)
