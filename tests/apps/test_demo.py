"""The demonstration: its promises hold, its files are those it names, its text fits any terminal."""

import re

import pyarrow.csv as csv
import pytest

import upland as library
from upland.apps import demo


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The text printed, the folder and the findings of one run."""
    from rich.console import Console

    folder = tmp_path_factory.mktemp("demo") / "upland-demo"
    with (folder.parent / "screen.txt").open("w+") as stream:
        findings = demo.run(folder, Console(file=stream, width=80, highlight=False))
        stream.seek(0)
        return stream.read(), folder, findings


def test_what_it_finds(shown):
    _, _, findings = shown
    assert (findings.benign, findings.malignant) == (100, 212)
    assert findings.auroc > 0.9
    assert findings.alarms <= 15
    assert findings.found > 100


def test_what_it_says(shown):
    text, folder, findings = shown
    assert f"AUROC {findings.auroc:.3f}" in text
    assert f"{findings.alarms / 100:.1%} false alarms" in text
    assert len(re.findall(r"^ *\d+\*", text, re.MULTILINE)) == 3
    assert "expected" in text
    wide = [line for line in text.splitlines() if len(line) > 80 and str(folder) not in line]
    assert wide == []


def test_what_it_writes(shown):
    _, folder, findings = shown
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.safetensors",
        "new.csv",
        "normal.csv",
        "scored.csv",
    ]
    scored = csv.read_csv(folder / "scored.csv")
    assert scored.num_rows == findings.benign + findings.malignant
    assert {"diagnosis", "anomaly_score", "p_value", "is_anomaly", "why"} <= set(scored.column_names)
    assert "diagnosis" not in library.load(folder / "model.safetensors").encoder_.column_names
    assert demo.compare(folder / "scored.csv") == findings
