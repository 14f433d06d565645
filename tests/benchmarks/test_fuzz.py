"""The short form of the fuzz: mutated files, each opened in a process that is watched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read as Linux gives them"
)


def fuzz(folder, *arguments):
    """The results of a run in a process of its own, on one thread."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", *arguments, "--output", str(folder / "fuzz.json")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "fuzz.json").exists(), done.stderr
    return done.returncode, json.loads((folder / "fuzz.json").read_text(encoding="utf-8"))


def test_no_mutated_model_file_does_harm(tmp_path):
    code, found = fuzz(tmp_path, "--models", "200", "--seed", "7")
    outcomes = found["models"]["outcomes"]
    assert found["models"]["failures"] == []
    assert code == 0
    assert found["models"]["files"] == sum(sum(counts.values()) for counts in outcomes.values()) == 200
    assert {"refused", "equal", "loaded"} <= {outcome for counts in outcomes.values() for outcome in counts}
    assert len(outcomes) > 9
