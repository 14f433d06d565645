"""Anomaly scores and p-values of new data, and the members' values that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.calibration.conformal import Calibration, Floats
from upland.catalogue import Unit
from upland.data.reader import Reader

Observer = Callable[[Any], None]
"""What is called with encoded data."""


class Assessment(NamedTuple):
    """Anomaly scores and p-values of the same data, in the same arrangement, `(N,)` by custom."""

    anomaly_score: Floats
    p_value: Floats


class MemberAssessment(NamedTuple):
    """Anomaly scores and p-values, and what they are made of.

    Args:
        assessment: as arranged for the user.
        values: `(N, K)` the scores that are compared with the calibration of each of K folds; K is 1 for
            split calibration. In the order of the data that were read.
        segments: `(N,)` the number of each row's segment, their count for a segment that the fit did not
            see; None for a detector without segments.
        unit: what each value is of.
    """

    assessment: Assessment
    values: Floats
    segments: NDArray[np.int64] | None
    unit: Unit


class Scores(NamedTuple):
    """The scores of K members.

    Args:
        values: `(N, K)`.
        unit: what each is of.
        reader: how the data were read.
        piece: the sequences that they are of; of rows and images the last piece, which does not matter.
    """

    values: Floats
    unit: Unit
    reader: Reader
    piece: Any


def assessed(scores: Scores, calibration: Calibration) -> MemberAssessment:
    """Anomaly scores and p-values of members' scores.

    Args:
        scores: of the members.
        calibration: of their unit.
    """
    values, unit, reader, piece = scores
    mean = values.mean(axis=1)
    compared = values if calibration.method == "cross" else mean[:, None]
    p = calibration.p_values(compared)
    found = Assessment(reader.arrange(mean, piece, unit), reader.arrange(p, piece, unit))
    return MemberAssessment(found, compared, None, unit)
