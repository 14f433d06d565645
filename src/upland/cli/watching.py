"""The command that watches a folder: each new file is taken once, and what changes is alarmed.

Standard output has a line for each batch and a sentence for each alarm; with `--json` a JSON document in
each line. Everything else goes to standard error.
"""

from __future__ import annotations

import math
import queue
import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check
from upland.cli.console import ANOMALY, BAD_INPUT, ENDS, fail, reporting, sentence, shown
from upland.cli.decisions import Lines
from upland.cli.process import Ended
from upland.cli.standard_input import NAME, received

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.watch.channels import Channel
    from upland.watch.decision import Decision
    from upland.watch.deliveries import Deliveries
    from upland.watch.incoming import Incoming
    from upland.watch.intake import Step
    from upland.watch.watch import Watch

_Wanted = Callable[[str], bool]

FLUSH = 30.0
"""Seconds at the end of a run in which alarms are still delivered; after a signal it is a part of one."""

AT_END = 0.3
"""The same after a signal."""

STANDARD_INPUT = "standard input"
"""What a batch from there is called."""

Place = Annotated[
    Path,
    typer.Argument(
        readable=False,
        help="A folder, a pattern of names, or one file; - takes one batch from standard input.",
        show_default=False,
        callback=received,
    ),
]
HistoryFile = Annotated[Path, typer.Option("--history", readable=False, help="SQLite file of the history.")]
Groups = Annotated[
    str | None,
    typer.Option(
        "--by", metavar=option.COLUMN, help="Names the group of a row, such as its lot or its site."
    ),
]
Every = Annotated[
    str | None, typer.Option(metavar="WIDTH", help="Test rows by parts of time: 15min, 1h, 1d; needs --time.")
]
TimeOf = Annotated[str | None, typer.Option("--time", metavar=option.COLUMN, help="The times of the rows.")]
Follow = Annotated[bool, typer.Option("--follow", help="Wait for more files until SIGTERM or Ctrl-C.")]
Poll = Annotated[
    float, typer.Option(min=0.01, metavar="SECONDS", help="With --follow: between two looks at the files.")
]
Stable = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="A file must not have changed for so long.")
]
RowAlpha = Annotated[
    float | None, typer.Option(help="The rate of normal rows that are flagged; by default the model's own.")
]
Delta = Annotated[float, typer.Option(help="Chance that a change is ever alarmed though there was none.")]
RunLength = Annotated[
    float,
    typer.Option(min=1, metavar="N", help="Batches from one false alarm of a repeated change to the next."),
]
Fdr = Annotated[float, typer.Option(help="Share of batches and groups called off that are normal.")]
Block = Annotated[
    int, typer.Option(min=1, metavar="N", help="Of N consecutive rows one counts, where rows depend in time.")
]
OnAlarm = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND", help="Run on each alarm, without a shell; gets it as JSON on standard input."
    ),
]
Hook = Annotated[
    str | None,
    typer.Option(
        "--webhook", metavar="URL", help="POST each alarm there as JSON; better by the environment."
    ),
]
AlarmExit = Annotated[
    bool, typer.Option("--fail-on-anomaly", help="Exit with 10 if an alarm was raised in this run.")
]
KeepRows = Annotated[
    bool, typer.Option("--keep-rows", help="Keep the rows in the history, to calibrate and fit on them.")
]
Again = Annotated[bool, typer.Option("--retry-refused", help="Try files again that were refused before.")]
Patience = Annotated[
    float, typer.Option("--wait", min=0, metavar="SECONDS", help="Wait at most so long for the history.")
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each batch.")]


@command
def watch(
    model: option.Model,
    incoming: Place,
    history: HistoryFile,
    by: Groups = None,
    every: Every = None,
    time: TimeOf = None,
    follow: Follow = False,
    poll: Poll = 5.0,
    stable: Stable = 2.0,
    alpha: RowAlpha = None,
    delta: Delta = 0.01,
    run_length: RunLength = 1000.0,
    fdr: Fdr = 0.05,
    block: Block = 1,
    seed: option.Seed = 0,
    on_alarm: OnAlarm = None,
    webhook: Hook = None,
    fail_on_anomaly: AlarmExit = False,
    keep_rows: KeepRows = False,
    retry_refused: Again = False,
    wait: Patience = 30.0,
    quiet: option.Quiet = False,
    as_json: JsonLines = False,
) -> None:
    """Take each new file of a folder once, keep a history, and say when the data have changed.

    False alarms are bounded for all time, however often this runs. Without --follow it takes what is there and
    ends, as a scheduler wants it.
    """
    rates = {"--delta": delta, "--fdr": fdr, "--alpha": 0.5 if alpha is None else alpha}
    for name, rate in rates.items():
        check(0 < rate < 1, f"{name} must lie between 0 and 1, not {rate:g}")
    numbers = {"--poll": poll, "--stable": stable, "--wait": wait, "--run-length": run_length}
    for name, number in numbers.items():
        check(math.isfinite(number), f"{name} must be a finite number, not {number:g}")
    check(
        every is None or time is not None,
        "--every tests parts of time: name the column of times, --time COLUMN",
    )
    piped = incoming.stem == NAME
    check(not (piped and follow), "--follow waits for files, and - is one batch: leave one of them out")
    chosen: dict[str, Any] = {
        "by": by,
        "time": time,
        "every": every,
        "alpha": alpha,
        "delta": delta,
        "run_length": run_length,
    }
    chosen |= {"fdr": fdr, "block": block, "seed": seed, "keep_rows": keep_rows}
    check(every is None or by is None, "--by and --every are two ways to test groups of rows: leave one out")
    lines = Lines(as_json, quiet, incoming)
    with reporting(as_json, quiet, incoming, lines):
        channels = _channels(on_alarm, webhook)
        from upland.persistence import load
        from upland.watch.history import History
        from upland.watch.watch import Watch

        wanted = _wanted(load(model))
        names = [channel.name for channel in channels]
        with (
            History(history, wait) as opened,
            Watch(model, opened, channels=names, wording=_wording(incoming), **chosen) as watching,
            _Run(lines, watching, channels) as run,
            _until_ended(run, follow),
        ):
            if piped:
                run.take_piped(incoming)
            else:
                run.take_files(incoming, wanted, stable, poll if follow else None, retry_refused)
        _summary(lines, run, history)
        if fail_on_anomaly and run.alarms:
            raise typer.Exit(ANOMALY)
        if run.failed:
            raise typer.Exit(BAD_INPUT)


class _Run:
    """One run of a watch: takes what there is, prints and delivers what follows.

    Args:
        lines: Prints.
        watch: Decides.
        channels: Ways to deliver alarms.

    Attributes:
        batches: How many were taken.
        alarms: How many were raised.
        refused: How many files were refused.
        failed: Whether what was named itself, a file or standard input, was refused.
    """

    def __init__(self, lines: Lines, watch: Watch, channels: Sequence[Channel]) -> None:
        self.lines, self.watch, self._channels = lines, watch, channels
        self.batches = self.alarms = self.refused = self.waiting = 0
        self.failed = False
        self.patience = FLUSH
        self._notes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._deliveries: Deliveries | None = None

    def __enter__(self) -> _Run:
        from upland.watch.deliveries import Deliveries

        if self._channels:
            self._deliveries = Deliveries(self.watch.history, self._channels, self._notes.put)
            for name, count in self._deliveries.elsewhere().items():
                self.lines.warn(
                    f"{count} alarm(s) of earlier runs wait for {name}, which this run does not have"
                )
        return self

    def __exit__(self, *raised: object) -> None:
        if self._deliveries is not None:
            self.waiting = self._deliveries.close(self.patience)
        self.say_notes()

    def say_notes(self) -> None:
        """Print what the threads that deliver alarms have to say."""
        while not self._notes.empty():
            self.lines.warn(self._notes.get())

    def take_piped(self, file: Path) -> None:
        """Take standard input, which was kept in a file, as one batch."""
        found = self.watch.update(file, name=STANDARD_INPUT, path=None)
        if found.status == "taken":
            self._taken(found)
            return
        reason = found.reason or f"its content was taken before, as batch {found.batch} ({found.name})"
        self.failed = found.status == "refused"
        self.refused += self.failed
        self.lines.other(found.status, STANDARD_INPUT, shown(reason, file), found)

    def take_files(
        self, place: Path, wanted: _Wanted, stable: float, poll: float | None, retry_refused: bool
    ) -> None:
        """Take the files at a place, once or for ever.

        Args:
            place: A folder, a pattern or a file.
            wanted: Whether a name is of a format that the model reads.
            stable: Seconds for which a file must not have changed.
            poll: Seconds between two passes; None ends after the first one.
            retry_refused: Whether files that were refused are tried again.
        """
        from upland.watch.incoming import Incoming
        from upland.watch.intake import Intake

        files = Incoming(place, wanted, stable)
        intake = Intake(self.watch, files, _wording())
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
        while True:
            self.say_notes()
            clock.sleep(poll)
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


def _wording(file: Path | None = None) -> Callable[[Exception], str]:
    """From an error to the sentence that says why a file is refused, in the words of the command line."""
    return lambda error: shown(sentence(error), file)


def _wanted(detector: Detector) -> _Wanted:
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
def _until_ended(run: _Run, follow: bool) -> Iterator[None]:
    """Take a signal as the end; it is the ordinary one of --follow.

    Raises:
        typer.Exit: The run was to end by itself.
    """
    try:
        yield
    except Ended as ended:
        run.patience = AT_END
        if not follow:
            text = f"{ENDS[ended.code]}; what was taken before is in the history"
            raise fail(text, ended.code, run.lines.as_json) from None
    except BaseException:
        run.patience = AT_END
        raise


def _summary(lines: Lines, run: _Run, history: Path) -> None:
    """Say how the run ended."""
    if run.waiting:
        lines.warn(f"{run.waiting} alarm(s) are not delivered yet; the next run tries again")
    refused = f", {run.refused} refused" if run.refused else ""
    count = f"{run.batches} new batch{'' if run.batches == 1 else 'es'}"
    lines.note(f"{count}, {run.alarms} alarm{'' if run.alarms == 1 else 's'}{refused}; history {history}")


def _channels(on_alarm: str | None, webhook: str | None) -> list[Channel]:
    """The ways to deliver alarms; raises typer.BadParameter for what cannot be one."""
    from upland.watch.channels import Command, Webhook

    found: list[Channel] = []
    for name, make, text in (("--on-alarm", Command, on_alarm), ("--webhook", Webhook, webhook)):
        if text is not None:
            try:
                found.append(make(text))
            except ValueError as error:
                raise typer.BadParameter(f"{name}: {error}") from None
    return found
