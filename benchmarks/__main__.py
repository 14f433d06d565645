"""Every benchmark, one after another, then the page of results: `python -m benchmarks --data DIR`.

Rows that the output folder has already are not run again. `--quick` runs a small part of each benchmark;
without a folder of data only of those that need none, on tables that scikit-learn bundles.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.baselines import BASELINES
from benchmarks.options import HERE, QUICK, data_argument
from benchmarks.peers import PEERS
from benchmarks.series_peers import SEQUENCE_PEERS, SEQUENCE_UPLAND, SERIES_PEERS
from benchmarks.tables import TABLE_EARLIER, TABLE_PEERS, TABLE_UPLAND
from benchmarks.upland_methods import UPLAND

PYOD = ("PyOD AutoEncoder", "PyOD LSTM")
TABLES = (
    "adbench",
    "contaminated",
    "groups_tables",
    "group_fdr",
    "ablation",
    "ablation_tables",
)  # quick: bundled tables
WITHOUT_DATA = (
    "calibration",
    "alarms",
    "speed",
    "speed_tables",
    "speed_groups",
    "speed_flows",
    "speed_glow",
    "speed_deep",
    "devices",
    "scorer",
    "equality",
    "stragglers",
    "guarantees",
)
WITH_DATA = (
    *("tables", "few_labels", "dagmm", "sequences", "telemetry", "faults", "tsb_ad"),
    *("images", "defects", "augmentation", "groups"),
)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data_argument(parser)
    parser.add_argument("--output", type=Path, help="folder of results; `results` (`quick`) beside this file")
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours")
    options = parser.parse_args(argv)
    if options.data is None and not options.quick:
        parser.error("--data is needed, unless --quick")
    return options


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    output: Path = options.output or (QUICK if options.quick else HERE / "results")
    output.mkdir(parents=True, exist_ok=True)
    for name, (module, *extra) in plan(options.data, options.quick).items():
        print(f"-- {name}", flush=True)
        run(module, "--output", str(output / f"{name}.json"), *extra)
    results = sorted(map(str, output.glob("*.json")))
    run("report", *results, "--output", str(output / "README.md"))
    print(f"{output / 'README.md'} has the tables")
    return 0


def plan(data: Path | None, quick: bool) -> dict[str, list[str]]:
    """Name of the results -> module and its arguments, short ones first."""
    source = ["--data", str(data)] if data else []
    if quick:
        plain = {name: [name, "--quick"] for name in WITHOUT_DATA}
        tables = {name: [name, "--quick", *source] for name in TABLES}
        return tables | plain | ({name: [name, "--quick", *source] for name in WITH_DATA} if data else {})
    return {
        "speed": ["speed"],
        "speed_tables": ["speed_tables"],
        "calibration": ["calibration"],
        "guarantees": ["guarantees", *source],
        "ablation": ["ablation", *source],
        "ablation_tables": ["ablation_tables", *source],
        "contaminated": ["contaminated", *source],
        "tables_upland": ["tables", *source, "--methods", *TABLE_UPLAND],
        "tables_earlier": ["tables", *source, "--methods", *TABLE_EARLIER],
        "tables_peers": ["tables", *source, "--methods", *TABLE_PEERS],
        "few_labels": ["few_labels", *source],
        "dagmm_upland": ["dagmm", *source, "--methods", *UPLAND],
        "adbench_upland": ["adbench", *source, "--methods", *UPLAND],
        "dagmm_baselines": ["dagmm", *source, "--methods", *BASELINES],
        "adbench_peers": ["adbench", *source, "--methods", *PEERS],
        "speed_deep": ["speed_deep"],
        "speed_flows": ["speed_flows", *source],
        "speed_glow": ["speed_glow"],
        "devices": ["devices"],
        "sequences_upland": ["sequences", *source, "--methods", *SEQUENCE_UPLAND],
        "sequences_peers": ["sequences", *source, "--methods", *SEQUENCE_PEERS],
        "telemetry_upland": ["telemetry", *source, "--methods", "upland"],
        "telemetry_peers": ["telemetry", *source, "--methods", *(m for m in SERIES_PEERS if m not in PYOD)],
        "telemetry_pyod": ["telemetry", *source, "--methods", *PYOD, "--seeds", "0"],
        "tsb_ad": ["tsb_ad", *source],
        "faults": ["faults", *source],
        "images_upland": ["images", *source, "--methods", "upland"],
        "images_peers": ["images", *source, "--methods", "kNN", "PCA", "IForest", "OCSVM"],
        "defects": ["defects", *source],
        "augmentation": ["augmentation", *source],
        "speed_groups": ["speed_groups"],
        "scorer": ["scorer"],
        "equality": ["equality"],
        "ray_scoring": ["ray_scoring"],
        "ray_fit": ["ray_fit", *source],
        "ray_plan": ["ray_plan"],
        "stragglers": ["stragglers"],
        "serving": ["serving", "--parts", "load", "bodies"],
        "serving_faults": ["serving", "--parts", "faults"],
        "serving_soak": ["serving", "--parts", "soak"],
        "onnx": ["onnx", *source],
        "onnx_modalities": ["onnx_modalities", *source],
        "segments": ["segments", *source],
        "groups_tables": ["groups_tables", *source],
        "group_fdr": ["group_fdr", *source, "--sets", "pageblocks", "magic.gamma"],
        "groups": ["groups", *source, "--models", str(HERE / "models")],
    }


def run(name: str, *arguments: str) -> None:
    """One benchmark in a process of its own, on one thread."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True, env=one_thread)


if __name__ == "__main__":
    sys.exit(main())
