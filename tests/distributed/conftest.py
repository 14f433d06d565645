"""One Ray cluster of two CPUs for all tests here, and a data set of a few partitions to score."""

import sys
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
