"""Calibrations from what each member has not seen, one for each unit that a score can be of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.calibration.conformal import Calibration, Floats, calibration_of_folds
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
    return {
        unit: calibration_of_folds(scores, cross, CALIBRATION_MOST if unit == "step" else None)
        for unit, scores in parts.items()
    }


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
