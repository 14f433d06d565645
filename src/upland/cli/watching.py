"""The command that watches a folder: each new file is taken once, and what changes is alarmed.

Standard output has a line for each batch and a sentence for each alarm; with `--json` a JSON document in
each line. Everything else goes to standard error.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check
from upland.cli.console import ANOMALY, BAD_INPUT, reporting
from upland.cli.decisions import Lines
from upland.cli.standard_input import NAME, received

if TYPE_CHECKING:
    from upland.watch.channels import Channel

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
PageOf = Annotated[
    Path | None,
    typer.Option("--report", readable=False, help="HTML page of the history, replaced after each run."),
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
    report: PageOf = None,
    wait: Patience = 30.0,
    quiet: option.Quiet = False,
    as_json: JsonLines = False,
) -> None:
    """Take each new file of a folder once, keep a history, and say when the data have changed.

    False alarms are bounded for all time, however often this runs. Without --follow it takes what is there
    and ends, as a scheduler wants it.
    """
    numbers = {"--poll": poll, "--stable": stable, "--wait": wait, "--run-length": run_length}
    _check_numbers({"--delta": delta, "--fdr": fdr, "--alpha": alpha}, numbers)
    _check_every(every, time, by)
    piped = incoming.stem == NAME
    check(not (piped and follow), "--follow waits for files, and - is one batch: leave one of them out")
    chosen: dict[str, Any] = {"by": by, "time": time, "every": every, "alpha": alpha, "delta": delta}
    chosen |= {"run_length": run_length, "fdr": fdr, "block": block, "seed": seed, "keep_rows": keep_rows}
    lines = Lines(as_json, quiet, incoming)
    with reporting(as_json, quiet, incoming, lines):
        from upland.cli.history_page import check_page, write_history_page
        from upland.cli.watch_run import Run, history_written, say_summary, until_ended

        if report is not None:
            check_page(report, [model, incoming, history])
        page = None if report is None else partial(write_history_page, history, report)
        run = Run(lines, _channels(on_alarm, webhook))
        with until_ended(lines, follow), history_written():
            from upland.watch.history import History
            from upland.watch.watch import Watch

            with (
                History(history, wait) as opened,
                Watch(model, opened, channels=run.names, wording=run.words, **chosen) as watching,
                run.delivering(watching),
            ):
                if piped:
                    run.take_piped(incoming)
                else:
                    run.take_files(incoming, stable, poll if follow else None, retry_refused, page)
        say_summary(lines, run, history)
        if page is not None:
            lines.note(f"wrote {page()}")
        if run.failed or (fail_on_anomaly and run.alarms):
            raise typer.Exit(BAD_INPUT if run.failed else ANOMALY)


def _check_every(every: str | None, time: str | None, by: str | None) -> None:
    """Refuse parts of time that cannot be tested; raises typer.BadParameter."""
    check(every is None or time is not None, "--every tests parts of time: name their column, --time COLUMN")
    check(every is None or by is None, "--by and --every are two ways to test groups of rows: leave one out")


def _check_numbers(rates: dict[str, float | None], numbers: dict[str, float]) -> None:
    """Refuse options that are no rates, or without end; raises typer.BadParameter."""
    for name, rate in rates.items():
        check(rate is None or 0 < rate < 1, f"{name} must lie between 0 and 1, not {rate}")
    for name, number in numbers.items():
        check(math.isfinite(number), f"{name} must be a finite number, not {number:g}")


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
