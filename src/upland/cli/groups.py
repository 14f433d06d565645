"""From a model, a path and the name of the column or file of groups to a verdict on each group.

A file of rows has a column that names them. Images of a folder are grouped by its sub-folders, those of an
array, as its sequences, by a file with a label for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upland.catalogue import MODALITIES, Modality
from upland.cli.inputs import array_in, check_new
from upland.cli.rendering import ROWS
from upland.cli.results import Finding, Request, Result, dialect_for, writer
from upland.io.dialect import PLAIN, Dialect
from upland.scoring.columns import of_groups

if TYPE_CHECKING:
    from upland.calibration.false_discovery import Control
    from upland.cli.console import Reporter
    from upland.detectors.base import Detector
    from upland.groups.verdicts import GroupVerdicts

Way = Callable[..., "GroupVerdicts"]

FOLDER = "folder"
"""What the sub-folders of images are called where a column would be."""


LABELS = "group"
"""What is grouped by where labels come in a file of their own."""


def score_groups(
    detector: Detector,
    data: Path,
    by: str | Sequence[str],
    request: Request,
    statistic: str = "auto",
    way: Way | None = None,
) -> Result:
    """Test the groups of what is at a path, and write a row for each if there is a target.

    Args:
        detector: Fitted.
        data: Data of the modality of the fit.
        by: A column or several; `folder`; or a file of labels.
        request: What is wanted.
        statistic: What is measured of a group.
        way: How they are tested; None tests them by the detector itself.

    Raises:
        ValueError, TypeError, OSError: Data, labels or model cannot be used; the message says why.
        OutputError: The target exists or cannot be written.
    """
    columns = (by,) if isinstance(by, str) else tuple(by)
    x, groups, called = _grouped(detector, data, columns)
    reasons = request.shown or request.target is not None
    test = way or detector.score_groups
    verdicts = test(x, groups, request.alpha, request.control, statistic, reasons)
    dialect = PLAIN if way else _dialect(detector, data, request)
    with writer(request.target, request.overwrite, dialect) as write:
        if write is not None:
            write(of_groups(verdicts))
    rows = detector.members_[0].held_out  # None where scores are compared
    kept = None if rows is None else len(rows)
    details = {
        "by": " / ".join(columns),
        "statistic": statistic,
        "kept_rows": kept,
        "size_in": _size_in(detector),
    }
    count, flagged = len(verdicts.group), int(verdicts.flag.sum())
    return Result(detector.modality, "group", called, count, flagged, request, _findings(verdicts), details)


def _size_in(detector: Detector) -> str:
    """What the size of a group counts: a flow of sequences tests the latents of their steps."""
    of_steps = detector.modality == "sequence" and detector.family == "flow"
    return "steps" if of_steps else ROWS[detector.modality]


def with_ray(reporter: Reporter, model: Path, address: str | None, workers: int | None) -> Way:
    """A way to test the groups of rows in Parquet files by Ray.

    Args:
        reporter: Of the command.
        model: The model file.
        address: Of a cluster.
        workers: Tasks at a time.
    """
    from upland.cli.engines import progress_of
    from upland.distributed.groups import score_groups as of_partitions

    def test(
        x: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        if not isinstance(x, Path):
            raise ValueError("--engine ray tests groups of rows in Parquet files: leave it out")
        options: dict[str, Any] = {"statistic": statistic, "reasons": reasons}
        options |= {"address": address, "workers": workers}
        with progress_of(reporter, "partitions and groups") as progress:
            return of_partitions(model, x, groups, alpha=alpha, control=control, progress=progress, **options)

    return test


def _dialect(detector: Detector, data: Path, request: Request) -> Dialect:
    """How the text of a file of rows is laid out."""
    from upland.data.table.encoder import TableEncoder
    from upland.io.formats import open_source

    encoder = detector.encoder_
    if request.target is None or not isinstance(encoder, TableEncoder):
        return PLAIN
    return dialect_for(request.target, open_source(data, encoder.cells), encoder.schema_)


def _findings(verdicts: GroupVerdicts) -> list[Finding]:
    parts = zip(
        verdicts.group,
        verdicts.statistic.tolist(),
        verdicts.p_value.tolist(),
        verdicts.flag.tolist(),
        verdicts.size.tolist(),
        verdicts.reason.tolist(),
        verdicts.columns,
        verdicts.smallest_p.tolist(),
        verdicts.method.tolist(),
        verdicts.p_value_error.tolist(),
        strict=True,
    )
    keys = ("size", "reason", "columns", "smallest_p", "method", "p_value_error")
    return [
        Finding(name, score, p, flag, (), dict(zip(keys, (size, reason or None, *rest), strict=True)))
        for name, score, p, flag, size, reason, *rest in parts
    ]


def _grouped(detector: Detector, data: Path, by: tuple[str, ...]) -> tuple[Any, Any, str]:
    """The data, the group of each of them or the column that names it, and what a group is called."""
    modality = detector.modality
    form = check_new(data, modality)
    if modality == "sequence" and form != "array" and detector.family != "flow":
        raise ValueError(
            "the model is of sequences, and groups of time steps are not tested: they depend on each other; "
            "fit with --model flow, which tests groups of steps, on an array (N, T, D) of sequences, or on a "
            "table whose rows stand alone"
        )
    if form == "rows":
        return data, by, " / ".join(by)
    if len(by) > 1:
        raise ValueError(f"{MODALITIES[modality]} are grouped by one --by, not by {len(by)}")
    if form == "array":
        return array_in(data), labels_in(Path(by[0]), modality), LABELS
    return *_in_folders(detector, data, by[0]), by[0]


def labels_in(path: Path, modality: Modality) -> NDArray[Any]:
    """The label of each image or sequence of an array, from an .npy or .npz file or one column of rows.

    Args:
        path: Where they are.
        modality: What they are labels of.

    Raises:
        ValueError: There is no such file, or it holds more than labels.
    """
    from upland.io.arrays import is_array_file, read_array
    from upland.io.formats import open_source

    if not path.is_file():
        raise ValueError(
            f"there is no file {path}: {MODALITIES[modality]} of an array have no columns, so that --by "
            "names a file with a label for each, .npy or CSV"
        )
    if is_array_file(path):
        labels = np.asarray(read_array(path))
        if labels.ndim != 1:
            raise ValueError(f"{path} holds an array of shape {labels.shape}: labels are (N,), one for each")
        return labels
    source = open_source(path)
    if len(source.names) != 1:
        raise ValueError(f"{path} has {len(source.names)} columns: labels are one column, one row for each")
    return np.array(source.read().column(0).to_pylist(), dtype=object)


def _in_folders(detector: Detector, data: Path, by: str) -> tuple[Any, list[str]]:
    """The images of a folder and the sub-folder of each; raises ValueError where some have none."""
    from upland.cli.images import open_images

    if by != FOLDER:
        raise ValueError(
            f"images have no column {by!r}: those of a folder are grouped by its sub-folders, --by {FOLDER}"
        )
    images = open_images(detector, data)
    folders = [PurePath(name).parent.as_posix() for name in images.names or ()]
    if (loose := sum(name == "." for name in folders)) or not folders:
        raise ValueError(
            f"{loose or len(images)} of {len(images)} images lie in no sub-folder of {data}: "
            "a group is a sub-folder with its images"
        )
    return images, folders
