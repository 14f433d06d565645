"""Of two runs that would write one output, one at a time does; and a command that is run again."""

import hashlib
import json
import time

import pytest

from plant import HEADER, pump_rows, write_csv
from programs import run_python
from upland.cli.app import program
from upland.io.writers import WriterLock

COMMANDS = {
    "fit": ["fit", "normal.csv", "-o", "m.safetensors", "--epochs", "1", "--calibration", "split"],
    "score": ["score", "pump.safetensors", "new.csv", "-o", "out.csv"],
    "groups": ["groups", "pump.safetensors", "lots.csv", "--by", "lot", "-o", "out.csv"],
    "calibrate": ["calibrate", "pump.safetensors", "normal.csv", "-o", "m.safetensors"],
    "calibrate in place": ["calibrate", "pump.safetensors", "normal.csv", "--in-place"],
    "refine": ["refine", "pump.safetensors", "new.csv", "--label", "flow", "-o", "m.safetensors"],
    "card": ["card", "pump.safetensors", "-o", "card.md"],
    "report": ["report", "pump.safetensors", "new.csv", "-o", "page.html"],
    "alarms": ["alarms", "pump.safetensors", "new.csv", "-o", "levels.csv"],
    "demo": ["demo", "--out", "shown"],
}
"""A run of each command that writes; `--out` names a folder."""


def output(arguments):
    for name in ("-o", "--out"):
        if name in arguments:
            return arguments[arguments.index(name) + 1]
    return arguments[1]


@pytest.fixture
def folder(plant, tmp_path, monkeypatch):
    """The plant's files, and rows of two lots."""
    for name in ("normal.csv", "new.csv", "pump.safetensors"):
        (tmp_path / name).write_bytes((plant / name).read_bytes())
    lots = [[*row, "ab"[number % 2]] for number, row in enumerate(pump_rows(60, seed=3))]
    write_csv(tmp_path / "lots.csv", lots, [*HEADER, "lot"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


def test_every_command_that_writes_waits_for_its_output():
    written = {
        name
        for name, command in program().commands.items()
        if {"output", "out", "history"} & {parameter.name for parameter in command.params}
    }
    waiting = {
        name for name, command in program().commands.items() if "wait" in {p.name for p in command.params}
    }
    assert waiting == written
    assert waiting == {arguments[0] for arguments in COMMANDS.values()} | {"export", "watch"}


NAMED = [case for case in COMMANDS if case not in ("calibrate in place", "demo")]
"""Those that replace an output only with `--overwrite`."""


@pytest.mark.parametrize(
    ("case", "more"), [*((case, []) for case in COMMANDS), *((case, ["--overwrite"]) for case in NAMED)]
)
def test_a_second_run_is_refused_before_any_work(case, more, folder, upland):
    arguments = COMMANDS[case]
    lock = WriterLock(folder / output(arguments))
    assert lock.take()
    before = contents(folder)
    done = upland(*arguments, *more, "--json")
    assert done.code == 3
    error = json.loads(done.err)["error"]
    assert error["kind"] == "output"
    assert error["message"].endswith(
        "is being written by another run: wait for it with --wait SECONDS, or choose another name"
    )
    assert contents(folder) == before
    lock.release()


def test_a_run_that_waits_goes_on_when_the_output_is_free(folder, upland, monkeypatch):
    lock = WriterLock(folder / "out.csv")
    assert lock.take()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            lock.release()

    monkeypatch.setattr(time, "sleep", pause)
    assert upland(*COMMANDS["score"], "--wait", "600").code == 0
    assert len(pauses) == 3
    assert (folder / "out.csv").exists()
    assert not list(folder.glob(".*"))


def test_waiting_ends(folder, upland):
    lock = WriterLock(folder / "out.csv")
    assert lock.take()
    assert upland(*COMMANDS["score"], "--wait", "0.3").code == 3
    assert upland(*COMMANDS["score"], "--wait", "-1").code == 2
    lock.release()


def test_the_lock_of_a_killed_process_stops_nobody(folder, upland):
    code = (
        "import os, sys, pathlib; from upland.io.writers import WriterLock;"
        "print(WriterLock(pathlib.Path(sys.argv[1])).take(), flush=True); os._exit(9)"
    )
    done = run_python("-c", code, folder / "out.csv")
    assert (done.returncode, done.stdout.strip()) == (9, "True")
    assert len(list(folder.glob(".*.lock"))) == 1
    assert upland(*COMMANDS["score"]).code == 0
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("case", ["score", "groups", "card"])
def test_a_command_that_is_run_again_gives_the_same(case, folder, upland):
    arguments = COMMANDS[case]
    assert upland(*arguments).code == 0
    first = contents(folder)
    assert upland(*arguments).code == 3
    assert contents(folder) == first
    assert upland(*arguments, "--overwrite").code == 0
    assert contents(folder) == first


def test_two_names_of_one_file_are_one_output(folder, upland):
    (folder / "link.csv").symlink_to("out.csv")
    lock = WriterLock(folder / "link.csv")
    assert lock.take()
    assert upland(*COMMANDS["score"]).code == 3
    lock.release()


def test_an_output_that_cannot_be_locked_is_refused_as_ever(folder, upland):
    done = upland(*COMMANDS["score"][:3], "-o", "none/out.csv")
    assert done.code == 3
    assert "there is no folder none" in done.words
