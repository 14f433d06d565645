"""Calibrations from what each member has not seen, one for each unit that a score can be of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.calibration.conformal import Calibration, Floats
from upland.data.rows import NormalRows
from upland.detectors.fitting import CALIBRATION_MOST, Member, kept_rows
from upland.detectors.kinds import Kind, Unit


def calibrated(
    kind: Kind,
    criterion: str,
    members: Sequence[Member],
    rows: NormalRows,
    folds: Sequence[NDArray[np.int64]],
    cross: bool,
) -> dict[Unit, Calibration]:
    """Judge the held-out rows, each by the member that has not seen it.

    Args:
        kind: how the data are read.
        criterion: what a point is judged by.
        members: as fitted.
        rows: all normal rows.
        folds: what each member has not seen; an interrupted fit has fewer members.
        cross: whether a single member, too, is one of several folds.
    """
    parts: dict[Unit, list[Floats]] = {unit: [] for unit in kind.units}
    with warnings.catch_warnings():  # a cell may be missing in the held-out rows alone
        warnings.filterwarnings("ignore", message="missing values")
        for member, held in zip(members, folds, strict=False):
            for unit, found in parts.items():
                found.append(kind.judge_held_out(kind.by(criterion, unit), member, rows, held, unit))
    return {unit: calibration_of(unit, scores, cross) for unit, scores in parts.items()}


def calibration_of(unit: Unit, scores: Sequence[Floats], cross: bool) -> Calibration:
    """The calibration from the held-out scores of each fold; of steps some thousands, evenly spread.

    Args:
        unit: what a score is of.
        scores: of each fold.
        cross: whether a single fold is one of several.
    """
    if unit == "step":
        scores = [thinned(part, CALIBRATION_MOST // len(scores)) for part in scores]
    if len(scores) == 1 and not cross:
        return Calibration(scores[0])
    number = np.repeat(np.arange(len(scores)), [len(part) for part in scores])
    return Calibration(np.concatenate(scores), number)


def with_reserve(kind: Kind, member: Member, X: Any, most: int) -> Member:
    """The member with fresh normal data kept to compare groups with.

    Args:
        kind: how the data are read.
        member: as fitted.
        X: normal data that the fit has not seen.
        most: rows that are kept at most.
    """
    if member.reserve is None:
        return member
    rows = kind.normal_rows(X)
    kept = kept_rows(member.encoder, rows, np.arange(rows.n_rows), most, np.random.default_rng(0))
    return replace(member, reserve=kept)


def thinned(values: Floats, most: int) -> Floats:
    """At most so many of the values, evenly spread."""
    places = np.unique(np.linspace(0, values.size - 1, num=min(values.size, max(most, 1))).astype(np.int64))
    return values[places]


def warn_of_weak(calibrations: Mapping[Unit, Calibration], units: Sequence[Unit], alpha: float) -> None:
    """Warn the caller's caller of what tells nothing apart, or cannot flag.

    Args:
        calibrations: by unit.
        units: those that matter.
        alpha: the level that they should reach.
    """
    for unit in units:
        known = calibrations[unit]
        if known.constant:
            warnings.warn(
                f"all {known.size} calibration {unit}s have the same anomaly score "
                f"({known.scores[0]:.6g}): the detector tells nothing apart; are all columns constant?",
                stacklevel=3,
            )
        if known.smallest_p > alpha:
            warnings.warn(
                f"p-values are coarse: {known.size} calibration {unit}s allow none below "
                f"{known.smallest_p:.3g}, so that nothing can be flagged at alpha = {alpha}; "
                f"it takes at least {round(1 / alpha) - 1}",
                stacklevel=3,
            )
