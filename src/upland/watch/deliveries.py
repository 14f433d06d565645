"""Sends the alarms of a history by commands and webhooks, beside the watching and never in its way.

The table `delivery` has a row for each alarm and channel, written in the transaction that raised the alarm,
so that no alarm is lost between the two. Whoever sends it first moves its next try beyond the time that
sending can take, in one UPDATE that only one of several watchers wins; when it is delivered, the row says so
and it is never sent again. A process that ends while it sends leaves the row waiting: the alarm is sent
again, since nobody knows whether it arrived, with the same key, by which the other side knows it.

What fails is tried again after 1, 2, 4, ... seconds, at most `LONGEST`, each shortened by a random part, up
to `TRIES` times in one run, and again by the next run, up to `ALL_TRIES` times in all.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from math import isinf
from typing import Any, NamedTuple

from upland.watch.channels import LONGEST, TIMEOUT, Channel, Failed
from upland.watch.history import History, HistoryError

TRIES = 10
"""How often an alarm is sent at most in one run."""

ALL_TRIES = 100
"""How often in all."""

LEASE = 2 * TIMEOUT + 10
"""Seconds for which an alarm is left to the process that sends it."""

IDLE = 5.0
"""Seconds between two checks for alarms of other watchers, and after a history that cannot be used."""

_DUE = "(next_attempt <= :now OR next_attempt > :now + :far)"  # the second where a clock was put back
_CLAIM = f"""
UPDATE delivery SET next_attempt = :now + :lease, attempts = attempts + 1
WHERE (alarm, channel) IN (
    SELECT alarm, channel FROM delivery WHERE status = 'waiting' AND channel = :channel AND {_DUE}
    ORDER BY alarm LIMIT 1)
RETURNING alarm, attempts
"""
_ALARM = """
SELECT alarm.*, batch.name AS batch_name, batch.time AS batch_time, batch.digest AS batch_digest,
    batch.rows AS batch_rows, batch.flagged AS batch_flagged
FROM alarm JOIN batch USING (batch) WHERE alarm.alarm = ?
"""


class _Claimed(NamedTuple):
    alarm: int
    attempts: int
    key: str
    kind: str
    body: bytes


class Deliveries:
    """Threads that deliver alarms, one for each channel, until `close`.

    Args:
        history: That the alarms are in, the channels' names among those of the watch.
        channels: Ways to deliver them.
        note: Takes a sentence about what went wrong; called from the threads.
        now: The time of the system in seconds.
        jitter: Random numbers between 0 and 1.
    """

    def __init__(
        self,
        history: History,
        channels: Sequence[Channel],
        note: Callable[[str], None],
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._history, self._channels, self._note = history, list(channels), note
        self._now, self._jitter = now, jitter
        self._wake, self._raised, self._over = threading.Condition(), 0, False
        self._end = float("inf")
        self._id = _identity(history)
        self._renew()
        self._threads = [
            threading.Thread(target=self._run, args=(channel,), name=channel.name, daemon=True)
            for channel in self._channels
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look for alarms now: one was raised."""
        with self._wake:
            self._raised += 1
            self._wake.notify_all()

    def close(self, seconds: float) -> int:
        """End, after what is due was sent.

        Args:
            seconds: To wait for it at most.

        Returns:
            Alarms that still wait for one of the channels.
        """
        end = time.monotonic() + seconds
        with self._wake:
            self._end = end
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._wake:
            self._over = True
            self._wake.notify_all()
        for channel, thread in zip(self._channels, self._threads, strict=True):
            if thread.is_alive():
                channel.stop()
                thread.join(0.2)
        return self.waiting()

    def waiting(self) -> int:
        """Alarms that are not delivered yet by one of the channels."""
        names = [channel.name for channel in self._channels]
        of = f"status != 'delivered' AND channel IN ({', '.join('?' * len(names))})"
        with self._history.read() as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM delivery WHERE {of}", names).fetchone()
        return int(count)

    def elsewhere(self) -> dict[str, int]:
        """Alarms that wait for other channels, which this run does not have: how many by their names."""
        names = [channel.name for channel in self._channels]
        query = "SELECT channel, count(*) FROM delivery WHERE status != 'delivered' AND channel NOT IN "
        query += f"({', '.join('?' * len(names))}) GROUP BY channel"
        with self._history.read() as connection:
            return dict(connection.execute(query, names).fetchall())

    def _renew(self) -> None:
        """Let what an earlier run gave up wait again."""
        with self._history.write() as connection:
            for channel in self._channels:
                connection.execute(
                    "UPDATE delivery SET status = 'waiting', next_attempt = 0 "
                    "WHERE status = 'failed' AND channel = ? AND attempts < ?",
                    (channel.name, ALL_TRIES),
                )

    def _run(self, channel: Channel) -> None:
        """What the thread of a channel does."""
        tried: dict[int, int] = {}
        while not self._over:
            raised = self._raised
            try:
                claimed = self._claim(channel)
                pause = None if claimed else self._pause(channel)
            except HistoryError as error:
                claimed, pause = None, IDLE
                self._note(f"{channel.name}: {error}")
            if claimed is not None:
                self._send(channel, claimed, tried)
            elif pause is None or not self._sleep(pause, raised):
                return

    def _send(self, channel: Channel, claimed: _Claimed, tried: dict[int, int]) -> None:
        tried[claimed.alarm] = tried.get(claimed.alarm, 0) + 1
        status, error, after = "delivered", None, 0.0
        try:
            channel.send(claimed.key, claimed.kind, claimed.body)
        except Failed as failed:
            over = not failed.again or tried[claimed.alarm] >= TRIES or claimed.attempts >= ALL_TRIES
            status, error = "failed" if over else "waiting", failed.reason
            after = max(self._backoff(tried[claimed.alarm]), failed.after or 0.0)
            later = "it is tried again in the next run" if over else "it is tried again"
            self._note(f"{channel.name}: alarm {claimed.alarm} was not delivered: {failed.reason}; {later}")
        if status == "delivered":
            tried.pop(claimed.alarm, None)
        self._mark(channel, claimed.alarm, status, error, after)

    def _backoff(self, tries: int) -> float:
        """Seconds after so many tries."""
        return min(2.0 ** (tries - 1), LONGEST) * (1 - self._jitter() / 2)

    def _mark(self, channel: Channel, alarm: int, status: str, error: str | None, after: float) -> None:
        """Write down what came of it; a history that cannot be written is tried until the end."""
        while True:
            try:
                with self._history.write() as connection:
                    connection.execute(
                        "UPDATE delivery SET status = ?, error = ?, next_attempt = ? "
                        "WHERE alarm = ? AND channel = ? AND status != 'delivered'",
                        (status, error, self._now() + after, alarm, channel.name),
                    )
                return
            except HistoryError as broken:
                self._note(f"{channel.name}: {broken}")
                if not self._sleep(IDLE):
                    return

    def _claim(self, channel: Channel) -> _Claimed | None:
        """An alarm that is due, which no other process gets meanwhile."""
        times = {"now": self._now(), "far": max(LEASE, LONGEST) + 60, "lease": LEASE}
        if self._next(channel, times) > 0:  # so that nothing is locked where there is nothing to send
            return None
        with self._history.write() as connection:
            row = connection.execute(_CLAIM, times | {"channel": channel.name}).fetchone()
            if row is None:
                return None
            cursor = connection.execute(_ALARM, (row[0],))
            names = [column[0] for column in cursor.description]
            found = dict(zip(names, cursor.fetchone(), strict=True))
        key = key_of(self._id, found)
        body = json.dumps(document(key, found), allow_nan=False).encode()
        return _Claimed(int(row[0]), int(row[1]), key, str(found["kind"]), body)

    def _next(self, channel: Channel, times: dict[str, float]) -> float:
        """Seconds until the next alarm is due; 0 where one is, infinite where none waits."""
        query = f"SELECT min(CASE WHEN {_DUE} THEN :now ELSE next_attempt END) FROM delivery "
        query += "WHERE status = 'waiting' AND channel = :channel"
        with self._history.read() as connection:
            (soonest,) = connection.execute(query, times | {"channel": channel.name}).fetchone()
        return float("inf") if soonest is None else max(0.0, float(soonest) - times["now"])

    def _pause(self, channel: Channel) -> float | None:
        """Seconds to sleep; None where the end has come before anything is due."""
        times = {"now": self._now(), "far": max(LEASE, LONGEST) + 60}
        seconds = self._next(channel, times)
        if self._end < float("inf") and time.monotonic() + seconds > self._end:
            return None
        return min(seconds, IDLE)

    def _sleep(self, seconds: float, raised: int | None = None) -> bool:
        """Wait, or until an alarm is raised or the end comes; whether there is time left.

        Args:
            seconds: At most.
            raised: How many alarms there were before it was clear that none is due.
        """
        with self._wake:
            more = raised is not None and raised != self._raised
            if not more and not self._over and time.monotonic() < self._end:
                self._wake.wait(min(seconds, max(0.0, self._end - time.monotonic())))
            return not self._over and time.monotonic() < self._end


def _identity(history: History) -> str:
    """The name of a history that no other one has."""
    with history.read() as connection:
        return str(connection.execute("SELECT value FROM identity").fetchone()[0])


def key_of(identity: str, alarm: dict[str, Any]) -> str:
    """The key of an alarm, the same for every try.

    Args:
        identity: Of the history.
        alarm: Its row, with `batch_digest`.
    """
    parts = (identity, *(str(alarm[name]) for name in ("alarm", "kind", "subject", "batch_digest")))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def document(key: str, alarm: dict[str, Any]) -> dict[str, Any]:
    """What is sent of an alarm: of the rows themselves nothing but names of groups and of columns.

    Args:
        key: Of the alarm.
        alarm: Its row, with what is said of its batch.
    """
    plain = ("alarm", "kind", "subject", "since", "action", "text", "log_value", "log_threshold")
    of_batch = ("name", "time", "rows", "flagged")
    batch = {"batch": alarm["batch"]} | {name: alarm[f"batch_{name}"] for name in of_batch}
    finite = {name: value for name, value in alarm.items() if not (isinstance(value, float) and isinf(value))}
    return {"key": key} | {name: finite.get(name) for name in plain} | {"batch": batch}
