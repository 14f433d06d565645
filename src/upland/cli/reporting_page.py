"""The command that writes a report as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check, check_other
from upland.cli.console import ANOMALY, alone, check_target, claimed, reporting, writing
from upland.cli.process import STANDARD_OUTPUT
from upland.cli.standard_input import NAME

if TYPE_CHECKING:
    from rich.console import Console

SUFFIXES = (".html", ".htm")

Page = Annotated[
    Path,
    typer.Option("--output", "-o", readable=False, help="HTML file to write (.html).", show_default=False),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        metavar=option.COLUMN, help="Test groups of rows too: the column that names them; repeatable."
    ),
]
Time = Annotated[
    str | None,
    typer.Option(metavar=option.COLUMN, help="Show flags over time: the column that says when a row was."),
]


@command
def report(
    model: option.Model,
    data: option.Rows,
    output: Page,
    by: Groups = None,
    time: Time = None,
    alpha: option.OfModel = None,
    top: option.Top = 50,
    fail_on_anomaly: option.FailOn = False,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Write one HTML page about new data: what is anomalous, why, and how sure that is.

    The page holds everything that it shows and asks no other host for anything. Rows are read in batches.
    """
    with reporting(as_json, quiet, data) as reporter, alone(output, wait):
        check(alpha is None or 0 < alpha < 1, f"--alpha must lie between 0 and 1, not {alpha}")
        check(output != STANDARD_OUTPUT, "a page is written into a file, not to standard output: name one")
        check(output.suffix.lower() in SUFFIXES, f"name the page *.html, such as {output.stem}.html")
        check_target(output, overwrite)
        for path in (model, data):
            check_other(output, path)
        from upland.cli.inputs import check_new
        from upland.io.modelfile import read_bytes
        from upland.persistence import load_bytes
        from upland.reporting.base import Settings
        from upland.reporting.report import report_of

        content = read_bytes(model)
        detector = load_bytes(content, model)
        check_new(data, detector.modality)
        called = "standard input" if data.stem.startswith(NAME) else data.name
        level = detector.alpha_ if alpha is None else alpha
        settings = Settings(level, tuple(by or ()), time, top, called)
        with claimed(output, overwrite) as target:
            found = report_of(detector, data, settings, model, content)
            with writing(output):
                found.save(target)
        document = {"output": str(output), **found.facts}

        def show(screen: Console) -> None:
            for sentence in found.page.summary:
                screen.print(sentence)
            screen.print(f"wrote {output}", soft_wrap=True)

        reporter.result(lambda: document, show)
        if fail_on_anomaly and found.flagged:
            raise typer.Exit(ANOMALY)
