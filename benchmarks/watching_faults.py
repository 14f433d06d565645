"""What a history is after a fault: a watcher that is killed at random moments, two at once, a full disk.

A stream of files, the last third of which has changed, is watched without a fault, and again with one; what
is in both histories, state and alarms included, is compared bit for bit. A killed watcher is a process of its
own that gets SIGKILL after a random time, and the next one goes on; two watchers take the files of one folder
at once, and their history is compared with that of one watcher that takes them in the order that came about;
a disk is full where the process may not make files longer (RLIMIT_FSIZE), and then may again.

    python -m benchmarks.watching_faults --output benchmarks/results/watching_faults.json
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import upland
from benchmarks.options import command, parsed
from benchmarks.records import Records
from upland.watch.history import HistoryError

SITES = ("north", "south", "west")
OPTIONS: dict[str, dict[str, Any]] = {"rows": {}, "groups": {"by": "site"}, "kept": {"keep_rows": True}}
"""What is watched: rows alone, groups of rows, or rows that are kept."""


@dataclass(frozen=True)
class Stream:
    """Files to be watched, in their order.

    Args:
        model: the model file.
        files: of rows.
    """

    model: Path
    files: tuple[Path, ...]


def stream(folder: Path, files: int, rows: int = 60, columns: int = 4, seed: int = 0) -> Stream:
    """A model and files of rows, the last third of them moved.

    Args:
        folder: where they are written.
        files: how many.
        rows: of each.
        columns: of numbers; a column names the site of each row.
        seed: of the rows.
    """
    rng = np.random.default_rng(seed)
    normal = {f"x{i}": rng.normal(size=600) for i in range(columns)}
    detector = upland.EnergyDetector(random_state=0, calibration="split", progress=False).fit(normal)
    upland.save(detector, folder / "model.safetensors")
    paths = []
    for number in range(files):
        moved = 1.0 if number >= 2 * files / 3 else 0.0
        table = {f"x{i}": rng.normal(moved, 1, rows) for i in range(columns)}
        paths.append(folder / f"{number:04}.parquet")
        pq.write_table(pa.table({**table, "site": rng.choice(SITES, rows)}), paths[-1])
    return Stream(folder / "model.safetensors", tuple(paths))


def watched(what: Stream, history: Path, files: Sequence[Path], options: dict[str, Any]) -> list[str]:
    """Take files; returns what became of each."""
    with upland.Watch(what.model, history, channels=("mail",), **options) as watch:
        return [watch.update(path).status for path in files]


def contents(history: Path) -> list[str]:
    """All of a history but its own name, as text."""
    with closing(sqlite3.connect(history)) as connection:
        return [line for line in connection.iterdump() if 'INSERT INTO "identity"' not in line]


def order(history: Path) -> list[str]:
    """The files that were taken, in their order."""
    with closing(sqlite3.connect(history)) as connection:
        return [path for (path,) in connection.execute("SELECT path FROM batch ORDER BY batch")]


def is_whole(history: Path) -> bool:
    """Whether SQLite finds no fault, and every batch has its state and no more."""
    if not history.exists():
        return True
    with closing(sqlite3.connect(history)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return found == "ok"  # killed before it was made
        count, last = connection.execute("SELECT count(*), coalesce(max(batch), 0) FROM batch").fetchone()
        states = connection.execute("SELECT count(*) FROM state WHERE kind LIKE 'monitor %'").fetchone()[0]
        return found == "ok" and count == last and states == min(count, 1)


def child(call: Any, *arguments: Any) -> int:
    """A process that does something and ends; returns its number."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            call(*arguments)
            status = 0
        finally:
            os._exit(status)
    return process


def killed(what: Stream, folder: Path, kills: int, options: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Kill watchers at random moments until so many were killed at work.

    Args:
        what: the files.
        folder: for histories.
        kills: how many.
        options: of the watch.
        seed: of the moments.

    Returns:
        Counts: histories, kills, and those that are not equal to that of an undisturbed watcher.
    """
    rng = np.random.default_rng(seed)
    undisturbed = folder / "undisturbed.db"
    begun = time.perf_counter()
    watched(what, undisturbed, what.files, options)
    per_file = (time.perf_counter() - begun) / len(what.files)
    expected, done = contents(undisturbed), 0
    counts = {"kills": 0, "histories": 0, "broken_after_kill": 0, "different_at_end": 0, "killed_within": 0}
    while counts["kills"] < kills:
        history = folder / f"killed{counts['histories']}.db"
        ended = False
        while not ended and counts["kills"] < kills:
            process = child(watched, what, history, what.files, options)
            time.sleep(rng.uniform(0, 12) * per_file)
            os.kill(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            ended = not os.WIFSIGNALED(status)
            if ended and os.waitstatus_to_exitcode(status):
                raise RuntimeError("a watcher failed")
            before, done = done, len(order(history)) if _is_made(history) else 0
            counts["kills"] += not ended
            counts["killed_within"] += not ended and 0 < done < len(what.files) and done != before
            counts["broken_after_kill"] += not is_whole(history)
        watched(what, history, what.files, options)
        counts["histories"] += 1
        counts["different_at_end"] += contents(history) != expected
    return counts | {"files": len(what.files)}


def _is_made(history: Path) -> bool:
    if not history.exists():
        return False
    with closing(sqlite3.connect(history)) as connection:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0])


def together(what: Stream, folder: Path, watchers: int, options: dict[str, Any]) -> dict[str, Any]:
    """Several watchers of the same files at once.

    Args:
        what: the files.
        folder: for histories.
        watchers: how many.
        options: of the watch.
    """
    history, alone = folder / "together.db", folder / "alone.db"
    rng = np.random.default_rng(0)
    orders = [[what.files[i] for i in rng.permutation(len(what.files))] for _ in range(watchers)]
    processes = [child(watched, what, history, files, options) for files in orders]
    ends = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
    taken = order(history)
    watched(what, alone, [Path(path) for path in taken], options)
    return {
        "watchers": watchers,
        "files": len(what.files),
        "failed": sum(map(bool, ends)),
        "lost": len(set(map(str, what.files)) - set(taken)),
        "taken_twice": len(taken) - len(set(taken)),
        "different": int(contents(history) != contents(alone)),
    }


def full_disk(what: Stream, folder: Path, times: int, options: dict[str, Any]) -> dict[str, Any]:
    """A disk that is full again and again; each time the watcher says so, and goes on once it is not.

    Args:
        what: the files.
        folder: for histories.
        times: how often.
        options: of the watch.
    """
    usual, full = folder / "usual.db", folder / "full.db"
    watched(what, usual, what.files, options)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    counts = {"full": 0, "broken": 0, "other_errors": 0}
    with upland.Watch(what.model, full, channels=("mail",), **options) as watch:
        for number, path in enumerate(what.files):
            if number % max(2, len(what.files) // times) == 1:
                wal = full.with_name("full.db-wal")
                size = wal.stat().st_size if wal.exists() else 0
                resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096 * (number % 3), limits[1]))
                try:
                    watch.update(path)
                except HistoryError as error:
                    counts["full"] += error.reason == "full"
                    counts["other_errors"] += error.reason != "full"
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
                counts["broken"] += not is_whole(full)
            watch.update(path)
    return counts | {"files": len(what.files), "different": int(contents(full) != contents(usual))}


def main(argv: Sequence[str] | None = None) -> int:
    options = parsed(command(__doc__), argv, "watching_faults", {})
    records = Records.open(options.output, ("fault", "watched"))
    files, kills = (12, 10) if options.quick else (60, 200)
    with tempfile.TemporaryDirectory() as temporary:
        what = stream(Path(temporary), files)
        for name, given in OPTIONS.items():
            for fault, call in (
                ("killed", lambda folder, given=given: killed(what, folder, kills, given)),
                ("two watchers", lambda folder, given=given: together(what, folder, 2, given)),
                ("full disk", lambda folder, given=given: full_disk(what, folder, 10, given)),
            ):
                key = {"fault": fault, "watched": name}
                if records.find(**key) is None:
                    folder = Path(temporary) / f"{name} {fault}"
                    folder.mkdir()
                    records.add({"benchmark": "watching faults", **key, **call(folder)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
