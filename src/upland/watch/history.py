"""The history of a watch: one SQLite file, which several processes may read and write at once.

The file is in WAL mode, so that readers never wait; whoever writes waits up to `WAIT` seconds for others. A
transaction is durable once it is done (`synchronous=FULL`): a process that is killed, or a machine without
power, leaves the state before a batch or after it. WAL needs memory that processes share, so that the file
must lie on a local disk, not on a network drive.

Reference: SQLite, https://www.sqlite.org/wal.html and https://www.sqlite.org/isolation.html
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from upland.watch.schema import APPLICATION, MIGRATIONS
from upland.watch.states import StateError

WAIT = 30.0
"""Seconds that are waited for another program that writes."""
_ADVICE = {
    "SQLITE_BUSY": ("locked", "another program holds it locked: end it, or wait, and try again"),
    "SQLITE_LOCKED": ("locked", "another program holds it locked: end it, or wait, and try again"),
    "SQLITE_FULL": (
        "full",
        "the disk is full: free some of it, and start again; what was taken is kept",
    ),
    "SQLITE_IOERR": ("full", "it cannot be written, the disk may be full or damaged; what was taken is kept"),
    "SQLITE_READONLY": ("read-only", "it may not be written: give write permission for it and its folder"),
    "SQLITE_CANTOPEN": ("missing", "it cannot be opened: is there such a folder, and may it be written?"),
    "SQLITE_PERM": ("read-only", "it may not be written: give write permission for it and its folder"),
    "SQLITE_CORRUPT": ("corrupted", "it is damaged: put back a copy, or begin another history"),
    "SQLITE_NOTADB": ("foreign", "it is no SQLite file: give the path of a history or of a new file"),
}


class HistoryError(OSError):
    """A history that cannot be used.

    Args:
        path: of the file.
        reason: `locked`, `full`, `read-only`, `missing`, `corrupted`, `foreign`, `newer` or `other`.
        detail: the rest of the sentence.
    """

    def __init__(self, path: Path, reason: str, detail: str) -> None:
        super().__init__(f"history {path}: {detail}")
        self.path, self.reason = path, reason


class History:
    """A history, opened; made where there is none. Threads may share it.

    Args:
        path: of the file.
        wait: seconds that are waited for another program that writes.
        create: whether a file that is not there is made.

    Raises:
        HistoryError: the file is none of upland's, of a newer one, damaged, locked, or may not be written.
    """

    def __init__(self, path: str | os.PathLike[str], wait: float = WAIT, create: bool = True) -> None:
        self.path = Path(path)
        self._wait, self._lock = wait, threading.RLock()
        if not create and not self.path.is_file():
            raise HistoryError(self.path, "missing", "there is no such file")
        if self.path.is_dir():
            raise HistoryError(self.path, "foreign", "it is a folder: give the path of a file")
        self._pid, self._inherited = os.getpid(), list[sqlite3.Connection]()
        with self._faults():
            self._open = self._opened()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=self._wait, isolation_level=None, check_same_thread=False
        )
        try:
            version = self._checked_version(connection, MIGRATIONS)
            if version < len(MIGRATIONS):
                self._use_wal(connection)
                migrate(connection, MIGRATIONS)
        except BaseException:
            connection.close()
            raise
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite itself does not wait where several do so at once."""
        end = time.monotonic() + self._wait
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.01)

    def _checked_version(self, connection: sqlite3.Connection, migrations: Sequence[str]) -> int:
        """The version of the schema; refuses a file that is not upland's or is newer."""
        connection.execute("BEGIN")  # another process may be making it
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("COMMIT")
        if application != APPLICATION and (tables or application or version):
            detail = "it is a database of another program: give the path of a history or of a new file"
            raise HistoryError(self.path, "foreign", detail)
        if version > len(migrations):
            detail = f"a newer upland wrote it (schema {version}, this one knows {len(migrations)}): update"
            raise HistoryError(self.path, "newer", detail + " upland to go on with it")
        return int(version)

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this process; a process that was forked has its own."""
        if os.getpid() != self._pid:
            self._inherited.append(self._open)  # to close it is for the process that opened it
            self._open, self._pid, self._lock = self._opened(), os.getpid(), threading.RLock()
        return self._open

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that reads one state of the history, whatever others write."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it is kept, or where something is raised nothing.

        Args:
            durable: whether it outlives a loss of power, for which the disk is waited for; else it outlives
                the end of the process alone.
        """
        with self._transaction("BEGIN IMMEDIATE", durable) as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str, durable: bool = True) -> Iterator[sqlite3.Connection]:
        with self._faults():
            connection = self.connection  # before the lock, which a process that was forked has anew
            with self._lock:
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                connection.execute(begin)
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the errors of SQLite into sentences that name the file."""
        try:
            yield
        except StateError as error:
            detail = f"its state cannot be read ({error}): put back a copy, or begin another history"
            raise HistoryError(self.path, "corrupted", detail) from error
        except sqlite3.DatabaseError as error:
            raise HistoryError(self.path, *_advice(error)) from error

    def close(self) -> None:
        """Close the file."""
        if os.getpid() == self._pid:
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.close()


def _advice(error: sqlite3.DatabaseError) -> tuple[str, str]:
    """The reason of an error of SQLite, and what to do."""
    try:
        name = error.sqlite_errorname
    except AttributeError:  # of Python's own module
        return "other", str(error)
    found = [advice for known, advice in _ADVICE.items() if name.startswith(known)]
    return found[0] if found else ("other", str(error))


def migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Bring a history to the newest schema, all steps in one transaction; another process may be doing it.

    Args:
        connection: to it, of no newer schema.
        migrations: what makes each version from the one before.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in migrations[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
