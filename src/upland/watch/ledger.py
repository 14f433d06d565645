"""What is read from and written into a history within one transaction."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.watch.decision import Alarm, Decision, Evidence, FlaggedRow, GroupVerdict
from upland.watch.states import packed, unpacked


class Ledger:
    """The rows of a history, in a transaction that is open.

    Args:
        connection: to the history.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.sql = connection

    # -- settings and models -------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What the history was begun with; empty before the first watch."""
        rows = self.sql.execute("SELECT name, value FROM setting").fetchall()
        return {name: json.loads(value) for name, value in rows}

    def set_settings(self, settings: Mapping[str, Any]) -> None:
        """Keep what the history is begun with."""
        pairs = [(name, json.dumps(value)) for name, value in settings.items()]
        self.sql.executemany("INSERT INTO setting VALUES (?, ?)", pairs)

    def model(self, digest: str) -> int | None:
        """The number of a model; None before its first batch."""
        found: int | None = _one(self.sql.execute("SELECT model FROM model WHERE digest = ?", (digest,)))
        return found

    def add_model(self, digest: str, facts: Sequence[Any], first_batch: int) -> int:
        """A new model; returns its number."""
        sql = "INSERT INTO model VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        return int(self.sql.execute(sql, (digest, *facts, first_batch)).lastrowid or 0)

    # -- state ---------------------------------------------------------------------------------------------

    def state(self, model: int, kind: str, name: str) -> dict[str, NDArray[Any]] | None:
        """Arrays by name; None where there are none."""
        sql = "SELECT arrays FROM state WHERE model = ? AND kind = ? AND name = ?"
        blob = _one(self.sql.execute(sql, (model, kind, name)))
        return None if blob is None else unpacked(blob)

    def has_state(self, model: int, kind: str, name: str) -> bool:
        """Whether there are such arrays."""
        sql = "SELECT 1 FROM state WHERE model = ? AND kind = ? AND name = ?"
        return _one(self.sql.execute(sql, (model, kind, name))) is not None

    def set_state(self, model: int, kind: str, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep arrays."""
        sql = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?)"
        self.sql.execute(sql, (model, kind, name, packed(arrays)))

    # -- batches -------------------------------------------------------------------------------------------

    def last(self) -> tuple[int, int | None]:
        """The number of the last batch, 0 before the first, and its model."""
        row = self.sql.execute("SELECT batch, model FROM batch ORDER BY batch DESC LIMIT 1").fetchone()
        return (int(row[0]), int(row[1])) if row else (0, None)

    def known(self, digest: str, model: str) -> Decision | None:
        """What was decided of this content before; None where it is new, or was refused by another model."""
        sql = "SELECT batch, name, time, rows, flagged, action, why FROM batch WHERE digest = ?"
        if row := self.sql.execute(sql, (digest,)).fetchone():
            batch, name, time, rows, flagged, action, why = row
            return Decision(
                "known", batch, name, time, digest, rows, flagged, action=action, why=tuple(json.loads(why))
            )
        sql = "SELECT name, reason FROM refused WHERE digest = ? AND model = ?"
        if row := self.sql.execute(sql, (digest, model)).fetchone():
            return Decision("refused", None, row[0], None, digest, reason=row[1])
        return None

    def add_batch(
        self, decision: Decision, path: str | None, model: int, least_p: float | None, late: int
    ) -> None:
        """A batch with its flagged rows."""
        evidence = decision.evidence or self._last_evidence(model)
        values = (
            decision.batch, decision.digest, decision.name, path, decision.time, model, decision.rows,
            decision.flagged, least_p, evidence.counted, evidence.left_out, late, *_finite(evidence),
            decision.action, json.dumps(decision.why),
        )  # fmt: skip
        self.sql.execute(f"INSERT INTO batch VALUES ({', '.join('?' * len(values))})", values)
        self.sql.execute("DELETE FROM attempt WHERE digest = ?", (decision.digest,))

    def _last_evidence(self, model: int) -> Evidence:
        """What stands while a batch says nothing: it has no rows."""
        sql = (
            "SELECT log_martingale, log_peak, log_detector FROM batch WHERE model = ? "
            "ORDER BY batch DESC LIMIT 1"
        )
        now, peak, detector = self.sql.execute(sql, (model,)).fetchone() or (0.0, 0.0, 0.0)
        return Evidence(now, peak, detector, 0.0, 0, 0)

    def add_flagged(self, batch: int, rows: Iterable[FlaggedRow]) -> None:
        """The flagged rows of a batch."""
        values = [
            (batch, row.row, row.score, row.p_value, json.dumps(row.reasons) if row.reasons else None)
            for row in rows
        ]
        self.sql.executemany("INSERT INTO flagged_row VALUES (?, ?, ?, ?, ?)", values)

    def add_means(self, batch: int, labels: Sequence[str], means: NDArray[Any]) -> None:
        """The means of the codes of a batch."""
        values = zip([batch] * len(labels), labels, means.tolist(), strict=True)
        self.sql.executemany("INSERT OR IGNORE INTO column_mean VALUES (?, ?, ?)", values)

    def keep_rows(self, batch: int, rows: bytes) -> None:
        """The rows of a batch."""
        self.sql.execute("INSERT INTO kept_rows VALUES (?, ?)", (batch, rows))

    # -- verdicts and alarms -------------------------------------------------------------------------------

    def fdr(self, family: str) -> tuple[int, int]:
        """Tests and flags so far in a family of online tests."""
        row = self.sql.execute("SELECT tests, flags FROM online_fdr WHERE family = ?", (family,)).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def set_fdr(self, family: str, tests: int, flags: int) -> None:
        """The same after more tests."""
        self.sql.execute("INSERT OR REPLACE INTO online_fdr VALUES (?, ?, ?)", (family, tests, flags))

    def add_verdict(self, batch: int, found: GroupVerdict) -> int:
        """A verdict; returns the number of the test."""
        columns = json.dumps(found.columns) if found.columns else None
        values = (
            batch, found.kind, found.group, found.rows, found.p_value, _least(found.log_e_value), found.level,
            int(found.flag), found.reason or None, columns,
        )  # fmt: skip
        sql = f"INSERT INTO group_verdict VALUES (NULL, {', '.join('?' * len(values))})"
        return int(self.sql.execute(sql, values).lastrowid or 0)

    def has_alarm(self, model: int, kind: str, subject: str | None) -> bool:
        """Whether such an alarm was raised under a model."""
        sql = "SELECT 1 FROM alarm WHERE model = ? AND kind = ? AND subject IS ? LIMIT 1"
        return _one(self.sql.execute(sql, (model, kind, subject))) is not None

    def standing(self, model: int) -> tuple[int, str] | None:
        """Batch and action of the last alarm of a change under a model."""
        sql = (
            "SELECT batch, action FROM alarm WHERE model = ? "
            "AND kind IN ('changed', 'repeated change', 'site') ORDER BY alarm DESC LIMIT 1"
        )
        row = self.sql.execute(sql, (model,)).fetchone()
        return None if row is None else (int(row[0]), str(row[1]))

    def add_alarm(self, alarm: Alarm, batch: int, model: int, channels: Sequence[str]) -> Alarm:
        """A new alarm, which waits for each channel; returns it with its number."""
        values = (batch, model, alarm.kind, alarm.subject, alarm.log_value, alarm.log_threshold, alarm.since,
                  alarm.action, alarm.text)  # fmt: skip
        sql = f"INSERT INTO alarm VALUES (NULL, {', '.join('?' * len(values))})"
        number = int(self.sql.execute(sql, values).lastrowid or 0)
        waiting = [(number, channel) for channel in channels]
        self.sql.executemany("INSERT INTO delivery VALUES (?, ?, 'waiting', 0, 0.0, NULL)", waiting)
        return Alarm(number, *list(alarm.__dict__.values())[1:])

    # -- sites ---------------------------------------------------------------------------------------------

    def site(self, model: int, name: str) -> tuple[int, int, int] | None:
        """Number, rows and first batch of a site; None where it is new."""
        sql = "SELECT number, rows, first_batch FROM site WHERE model = ? AND site = ?"
        row = self.sql.execute(sql, (model, name)).fetchone()
        return None if row is None else (int(row[0]), int(row[1]), int(row[2]))

    def count_sites(self, model: int) -> int:
        """How many sites there are: the number of the last."""
        sql = "SELECT max(number) FROM site WHERE model = ?"
        return int(_one(self.sql.execute(sql, (model,))) or 0)

    def set_site(self, values: Sequence[Any]) -> None:
        """A site after a batch."""
        self.sql.execute("INSERT OR REPLACE INTO site VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def strongest_site(self, model: int) -> tuple[str, float, int] | None:
        """The site with most evidence: name, peak with its weight, rows."""
        sql = (
            "SELECT site, log_peak + log_weight, rows FROM site WHERE model = ? "
            "ORDER BY log_peak + log_weight DESC LIMIT 1"
        )
        row: tuple[str, float, int] | None = self.sql.execute(sql, (model,)).fetchone()
        return row

    def most_of_others(self, model: int, name: str) -> float | None:
        """The largest peak of the other sites' martingales, without weights; None where there are none."""
        sql = "SELECT site, log_peak FROM site WHERE model = ? ORDER BY log_peak DESC LIMIT 2"
        found = [value for site, value in self.sql.execute(sql, (model,)) if site != name]
        return max(found, default=None)

    def sum_of_sites(self, model: int) -> tuple[int, int]:
        """Rows of all sites, and how many there are."""
        row = self.sql.execute("SELECT sum(rows), count(*) FROM site WHERE model = ?", (model,)).fetchone()
        return int(row[0] or 0), int(row[1])

    # -- buckets of time -----------------------------------------------------------------------------------

    def bucket(self, start: float) -> tuple[int, bytes | None, int | None] | None:
        """Rows, state and test of a bucket; None where it is new."""
        row: tuple[int, bytes | None, int | None] | None = self.sql.execute(
            "SELECT rows, state, test FROM bucket WHERE start = ?", (start,)
        ).fetchone()
        return row

    def set_bucket(self, start: float, rows: int, state: bytes | None, test: int | None) -> None:
        """A bucket after a batch."""
        self.sql.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?, ?, ?)", (start, rows, state, test))

    def newest_bucket(self) -> float | None:
        """The latest start that was seen."""
        found: float | None = _one(self.sql.execute("SELECT max(start) FROM bucket"))
        return found

    def open_buckets(self, before: float) -> list[tuple[float, int, bytes]]:
        """Buckets that were not tested and start before a time, in their order."""
        sql = "SELECT start, rows, state FROM bucket WHERE test IS NULL AND start < ? ORDER BY start"
        return self.sql.execute(sql, (before,)).fetchall()

    # -- files that are refused ----------------------------------------------------------------------------

    def refuse(self, digest: str, model: str, name: str | None, path: str | None, reason: str) -> None:
        """A batch that cannot be used."""
        sql = "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?)"
        self.sql.execute(sql, (digest, model, name, path, reason, self.last()[0]))
        self.sql.execute("DELETE FROM attempt WHERE digest = ?", (digest,))

    def attempt(self, digest: str, name: str | None, path: str | None) -> int:
        """Count an attempt to read a file: how many there were before, but for those of other watchers that
        are still reading it.
        """
        rows = self.sql.execute("SELECT process, count FROM attempt WHERE digest = ?", (digest,)).fetchall()
        here = os.getpid()
        before = sum(count for process, count in rows if process == here or not _is_running(process))
        own = dict(rows).get(here, 0) + 1
        sql = "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?)"
        self.sql.execute(sql, (digest, here, name, path, own))
        return int(before)


def _one(cursor: sqlite3.Cursor) -> Any:
    row = cursor.fetchone()
    return None if row is None else row[0]


def _finite(evidence: Evidence) -> tuple[float, ...]:
    logs = (evidence.log_martingale, evidence.log_peak, evidence.log_detector, evidence.log_e_value)
    return tuple(map(_least, logs))


def _is_running(process: int) -> bool:
    """Whether there is a process of a number; where this cannot be asked without ending it, it is said not
    to be.
    """
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _least(log_value: float) -> float:
    """SQLite has no number without end."""
    return float(np.clip(log_value, -1e308, 1e308))
