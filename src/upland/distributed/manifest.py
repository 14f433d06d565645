"""What of a run is done: a file of JSON lines in the output, to which a line is added for each partition.

The first line says what decides the numbers: the digest of the model, the options, the version of upland. A
line counts once it is whole on the disk, so that a run that was killed goes on where it was. A lock keeps a
second program from writing into the same folder.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

_locks: Any = None  # Windows has no such locks
with suppress(ImportError):
    import fcntl as _locks

FOLDER = "_upland"
"""The folder in the output that holds what a run notes; readers of folders leave such names out."""


class Manifest:
    """The lines of a run; a context manager, which holds the lock.

    Args:
        output: The folder that is written into; it is made if it is not there.

    Attributes:
        run: What decided the numbers, None in a new folder.
        begun: Names of partitions that were handed to a task.
        scored: What is known of partitions whose scores wait for their flags, by their names.
        done: What is known of partitions that are written, by their names.
        cut: The largest p-value that is flagged, where it is of all rows together.

    Raises:
        FileExistsError: Another program writes into the folder.
        OSError: It cannot be written.
    """

    run: dict[str, Any] | None
    begun: set[str]
    scored: dict[str, dict[str, Any]]
    done: dict[str, dict[str, Any]]
    cut: float | None

    def __init__(self, output: Path) -> None:
        self.output, self.folder = output, output / FOLDER
        self._file: IO[bytes]
        self._forget()

    def _forget(self) -> None:
        self.run, self.begun, self.scored, self.done, self.cut = None, set(), {}, {}, None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self._file = stack.enter_context((self.folder / "manifest.jsonl").open("a+b"))
            self._lock()
            self._read()
            stack.pop_all()
        return self

    def _lock(self) -> None:
        try:
            if _locks is not None:
                _locks.flock(self._file.fileno(), _locks.LOCK_EX | _locks.LOCK_NB)
        except BlockingIOError:
            text = f"{self.output} is being written by another program: choose another folder"
            raise FileExistsError(text) from None

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _read(self) -> None:
        """Take in the lines that are whole; what a killed run has left of one is cut off."""
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                path = self.folder / "manifest.jsonl"
                raise ValueError(
                    f"{path}: line {number} is not one that upland writes: name another folder"
                ) from error

    def _take(self, record: dict[str, Any]) -> None:
        kind, value = record["kind"], record
        if kind == "run":
            self._forget()
            self.run = value["run"]
        elif kind == "begun":
            self.begun.add(value["partition"])
        elif kind == "scored":
            self.scored[value["partition"]] = value
        elif kind == "done":
            self.done[value["partition"]] = value
        elif kind == "cut":
            self.cut = float(value["cut"])
        else:
            raise ValueError(kind)

    def start(self, run: dict[str, Any]) -> None:
        """Begin anew; what was known is forgotten."""
        self._file.truncate(0)
        self.add("run", run=run)

    def add(self, kind: str, **values: Any) -> None:
        """Note something; it is on the disk when this returns."""
        record = {"kind": kind, **values}
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(record)
