"""Options and paths that are refused before any work."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from upland.catalogue import MODALITIES
from upland.cli.console import OutputError, Reporter, check_target
from upland.cli.process import STANDARD_OUTPUT
from upland.io.cells import as_number

if TYPE_CHECKING:
    from upland.cli.results import Request
    from upland.detectors.base import Detector

DEVICE = re.compile(r"(cpu|cuda|mps|auto)(:\d+)?")
"""Names of devices."""


def size_of(text: str) -> tuple[int, int]:
    """Height and width, from `28x28`; raises typer.BadParameter."""
    height, times, width = text.casefold().partition("x")
    whole = bool(times) and height.isdecimal() and width.isdecimal()
    check(whole, f"--size is HEIGHTxWIDTH in pixels, such as 28x28, not {text!r}")
    return int(height), int(width)


def check_numbers(noise: float | None, device: str | None) -> None:
    """Refuse values of options that the parser lets through; raises typer.BadParameter."""
    check(noise is None or 0 < noise < math.inf, "--noise must be a positive number")
    check(device is None or DEVICE.fullmatch(device) is not None, "--device is cpu, cuda, mps or auto")


def check(right: bool, text: str) -> None:
    """Refuse options that are not as they must be; raises typer.BadParameter."""
    if not right:
        raise typer.BadParameter(text)


def check_alpha(alpha: float | None) -> None:
    """Refuse what is no rate; raises typer.BadParameter."""
    if alpha is not None:
        check(0 < alpha < 1, f"--alpha must lie between 0 and 1, not {alpha:g}")


def is_ray(engine: str, address: str | None, workers: int | None) -> bool:
    """Whether Ray does the work; raises typer.BadParameter for its options without it."""
    check(engine == "ray" or address is None, "--address is of a Ray cluster: say --engine ray too")
    check(engine == "ray" or workers is None, "--workers are Ray's: say --engine ray too")
    return engine == "ray"


def request_of(
    reporter: Reporter, output: Path | None, alpha: float | None, overwrite: bool, **wanted: Any
) -> Request:
    """What the user wants, checked before any work; raises typer.BadParameter, OutputError."""
    check_alpha(alpha)
    reporter.beside = output == STANDARD_OUTPUT
    check(
        not (reporter.beside and reporter.as_json), "-o - and --json both want standard output: leave one out"
    )
    if output is not None and not reporter.beside:
        from upland.io.formats import suffix_of

        try:
            suffix_of(output, writable=True)
        except ValueError as error:
            folder = "; --engine ray writes a folder" if not output.suffix else ""
            raise typer.BadParameter(f"{error}{folder}") from error
        check_target(output, overwrite)
        check_other(output, reporter.data)
    from upland.cli.results import Request

    shown = reporter.as_json or (output is None and not reporter.quiet)
    wanted |= {} if alpha is None else {"alpha": alpha}
    return Request(output, shown=shown, overwrite=overwrite, **wanted)


def check_model_file(output: Path, data: Path, overwrite: bool) -> None:
    """Refuse a model file that could not be written, or is named like data; raises typer.BadParameter,
    OutputError.
    """
    check(output != STANDARD_OUTPUT, "a model is written into a file, not to standard output: name one")
    check_target(output, overwrite)
    check_other(output, data)
    from upland.cli.inputs import check_model_name

    check_model_name(output)


def check_checkpoint(checkpoint: Path | None, output: Path, data: Path) -> None:
    """Refuse a checkpoint that could not be written or is another file; raises typer.BadParameter,
    OutputError.
    """
    if checkpoint is not None:
        check(checkpoint.absolute() != output.absolute(), "--checkpoint and -o name the same file")
        check_target(checkpoint, overwrite=True)
        check_other(checkpoint, data)


def check_other(output: Path, data: Path | None) -> None:
    """Refuse to write over the rows themselves."""
    if data is not None and output.exists() and any(map(output.samefile, _files_at(data))):
        raise OutputError(f"{output} is the input itself; choose another output")


def _files_at(data: Path) -> list[Path]:
    """The file at a path, or all files at a pattern or in a folder."""
    from upland.io.places import is_pattern, row_files

    if data.is_file() or not (data.is_dir() or is_pattern(data)):
        return [data] if data.exists() else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are said when the files are read
        try:
            return [file.path for file in row_files(data)]
        except (ValueError, OSError):
            return []  # images, or what is refused when it is read


def check_maps_fit(detector: Detector, maps: Path | None) -> None:
    """Refuse heat maps of what are no images; raises typer.BadParameter."""
    text = f"--maps is for images, but the model is of {MODALITIES[detector.modality]}: "
    check(maps is None or detector.modality == "image", f"{text}leave it out, or see --why")


def check_changes_fit(detector: Detector, counterfactual: int | None) -> None:
    """Refuse counterfactuals of what are no rows of a table; raises typer.BadParameter."""
    text = f"--counterfactual is for tables, but the model is of {MODALITIES[detector.modality]}: "
    check(counterfactual is None or detector.modality == "table", f"{text}leave it out, or see --why")


def text_or_number(text: str) -> str | float:
    """A number where the text is one."""
    number = as_number(text)
    return text if number is None else number
