"""Every benchmark, one after another, then the page of results: `python -m benchmarks --data DIR`.

What stands in the output folder already is not run again. `--quick` takes one seed and leaves out PyOD and
KDD.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.baselines import BASELINES
from benchmarks.ours import OURS
from benchmarks.peers import PEERS
from benchmarks.records import command, data_argument
from benchmarks.series_peers import SEQUENCE_OURS, SEQUENCE_PEERS

PYOD = ("PyOD AutoEncoder", "PyOD LSTM")
QUICK_METHODS = ["upland", "kNN", "IForest", "LOF", "PCA"]
HERE = Path(__file__).parent


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = command(__doc__)
    data_argument(parser)
    parser.add_argument("--output", type=Path, help="folder of results; `results` (`quick`) beside this file")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    output: Path = options.output or HERE / ("quick" if options.quick else "results")
    output.mkdir(parents=True, exist_ok=True)
    for name, (module, *extra) in plan(options.data, options.quick).items():
        run(module, "--output", str(output / f"{name}.json"), *extra)
    results = sorted(map(str, output.glob("*.json")))
    run("report", *results, "--output", str(output / "README.md"))
    return 0


def plan(data: Path, quick: bool) -> dict[str, list[str]]:
    """Name of the results -> module and its arguments, short ones first."""
    source = ["--data", str(data)]
    if quick:
        return {
            "dagmm": ["dagmm", *source, "--sets", "thyroid", "arrhythmia", "--seeds", "3"],
            "adbench": ["adbench", *source, "--seeds", "0", "--methods", *QUICK_METHODS],
            "calibration": ["calibration", "--redraws", "20"],
            "speed": ["speed", "--parts", "step", "help", "scoring"],
        }
    return {
        "speed": ["speed"],
        "calibration": ["calibration"],
        "ablation": ["ablation", *source],
        "contaminated": ["contaminated", *source],
        "dagmm_upland": ["dagmm", *source, "--methods", *OURS],
        "adbench_upland": ["adbench", *source, "--methods", *OURS],
        "dagmm_baselines": ["dagmm", *source, "--methods", *BASELINES],
        "adbench_peers": ["adbench", *source, "--methods", *PEERS],
        "speed_deep": ["speed_deep"],
        "speed_flows": ["speed_flows", *source],
        "speed_glow": ["speed_glow"],
        "sequences_upland": ["sequences", *source, "--methods", *SEQUENCE_OURS],
        "sequences_peers": ["sequences", *source, "--methods", *SEQUENCE_PEERS],
        "telemetry_upland": ["telemetry", *source, "--methods", "upland"],
        "telemetry_peers": ["telemetry", *source, "--methods", "kNN", "PCA", "IForest"],
        "telemetry_pyod": [
            "telemetry",
            *source,
            "--methods",
            "PyOD AutoEncoder",
            "PyOD LSTM",
            "--seeds",
            "0",
        ],
        "images_upland": ["images", *source, "--methods", "upland"],
        "images_peers": ["images", *source, "--methods", "kNN", "PCA", "IForest", "OCSVM"],
        "speed_groups": ["speed_groups"],
        "groups_tables": ["groups_tables", *source],
        "groups": ["groups", *source, "--models", str(HERE / "models")],
    }


def run(name: str, *arguments: str) -> None:
    """One benchmark in a process of its own, on one thread."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True, env=one_thread)


if __name__ == "__main__":
    sys.exit(main())
