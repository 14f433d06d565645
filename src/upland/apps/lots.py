"""Whole groups on the command line: read, judged, shown, written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from upland.apps.console import grid, writing
from upland.apps.gallery import open_images
from upland.apps.inputs import check_new

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.calibration import Control
    from upland.detection import Detector
    from upland.groupcontract import GroupVerdicts

FOLDER = "folder"
"""What images are grouped by."""

NAMED = 3  # columns that are told of


def judge_path(
    detector: Detector, data: Path, by: str, alpha: float, control: Control, statistic: str
) -> GroupVerdicts:
    """Judge the groups of what is at a path.

    Args:
        detector: Fitted on tables or images.
        data: Of the kind of the fit.
        by: The column that names groups; `folder` for images.
        alpha: The rate to keep.
        control: Whose.
        statistic: What groups are judged by.

    Raises:
        ValueError: The data or the column cannot be used, or the detector judges no such groups.
        FileNotFoundError: There is nothing at the path.
    """
    if detector.kind_ == "sequence":
        raise ValueError(
            "groups of sequences are judged in Python, by score_groups(X, groups): "
            "here they are of rows or images"
        )
    if not data.exists():
        raise FileNotFoundError(f"{data} does not exist")
    check_new(data, detector.kind_)
    if detector.kind_ == "table":
        return detector.score_groups(data, by, alpha, control, statistic)
    if by != FOLDER or not data.is_dir():
        raise ValueError(
            f"images are grouped by the folders they lie in: name a folder of folders, and --by {FOLDER}"
        )
    images = open_images(detector, data)
    names = [str(Path(str(images.label(n))).parent) for n in range(len(images))]
    return detector.score_groups(images, names, alpha, control, statistic)


def shown(found: GroupVerdicts, by: str, top: int) -> RenderableType:
    """A line a group in order of first appearance; of many the strangest.

    Args:
        found: The verdicts.
        by: What names groups.
        top: How many lines at most.
    """
    worst = np.lexsort((-found.statistic, found.p_value))[:top]
    places = np.sort(worst) if len(found.group) <= top else worst
    rows = [
        [
            ("* " if found.flag[i] else "  ") + str(found.group[i]),
            str(found.size[i]),
            f"{found.statistic[i]:.4g}",
            f"{found.p_value[i]:.4f}",
            f"{found.kind[i]}: {', '.join(found.columns[i][:NAMED])}" if found.columns[i] else "",
        ]
        for i in places.tolist()
    ]
    return grid(
        [by, "size", "statistic", "p-value", "what stands out"], rows, ["size", "statistic", "p-value"]
    )


def line(found: GroupVerdicts, by: str, alpha: float, control: Control) -> str:
    """The whole in one line.

    Args:
        found: The verdicts.
        by: What names groups.
        alpha: The rate that is kept.
        control: Whose.
    """
    flagged, count = int(found.flag.sum()), len(found.group)
    rate = "false discovery rate" if control == "fdr" else "false-alarm rate"
    verb = "has" if flagged == 1 else "have"
    return f"{flagged} of {count} groups by {by} {verb} gone off (* flagged; {rate} {alpha:.0%})"


def document(
    found: GroupVerdicts, alpha: float, control: Control, statistic: str, output: Path | None
) -> dict[str, Any]:
    """The same for a program."""
    rows = found.to_arrow().to_pylist()
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return {
        "groups": plain,
        "flagged": int(found.flag.sum()),
        "alpha": alpha,
        "control": control,
        "statistic": statistic,
        "output": None if output is None else str(output),
    }


def write(found: GroupVerdicts, output: Path) -> None:
    """Write all groups, by the file's suffix; raises OutputError where that cannot be."""
    from upland.data.sinks import TableWriter

    table: pa.Table = found.to_arrow()
    with writing(output), TableWriter(output, overwrite=True) as sink:
        sink.write(table)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
