"""The example of a nightly run: by hand, again, with errors, and as a DAG of Airflow."""

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import upland
from programs import COMMAND_LINE, SOURCE, run_python

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "schedulers" / "nightly.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 2)), columns=["flow", "load"])
    upland.save(upland.EnergyDetector(random_state=0, progress=False).fit(rows), path)
    return path


@pytest.fixture
def work(model, tmp_path, monkeypatch):
    """A folder with a night of three rows, one of them far away, where `upland` is this one."""
    (tmp_path / "m.safetensors").write_bytes(model.read_bytes())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("flow,load\n0.1,0.2\n0,0\n9,9\n")
    (tmp_path / "upland").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{COMMAND_LINE[1]}' \"$@\"\n")
    (tmp_path / "upland").chmod(0o755)
    monkeypatch.setenv("NIGHTLY_UPLAND", str(tmp_path / "upland"))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def nightly(*arguments):
    return run_python(SCRIPT, *arguments)


def test_a_night_is_scored_once(work):
    arguments = ("m.safetensors", "in/*.csv", "out/night.csv")
    done = nightly(*arguments)
    assert (done.returncode, done.stdout) == (10, "1 of 3 rows are flagged in out/night.csv\n"), done.stderr
    first = (work / "out" / "night.csv").stat()
    canned(work)
    again = nightly(*arguments)
    assert (again.returncode, again.stdout) == (10, done.stdout)
    assert (work / "out" / "night.csv").stat().st_ino == first.st_ino
    (work / "out" / "night.csv.json").unlink()  # ended between the two files: it is done again
    assert nightly(*arguments).returncode == 10
    assert "--overwrite" in (work / "commands").read_text()


def canned(work, code=0, error=None):
    """Put a program in the place of upland that answers at once, and notes its commands."""
    answers = {
        "info": {"detector": "EnergyDetector", "rows": 300, "calibration": {"smallest_p": 0.01}},
        "score": {"rows": 3, "flagged": 1},
    }
    lines = ["#!/bin/sh", f"echo \"$@\" >> '{work}/commands'"]
    if error is not None:
        lines.append(f"echo '{json.dumps({'error': {'message': error}})}' >&2")
    else:
        for name, answer in answers.items():
            lines.append(f"[ $1 = {name} ] && echo '{json.dumps(answer)}'")
        lines.append('[ $1 = score ] && : > "$5"')
    (work / "upland").write_text("\n".join([*lines, f"exit {code}", ""]))


def test_an_error_is_one_line_and_the_exit_code_of_upland(work):
    done = nightly("none.safetensors", "in/*.csv", "out.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no file none.safetensors\n"


@pytest.mark.parametrize("code", [1, 2, 3, 70, 143])
def test_every_error_of_a_command_ends_the_night(code, work):
    canned(work, code, "no luck")
    done = nightly("m.safetensors", "in/*.csv", "out.csv")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "error: no luck\n")


def test_a_wrong_call_is_2(work):
    assert nightly("m.safetensors").returncode == 2


class Failed(Exception):
    """Airflow's `AirflowFailException`."""


def airflow(calls):
    """The parts of Airflow that the script uses, which run a DAG when it is made."""
    names = ("airflow", "airflow.sdk", "airflow.sdk.exceptions")
    modules = {name: ModuleType(name) for name in names}

    def decorator(*plain, **options):
        def wrap(function):
            def called(*arguments):
                calls.append((function.__name__, options))
                return function(*arguments)

            return called

        return wrap(*plain) if plain else wrap

    modules["airflow.sdk"].dag = modules["airflow.sdk"].task = decorator
    modules["airflow.sdk.exceptions"].AirflowFailException = Failed
    return modules


def test_without_airflow_there_is_no_dag():
    assert runpy.run_path(str(SCRIPT))["DAG"] is None


def test_the_dag_has_the_same_steps(work, monkeypatch, capsys):
    calls = []
    canned(work)
    for name, module in airflow(calls).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("NIGHTLY_MODEL", "m.safetensors")
    monkeypatch.setenv("NIGHTLY_INCOMING", "in/*.csv")
    runpy.run_path(str(SCRIPT))
    assert [name for name, _ in calls] == ["nightly", "check_model", "score_rows", "report_flagged"]
    assert calls[0][1] == {"schedule": "0 3 * * *", "catchup": False, "max_active_runs": 1}
    assert "1 of 3 rows are flagged in scored/" in capsys.readouterr().out
    (summary,) = (work / "scored").glob("*.json")
    assert json.loads(summary.read_text())["flagged"] == 1


@pytest.mark.parametrize(("code", "error"), [(1, Failed), (70, Exception)])
def test_the_dag_tries_again_only_what_may_succeed(code, error, work, monkeypatch):
    for name, module in airflow([]).items():
        monkeypatch.setitem(sys.modules, name, module)
    canned(work, code, "no luck")
    with pytest.raises(error, match="no luck") as raised:
        runpy.run_path(str(SCRIPT))
    assert isinstance(raised.value, Failed) == (code == 1)
