"""What stands behind a path on the command line: a file of rows, an array, images; and what options fit it.

The library takes arrays as arrays, files of rows and images as paths; here a path becomes what the library
takes. A combination that makes no sense is refused in one sentence that says what would.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from upland.data.image.arrays import looks_like_images
from upland.io.arrays import is_array_file, read_array, shape_in
from upland.io.images import is_image_file

if TYPE_CHECKING:
    from upland.catalogue import Modality as Kind

Form = Literal["folder", "image", "array", "rows"]

FITTING: dict[Form, tuple[str, tuple[Kind, ...]]] = {
    "folder": ("a folder, which holds images", ("image",)),
    "image": ("an image", ("image",)),
    "array": ("an array", ("sequence", "image")),
    "rows": ("a file of rows", ("table", "sequence")),
}
"""What each form is called, and the kinds of data that it can be."""

PLURAL: dict[Kind, str] = {"table": "tables", "sequence": "sequences", "image": "images"}
OF_SEQUENCES = ("time", "id", "window", "stride", "per")
OF_IMAGES = ("size", "mode")
OF_COLUMNS = ("categorical", "ignore")


def form_of(path: Path) -> Form:
    """What a path leads to, by its name alone but for folders; a file of rows if it is nothing else."""
    if path.is_dir():
        return "folder"
    if is_array_file(path):
        return "array"
    return "image" if is_image_file(path) else "rows"


def kind_in(path: Path, given: Mapping[str, Any]) -> Kind:
    """Which kind of data to fit on.

    Args:
        path: DATA.
        given: The options by their names, those that were given.

    Raises:
        typer.BadParameter: Options that contradict each other or the data.
        FileNotFoundError: There is nothing at the path.
        ValueError: A damaged array, or one that could be several things.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    form, asked = form_of(path), given.get("kind", "auto")
    called, kinds = FITTING[form]
    if asked != "auto" and asked not in kinds:
        right = " or ".join(f"--kind {kind}" for kind in kinds)
        raise typer.BadParameter(
            f"--kind {asked} does not go with {path}: it is {called}, {right} does{_elsewhere(asked)}"
        )
    kind = _by_looks(path, form, given) if asked == "auto" else asked
    _check_options(path, form, kind, given)
    return kind


def array_in(path: Path) -> Any:
    """The array of a file; raises FileNotFoundError, or ValueError for a damaged one."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    return read_array(path)


def check_new(path: Path, kind: Kind) -> Form:
    """Refuse data of another kind than a model was fitted on; raises ValueError.

    Args:
        path: DATA.
        kind: What the model was fitted on.
    """
    form = form_of(path)
    called, kinds = FITTING[form]
    if kind != "table" and path.exists() and kind not in kinds:  # a file of rows says itself what it is not
        raise ValueError(f"the model is of {PLURAL[kind]}, but {path} is {called}{_elsewhere(kind)}")
    return form


def _by_looks(path: Path, form: Form, given: Mapping[str, Any]) -> Kind:
    if form in ("folder", "image"):
        return "image"
    if form == "rows":
        return "sequence" if "time" in given or "id" in given else "table"
    shape, dtype = shape_in(path)
    if looks_like_images(shape, dtype):
        return "image"
    if len(shape) in (1, 2):
        raise ValueError(
            f"{path} holds an array of shape {shape}: say --kind sequence if it is one long series of "
            f"{shape[0]} steps; a table goes in as CSV, TSV, Parquet or Arrow"
        )
    return "sequence"


def _check_options(path: Path, form: Form, kind: Kind, given: Mapping[str, Any]) -> None:
    """Refuse the first option that is of another kind of data."""
    if kind != "sequence" and (odd := _first(given, OF_SEQUENCES)):
        way = {
            "rows": "name its time column with --time, or say --kind sequence",
            "array": "say --kind sequence if these are sequences",
        }.get(form, f"leave --{odd} out")
        if odd in ("time", "id"):
            way = f"leave --{odd} out" if form != "rows" else "say --kind sequence"
        raise typer.BadParameter(
            f"--{odd} is for sequences, but {path} is taken for {_taken_for(kind)}: {way}"
        )
    if kind != "image" and (odd := _first(given, OF_IMAGES)):
        way = "say --kind image if these are images" if form == "array" else f"leave --{odd} out"
        raise typer.BadParameter(f"--{odd} is for images, but {path} is taken for {_taken_for(kind)}: {way}")
    if kind == "image" and (odd := _first(given, OF_COLUMNS)):
        raise typer.BadParameter(f"--{odd} names a column, but {path} holds images: leave --{odd} out")
    if form == "array" and (odd := _first(given, ("time", "id"))):
        raise typer.BadParameter(
            f"--{odd} names a column, but {path} is an array: leave --{odd} out, its steps stand in order"
        )


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in given), None)


def _taken_for(kind: Kind) -> str:
    return {"table": "a table", "sequence": "sequences", "image": "images"}[kind]


def _elsewhere(kind: Kind) -> str:
    """What data of a kind come as."""
    forms: dict[Kind, str] = {
        "table": "CSV, TSV, Parquet or Arrow",
        "sequence": "CSV, TSV, Parquet, Arrow, .npy or .npz",
        "image": "a folder of images, an image, .npy or .npz",
    }
    return f"; {PLURAL[kind]} come as {forms[kind]}"
