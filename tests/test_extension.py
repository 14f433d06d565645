"""A criterion, a statistic of groups, a file format: each is one new file and one line of the catalogue."""

import json
import shutil
from pathlib import Path

import pytest

import upland
from programs import run_python

TOYS = Path(__file__).parent / "toys"
ADDED = {
    "norm_criterion": (
        "criteria",
        "CRITERIA: dict[str, Criterion] = {",
        '    "norm": Criterion("upland.criteria.norm_criterion:Norm", (("energy", "table"),), "|x|^2"),',
    ),
    "spread_statistic": (
        "groups",
        "STATISTICS: dict[str, Statistic] = {",
        '    "spread": Statistic("upland.groups.spread_statistic:spread", "mean squared norm"),',
    ),
    "lines_format": (
        "io",
        "FORMATS: dict[str, str] = {",
        '    ".jsonl": "upland.io.lines_format",',
    ),
}
"""Each file's package, and its line of the catalogue behind another line."""

DATA = """
import numpy as np, upland
from upland.io.formats import TableWriter, open_source
import pyarrow as pa

def table(count, seed, groups=6):
    rng = np.random.default_rng(seed)
    flow = rng.normal(size=count)
    columns = {"flow": flow, "load": flow + 0.3 * rng.normal(size=count)}
    return pa.table(columns | {"lot": np.arange(count) % groups})
"""

PYTHON = (
    DATA
    + """
with TableWriter("rows.jsonl") as writer:
    writer.write(table(300, 0))
rows, new = open_source("rows.jsonl").read(), table(40, 1)
assert rows.equals(table(300, 0))

options = {"ignore": ["lot"], "calibration": "split", "epochs": 1, "random_state": 0, "progress": False}
detector = upland.EnergyDetector(criterion="norm", **options)
detector.fit("rows.jsonl")
scores = detector.anomaly_score(new)
np.testing.assert_allclose(upland.explain(detector, new).shares.sum(axis=1), scores, rtol=1e-6)
encoded = detector.encoder_.transform(new).astype(float)
np.testing.assert_allclose(scores, (encoded**2).sum(axis=1), rtol=1e-6)
assert detector.info()["criterion"] == "norm"
upland.save(detector, "model")
np.testing.assert_array_equal(upland.load("model").p_values(new), detector.p_values(new))

verdicts = detector.score_groups(new, "lot", statistic="spread")
assert len(verdicts.p_value) == 6
assert (verdicts.statistic > 0).all()

try:
    upland.EnergyDetector(criterion="nothing").fit(rows)
except ValueError as error:
    assert "'norm'" in str(error), error
try:
    detector.score_groups(new, "lot", statistic="nothing")
except ValueError as error:
    assert "spread" in str(error), error
else:
    raise AssertionError
"""
)

COMMANDS = [
    "fit rows.jsonl -o cli --criterion norm --epochs 1 --ignore lot --quiet",
    "score cli new.jsonl -o out.jsonl --why --quiet",
    "groups cli new.jsonl --by lot --statistic spread -o lots.jsonl --quiet",
    "info cli --json",
    "score cli new.csv -o out.ods",
    "groups cli new.jsonl --by lot --statistic nothing",
]

COMMAND_LINE = (
    DATA
    + """
import contextlib, io, json, sys
from upland.cli import main

for name in ("new.jsonl", "new.csv"):
    with TableWriter(name) as writer:
        writer.write(table(40, 1))
answers = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["upland", *command.split()]
    out, code = io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
    answers.append([code or 0, out.getvalue()])
print(json.dumps(answers))
"""
)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the sources with the toys added."""
    source = tmp_path_factory.mktemp("source")
    package = source / "upland"
    shutil.copytree(Path(upland.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    catalogue = package / "catalogue.py"
    for toy, (folder, before, line) in ADDED.items():
        shutil.copy(TOYS / f"{toy}.py", package / folder)
        text = catalogue.read_text(encoding="utf-8")
        assert text.count(before) == 1
        catalogue.write_text(text.replace(before, f"{before}\n{line}"), encoding="utf-8")
    return source


def run(code, *arguments, source, folder):
    done = run_python("-c", code, *arguments, cwd=folder, source=source)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def used_by_python(extended, folder):
    run(PYTHON, source=extended, folder=folder)


@pytest.mark.usefixtures("used_by_python")
def test_python_uses_what_was_added(folder):
    assert (folder / "model").exists()
    with pytest.raises(ValueError, match=r"known are .csv, "):
        upland.EnergyDetector().fit(folder / "rows.jsonl")


@pytest.mark.usefixtures("used_by_python")
def test_the_command_line_uses_what_was_added(extended, folder):
    answers = json.loads(run(COMMAND_LINE, json.dumps(COMMANDS), source=extended, folder=folder))
    codes = [code for code, _ in answers]
    assert codes == [0, 0, 0, 0, 2, 2], answers
    scored = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert len(scored) == 40
    assert {"flow", "load", "lot", "anomaly_score", "p_value"} <= set(scored[0])
    lots = [json.loads(line) for line in (folder / "lots.jsonl").read_text().splitlines()]
    assert len(lots) == 6
    assert json.loads(answers[3][1])["criterion"] == "norm"
    assert ".jsonl" in answers[4][1]
    assert "spread" in answers[5][1]
