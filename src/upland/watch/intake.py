"""From the files at a place to decisions on them: each content is taken once, and what cannot be taken is
refused with its reason, so that the rest goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from upland.watch.decision import Decision
from upland.watch.files import KnownFiles
from upland.watch.history import HistoryError
from upland.watch.incoming import Entry, Incoming, check_unchanged, digest_of, readable

if TYPE_CHECKING:
    from upland.watch.watch import Watch

MISREAD = (ArithmeticError, LookupError, MemoryError, RuntimeError)
"""What a file can bring about beside what the watch itself refuses."""

Kind = Literal["taken", "known", "refused", "later"]


class Step(NamedTuple):
    """What became of a file.

    Args:
        kind: `taken` now; `known`, its content was taken before; `refused`; or `later`, it is left for the
            next pass.
        name: Of the file.
        text: Why, in a sentence; empty where it was taken.
        decision: Of the watch, where it made one.
    """

    kind: Kind
    name: str
    text: str = ""
    decision: Decision | None = None


class ErrorWording:
    """From an error to the sentence that says why a file is refused.

    Args:
        text: Of an error and the file that is read.
    """

    def __init__(self, text: Callable[[Exception, Path | None], str]) -> None:
        self._text = text
        self._file: Path | None = None
        self._name = ""

    def begin(self, file: Path, name: str) -> None:
        """Speak of another file from now on.

        Args:
            file: That is read.
            name: What messages call it.
        """
        self._file, self._name = file, name

    def __call__(self, error: Exception) -> str:
        """The sentence."""
        text = self._text(error, self._file)
        return text if self._file is None else text.replace(os.fspath(self._file), self._name)


class Intake:
    """Takes the files at a place, pass after pass.

    Args:
        watch: That decides, with the same wording.
        incoming: The place.
        wording: Says why a file is refused.

    Attributes:
        unfinished: Names of files that were not complete in the last pass.
    """

    def __init__(self, watch: Watch, incoming: Incoming, wording: ErrorWording) -> None:
        self._watch, self._incoming, self._wording = watch, incoming, wording
        self._files = KnownFiles(watch.history)
        self._said: set[tuple[str, str]] = set()
        self.unfinished: list[str] = []

    def forget_refused(self) -> int:
        """Let everything that was refused be tried once more: how much that is."""
        return self._files.forget_refused()

    def once(self, at_once: bool = True) -> Iterator[Step]:
        """Take all files that are new and complete, in order.

        Args:
            at_once: Whether a file with an old time of change is complete without a second check.

        Raises:
            HistoryError: The history cannot be used.
            OSError: The place cannot be read.
        """
        new = self._files.new(self._incoming.scan(), self._watch.model_digest())
        self.unfinished = []
        try:
            for entry, digest in new:
                if digest is None and not self._incoming.complete(entry, at_once):
                    self.unfinished.append(entry.name)
                elif (step := self._take(entry, digest)) is not None:
                    yield step
        finally:
            self._files.write()

    def _take(self, entry: Entry, known: str | None) -> Step | None:
        """What becomes of one file; None where there is nothing to say."""
        try:
            digest = known or digest_of(entry)
            step = self._with_content(entry, digest)
        except HistoryError:
            raise
        except (OSError, ImportError) as error:  # it changed, vanished or cannot be read as things are
            text = self._wording(error)
            if (entry.name, text) in self._said:
                return None
            self._said.add((entry.name, text))
            return Step("later", entry.name, text)
        self._files.done(entry, digest)
        return step

    def _with_content(self, entry: Entry, digest: str) -> Step | None:
        if (same := self._files.with_content(digest)) is not None:
            if same.name == entry.name:
                return None  # touched, or copied back to where it was
            text = f"it has the content of batch {same.batch} ({same.name}) and is not taken again"
            return Step("known", entry.name, text)
        if (before := self._files.at(entry.path)) is not None:
            text = (
                f"it has changed since it was taken as batch {before.batch}, and its rows may be the same: "
                "give new rows a file of their own, under another name"
            )
            return self._refused(entry, f"{digest}@{entry.path}", text)
        decision = self._watch.begin_attempt(digest, entry.name, entry.path)
        if decision is not None:
            return _step(entry, decision)
        check_unchanged(entry)
        named: dict[str, str | None] = {"name": entry.name, "digest": digest, "path": entry.path}
        try:
            with readable(entry.file) as file:
                self._wording.begin(file, entry.name)
                return _step(entry, self._watch.update(file, time=_moment(entry), **named))
        except MISREAD as error:  # it is of this file, so that the rest goes on
            check_unchanged(entry)
            return self._refused(entry, digest, self._wording(error))
        except BaseException as error:
            if isinstance(error, OSError | ImportError) or not isinstance(error, Exception):
                with suppress(HistoryError):  # a signal, say: the file is innocent
                    self._files.forget_attempt(digest)
            raise

    def _refused(self, entry: Entry, digest: str, text: str) -> Step:
        return _step(entry, self._watch.refuse(digest, text, entry.name, entry.path))


def _moment(entry: Entry) -> str | None:
    """The time of change as text; None where no calendar has it."""
    try:
        return datetime.fromtimestamp(entry.modified / 1e9, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None


def _step(entry: Entry, decision: Decision) -> Step:
    return Step(decision.status, entry.name, decision.reason, decision)
