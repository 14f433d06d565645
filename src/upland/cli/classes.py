"""Classes of normal images on the command line: sub-folders, a file of labels, or the name of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from upland.cli.groups import labels_in

if TYPE_CHECKING:
    from upland.calibration.false_discovery import Control
    from upland.detectors.base import Detector
    from upland.detectors.image_flow import ImageFlowDetector
    from upland.groups.verdicts import GroupVerdicts


def fit_with_classes(detector: Detector, x: Any, classes: str, checkpoint: Path | None) -> Detector:
    """A detector that has learned from images of several classes.

    Args:
        detector: Not fitted yet.
        x: The images.
        classes: As the user gave them.
        checkpoint: A file that is kept up to date while training.

    Raises:
        typer.BadParameter: The detector is of no classes.
        ValueError: There is no such file, or it holds more than labels.
    """
    return _with_classes(detector).fit(x, classes=_classes(classes), checkpoint=checkpoint)


def calibrate_with_classes(detector: Detector, x: Any, classes: str) -> None:
    """Renew the calibration on fresh normal images of some classes; raises as `fit_with_classes`."""
    _with_classes(detector).calibrate(x, classes=_classes(classes))


def against_classes(detector: Detector, classes: str) -> Callable[..., GroupVerdicts]:
    """A way to test groups of images against one class; raises as `fit_with_classes`.

    Args:
        detector: Fitted.
        classes: A name, `subfolders`, or a file of labels.
    """
    flow = _with_classes(detector)
    expected = classes if classes in flow.classes_ else _classes(classes, flow.classes_)

    def test(
        x: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        return flow.score_groups(x, groups, alpha, control, statistic, reasons, classes=expected)

    return test


def _classes(text: str, names: tuple[str, ...] = ()) -> Any:
    """What the option says: `subfolders`, or the labels in a file."""
    from upland.detectors.classes import SUBFOLDERS

    if text == SUBFOLDERS or (names and not Path(text).is_file()):
        return text
    return labels_in(Path(text), "image")


def _with_classes(detector: Detector) -> ImageFlowDetector:
    """The detector, if it is one of classes."""
    from upland.detectors.image_flow import ImageFlowDetector

    if not isinstance(detector, ImageFlowDetector):
        raise typer.BadParameter("--classes is for images and models that are fitted with --model flow")
    return detector
