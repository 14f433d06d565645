"""What the command line's tests watch: a plant's table, its pumps as long series, windows, and pictures."""

import json
import re
import signal
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from plant import pump_rows, pump_series, ramps, related, shifts, waves, write_csv
from upland.catalogue import DETECTORS, load
from upland.cli import program as cli
from upland.cli.console import OPTIONS
from upland.cli.demonstration import load_demonstration

load_demonstration()  # so that tests can import upland_demo

ARGUMENTS = sorted(
    {*OPTIONS, *(name for entry in DETECTORS.values() for name in load(entry.home)().get_params())}
)
PYTHON = re.compile(
    r"\b[a-z]\w*=(['\"\[(\d]|None|True|False)|\w+(Detector|Energy)\b|\bkeep_rows\b"
    r"|Value error|Input (X|should)"
    r"|dtype\(|(sample|feature)\(s\)|\b(pandas|polars|torch)\b|\bX (has|holds|is|does)\b"
    rf"|(?<![\w-])({'|'.join(ARGUMENTS)}) (must be|is one of|names)\b"
)
"""What only Python says, and no message of the command line may: arguments, classes, scikit-learn's words."""


@pytest.fixture(autouse=True)
def interruptible():
    """Signals end a command, also where the tests run in the background of a shell, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def upland(capsys, monkeypatch):
    """Run the command line in this process: exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["upland", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert not PYTHON.search(err), f"this is Python, not a command line: {err}"
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
    import upland as library

    folder = tmp_path_factory.mktemp("plant")
    write_csv(folder / "normal.csv", pump_rows(400, seed=0))
    write_csv(folder / "new.csv", pump_rows(55, seed=1) + pump_rows(5, seed=2, shift=40.0))
    detector = library.EnergyDetector(calibration="split", epochs=200, random_state=0, progress=False)
    library.save(detector.fit(folder / "normal.csv"), folder / "pump.safetensors")
    return folder


@pytest.fixture(scope="session")
def series(tmp_path_factory):
    """A folder with long series: normal.csv, and new.csv, new.parquet of shuffled rows, where the pressure of
    pump b is broken from 8:40 to 8:49; models steps.safetensors and whole.safetensors; read only.
    """
    import upland as library

    folder = tmp_path_factory.mktemp("series")
    csv.write_csv(pump_series(seed=0), folder / "normal.csv")
    new = pump_series(seed=1, broken=("b", range(40, 50)))
    new = new.take(np.random.default_rng(2).permutation(new.num_rows))
    csv.write_csv(new, folder / "new.csv")
    pq.write_table(new, folder / "new.parquet")
    plain = {"calibration": "split", "epochs": 150, "random_state": 0, "progress": False, "frame": 1}
    plain |= {"time": "time", "id": "pump", "criterion": "reconstruction"}
    for name, options in {
        "steps": {"window": 16},
        "whole": {"window": 16, "per": "sequence"},
    }.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="p-values are coarse")  # of three sequences
            detector = library.SequenceEnergyDetector(**plain, **options).fit(folder / "normal.csv")
        library.save(detector, folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="session")
def windows(tmp_path_factory):
    """A folder with arrays of waves: normal.npy (110, 12, 2), new.npz of 10, in the last of which a step is
    broken; a fitted model; read only.
    """
    import upland as library

    folder = tmp_path_factory.mktemp("windows")
    np.save(folder / "normal.npy", waves(110, seed=0))
    new = waves(10, seed=1)
    new[-1, 7, 1] += 9
    np.savez(folder / "new.npz", x=new)
    detector = library.SequenceEnergyDetector(
        calibration="split", criterion="reconstruction", epochs=100, frame=1, random_state=0, progress=False
    )
    library.save(detector.fit(np.load(folder / "normal.npy")), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder with folders of grey PNG files, normal/ and new/ (the last two of ten, odd-8 and odd-9, have a
    spot in rows 2 and 3, columns 8 and 9), new.npy of the same, and a fitted model; read only.
    """
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    import upland as library

    folder = tmp_path_factory.mktemp("pictures")
    new = ramps(10, seed=1)
    new[8:, 2:4, 8:10] = 255
    for name, images in {"normal": ramps(110, seed=0), "new": new}.items():
        (folder / name).mkdir()
        for number, image in enumerate(images):
            kind = "odd" if name == "new" and number >= 8 else "ramp"
            Image.fromarray(image).save(folder / name / f"{kind}-{number}.png")
    np.save(folder / "new.npy", new)
    detector = library.ImageEnergyDetector(
        calibration="split", criterion="reconstruction", epochs=40, random_state=0, progress=False
    )
    library.save(detector.fit(folder / "normal"), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def works(tmp_path_factory):
    """A folder with normal.csv, new.csv and new.parquet of four shifts, and models; read only."""
    folder = tmp_path_factory.mktemp("works")
    csv.write_csv(pa.table(related(1_000, 0)), folder / "normal.csv")
    csv.write_csv(shifts(), folder / "new.csv")
    pq.write_table(shifts(), folder / "new.parquet")
    import upland as library

    plain = {"random_state": 0, "progress": False, "epochs": 25}
    for name, detector in {
        "energy": library.EnergyDetector(**plain),
        "flow": library.FlowDetector(layers=2, **plain),
        "vae": library.VAEDetector(**plain),
        "forgetful": library.EnergyDetector(**{**plain, "epochs": 1}, keep_rows=0),
    }.items():
        library.save(detector.fit(folder / "normal.csv"), folder / f"{name}.safetensors")
    return folder
