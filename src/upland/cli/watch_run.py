"""One run of a watch: it takes what there is, prints what is decided and delivers alarms."""

from __future__ import annotations

import queue
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from upland.cli.console import ENDS, OutputError, fail, sentence, shown
from upland.cli.decisions import Lines
from upland.cli.process import Ended, check_ended

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.watch.channels import Channel
    from upland.watch.decision import Decision
    from upland.watch.deliveries import Deliveries
    from upland.watch.incoming import Incoming
    from upland.watch.intake import Step
    from upland.watch.watch import Watch

Wanted = Callable[[str], bool]

FLUSH = 30.0
"""Seconds at the end of a run in which alarms are still delivered."""

PAGE = 60.0
"""Seconds between two pages of a history at least, while it is followed."""

AT_END = 0.3
"""The same after a signal."""

STANDARD_INPUT = "standard input"
"""What a batch from there is called."""


class Run:
    """One run of a watch: takes what there is, prints and delivers what follows.

    Args:
        lines: Prints.
        channels: Ways to deliver alarms.

    Attributes:
        names: Of the channels.
        words: Says why a file is refused.
        batches: How many were taken.
        alarms: How many were raised.
        refused: How many files were refused.
        failed: Whether what was named itself, a file or standard input, was refused.
    """

    watch: Watch

    def __init__(self, lines: Lines, channels: Sequence[Channel]) -> None:
        from upland.watch.intake import ErrorWording

        self.lines, self._channels = lines, channels
        self.names = [channel.name for channel in channels]
        self.words = ErrorWording(lambda error, file: shown(sentence(error), file))
        self.batches = self.alarms = self.refused = self.waiting = 0
        self.failed = False
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._deliveries: Deliveries | None = None

    @contextmanager
    def delivering(self, watch: Watch) -> Iterator[None]:
        """Let a watch decide and deliver its alarms; where something is raised less time is left for these.

        Args:
            watch: With the names and the words of this.
        """
        from upland.watch.deliveries import Deliveries

        self.watch, seconds = watch, AT_END
        self._deliveries = Deliveries(watch.history, self._channels, self._notes.put)
        try:
            for name, count in self._deliveries.elsewhere().items():
                self.lines.warn(f"{count} alarm(s) of earlier runs wait for {name}, which this run lacks")
            yield
            seconds = FLUSH
        finally:
            self.waiting = self._deliveries.close(seconds)
            self.say_notes()

    def say_notes(self) -> None:
        """Print what the threads that deliver alarms have to say."""
        while not self._notes.empty():
            self.lines.warn(self._notes.get())

    def take_piped(self, file: Path) -> None:
        """Take standard input, which was kept in a file, as one batch."""
        self.words.begin(file, STANDARD_INPUT)
        found = self.watch.update(file, name=STANDARD_INPUT, path="-")
        if found.status == "taken":
            self._taken(found)
            return
        reason = found.reason or f"its content was taken before, as batch {found.batch} ({found.name})"
        self.failed = found.status == "refused"
        self.refused += self.failed
        self.lines.other(found.status, STANDARD_INPUT, shown(reason, file), found)

    def take_files(
        self,
        place: Path,
        stable: float,
        poll: float | None,
        retry_refused: bool,
        write_page: Callable[[], object] | None = None,
    ) -> None:
        """Take the files at a place, once or for ever.

        Args:
            place: A folder, a pattern or a file.
            stable: Seconds for which a file must not have changed.
            poll: Seconds between two passes; None ends after the first one.
            retry_refused: Whether files that were refused are tried again.
            write_page: Writes the page of the history, which is done again while there are new batches.
        """
        from upland.watch.incoming import Incoming
        from upland.watch.intake import Intake

        files = Incoming(place, wanted_by(self.watch.detector), stable)
        intake = Intake(self.watch, files, self.words)
        if retry_refused:
            intake.forget_refused()
        self._pass(intake.once(poll is None))
        self._say_left(files)
        if poll is None:
            if intake.unfinished:
                clock.sleep(stable)
                self._pass(intake.once())
            for name in intake.unfinished:
                self.lines.other("later", name, "it is still being written; the next run takes it", None)
            self.failed = bool(self.refused) and place.is_file()
            return
        shown_batches, shown_at = -1, -PAGE
        while True:
            self.say_notes()
            if (
                write_page is not None
                and self.batches > shown_batches
                and clock.monotonic() >= shown_at + PAGE
            ):
                write_page()
                shown_batches, shown_at = self.batches, clock.monotonic() if self.batches else -PAGE
            clock.sleep(poll)
            check_ended()
            try:
                self._pass(intake.once(at_once=False))
            except (FileNotFoundError, NotADirectoryError):
                self.lines.warn(f"{place} is not there; it is waited for")

    def _pass(self, steps: Iterator[Step]) -> None:
        for step in steps:
            if step.kind == "taken" and step.decision is not None:
                self._taken(step.decision)
            else:
                self.refused += step.kind == "refused"
                self.lines.other(step.kind, step.name, step.text, step.decision)
            self.say_notes()

    def _taken(self, found: Decision) -> None:
        self.batches += 1
        self.alarms += len(found.alarms)
        if found.alarms and self._deliveries is not None:
            self._deliveries.wake()
        self.lines.decision(found)

    def _say_left(self, files: Incoming) -> None:
        """Say which files are left out, those that someone may have meant."""
        for name in files.left["link"]:
            self.lines.warn(f"{name} is a link that leads out of the place, which is not followed")
        for name in files.left["unreadable"]:
            self.lines.warn(f"{name} cannot be read")
        if others := files.left["format"]:
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            self.lines.note(f"of another format, left out: {', '.join(others[:5])}{more}")


def wanted_by(detector: Detector) -> Wanted:
    """Whether a name is of a format that a model reads."""
    from upland.io.arrays import is_array_file
    from upland.io.images import is_image_file
    from upland.io.places import has_rows

    if detector.modality == "image":
        return lambda name: is_image_file(Path(name)) or is_array_file(name)
    if detector.modality == "table" and detector.encoder_.named:
        return has_rows
    return lambda name: has_rows(name) or is_array_file(name)


@contextmanager
def history_written() -> Iterator[None]:
    """Turn what goes wrong with the history into an `OutputError`."""
    from upland.watch.history import HistoryError

    try:
        yield
    except HistoryError as error:
        raise OutputError(str(error)) from error


@contextmanager
def until_ended(lines: Lines, follow: bool) -> Iterator[None]:
    """Take a signal as the end; it is the ordinary one of --follow.

    Raises:
        typer.Exit: The run was to end by itself.
    """
    try:
        yield
    except Ended as ended:
        if not follow:
            text = f"{ENDS[ended.code]}; what was taken before is in the history"
            raise fail(text, ended.code, lines.as_json) from None


def say_summary(lines: Lines, run: Run, history: Path) -> None:
    """Say how the run ended."""
    if run.waiting:
        lines.warn(f"{run.waiting} alarm(s) are not delivered yet; the next run tries again")
    refused = f", {run.refused} refused" if run.refused else ""
    count = f"{run.batches} new batch{'' if run.batches == 1 else 'es'}"
    lines.note(f"{count}, {run.alarms} alarm{'' if run.alarms == 1 else 's'}{refused}; history {history}")
