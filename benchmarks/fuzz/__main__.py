"""Mutated model files and data files: `python -m benchmarks.fuzz --models 20000 --data 5000 --seed 0`.

Each file is opened in a process that is watched; the same seed gives the same files. The results are counts
by mutation and outcome, the greatest memory and time, and every failure with the number that makes it again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.options import HERE

PARTS = {"models": "benchmarks.fuzz.models", "data": "benchmarks.fuzz.data"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=0, help="mutated model files")
    parser.add_argument("--data", type=int, default=0, help="mutated data files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "fuzz.json")
    options = parser.parse_args(argv)
    results = json.loads(options.output.read_text("utf-8")) if options.output.exists() else {}
    failed = 0
    for part, home in PARTS.items():
        if count := getattr(options, part):
            module = import_module(home)
            found = summary(module.run(count, options.seed), module.GOOD, options.seed)
            results[part], failed = found, failed + len(found["failures"])
            options.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
            print(f"-- {part}\n{table(found)}")
    return 1 if failed else 0


def summary(records: list[dict[str, Any]], good: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Counts of outcomes by kind of mutation, the extremes, and the failures."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        counts.setdefault(record.get("kind", "?"), Counter())[record["outcome"]] += 1
    largest = max(records, key=lambda record: record.get("mib", 0))
    return {
        "files": len(records),
        "seed": seed,
        "outcomes": {kind: dict(found.most_common()) for kind, found in sorted(counts.items())},
        "most_mib": largest.get("mib", 0),
        "most_mib_of_a_file_of_kib": round(largest.get("bytes", 0) / 1024, 1),
        "most_seconds": max(record.get("seconds", 0) for record in records),
        "failures": [record for record in records if record["outcome"] not in good],
    }


def table(found: dict[str, Any]) -> str:
    """The counts in Markdown."""
    outcomes = sorted({outcome for counts in found["outcomes"].values() for outcome in counts})
    lines = [["mutation", *outcomes], ["---"] * (len(outcomes) + 1)]
    lines += [
        [kind, *(str(counts.get(o, 0)) for o in outcomes)] for kind, counts in found["outcomes"].items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
