"""The files that a history knows, by their path: so that one whose size and time of change are as before is
not read again.

What is noted here saves work and decides nothing: whether content was taken is decided by its digest in the
table `batch`. So it is written many files at a time, and what a process loses by a sudden end is found out
again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from upland.watch.history import History
from upland.watch.incoming import Entry

AT_ONCE = 256
"""Files that are noted in one transaction."""

_KNOWN = """
SELECT size, modified, digest, EXISTS (SELECT 1 FROM batch WHERE batch.digest = file.digest) OR EXISTS (
    SELECT 1 FROM refused WHERE refused.digest IN (file.digest, file.digest || '@' || file.path)
    AND refused.model = :model)
FROM file WHERE path = :path
"""


class Known(NamedTuple):
    """A file as it was when it was last looked into.

    Args:
        size: Bytes.
        modified: Time of the last change, in nanoseconds.
        digest: Of its content.
    """

    size: int
    modified: int
    digest: str

    @property
    def mark(self) -> tuple[int, int]:
        """As that of an `Entry`."""
        return self.size, self.modified


class Earlier(NamedTuple):
    """A batch that was taken.

    Args:
        batch: Its number.
        digest: Of its content.
        name: What it is called; None where it has no name.
    """

    batch: int
    digest: str
    name: str | None


class KnownFiles:
    """The files that a history knows.

    Args:
        history: Open.
    """

    def __init__(self, history: History) -> None:
        self._history, self._model = history, ""
        self._done: dict[str, tuple[int, int]] = {}
        self._noted: dict[str, Known] = {}

    def new(self, entries: Iterable[Entry], model: str) -> list[tuple[Entry, str | None]]:
        """The files that need attention, with the digest of those that are as they were when it was computed.

        Args:
            entries: In order.
            model: The digest of the model; what another one refused is new again.
        """
        found = []
        if model != self._model:
            self._done, self._model = {}, model
        with self._history.read() as connection:
            for entry in entries:
                if self._done.get(entry.path) == entry.mark:
                    continue
                row = connection.execute(_KNOWN, {"path": entry.path, "model": model}).fetchone()
                same = row is not None and (row[0], row[1]) == entry.mark
                if same and row[3]:
                    self._done[entry.path] = entry.mark
                else:
                    found.append((entry, row[2] if same else None))
        return found

    def done(self, entry: Entry, digest: str) -> None:
        """Note that the file needs no more attention as it is.

        Args:
            entry: As it was when it was read.
            digest: Of its content.
        """
        self._done[entry.path] = entry.mark
        self._noted[entry.path] = Known(entry.size, entry.modified, digest)
        if len(self._noted) >= AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write what was noted into the history."""
        if self._noted:
            rows = [(path, *known) for path, known in self._noted.items()]
            with self._history.write(durable=False) as connection:
                connection.executemany("REPLACE INTO file VALUES (?, ?, ?, ?)", rows)
            self._noted = {}

    def forget_refused(self) -> int:
        """Let everything that was refused be tried once more: how much that is."""
        with self._history.write() as connection:
            connection.execute("DELETE FROM attempt")
            return int(connection.execute("DELETE FROM refused").rowcount)

    def forget_attempt(self, digest: str) -> None:
        """Take back that a file was about to be read: reading it has not ended the process."""
        with self._history.write(durable=False) as connection:
            connection.execute("DELETE FROM attempt WHERE digest = ?", (digest,))

    def with_content(self, digest: str) -> Earlier | None:
        """The batch that content became; None where it was never taken."""
        return self._earlier("digest = ?", digest)

    def at(self, path: str) -> Earlier | None:
        """The last batch that was taken from a path; None where there is none."""
        return self._earlier("path = ? ORDER BY batch DESC LIMIT 1", path)

    def _earlier(self, which: str, value: str) -> Earlier | None:
        with self._history.read() as connection:
            row = connection.execute(
                f"SELECT batch, digest, name FROM batch WHERE {which}", (value,)
            ).fetchone()
        return None if row is None else Earlier(*row)
