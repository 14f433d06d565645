"""A small plant to watch: rows of a pump, a model fitted on them, and the command line as a function."""

import json
import sys
from types import SimpleNamespace

import pytest

from plant import pump_rows, write_csv
from upland.apps import cli


@pytest.fixture
def upland(capsys, monkeypatch):
    """Run the command line in this process: exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["upland", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return SimpleNamespace(code=stopped.value.code, out=out, err=err, words=" ".join((out + err).split()))

    return run


@pytest.fixture
def upland_json(upland):
    """The same with `--json`: the one document on standard output."""

    def run(*arguments):
        done = upland(*arguments, "--json")
        assert done.code == 0, done.err
        assert done.err == ""
        return json.loads(done.out)

    return run


@pytest.fixture(scope="session")
def plant(tmp_path_factory):
    """A folder with normal.csv, new.csv (the last 5 of 60 rows are broken) and a fitted model; read only."""
    from upland.detectors import EnergyDetector
    from upland.persistence import save

    folder = tmp_path_factory.mktemp("plant")
    write_csv(folder / "normal.csv", pump_rows(400, seed=0))
    write_csv(folder / "new.csv", pump_rows(55, seed=1) + pump_rows(5, seed=2, shift=40.0))
    detector = EnergyDetector(calibration="split", epochs=200, random_state=0, progress=False)
    save(detector.fit(folder / "normal.csv"), folder / "pump.safetensors")
    return folder
