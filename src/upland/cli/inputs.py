"""What stands behind a path on the command line: a file of rows, an array, images; and what options fit it.

The library takes arrays as arrays, files of rows and images as paths; here a path becomes what the library
takes. A combination that makes no sense is refused in one sentence that says what would.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from upland.catalogue import DETECTORS, FAMILIES, FORMATS, MODALITIES, Modality, criteria_of, load
from upland.cli.console import option
from upland.data.image.arrays import looks_like_images
from upland.io.arrays import is_array_file, read_array, shape_in
from upland.io.images import is_image_file
from upland.io.places import counts_in, is_pattern, is_place_of_rows
from upland.io.remote import address_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Form = Literal["folder", "image", "array", "rows"]

FITTING: dict[Form, tuple[str, tuple[Modality, ...]]] = {
    "folder": ("a folder, which holds images", ("image",)),
    "image": ("an image", ("image",)),
    "array": ("an array", ("sequence", "image")),
    "rows": ("a file of rows", ("table", "sequence")),
}
"""What each form is called, and the modalities that it can be of."""

DIMENSIONS: dict[Modality, tuple[int, ...]] = {"sequence": (1, 2, 3), "image": (3, 4)}
"""Dimensions of an array of a modality."""

ROWS = ", ".join(FORMATS)
"""Suffixes of files of rows."""

OF_SEQUENCES = ("time", "id", "window", "stride", "per", "smoothing", "context", "calendar")
OF_IMAGES = ("size", "mode", "features")
OF_SEGMENTS = ("by", "unseen")
OF_COLUMNS = ("categorical", "decimal", "thousands", "missing", "dayfirst", "dates")


def check_model_name(path: Path) -> None:
    """Refuse a model file that is named like data; raises typer.BadParameter."""
    if path.is_dir() or form_of(path) != "rows" or path.name.casefold().endswith(tuple(FORMATS)):
        raise typer.BadParameter(f"{path} is named like data: a model file ends in .safetensors")


def form_of(path: Path, wanted: Modality | None = None) -> Form:
    """What a path leads to, by its name alone but for folders; a file of rows if it is nothing else.

    Args:
        path: DATA.
        wanted: The modality that a folder of both rows and images is read as.
    """
    if path.is_dir():
        rows, images = counts_in(path)
        return "rows" if rows and (not images or wanted not in (None, "image")) else "folder"
    if is_array_file(path):
        return "array"
    return "image" if is_image_file(path) else "rows"


def modality_in(path: Path, given: Mapping[str, Any]) -> Modality:
    """The modality of the data to fit on.

    Args:
        path: DATA.
        given: The options by their names, those that were given.

    Raises:
        typer.BadParameter: Options that contradict each other or the data.
        FileNotFoundError: There is nothing at the path.
        ValueError: A damaged array, or one that could be several things.
    """
    asked = given.get("modality", "auto")
    if not (is_place_of_rows(path) if asked == "auto" else is_pattern(path) or address_of(path)):
        check_there(path)
    form = form_of(path, None if asked == "auto" else asked)
    called, modalities = FITTING[form]
    if asked != "auto" and asked not in modalities:
        right = " or ".join(f"--modality {modality}" for modality in modalities)
        raise typer.BadParameter(
            f"--modality {asked} does not go with {path}: it is {called}, {right} does{_elsewhere(asked)}"
        )
    modality: Modality = _by_looks(path, form, given) if asked == "auto" else asked
    _check_options(path, form, modality, given)
    if form == "array" and len(shape := shape_in(path)[0]) not in DIMENSIONS[modality]:
        raise ValueError(f"{path} holds an array of shape {shape}, which is none of {MODALITIES[modality]}")
    return modality


def check_there(path: Path) -> None:
    """Refuse a path that leads to nothing; raises FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")


def array_in(path: Path) -> NDArray[Any]:
    """The array of a file; raises FileNotFoundError, or ValueError for a damaged one."""
    check_there(path)
    return read_array(path)


def check_new(path: Path, modality: Modality) -> Form:
    """Refuse data of another modality than a model was fitted on; raises ValueError.

    Args:
        path: DATA.
        modality: What the model was fitted on.
    """
    form = form_of(path, modality)
    called, modalities = FITTING[form]
    if path.exists() and modality not in modalities:
        where = _elsewhere(modality)
        raise ValueError(f"the model is of {MODALITIES[modality]}, but {path} is {called}{where}")
    return form


def check_model(family: str, path: Path, given: Mapping[str, Any]) -> None:
    """Refuse what does not go with a family of models.

    Args:
        family: Of the model.
        path: DATA.
        given: The options by their names, the modality among them.

    Raises:
        typer.BadParameter: A modality, an option or a criterion that the models of the family do not have.
    """
    modality: Modality = given["modality"]
    if (family, modality) not in DETECTORS:
        read = " and ".join(name for other, name in MODALITIES.items() if (family, other) in DETECTORS)
        able = " or ".join(f"--model {other}" for other in FAMILIES if (other, modality) in DETECTORS)
        raise typer.BadParameter(
            f"--model {family} reads {read}, but {path} is taken for {_taken_for(modality)}: take {able}"
        )
    arguments = load(DETECTORS[family, modality].home)().get_params()
    known = {*arguments, *OF_SEGMENTS, "modality"}
    if odd := [name for name in given if name not in known]:
        raise typer.BadParameter(
            f"{option(odd[0])} does not go with --model {family} on {MODALITIES[modality]}: leave it out"
        )
    criteria = criteria_of(family, modality)
    criterion = given.get("criterion")
    if criterion not in (None, *criteria):
        able = " or ".join(other for other in FAMILIES if criterion in criteria_of(other, modality))
        raise typer.BadParameter(
            f"--criterion {criterion} does not go with --model {family} on {MODALITIES[modality]}: "
            f"choose from {', '.join(criteria)}" + (f", or take --model {able}" if able else "")
        )


def mask_in(given: list[str]) -> Path:
    """The file that --ignore names for images.

    Args:
        given: What it names.

    Raises:
        typer.BadParameter: Several files.
        FileNotFoundError: There is nothing at the path.
    """
    if len(given) > 1:
        raise typer.BadParameter("--ignore names one file for images: mark all that is left out in one mask")
    check_there(Path(given[0]))
    return Path(given[0])


def _by_looks(path: Path, form: Form, given: Mapping[str, Any]) -> Modality:
    if form in ("folder", "image"):
        return "image"
    if form == "rows":
        return "sequence" if "time" in given or "id" in given else "table"
    shape, dtype = shape_in(path)
    if looks_like_images(shape, dtype):
        return "image"
    if len(shape) in (1, 2):
        raise ValueError(
            f"{path} holds an array of shape {shape}: say --modality sequence if it is one long series of "
            f"{shape[0]} steps; a table comes as one of {ROWS}"
        )
    return "sequence"


def _check_options(path: Path, form: Form, modality: Modality, given: Mapping[str, Any]) -> None:
    """Refuse the first option that is of another modality."""
    if modality != "sequence" and (odd := _first(given, OF_SEQUENCES)):
        way = {
            "rows": "name its time column with --time, or say --modality sequence",
            "array": "say --modality sequence if these are sequences",
        }.get(form, f"leave --{odd} out")
        if odd in ("time", "id"):
            way = f"leave --{odd} out" if form != "rows" else "say --modality sequence"
        raise typer.BadParameter(
            f"--{odd} is for sequences, but {path} is taken for {_taken_for(modality)}: {way}"
        )
    if modality != "image" and (odd := _first(given, OF_IMAGES)):
        way = "say --modality image if these are images" if form == "array" else f"leave --{odd} out"
        raise typer.BadParameter(
            f"--{odd} is for images, but {path} is taken for {_taken_for(modality)}: {way}"
        )
    if modality != "table" and (odd := _first(given, OF_SEGMENTS)):
        way = (
            "name the sequences with --id"
            if modality == "sequence" and form == "rows"
            else f"leave --{odd} out"
        )
        raise typer.BadParameter(
            f"--{odd} is for tables, but {path} is taken for {_taken_for(modality)}: {way}"
        )
    if "unseen" in given and "by" not in given:
        raise typer.BadParameter("--unseen says what to do with new segments: name their column with --by")
    if modality == "image" and (odd := _first(given, OF_COLUMNS)):
        raise typer.BadParameter(f"--{odd} names a column, but {path} holds images: leave --{odd} out")
    if form == "array" and (odd := _first(given, ("time", "id"))):
        raise typer.BadParameter(
            f"--{odd} names a column, but {path} is an array: leave --{odd} out, its steps stand in order"
        )


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in given), None)


def _taken_for(modality: Modality) -> str:
    return {"table": "a table", "sequence": "sequences", "image": "images"}[modality]


def _elsewhere(modality: Modality) -> str:
    """What data of a modality come as."""
    forms: dict[Modality, str] = {
        "table": ROWS,
        "sequence": f"{ROWS}, .npy, .npz",
        "image": "a folder of images, an image, .npy or .npz",
    }
    return f"; {MODALITIES[modality]} come as {forms[modality]}"
