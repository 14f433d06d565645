"""What was given in place of a detector, refused by what it is and with the place of the detector in it."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from upland.detectors.base import Detector
from upland.io.advice import type_text


def check_detector(thing: Any, function: str) -> None:
    """Refuse what is no detector.

    Args:
        thing: what was given.
        function: the name of the function that it was given to.

    Raises:
        TypeError: it is none; of a class, a pipeline or a wrapper the message says what to give instead.
    """
    if isinstance(thing, Detector):
        return
    if isinstance(thing, type):
        what, name = f"the class {thing.__name__}", thing.__name__
        instead = f": give a detector, as {name}().fit(X) is" if issubclass(thing, Detector) else ""
    else:
        what, place = "None" if thing is None else type_text(thing), _place(thing)
        instead = f": give its {place}" if place else ""
        if instead and isinstance(thing, Pipeline):
            instead += ", and apply the steps before it to the data yourself"
    raise TypeError(f"{function} takes a detector of upland, not {what}{instead}")


def _place(thing: Any) -> str | None:
    """Where in a thing a detector is, as it is written behind the thing's name; a fitted one first."""
    if isinstance(thing, Detector):
        return ""
    if isinstance(thing, Pipeline):
        inside = _place(thing.steps[-1][1])
        return None if inside is None else f"[-1]{inside}"
    if isinstance(thing, BaseEstimator):
        for name in sorted(vars(thing), key=lambda name: not name.endswith("_")):
            inside = _place(vars(thing)[name])
            if inside is not None:
                return f".{name}{inside}"
    return None
