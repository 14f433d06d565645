"""From a model, a path and the name of what tells groups apart to a verdict on each group.

A file of rows has a column that names them. Images of a folder are grouped by its sub-folders, those of an
array, as its sequences, by a file with a label for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from upland.cli.inputs import PLURAL, array_in, check_new
from upland.cli.verdicts import writer

if TYPE_CHECKING:
    from upland.calibration.conformal import Control
    from upland.catalogue import Modality as Kind
    from upland.detectors.base import Detector
    from upland.groups.verdicts import GroupVerdicts

FOLDER = "folder"
"""What the sub-folders of images are called where a column would be."""

LABELS = "group"
"""What is grouped by where labels come in a file of their own."""


@dataclass(frozen=True)
class GroupsAsked:
    """What the user wants of a verdict on groups.

    Args:
        by: A column; `folder`; or a file of labels.
        alpha: The rate to keep.
        control: Whose rate: `fdr` or `false_alarm`.
        statistic: What is measured.
        top: How many groups a table has room for.
    """

    by: str
    alpha: float = 0.05
    control: Control = "fdr"
    statistic: str = "auto"
    top: int = 20


@dataclass(frozen=True)
class Grouped:
    """What judging groups came to.

    Args:
        verdicts: One for each, in order of first appearance.
        asked: What was wanted.
        called: What a group is called: `shift`, `folder`.
        kind: What its members are.
        kept: How many normal rows there are to compare with; None where scores are compared.
    """

    verdicts: GroupVerdicts
    asked: GroupsAsked
    called: str
    kind: Kind
    kept: int | None


def judge_path(detector: Detector, data: Path, asked: GroupsAsked) -> Grouped:
    """Judge the groups of what is at a path.

    Args:
        detector: Fitted.
        data: Of the kind of the fit.
        asked: What is wanted.

    Raises:
        ValueError, TypeError, OSError: Data, labels or model cannot be used; the message says why.
    """
    kind = detector.kind_
    form = check_new(data, kind)
    x: Any = data
    groups: Any = asked.by
    called = asked.by
    if kind == "sequence" and form != "array":
        raise ValueError(
            "the model is of sequences, and groups of time steps are not judged: they depend on each other; "
            "fit on an array (N, T, D) of sequences, or on a table whose rows stand alone"
        )
    if form == "array":
        x, groups, called = array_in(data), labels_in(Path(asked.by), kind), LABELS
    elif kind == "image":
        x, groups = _in_folders(detector, data, asked.by)
    reserve = detector.members_[0].reserve
    found = detector.score_groups(x, groups, asked.alpha, asked.control, asked.statistic)
    return Grouped(found, asked, called, kind, None if reserve is None else len(reserve))


def write_groups(found: Grouped, target: Path, overwrite: bool) -> None:
    """Write a row for each group.

    Args:
        found: The verdicts.
        target: A CSV, Parquet or Arrow file.
        overwrite: Whether it may be replaced.

    Raises:
        OutputError: It exists or cannot be written.
    """
    with writer(target, overwrite) as write:
        assert write is not None
        write(found.verdicts.to_arrow())


def labels_in(path: Path, kind: Kind) -> NDArray[Any]:
    """The label of each image or sequence of an array, from an .npy or .npz file or one column of rows.

    Args:
        path: Where they are.
        kind: What they are labels of.

    Raises:
        ValueError: There is no such file, or it holds more than labels.
    """
    from upland.io.arrays import is_array_file, read_array
    from upland.io.formats import open_source

    if not path.is_file():
        raise ValueError(
            f"there is no file {path}: {PLURAL[kind]} of an array have no columns, so that --by names a file "
            "with a label for each, .npy or CSV"
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


Order = Literal["appearance", "strangest"]


def shown(found: Grouped) -> tuple[NDArray[np.int64], Order]:
    """The numbers of the groups that there is room for: all as they come, or the strangest, worst first."""
    verdicts, count = found.verdicts, found.asked.top
    if len(verdicts.group) <= count:
        return np.arange(len(verdicts.group)), "appearance"
    order = np.lexsort([-verdicts.statistic, verdicts.p_value])
    return order[:count], "strangest"
