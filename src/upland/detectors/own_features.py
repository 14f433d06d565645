"""Features of the user's own, when a detector that was fitted with them is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from upland.data.image.features import OWN, FeaturesError
from upland.data.image.reader import ImageReader
from upland.detectors.features.own import OwnFeatures
from upland.detectors.plan import FitPlan


class ModuleError(Exception):
    """The module that the user gave, or did not give, is at fault, not the file."""


def own_source(manifest: Mapping[str, Any], features: Any) -> OwnFeatures | None:
    """What makes features of images by the user's module; None where there are no such features.

    Args:
        manifest: of a stored detector.
        features: the user's module or function; None for none.

    Raises:
        ModuleError: there is none where one is needed, or one where none is, or it is no such thing.
    """
    needed = manifest["plan"]["reader"].get("features") == OWN
    if needed and features is None:
        raise ModuleError(
            "was fitted with features of your own: give what makes them as load(path, features=module)"
        )
    if features is not None and not needed:
        raise ModuleError("was fitted without features of your own: leave features out")
    try:
        return OwnFeatures(features) if needed else None
    except FeaturesError as error:
        raise ModuleError(f"cannot be read: {error}") from error


def with_source(plan: FitPlan, source: OwnFeatures | None) -> FitPlan:
    """The plan with what makes the features of its images, which all members have in common where it learns
    nothing.

    Args:
        plan: of any modality.
        source: by the user's module; None for upland's own.
    """
    if not isinstance(plan.reader, ImageReader):
        return plan
    reader = plan.reader if source is None else replace(plan.reader, source=source)
    return replace(plan, reader=reader.with_source())
