"""Run the installed wheel's command line: version, fit, score, demo. Not a test module; `make wheel` calls
it.
"""

import csv
import json
import random
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def write(path, rows, generator, shift):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["flow", "pressure", "valve"])
        for _ in range(rows):
            flow = generator.gauss(0, 1) + shift
            writer.writerow([flow, 2 * flow + generator.gauss(0, 0.1), generator.choice(["open", "shut"])])


def check(program):
    home = Path(find_spec("upland").origin)
    assert home.is_relative_to(sys.prefix), f"upland comes from {home}, not from the wheel"
    assert (home.parent / "py.typed").exists()
    print(run(program, "--version").strip(), "from the wheel", flush=True)
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        normal, new, model, scored = (
            Path(folder) / name for name in ("normal.csv", "new.csv", "m.st", "s.csv")
        )
        write(normal, 300, generator, shift=0)
        write(new, 50, generator, shift=9)
        run(program, "fit", normal, "-o", model, "--epochs", "5", "--quiet")
        found = json.loads(run(program, "score", model, new, "-o", scored, "--why", "--json"))
        assert found["rows"] == 50
        assert found["flagged"] > 25
        assert len(scored.read_text().splitlines()) == 51
        print("fit and score: passed", flush=True)
    assert "--out" in run(program, "demo", "--help")
    from upland.cli.demonstration import load_demonstration

    assert Path(load_demonstration().__file__) == home.parent / "demo" / "run.py"
    print("demo: found")


if __name__ == "__main__":
    check(str(Path(sys.argv[1]).absolute()))
