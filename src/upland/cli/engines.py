"""What the commands do where Ray does the work: options that fit, progress, and the result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from upland.catalogue import FORMATS
from upland.cli.checks import check, check_alpha
from upland.cli.console import ANOMALY, INTERRUPTED, OutputError, Reporter, console, fail, shown
from upland.cli.process import STANDARD_OUTPUT, Ended
from upland.cli.rendering import RATES
from upland.cli.results import REASONS
from upland.cli.words import counted
from upland.io.advice import text_of

if TYPE_CHECKING:
    from rich.console import Console

    from upland.calibration.false_discovery import Control
    from upland.detectors.base import Detector
    from upland.distributed.scoring import Progress, Scored


def folder_of(output: Path | None, counterfactual: int | None, maps: Path | None) -> Path:
    """The folder to write into; raises typer.BadParameter, OutputError for what Ray does not do."""
    check(
        output not in (None, STANDARD_OUTPUT), "--engine ray writes a file for each file of DATA: say -o DIR"
    )
    assert output is not None
    text = f"--engine ray writes a folder, and {output} is named like a file: name a folder"
    check(not output.name.casefold().endswith(tuple(FORMATS)), text)
    check(counterfactual is None, "--counterfactual does not go with --engine ray: leave one of them out")
    check(maps is None, "--maps does not go with --engine ray: leave one of them out")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file, and --engine ray writes a folder: name another")
    return output


def score_partitions(
    reporter: Reporter,
    model: Path,
    data: Path,
    output: Path,
    fail_on_anomaly: bool,
    alpha: float | None,
    control: Control,
    why: bool,
    **options: Any,
) -> None:
    """Score the partitions at a place, and print what came of it.

    Raises:
        typer.Exit: Something is flagged, and the user wants that to be an exit code; a signal came.
        OutputError: The output holds what may not be replaced.
        ValueError, OSError: A partition or the model cannot be used.
    """
    check_alpha(alpha)
    from upland.distributed.scoring import score

    options |= {"alpha": alpha, "control": control, "explain": REASONS if why else 0}
    with _work(reporter.as_json), progress_of(reporter, "partitions") as progress:
        found = score(model, data, output, **options, progress=progress)
    reporter.result(
        lambda: _document(found, control, output),
        lambda screen: _show(screen, found, control, output),
    )
    if fail_on_anomaly and found.flagged:
        raise typer.Exit(ANOMALY)


def fit_partitions(
    reporter: Reporter,
    detector: Detector,
    data: Path,
    checkpoint: Path | None,
    address: str | None,
    workers: int | None,
) -> None:
    """Fit a detector on the partitions at a place.

    Raises:
        typer.BadParameter: Ray does not fit such a detector.
        ValueError, OSError: A partition cannot be used.
    """
    from upland.detectors.table import TableDetector
    from upland.distributed.fit import fit

    text = "--engine ray fits one model of the rows of a table, without --by, --time and --id"
    check(isinstance(detector, TableDetector), text)
    check(checkpoint is None, "--checkpoint does not go with --engine ray: leave one of them out")
    with progress_of(reporter, "readings of partitions") as progress:
        fit(detector, data, address=address, workers=workers, progress=progress)


@contextmanager
def _work(as_json: bool) -> Iterator[None]:
    """Turn what may not be replaced into an `OutputError`; after a signal say what stays."""
    try:
        yield
    except FileExistsError as error:
        raise OutputError(shown(text_of(error))) from error
    except (KeyboardInterrupt, Ended) as ended:
        code = ended.code if isinstance(ended, Ended) else INTERRUPTED
        text = "interrupted; partitions that are done stay, and the same call takes up the rest"
        raise fail(text, code, as_json) from None


@contextmanager
def progress_of(reporter: Reporter, what: str) -> Iterator[Progress]:
    """A progress bar, where standard error is a terminal."""
    screen = console(sys.stderr)
    if reporter.quiet or reporter.as_json or not screen.is_terminal:
        yield lambda done, of: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _document(found: Scored, control: str, output: Path) -> dict[str, Any]:
    """The result as plain data."""
    return {
        "unit": found.unit,
        f"{found.unit}s": found.count,
        "flagged": found.flagged,
        "alpha": found.alpha,
        "control": control,
        "cut": found.cut,
        "partitions": found.partitions,
        "scored": found.fresh,
        "output": str(output),
    }


def _show(screen: Console, found: Scored, control: str, output: Path) -> None:
    share = f" ({found.flagged / found.count:.1%})" if found.count else ""
    of = f"{found.flagged:,} of {counted(found.count, found.unit)}"
    screen.print(f"{of} flagged{share} at {RATES[control]} {found.alpha:g}")
    before = found.partitions - found.fresh
    if not found.fresh:
        text = f"nothing to do: {counted(found.partitions, 'partition')} in {output} had been scored before"
    elif before:
        text = f"wrote {counted(found.fresh, 'partition')} into {output}; {before:,} had been scored before"
    else:
        text = f"wrote {counted(found.fresh, 'partition')} into {output}"
    screen.print(text, soft_wrap=True)
