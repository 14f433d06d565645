"""The states of series that come step by step: in memory, or in a SQLite file that processes share."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.numpy import load, save

from upland.detectors.sequence import SequenceDetector
from upland.detectors.stream import Stream, begin
from upland.serve.errors import Refusal

LOG = logging.getLogger("upland.serve")
Key = tuple[str, str]
"""The name of a model, and the id of a series."""

Result = TypeVar("Result")
BUSY = 30.0
"""Seconds to wait for another process that writes."""

_TABLE = """
CREATE TABLE IF NOT EXISTS series (
    model TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, steps INTEGER NOT NULL, at REAL NOT NULL,
    state BLOB NOT NULL, PRIMARY KEY (model, id)
)
"""


def beginning(detector: SequenceDetector) -> Stream:
    """The state before the first step of any series; all series share its models.

    Args:
        detector: fitted.
    """
    name = detector.criterion_of("step")
    criteria = [detector.fitted_criterion(member, "step") for member in detector.members_]
    return begin(detector.members_, criteria, name)  # type: ignore[arg-type]


class States(ABC):
    """States of series, the one that was not seen for longest giving way: abstract.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    @abstractmethod
    def advance(
        self, key: Key, version: str, start: Stream, step: Callable[[Stream], tuple[Result, Stream]]
    ) -> Result:
        """Go on with a series, alone with it, and keep its new state.

        Args:
            key: of the series.
            version: of the model; a state of another version is not used.
            start: the state before the first step.
            step: from a state to a result and the next state; where it raises, the state stays.
        """

    @abstractmethod
    def forget(self, key: Key) -> bool:
        """Drop the state of a series; whether there was one."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def close(self) -> None:
        """Nothing more is to come."""


class InMemory(States):
    """States in the memory of this process."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._kept: OrderedDict[Key, tuple[str, Stream]] = OrderedDict()
        self._lock = threading.Lock()

    def advance(
        self, key: Key, version: str, start: Stream, step: Callable[[Stream], tuple[Result, Stream]]
    ) -> Result:
        """See `States.advance`."""
        with self._lock:
            known, state = self._kept.get(key, (version, start))
            result, after = step(state if known == version else start)
            self._kept[key] = (version, after)
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
            return result

    def forget(self, key: Key) -> bool:
        """See `States.forget`."""
        with self._lock:
            return self._kept.pop(key, None) is not None

    def __len__(self) -> int:
        return len(self._kept)

    def close(self) -> None:
        """Nothing is to be closed."""


class InFile(States):
    """States in a SQLite file, which survive the process and which several processes share.

    Args:
        path: of the file; it is made where there is none.
        most: how many are kept.

    Raises:
        ValueError: the file is no database, or cannot be written.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(most)
        self._lock = threading.Lock()
        try:
            self._file = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute(_TABLE)
            self._file.execute("CREATE INDEX IF NOT EXISTS by_time ON series (at)")
        except sqlite3.Error as error:
            raise ValueError(f"{path} cannot keep the states of series: {error}") from None

    def advance(
        self, key: Key, version: str, start: Stream, step: Callable[[Stream], tuple[Result, Stream]]
    ) -> Result:
        """See `States.advance`; the file is locked meanwhile."""
        with self._kept():
            self._file.execute("BEGIN IMMEDIATE")
            result, after = step(self._read(key, version, start))
            row = (*key, version, after.steps, time.time(), save(after.to_arrays()))
            self._file.execute("REPLACE INTO series VALUES (?, ?, ?, ?, ?, ?)", row)
            over = "DELETE FROM series WHERE rowid IN (SELECT rowid FROM series ORDER BY at LIMIT ?)"
            if (more := len(self) - self.most) > 0:
                self._file.execute(over, (more,))
            self._file.execute("COMMIT")
        return result

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Alone with the file; where it cannot be written, as on a full disk, everything stays as it was."""
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                LOG.exception("the file of states cannot be written")
                raise Refusal(507, "the state of the series cannot be kept: it stays as it was") from error
            finally:
                if self._file.in_transaction:  # SQLite itself has ended it after some errors
                    with suppress(sqlite3.Error):
                        self._file.execute("ROLLBACK")

    def _read(self, key: Key, version: str, start: Stream) -> Stream:
        """The state of a series; the beginning where there is none of this version."""
        found = self._file.execute(
            "SELECT state FROM series WHERE model = ? AND id = ? AND version = ?", (*key, version)
        ).fetchone()
        if found is None:
            return start
        try:
            return start.with_arrays(load(found[0]))
        except (ValueError, SafetensorError, TypeError):
            raise Refusal(409, "the state of this series cannot be read: forget it, and begin anew") from None

    def forget(self, key: Key) -> bool:
        """See `States.forget`."""
        with self._kept():
            return self._file.execute("DELETE FROM series WHERE model = ? AND id = ?", key).rowcount > 0

    def __len__(self) -> int:
        with closing(self._file.execute("SELECT count(*) FROM series")) as found:
            return int(found.fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
