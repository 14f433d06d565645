"""The command line: `upland fit`, `score`, `groups`, `info`, `calibrate`, `demo`.

Everything heavy is imported inside the command that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from upland.cli.console import (
    ANOMALY,
    OutputError,
    Reporter,
    check_target,
    console,
    fail,
    reporting,
    writing,
)
from upland.cli.options import (
    AllMaps,
    Alpha,
    By,
    Categorical,
    Checkpoint,
    Control,
    Criterion,
    Device,
    Epochs,
    FailOn,
    Family,
    Folder,
    GroupControl,
    GroupStatistic,
    Id,
    Ignore,
    InPlace,
    Json,
    Judged,
    Keep,
    KindOf,
    MapsIn,
    Members,
    Mode,
    Model,
    NewModel,
    Noise,
    Normal,
    Overwrite,
    Per,
    Prior,
    Procedure,
    Quiet,
    Renewed,
    Replace,
    Rows,
    Scored,
    Seed,
    Shown,
    Size,
    Stride,
    Time,
    Top,
    Why,
    Window,
)

if TYPE_CHECKING:
    from rich.console import Console

    from upland.cli.scoring import Scoring
    from upland.cli.verdicts import Asked
    from upland.detectors.base import Detector

EXIT_CODES = """\
Exit codes: 0 done; 1 the data or the model file cannot be used; 2 the command line is not understood;
3 the output exists or cannot be written; 10 rows or groups were flagged (with --fail-on-anomaly);
70 an error inside upland; 130 interrupted. UPLAND_DEBUG=1 shows where an error arose.
""".replace("\n", " ")

app = typer.Typer(
    name="upland",
    help="Find the rows, moments or images that do not look like normal ones, and say why.",
    epilog=EXIT_CODES,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


# -- commands ------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the command line; a usage error is one paragraph, or JSON when `--json` was asked for."""
    as_json = "--json" in sys.argv[1:]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that the terminal cannot show is no reason to stop
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="upland", standalone_mode=False)
    except typer.TyperException as error:
        said = error.format_message().rstrip(".")
        code = fail(f"{said}. Try: upland --help", error.exit_code, as_json).exit_code
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _version(asked: bool) -> None:
    if asked:
        from upland import __version__

        typer.echo(f"upland {__version__}")
        raise typer.Exit


@app.callback()
def upland(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Find the rows, moments or images that do not look like normal ones, and say why."""


@app.command(epilog=EXIT_CODES)
def fit(
    data: Normal,
    output: NewModel,
    model: Family = "energy",
    kind: KindOf = "auto",
    time: Time = None,
    id: Id = None,
    window: Window = None,
    stride: Stride = None,
    per: Per = None,
    size: Size = None,
    mode: Mode = None,
    criterion: Criterion = None,
    noise: Noise = None,
    prior: Prior = None,
    members: Members = None,
    categorical: Categorical = None,
    ignore: Ignore = None,
    calibration: Procedure = None,
    keep_rows: Keep = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    device: Device = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Learn what normal data look like and write a model file.

    A table has a row for each case. With --time or --id its rows are time steps of sequences, as they are in
    an array of three dimensions; images come as a folder or an array. Flows and VAEs read tables and images.
    """
    chosen = {
        "kind": kind,
        "time": time,
        "id": id,
        "window": window,
        "stride": stride,
        "per": per,
        "size": None if size is None else _size(size),
        "mode": mode,
        "criterion": criterion,
        **{"noise": noise, "prior": prior, "members": members},
        **{"categorical": categorical, "ignore": ignore},
        "calibration": calibration,
        "keep_rows": keep_rows,
        "epochs": epochs,
        "device": device,
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    with reporting(as_json, quiet) as reporter:
        check_target(output, overwrite)
        _check_other(output, data)
        from upland.cli.families import check_family, family
        from upland.cli.inputs import array_in, form_of, kind_in

        given["kind"] = kind_in(data, given)
        check_family(model, data, given)
        an_array = given["kind"] == "sequence" and form_of(data) == "array"
        progress: Literal[False, "auto"] = False if quiet or as_json else "auto"
        detector = family(model)(**given, random_state=seed, progress=progress)
        detector.fit(array_in(data) if an_array else data, checkpoint=checkpoint)
        _save(reporter, detector, output)


@app.command(epilog=EXIT_CODES)
def score(
    model: Model,
    data: Rows,
    output: Scored = None,
    alpha: Alpha = 0.05,
    control: Control = "false_alarm",
    why: Why = False,
    top: Top = 10,
    maps: MapsIn = None,
    all_maps: AllMaps = False,
    replace_columns: Replace = False,
    fail_on_anomaly: FailOn = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score data: adds anomaly_score, p_value, is_anomaly and, with --why, what to blame.

    Without -o nothing is written and the strangest are shown.
    """
    with reporting(as_json, quiet) as reporter:
        _check_alpha(alpha)
        if all_maps and maps is None:
            raise typer.BadParameter("--all-maps says which heat maps are written: say where with --maps DIR")
        if output is not None:
            _check_output(output, data, overwrite)
        from upland.cli.scoring import score_path
        from upland.cli.verdicts import Asked
        from upland.persistence import load

        detector = load(model)
        asked = Asked(output, alpha, control, why, top, overwrite, replace_columns)
        result = score_path(detector, data, asked, maps, all_maps, quiet or as_json)
        if result.extra:
            reporter.note(f"not used by the model, carried through: {', '.join(result.extra)}")
        _tell(reporter, result, asked, maps)
    if fail_on_anomaly and result.flagged:
        raise typer.Exit(ANOMALY)


@app.command(epilog=EXIT_CODES)
def groups(
    model: Model,
    data: Rows,
    by: By,
    output: Judged = None,
    alpha: Alpha = 0.05,
    control: GroupControl = "fdr",
    statistic: GroupStatistic = "auto",
    top: Shown = 20,
    fail_on_anomaly: FailOn = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Judge whole groups of rows: has this batch, shift, lot or site gone off?

    Each gets a p-value for all of its rows together, even where every single row looks normal.
    """
    with reporting(as_json, quiet) as reporter:
        _check_alpha(alpha)
        if output is not None:
            _check_output(output, data, overwrite)
        from upland.cli.group_rendering import groups_document, groups_line, groups_note, groups_table
        from upland.cli.groups import GroupsAsked, judge_path, write_groups
        from upland.persistence import load

        asked = GroupsAsked(by, alpha, control, statistic, top)
        found = judge_path(load(model), data, asked)
        if output is not None:
            write_groups(found, output, overwrite)

        def show(screen: Console) -> None:
            if output is None:
                screen.print(groups_table(found))
                screen.print(groups_note(found), style="dim")
            screen.print(groups_line(found))
            if output is not None:
                screen.print(f"wrote {output}", soft_wrap=True)

        target = None if output is None else str(output)
        reporter.result({**groups_document(found), "output": target}, show)
    if fail_on_anomaly and found.verdicts.flag.any():
        raise typer.Exit(ANOMALY)


@app.command(epilog=EXIT_CODES)
def info(model: Model, as_json: Json = False) -> None:
    """Print what a model file holds: kind of data, columns, calibration, guarantee, training."""
    with reporting(as_json) as reporter:
        from upland.cli.rendering import info_lines, told_of
        from upland.persistence import load

        told = told_of(load(model))
        reporter.result(told, lambda screen: screen.print(info_lines(told)))


@app.command(epilog=EXIT_CODES)
def calibrate(
    model: Model,
    data: Normal,
    output: Renewed = None,
    in_place: InPlace = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Renew the calibration on fresh normal data; the model itself is not fitted again."""
    if (output is None) == (not in_place):
        raise typer.BadParameter("say where the renewed model goes: either -o FILE or --in-place")
    with reporting(as_json, quiet) as reporter:
        target = output or model
        check_target(target, overwrite or in_place)
        _check_other(target, data)
        from upland.cli.scoring import normal_data
        from upland.persistence import load

        detector = load(model)
        detector.calibrate(normal_data(detector, data))
        _save(reporter, detector, target)


@app.command(epilog=EXIT_CODES)
def demo(out: Folder = Path("upland-demo")) -> None:
    """Fit and score real data (biopsies, patients of eight clinics, handwritten digits) and a series of
    pumps, and show what comes out.
    """
    with reporting():
        from demo.run import run

        run(out, console(sys.stdout))


def _size(text: str) -> tuple[int, int]:
    height, times, width = text.casefold().partition("x")
    if not (times and height.isdecimal() and width.isdecimal()):
        raise typer.BadParameter(f"--size is HEIGHTxWIDTH in pixels, such as 28x28, not {text!r}")
    return int(height), int(width)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise typer.BadParameter(f"--alpha must lie between 0 and 1, not {alpha:g}")


def _check_output(output: Path, data: Path, overwrite: bool) -> None:
    from upland.io.formats import suffix_of

    try:
        suffix_of(output, writable=True)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    check_target(output, overwrite)
    _check_other(output, data)


def _check_other(output: Path, data: Path) -> None:
    """Refuse to write over the rows themselves."""
    if output.exists() and data.exists() and output.samefile(data):
        raise OutputError(f"{output} is the input itself; choose another output")


def _save(reporter: Reporter, detector: Detector, output: Path) -> None:
    """Write the model and tell what it is."""
    from upland.cli.rendering import info_lines, told_of
    from upland.persistence import save

    with writing(output):
        save(detector, output)
    told = told_of(detector)

    def show(screen: Console) -> None:
        screen.print(info_lines(told))
        screen.print(f"wrote {output}", soft_wrap=True)

    reporter.result({"model": str(output), "info": told}, show)


def _tell(reporter: Reporter, result: Scoring, asked: Asked, maps: Path | None) -> None:
    """The summary; without an output file also the strangest."""

    def show(screen: Console) -> None:
        if asked.target is None:
            screen.print(result.table)
            screen.print(result.note, style="dim")
        screen.print(result.line)
        if asked.target is not None:
            screen.print(f"wrote {asked.target}", soft_wrap=True)
        if result.maps:
            screen.print(f"wrote {result.maps} heat map(s) into {maps}/", soft_wrap=True)

    output = None if asked.target is None else str(asked.target)
    reporter.result({**result.document, "output": output}, show)
