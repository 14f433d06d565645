"""The command that says how many alarms each level gives, and chooses one by a budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upland.cli import options as option
from upland.cli.app import command
from upland.cli.checks import check, check_alpha, check_model_file, check_other
from upland.cli.console import Reporter, alone, check_target, claimed, reporting, writing
from upland.cli.process import STANDARD_OUTPUT

if TYPE_CHECKING:
    from upland.detectors.base import Detector
    from upland.io.cells import CellOptions
    from upland.scoring.alarm_history import Alarms, By
    from upland.scoring.alarms import Level
    from upland.scoring.budget import Budget

Time = Annotated[
    str | None, typer.Option(metavar=option.COLUMN, help="Says when a row of a table was, for alarms a day.")
]
Series = Annotated[
    str | None,
    typer.Option(metavar=option.COLUMN, help="Names the series of a row of a table, such as its machine."),
]
Merge = Annotated[
    str | None,
    typer.Option(
        metavar="ROWS|TIME",
        help="Flagged rows of a series at most so far apart are one alarm, such as 3 or 10min; 0 merges "
        "none. By default 3 rows, without a time 0.",
    ),
]
Budget_ = Annotated[
    str | None,
    typer.Option(
        metavar="N per TIME",
        help="Choose the largest level that keeps it, such as '3 per day', '1 per week', '2 per 1000'.",
    ),
]
ByBlocks = Annotated[
    bool,
    typer.Option(
        "--by-blocks",
        help="Choose by the peaks of held-out blocks of steps, which bound the false alarms, in place of the "
        "alarms of the history; of models of time steps.",
    ),
]
At = Annotated[
    float | None,
    typer.Option("--alpha", help="Show the alarms of this level, and write it with --in-place or --write."),
]
Levels = Annotated[
    Path | None,
    typer.Option("--output", "-o", readable=False, help="File to write: a row for each level and control."),
]
Write = Annotated[
    Path | None, typer.Option(readable=False, help="Model file to write, with the level as its own.")
]


@command
def alarms(
    model: option.Model,
    data: option.Rows,
    time: Time = None,
    id: Series = None,
    merge: Merge = None,
    budget: Budget_ = None,
    by_blocks: ByBlocks = False,
    alpha: At = None,
    output: Levels = None,
    in_place: option.InPlace = False,
    write: Write = None,
    dayfirst: option.DayFirst = None,
    top: option.Top = 10,
    overwrite: option.Overwrite = False,
    wait: option.Wait = 0.0,
    quiet: option.Quiet = False,
    as_json: option.Json = False,
) -> None:
    """Say how many alarms each level gives on a history, which they are, and how many would be false.

    With --budget the largest level is chosen whose alarms keep it, and with --in-place or --write FILE it
    becomes the level of the model: what every later score flags by. The guarantee is of false alarms; the
    number of alarms is an estimate, and what the choice does on the later half of the history is
    printed beside it. --by-blocks chooses by the calibration instead, and bounds the false alarms of time
    steps that depend on each other.
    """
    check(budget is not None or not by_blocks, "--by-blocks says how a --budget chooses: give both")
    check(budget is None or alpha is None, "--budget chooses the level that --alpha says: give one of them")
    check(not in_place or write is None, "say where the model goes: either --write FILE or --in-place")
    chooses = budget is not None or alpha is not None
    check(
        chooses or (write is None and not in_place), "nothing is chosen that could be written: say --budget"
    )
    check_alpha(alpha)
    target = model if in_place else write
    with reporting(as_json, quiet, data) as reporter, alone(target, wait), alone(output, wait):
        if target is not None:
            check_model_file(target, data, overwrite or in_place)
        _check_levels(output, overwrite, model, data, target)
        from upland.persistence import load
        from upland.scoring.alarm_history import counted
        from upland.scoring.budget import budget_of

        asked = None if budget is None else budget_of(budget)
        detector = load(model)
        cells = _cells(detector, dayfirst)
        if by_blocks and merge is None and detector.blocks_ is not None:
            merge = str(detector.blocks_.length)
        found = counted(detector, data, time, id, merge, cells)
        level = _level(found, asked, alpha, "blocks" if by_blocks else "history")
        if output is not None:
            _write_levels(found, output, overwrite)
        if target is not None:
            detector.set_alpha(level.alpha)
            with claimed(target, overwrite or in_place) as claim:
                from upland.persistence import save

                with writing(target):
                    save(detector, claim)
        _report(reporter, found, level, None if by_blocks else asked, top, output, target)


def _check_levels(output: Path | None, overwrite: bool, model: Path, data: Path, target: Path | None) -> None:
    """Refuse a file of levels that could not be written; raises typer.BadParameter, OutputError."""
    if output is None:
        return
    from upland.io.formats import suffix_of

    check(output != STANDARD_OUTPUT, "levels are written into a file, not to standard output: name one")
    check(target is None or target.absolute() != output.absolute(), "-o and --write name the same file")
    try:
        suffix_of(output, writable=True)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    check_target(output, overwrite)
    for path in (model, data):
        check_other(output, path)


def _cells(detector: Detector, dayfirst: bool | None) -> CellOptions | None:
    """How times are written as text, where the user says it."""
    from dataclasses import replace

    from upland.data.table.encoder import TableEncoder

    encoder = detector.encoder_
    if dayfirst is None or not isinstance(encoder, TableEncoder):
        return None
    return replace(encoder.cells, dayfirst=dayfirst)


def _level(found: Alarms, budget: Budget | None, alpha: float | None, by: By) -> Level:
    """The level that is shown and written; raises ValueError where no level keeps the budget, or all do."""
    if budget is None:
        level = found.alpha if alpha is None else alpha
        smallest = found.smallest_p
        if alpha is not None and alpha < smallest:
            from upland.calibration.conformal import size_for

            raise ValueError(
                f"alpha = {alpha:g} takes {size_for(alpha):,} calibration {found.unit}s, and the model has "
                f"{found.calibration:,}, whose smallest p-value is {smallest:.3g}: calibrate on more"
            )
        return found.at(level)
    from upland.scoring.choice import chosen

    return chosen(found, budget, by)


def _write_levels(found: Alarms, output: Path, overwrite: bool) -> None:
    from upland.io.formats import TableWriter

    with writing(output), TableWriter(output, overwrite=overwrite) as made:
        made.write(found.to_arrow())


def _report(
    reporter: Reporter,
    found: Alarms,
    level: Level,
    budget: Budget | None,
    top: int,
    output: Path | None,
    target: Path | None,
) -> None:
    from upland.cli.alarm_texts import document, show

    places = {
        "output": None if output is None else str(output),
        "model": None if target is None else str(target),
    }
    reporter.result(
        lambda: document(found, level, budget, top) | places,
        lambda screen: show(screen, found, level, budget, top, places),
    )
