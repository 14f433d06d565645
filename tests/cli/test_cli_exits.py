"""Every row of the table of exit codes, in processes whose streams are closed, full or left by their reader,
whose disk is full, or that a signal ends.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from plant import HEADER, pump_rows, write_csv
from programs import SOURCE
from upland.io import csv as csvfile
from upland.io.formats import open_source
from upland.io.modelfile import read_tensors

TESTS = Path(__file__).parents[1]
FIT = ("fit", "normal.csv", "-o", "m", "--epochs", "2", "--calibration", "split", "-q")
SCORE = ("score", "pump.safetensors", "new.csv")


@pytest.fixture(scope="module")
def server():
    """A process that runs cases in forks of itself."""
    command = [sys.executable, TESTS / "forks.py"]
    paths = os.pathsep.join([str(SOURCE), str(TESTS)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, text=True, stdin=-1, stdout=-1, env=environment) as started:
        yield started
        started.stdin.close()


@pytest.fixture
def run(server, plant, tmp_path):
    """Run one case in a folder with the plant's files: exit code, both outputs, and files that are new."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("normal.csv", "new.csv", "pump.safetensors"):
        (folder / name).write_bytes((plant / name).read_bytes())
    lots = [[*row, "ab"[number % 2]] for number, row in enumerate(pump_rows(60, seed=3))]
    write_csv(folder / "lots.csv", lots, [*HEADER, "lot"])

    def run(*arguments, out="kept", err="kept", limit=None, signal=None, after=None):
        before = set(os.listdir(folder))
        whole = [str(folder / word) if (folder / word).exists() else word for word in arguments]
        case = {"arguments": whole, "out": out, "err": err, "limit": limit, "signal": signal}
        case |= {"after": str(folder / str(after)), "kept": str(tmp_path / "kept-")}
        for name in ("out", "err"):
            (tmp_path / f"kept-{name}").write_text("")
        server.stdin.write(json.dumps(case) + "\n")
        server.stdin.flush()
        code = json.loads(server.stdout.readline())
        texts = {name: (tmp_path / f"kept-{name}").read_text() for name in ("out", "err")}
        assert "Traceback" not in texts["err"]
        assert "Exception ignored" not in texts["err"]
        return SimpleNamespace(
            code=code, **texts, new=sorted(set(os.listdir(folder)) - before), folder=folder
        )

    return run


def into(folder, name):
    return str(folder / "work" / name)


# -- standard streams ----------------------------------------------------------------------------------------

RESULTS = {
    "info": ("info", "pump.safetensors"),
    "info as JSON": ("info", "pump.safetensors", "--json"),
    "a table": SCORE,
    "rows": (*SCORE, "-o", "-", "-q"),
    "groups": ("groups", "pump.safetensors", "lots.csv", "--by", "lot"),
    "version": ("--version",),
    "help": ("--help",),
}


@pytest.mark.parametrize("case", RESULTS)
def test_a_full_disk_behind_standard_output_is_3(case, run):
    done = run(*RESULTS[case], out="full")
    assert done.code == 3
    assert "cannot write standard output: No space left on device" in done.err


@pytest.mark.parametrize("case", RESULTS)
@pytest.mark.parametrize("out", ["gone", "closed"])
def test_a_standard_output_that_nobody_reads_is_0(case, out, run):
    done = run(*RESULTS[case], out=out)
    assert (done.code, done.new) == (0, [])
    assert "error" not in done.err


def test_flags_are_an_exit_code_whoever_reads(run):
    for out in ("kept", "gone", "closed"):
        assert run(*SCORE, "--fail-on-anomaly", out=out).code == 10
        assert run(*SCORE, "--fail-on-anomaly", "-o", "-", out=out).code == 10


@pytest.mark.parametrize("err", ["closed", "full", "gone"])
def test_messages_that_nobody_reads_change_nothing(err, run, tmp_path):
    done = run(*SCORE, "-o", into(tmp_path, "out.csv"), err=err)
    assert (done.code, done.new) == (0, ["out.csv"])
    assert open_source(done.folder / "out.csv").read().num_rows == 60
    for arguments, code in {("info", "absent"): 1, ("info",): 2, (*SCORE, "-o", "no/a.csv"): 3}.items():
        assert run(*arguments, err=err).code == code
        assert run(*arguments, "--json", err=err).code == code


def test_no_file_takes_the_number_of_a_closed_stream(run, tmp_path):
    done = run(*SCORE, "-o", into(tmp_path, "out.csv"), out="closed", err="closed")
    assert (done.code, done.new) == (0, ["out.csv"])
    assert "wrote" not in (done.folder / "out.csv").read_text()


def test_rows_on_standard_output(run, tmp_path):
    done = run(*SCORE, "-o", "-")
    assert done.code == 0
    assert "of 60 rows flagged" in done.err
    run(*SCORE, "-o", into(tmp_path, "out.csv"))
    assert done.out == (done.folder / "out.csv").read_text()
    assert run(*SCORE, "-o", "-", "-q").err == ""
    grouped = run(*RESULTS["groups"], "-o", "-")
    assert grouped.out.startswith("group,size,statistic,")
    for arguments in ((*SCORE, "-o", "-", "--json"), (*FIT[:3], "-"), ("calibrate", *SCORE[1:], "-o", "-")):
        assert run(*arguments).code == 2
    assert not (done.folder / "-").exists()


# -- a full disk ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet", ".arrow"])
def test_a_full_disk_is_3_and_names_the_file(suffix, run, tmp_path):
    name = into(tmp_path, f"out{suffix}")
    for limit in (300, 700):
        done = run(*SCORE, "-o", name, limit=limit)
        assert (done.code, done.new) == (3, [])
        assert f"cannot write {name}: File too large" in done.err.replace("\n", " ")
    os.symlink("/dev/full", name)
    done = run(*SCORE, "-o", name)
    assert done.code == 3
    assert f"cannot write {name}: No space left on device" in done.err
    assert os.path.islink(name)


@pytest.mark.parametrize("what", ["model", "checkpoint"])
def test_a_full_disk_is_3_for_models_and_checkpoints(what, run, tmp_path):
    arguments = [*FIT[:3], into(tmp_path, "m"), *FIT[4:]]
    arguments += ["--checkpoint", into(tmp_path, "c")] if what == "checkpoint" else []
    done = run(*arguments, limit=900)
    assert (done.code, done.new) == (3, [])
    assert f"cannot write {into(tmp_path, what[0])}: File too large" in done.err


# -- signals -------------------------------------------------------------------------------------------------

SIGNALS = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Rows that take a while."""
    return write_csv(tmp_path_factory.mktemp("long") / "long.csv", pump_rows(100, seed=1) * 2_000)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_scoring_leaves_nothing(number, run, long, tmp_path):
    arguments = ("score", "pump.safetensors", str(long), "-o", into(tmp_path, "out.csv"))
    done = run(*arguments, signal=number, after=".out.csv.*")
    assert (done.code, done.new) == (SIGNALS[number], [])
    assert "; nothing was written" in done.err


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_in_a_fit_leaves_the_checkpoint_alone(number, run, tmp_path):
    arguments = ["fit", "normal.csv", "-o", into(tmp_path, "m"), "--epochs", "9000", "--calibration", "cross"]
    arguments += ["--checkpoint", into(tmp_path, "c"), "-q"]
    done = run(*arguments, signal=number, after="c")
    assert (done.code, done.new) == (SIGNALS[number], ["c"])
    assert read_tensors(done.folder / "c")[1]["content"] == "checkpoint"


# -- two writers, input and memory ---------------------------------------------------------------------------


def test_the_second_of_two_writers_is_3(run, tmp_path):
    from upland.io.replace import Claim

    for arguments in ((*FIT[:3], into(tmp_path, "m"), *FIT[4:]), (*SCORE, "-o", into(tmp_path, "m.csv"))):
        with Claim(next(word for word in arguments if "/m" in word)):
            done = run(*arguments)
        assert done.code == 3
        assert "is being written by another program" in done.err


@pytest.mark.parametrize("target", ["pump.safetensors", "new.csv"])
def test_input_that_may_not_be_read_is_1(target, plant, upland, monkeypatch):
    real = Path.open

    def forbidden(path, *arguments, **options):
        if path.name == target:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    monkeypatch.setattr(Path, "open", forbidden)
    done = upland("score", plant / "pump.safetensors", plant / "new.csv")
    assert done.code == 1
    assert target in done.err
    assert "ermission" in done.err


@pytest.mark.parametrize(
    "error", [MemoryError(), pa.ArrowMemoryError("malloc of size 9 failed"), np.linalg.LinAlgError]
)
def test_a_lack_of_memory_is_no_damage(error, plant, upland, monkeypatch):
    def lacking(*_, **__):
        raise error

    monkeypatch.setattr(csvfile.arrow_csv, "open_csv", lacking)
    done = upland("score", plant / "pump.safetensors", plant / "new.csv")
    assert ("not enough memory" in done.words) == isinstance(error, MemoryError)
    assert "damaged" not in done.words
    assert done.code == 1


def test_torch_s_lack_of_memory_is_named(plant, upland, monkeypatch):
    def lacking(*_):
        raise RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
        )

    monkeypatch.setattr("upland.persistence.load", lacking)
    done = upland("info", plant / "pump.safetensors")
    assert done.code == 1
    assert "not enough memory" in done.words


def test_a_model_and_its_checkpoint_are_two_files(plant, tmp_path, upland):
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / "m", "--checkpoint", tmp_path / "m")
    assert done.code == 2
    assert "--checkpoint and -o name the same file" in done.words
    done = upland("fit", plant / "normal.csv", "-o", tmp_path / "m", "--checkpoint", tmp_path / "no" / "c")
    assert done.code == 3
    assert f"there is no folder {tmp_path / 'no'}" in done.words


# -- the terminal --------------------------------------------------------------------------------------------

NASTY = "\x1b[31mred\x07\x9b2J\u202egnp\x00\r"


def test_no_control_character_reaches_the_terminal(plant, tmp_path, upland):
    names = [HEADER[0], HEADER[1], f"va{NASTY[:-2]}lve", "run\x1b]0;title\x07ning"]
    rows = pump_rows(300, seed=0)
    data = write_csv(tmp_path / "rows.csv", rows, names)
    odd = tmp_path / "odd\x1b[2Jname\u202e.safetensors"
    shown = [upland("fit", data, "-o", odd, "--epochs", "1"), upland("info", odd)]
    rows[-1] = [1e6, -1e6, "\x1b]8;;http://evil\x07new", "true"]
    new = write_csv(tmp_path / "ne\x1bw.csv", rows, names)
    shown += [upland("score", odd, new), upland("score", odd, new, "-o", tmp_path / "o\x9but.csv", "--why")]
    shown += [
        upland("score", odd, new, "--replace\x1b[31m"),
        upland("score", odd, tmp_path / "no\x1b[0m.csv"),
    ]
    shown += [upland("groups", odd, new, "--by", names[2]), upland("score", odd, new, "--json")]
    for done in shown:
        for text in (done.out, done.err):
            assert not any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text)
            assert "\u202e" not in text
    assert r"\x1b[31mred\x07" in shown[1].out
    assert json.loads(shown[-1].out)["rows"] == 300
    before, after = (data.read_bytes() for data in (new, tmp_path / "o\x9but.csv"))
    assert before.splitlines()[-1].replace(b'"', b"") in after.splitlines()[-1].replace(b'"', b"")


def test_a_name_cannot_make_a_line_of_its_own(plant, tmp_path, upland):
    names = ["flow\nerror: all is lost", *HEADER[1:]]
    data = write_csv(tmp_path / "rows.csv", pump_rows(200, seed=0), names)
    assert upland("fit", data, "-o", tmp_path / "m", "--epochs", "1").code == 0
    for done in (upland("score", tmp_path / "m", data), upland("info", tmp_path / "m")):
        assert done.code == 0, done.err
        assert not any(line.strip().startswith("error: ") for line in done.out.splitlines())
