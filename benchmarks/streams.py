"""Scoring series as they come: steps a second of one core, and the memory of long files.

    calls    one series of 10 channels: a call a step (`score_next`), and so many steps a call (`score_steps`)
    series   so many series of 10 channels, one step of each a call (`score_steps`)
    files    `upland score` of files of 10 series with 2 channels side by side: peak memory and CPU time

The bound is the pass over a whole series in one call, `detector.assess`, in turns with each method. A file is
scored piece by piece, and, where it is said, held in memory as a whole. Times are CPU seconds of one thread,
the medians of interleaved turns; those of a file are of the whole command, from the start of Python to the
file that is written.

    python -m benchmarks.streams --output benchmarks/results/streams.json
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

import upland
from benchmarks.options import command
from benchmarks.records import Records
from benchmarks.timing import Part, interleaved, measured_command, run_parts

CHANNELS, STEPS = 10, 2_048
CRITERIA = ("experts", "max_channel", "score_test", "reconstruction")
CALLS = (1, 4, 16, 64, 256, 1_024)
SERIES = (1, 10, 100, 500)
FILE_SERIES, FILE_CHANNELS = 10, 2
CHILD = """
import sys
from upland.cli import long_series
from upland.cli.program import main
if sys.argv.pop(1) == "whole":
    long_series.LONG = long_series.LONG_TEXT = sys.maxsize
main()
"""


def main(argv: list[str] | None = None) -> int:
    parser = command(__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="turns that the medians are of")
    parser.add_argument("--rows", nargs="+", type=int, default=[1_000_000, 10_000_000])
    parser.add_argument("--whole", nargs="*", type=int, default=[1_000_000], help="rows held in memory too")
    parser.add_argument("--scratch", type=Path, help="folder for the files; a temporary one if left out")
    quick = {"repeats": 2, "rows": [600_000], "whole": []}
    return run_parts(parser, argv, "streams", PARTS, quick)


def autoregressive(count: int, channels: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Independent AR(1) channels, `(count, channels)`."""
    from scipy.signal import lfilter

    noise = np.random.default_rng(seed).normal(size=(count, channels))
    return np.asarray(lfilter([1.0], [1.0, -0.8], noise, axis=0))


def fitted(**options: Any) -> upland.SequenceEnergyDetector:
    """A detector of one member with the default sizes, hardly trained."""
    settings = {"epochs": 1, "calibration": "split", "random_state": 0, "progress": False}
    return upland.SequenceEnergyDetector(**settings | options)


def by_criterion() -> dict[str, upland.SequenceEnergyDetector]:
    """A fit for each criterion."""
    x = autoregressive(4_000, CHANNELS)
    return {name: fitted(criterion=name).fit(x) for name in CRITERIA}


def measured(
    records: Records,
    part: str,
    method: str,
    tasks: dict[str, tuple[Callable[[], object], int]],
    repeats: int,
) -> None:
    """Steps a second of a way to score, beside the pass over the whole series in the same turns."""
    if records.find(part=part, method=method):
        return
    seconds = interleaved({name: task for name, (task, _) in tasks.items()}, repeats)
    rates = {name: tasks[name][1] / seconds[name] for name in tasks}
    values = {"steps_per_second": rates["way"], "pass_steps_per_second": rates["pass"]}
    values["over_pass"] = rates["way"] / rates["pass"]
    add(records, part, method, values)


def add(records: Records, part: str, method: str, values: dict[str, Any]) -> None:
    """Write one row and print it."""
    records.add({"benchmark": "streams", "part": part, "method": method, **values})
    print(
        f"{part:8} {method:36}", "  ".join(f"{key} {value:.4g}" for key, value in values.items()), flush=True
    )


def calls(records: Records, options: argparse.Namespace) -> None:
    """One series, so many steps a call."""
    x = autoregressive(STEPS, CHANNELS, 2)
    rows, mappings = list(x), [dict(zip(map(str, range(CHANNELS)), row.tolist(), strict=True)) for row in x]
    for criterion, detector in by_criterion().items():
        whole = (lambda detector=detector: detector.assess(x), STEPS)
        first = detector.score_next(None, rows[0]).state

        def each(
            steps: Any, count: int, detector: Any = detector, first: Any = first
        ) -> Callable[[], object]:
            def run() -> None:
                state = first
                for step in steps[:count]:
                    state = detector.score_next(state, step).state

            return run

        def several(size: int, detector: Any = detector, first: Any = first) -> Callable[[], object]:
            def run() -> None:
                state = first
                for begin in range(0, min(STEPS, 64 * size), size):
                    state = detector.score_steps(state, x[begin : begin + size]).state

            return run

        ways = {"score_next, array": (each(rows, 300), 300)}
        ways |= {f"score_steps, {n} a call": (several(n), min(STEPS, 64 * n)) for n in CALLS}
        for name, way in ways.items():
            tasks = {"way": way, "pass": whole}
            measured(records, "calls", f"{criterion}: {name}", tasks, options.repeats)
    named = fitted(criterion="max_channel").fit(
        dict(zip(map(str, range(CHANNELS)), autoregressive(4_000, CHANNELS).T, strict=True))
    )
    state = named.score_next(None, mappings[0]).state

    def of_mappings() -> None:
        now = state
        for step in mappings[:300]:
            now = named.score_next(now, step).state

    tasks = {"way": (of_mappings, 300), "pass": (lambda: named.assess(pa.Table.from_pylist(mappings)), STEPS)}
    measured(records, "calls", "max_channel: score_next, mapping", tasks, options.repeats)


def series(records: Records, options: argparse.Namespace) -> None:
    """So many series, one step of each a call."""
    x = autoregressive(STEPS, CHANNELS, 2)
    for criterion, detector in by_criterion().items():
        for n in SERIES:
            ids = list(range(n))
            state = detector.score_steps(None, x[:n], ids=ids).state

            def some(detector: Any = detector, state: Any = state, n: int = n, ids: Any = ids) -> None:
                now = state
                for begin in range(0, 4 * n, n):
                    now = detector.score_steps(now, x[begin : begin + n], ids=ids).state

            tasks: dict[str, tuple[Callable[[], object], int]] = {"way": (some, 4 * n)}
            tasks["pass"] = (lambda detector=detector: detector.assess(x), STEPS)
            measured(records, "series", f"{criterion}: {n} series", tasks, options.repeats)


def files(records: Records, options: argparse.Namespace) -> None:
    """The command, of files in pieces and as a whole."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        model = Path(folder) / "model.safetensors"
        detector = fitted(hidden=(16, 16), frame=4, id="id", time="time", window=64)
        upland.save(detector.fit(long_rows(4_000 * FILE_SERIES)), model)
        for rows in options.rows:
            for suffix in ("csv", "parquet"):
                ways = ["pieces", *(["whole"] if rows in options.whole else [])]
                names = {way: f"{suffix}, {rows:,} rows, {way}" for way in ways}
                if all(records.find(part="files", method=name) for name in names.values()):
                    continue
                path = Path(folder) / f"rows.{suffix}"
                write_rows(path, rows)
                for way, name in names.items():
                    target = Path(folder) / f"scored-{way}.{suffix}"
                    parts = [way, "score", str(model), str(path), "-o", str(target), "--quiet"]
                    began = time.perf_counter()
                    peak, seconds = measured_command([sys.executable, "-c", CHILD, *parts])
                    values = {"rows": rows, "peak_megabytes": peak, "cpu_seconds": seconds}
                    values |= {"steps_per_cpu_second": rows / seconds}
                    values |= {"wall_seconds": time.perf_counter() - began}
                    add(records, "files", name, values)
                if "whole" in names:
                    difference = largest_difference(Path(folder), suffix)
                    add(records, "files", f"{suffix}, {rows:,} rows, difference", difference)


def long_rows(rows: int, first: int = 0) -> pa.Table:
    """Series side by side: at each time one row of each."""
    x = autoregressive(rows, FILE_CHANNELS, seed=first)
    steps = first + np.arange(rows)
    names = pa.array([f"pump-{number}" for number in range(FILE_SERIES)])
    columns = {"id": names.take(pa.array(steps % FILE_SERIES)), "time": steps // FILE_SERIES}
    return pa.table(columns | {f"x{number}": x[:, number] for number in range(FILE_CHANNELS)})


def write_rows(path: Path, rows: int, size: int = 500_000) -> None:
    """A file of rows, written in parts."""
    schema = long_rows(FILE_SERIES).schema
    of_format: Any = pc.CSVWriter if path.suffix == ".csv" else pq.ParquetWriter
    with of_format(path, schema) as writer:
        for first in range(0, rows, size):
            writer.write_table(long_rows(min(size, rows - first), first))


def largest_difference(folder: Path, suffix: str) -> dict[str, Any]:
    """Of the scores in pieces and as a whole, relative to the score; and how many flags differ."""
    read: Any = pc.read_csv if suffix == "csv" else pq.read_table
    pieces, whole = (read(folder / f"scored-{way}.{suffix}") for way in ("pieces", "whole"))
    one, other = (table["anomaly_score"].to_numpy() for table in (pieces, whole))
    flags = [table["is_anomaly"].to_numpy() for table in (pieces, whole)]
    return {
        "largest_difference": float(np.max(np.abs(one - other) / np.abs(other))),
        "flags_changed": int((flags[0] != flags[1]).sum()),
    }


PARTS: dict[str, Part] = {"calls": calls, "series": series, "files": files}

if __name__ == "__main__":
    sys.exit(main())
