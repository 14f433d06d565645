"""One Ray cluster of two CPUs for all tests here, and a data set of a few partitions to score."""

import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import ray

import upland
from lakes import rows
from upland.cli import program


@pytest.fixture(scope="package")
def cluster():
    """Ray, connected to a cluster of this machine."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=2e8,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The path of a fitted model."""
    path = tmp_path_factory.mktemp("model") / "pump.safetensors"
    detector = upland.EnergyDetector(
        ignore=["site", "at"], calibration="split", epochs=5, random_state=0, progress=False
    )
    upland.save(detector.fit(rows(2_000, 99)), path)
    return path


PARTS = {"a.parquet": 700, "b/c.parquet": 500, "b/d.parquet": 300, "b/empty.parquet": 0, "e.parquet": 400}


@pytest.fixture
def lake(tmp_path):
    """A folder of partitions, one of them without rows; and a pattern that finds them."""
    for number, (name, count) in enumerate(PARTS.items()):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(count, number, broken=min(count, 40)), path)
    return SimpleNamespace(
        folder=tmp_path / "data",
        pattern=f"{tmp_path}/data/**/*.parquet",
        names=list(PARTS),
        output=tmp_path / "out",
    )


class Killer:
    """Ends one process of this test's cluster while it runs a task."""

    def __init__(self):
        self.ended = []

    def __call__(self, task):
        """End a process that runs a task of this name now, if there is one and none was ended before."""
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                title = entry.name.isdecimal() and (entry / "cmdline").read_bytes()
                if title and title.startswith(b"ray::" + task) and not self.ended and is_below(entry.name):
                    os.kill(int(entry.name), signal.SIGKILL)
                    self.ended.append(entry.name)


def is_below(process):
    """Whether a process was started by this one, or by one that was."""
    while process not in ("0", "1"):
        if process == str(os.getpid()):
            return True
        status = Path("/proc", process, "status").read_text()
        process = re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE)[1]
    return False


@pytest.fixture
def kill():
    return Killer()


@pytest.fixture
def command(capsys, monkeypatch):
    """Run the command line in this process: exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["upland", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            program.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return SimpleNamespace(code=stopped.value.code, out=out, err=err, words=" ".join((out + err).split()))

    return run
