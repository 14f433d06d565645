"""What watching files costs beside scoring them: CPU seconds of one process, the three ways in turns.

Each file of rows is scored in memory (`detector.assess`), scored by what `upland score` does (read, scored,
written with its verdicts, nothing shown), and watched (`Watch.update`: digest, scores, change monitor, one
durable transaction). Which way comes first changes from file to file. Two detectors: a split calibration by
1,000 rows, and a cross calibration with five members.

    python -m benchmarks.watching --output benchmarks/results/watching.json
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

import upland
from benchmarks.options import command, parsed
from benchmarks.records import Records
from upland.cli.results import Request
from upland.cli.scoring import score_path

DETECTORS = {"split": 5000, "cross": 300}
"""Normal rows of the fit, by the calibration that they lead to."""
FILES = {"split": 1000, "cross": 300}
FORMATS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "parquet": lambda table, path: pq.write_table(table, path),
    "csv": lambda table, path: pc.write_csv(table, path),
}
ROWS, COLUMNS = 1000, 10


def measured(folder: Path, calibration: str, suffix: str, files: int) -> dict[str, Any]:
    """CPU seconds of each way over all files.

    Args:
        folder: for files and the history.
        calibration: "split" or "cross".
        suffix: of the files.
        files: how many.
    """
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(COLUMNS)]

    def rows(count: int) -> dict[str, Any]:
        return dict(zip(names, rng.normal(size=(COLUMNS, count)), strict=True))

    detector = upland.EnergyDetector(random_state=0, progress=False).fit(rows(DETECTORS[calibration]))
    assert detector.calibration_.method == calibration
    written = Request(target=folder / f"scored.{suffix}", shown=False, overwrite=True)
    seconds = dict.fromkeys(("assess", "score", "watch"), 0.0)
    with upland.Watch(detector, folder / f"{calibration}.{suffix}.db") as watch:
        ways: dict[str, Callable[[Path], Any]] = {
            "assess": detector.assess,
            "score": lambda path: score_path(detector, path, written),
            "watch": watch.update,
        }
        for number in range(files + 5):
            path = folder / f"rows.{suffix}"
            FORMATS[suffix](pa.table(rows(ROWS)), path)
            order = list(ways)
            for way in order[number % 3 :] + order[: number % 3]:
                begun = time.process_time()
                ways[way](path)
                if number >= 5:  # the first fit what is fitted when it is first asked for
                    seconds[way] += time.process_time() - begun
    found = {f"{way}_milliseconds": 1000 * total / files for way, total in seconds.items()}
    ratios = {f"watch_over_{way}": seconds["watch"] / seconds[way] for way in ("score", "assess")}
    return {"files": files, "rows": ROWS, "columns": COLUMNS, **found, **ratios}


def steps(folder: Path, earlier: int, way: str) -> int:
    """The steps of SQLite's machine for one batch in a history of so many.

    Args:
        folder: for the history.
        earlier: batches in it, and as many sites and buckets of time; written as rows but for the last ones.
        way: a key of `WAYS`.
    """
    rng = np.random.default_rng(0)
    detector = upland.EnergyDetector(random_state=0, progress=False).fit(_numbers(rng, 2000))
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    def batch(number: int) -> dict[str, Any]:
        beside = {"site": ["north", "south"] * 50, "time": np.full(100, 7200.0 * (earlier + number))}
        return _numbers(rng, 100) | beside

    with upland.Watch(detector, folder / "history.db", channels=("mail",), **WAYS[way]) as watch:
        watch.update(batch(0))
        with watch.history.write() as connection:
            for statement in FILL:
                connection.execute(statement, (earlier,))
        watch.update(batch(1))
        watch.history.connection.set_progress_handler(count, 1)
        decision = watch.update(batch(2))
        watch.history.connection.set_progress_handler(None, 1)
    assert decision.batch == earlier + 2
    return counted


def _numbers(rng: np.random.Generator, count: int) -> dict[str, Any]:
    return {f"x{i}": rng.normal(size=count) for i in range(4)}


WAYS: dict[str, dict[str, Any]] = {
    "rows": {},
    "groups": {"by": "site"},
    "buckets": {"time": "time", "every": "1h"},
}
"""Options of a watch whose batches take the same time however many there were."""
_NUMBERS = (
    "WITH RECURSIVE number (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < ?) INSERT INTO "
)
FILL = (
    _NUMBERS
    + "batch SELECT n, hex(randomblob(32)), name, path, time, model, rows, flagged, least_p, counted, "
    "left_out, late, log_martingale, log_peak, log_detector, log_e_value, action, why "
    "FROM number JOIN batch ON batch.batch = 1",
    _NUMBERS + "column_mean SELECT n, 'x0', 0.0 FROM number",
    _NUMBERS + "flagged_row SELECT n, 0, 1.0, 0.01, NULL FROM number",
    _NUMBERS + "group_verdict SELECT NULL, n, 'batch', n, 100, NULL, -1.0, 1e-9, 0, NULL, NULL FROM number",
    _NUMBERS + "site SELECT 1, n, n + 1, 100, n, n, -1.0, 0.0, -2 * ln(n) FROM number",
    _NUMBERS + "bucket SELECT 7200.0 * (n - 2), 100, NULL, n FROM number",
    _NUMBERS + "refused SELECT hex(randomblob(32)), 'x', n, n, 'damaged', n FROM number",
)
"""Rows of a long history."""


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(command(__doc__), argv, "watching", {})
    records = Records.open(options.output, ("calibration", "format"))
    for calibration in DETECTORS:
        for suffix in FORMATS:
            key = {"calibration": calibration, "format": suffix}
            if records.find(**key) is None:
                with tempfile.TemporaryDirectory() as folder:
                    files = 30 if options.quick else FILES[calibration]
                    found = measured(Path(folder), calibration, suffix, files)
                records.add({"benchmark": "watching", **key, **found})
    for way in WAYS:
        for earlier in (100, 10_000 if options.quick else 1_000_000):
            key = {"calibration": f"{earlier:,} batches before", "format": way}
            if records.find(**key) is None:
                with tempfile.TemporaryDirectory() as folder:
                    found = {"sql_steps": steps(Path(folder), earlier, way)}
                records.add({"benchmark": "watching", **key, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
