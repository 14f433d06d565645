"""A history in plain values of bounded size, such as a page shows it, whatever its length."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.watch.history import History
from upland.watch.ledger import Ledger

POINTS = 2000
"""Batches of the curves; of longer histories evenly thinned, the first and the last among them."""
ROWS = 500
"""Rows of each list, the latest."""
COLUMNS = 20
"""Columns whose means are given, those that moved furthest in standard deviations of their own."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """A history.

    Args:
        settings: what it was begun with.
        counts: how many batches, rows, flagged rows, alarms and refused batches there are in all.
        models: each model with its first batch.
        curves: arrays `(B,)` by name (batch, rows, flagged, counted, model, log_martingale, log_peak,
            log_detector and log_e_value; name and time as objects) of at most `POINTS` batches, those of
            alarms and those of the largest values among them.
        alarms: the latest, newest first; `deliveries` of each are how it was sent, by each channel.
        verdicts: flagged groups, batches and buckets, newest first.
        sites: those of the last model with most evidence, the strongest first.
        means: the mean codes `(B,)` of some columns, by name; NaN where a batch has none.
        refused: the latest, newest first.
        flagged: the most anomalous flagged rows of the latest batches.
        action: what is advised after the last batch.
        why: the sentences that say why.
    """

    settings: Record
    counts: dict[str, int]
    models: list[Record]
    curves: dict[str, NDArray[Any]]
    alarms: list[Record]
    verdicts: list[Record]
    sites: list[Record]
    means: dict[str, NDArray[np.float64]]
    refused: list[Record]
    flagged: list[Record]
    action: str
    why: tuple[str, ...]


def summary(history: History) -> Summary:
    """A history as plain values.

    Args:
        history: open.
    """
    with history.read() as sql:
        ledger = Ledger(sql)
        last, model = ledger.last()
        even = np.linspace(1, last, num=min(last, POINTS)).astype(np.int64)
        numbers = np.union1d(even, _most_telling(sql))
        curves = _curves(sql, numbers.tolist() if last else [])
        newest = sql.execute("SELECT action, why FROM batch WHERE batch = ?", (last,)).fetchone()
        return Summary(
            settings=ledger.settings(),
            counts=_counts(sql),
            models=_records(sql, "SELECT * FROM model ORDER BY model DESC LIMIT ?", (ROWS,)),
            curves=curves,
            alarms=_alarms(sql),
            verdicts=_records(
                sql, "SELECT * FROM group_verdict WHERE flag = 1 ORDER BY test DESC LIMIT ?", (ROWS,)
            ),
            sites=_records(
                sql,
                "SELECT * FROM site WHERE model = ? ORDER BY log_peak + log_weight DESC LIMIT ?",
                (model, ROWS),
            ),
            means=_means(sql, curves["batch"]),
            refused=_records(sql, "SELECT * FROM refused ORDER BY after_batch DESC LIMIT ?", (ROWS,)),
            flagged=_records(sql, "SELECT * FROM flagged_row ORDER BY batch DESC, p_value LIMIT ?", (ROWS,)),
            action=newest[0] if newest else "nothing",
            why=tuple(json.loads(newest[1])) if newest else (),
        )


def _counts(sql: sqlite3.Connection) -> dict[str, int]:
    row = sql.execute("SELECT count(*), total(rows), total(flagged) FROM batch").fetchone()
    found = dict(zip(("batches", "rows", "flagged"), map(int, row), strict=True))
    for table, name in (("alarm", "alarms"), ("refused", "refused")):
        found[name] = int(sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    return found


def _most_telling(sql: sqlite3.Connection) -> list[int]:
    """The batches of the latest alarms, and those of the largest numbers, which a thinned curve must have."""
    found = sql.execute("SELECT batch FROM alarm ORDER BY alarm DESC LIMIT ?", (ROWS,)).fetchall()
    for largest in ("1.0 * flagged / max(rows, 1)", *_LOGS):
        found += sql.execute(f"SELECT batch FROM batch ORDER BY {largest} DESC LIMIT 1").fetchall()
    return sorted({batch for (batch,) in found})


def _records(sql: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> list[Record]:
    cursor = sql.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _alarms(sql: sqlite3.Connection) -> list[Record]:
    alarms = _records(sql, "SELECT * FROM alarm ORDER BY alarm DESC LIMIT ?", (ROWS,))
    query = "SELECT channel, status, attempts, error FROM delivery WHERE alarm = ? ORDER BY channel"
    return [alarm | {"deliveries": _records(sql, query, (alarm["alarm"],))} for alarm in alarms]


_CURVES = ("batch", "rows", "flagged", "counted", "model")
_LOGS = ("log_martingale", "log_peak", "log_detector", "log_e_value")


def _curves(sql: sqlite3.Connection, numbers: list[int]) -> dict[str, NDArray[Any]]:
    names = (*_CURVES, *_LOGS, "name", "time")
    query = f"SELECT {', '.join(names)} FROM batch WHERE batch = ?"
    rows = [row for number in numbers if (row := sql.execute(query, (number,)).fetchone())]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    found: dict[str, NDArray[Any]] = {}
    for name, values in zip(names, columns, strict=True):
        dtype: Any = np.int64 if name in _CURVES else np.float64 if name in _LOGS else object
        found[name] = np.array(values, dtype=dtype)
    return found


def _means(sql: sqlite3.Connection, batches: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    query = 'SELECT "column", mean FROM column_mean WHERE batch = ?'
    for place, batch in enumerate(batches.tolist()):
        for column, mean in sql.execute(query, (batch,)):
            found.setdefault(column, np.full(len(batches), np.nan))[place] = mean
    order = sorted(found, key=lambda column: -_moved(found[column]))
    return {column: found[column] for column in order[:COLUMNS]}


def _moved(means: NDArray[np.float64]) -> float:
    """The range of the means over their typical step from batch to batch."""
    there = means[np.isfinite(means)]
    if there.size < 3:
        return 0.0
    step = float(np.median(np.abs(np.diff(there))))
    return float(np.ptp(there)) / max(step, 1e-9)
