"""What a detector gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from upland.calibration.conformal import Floats
from upland.detectors.kinds import Unit


class Assessment(NamedTuple):
    """Anomaly scores and p-values of the same data, in the same arrangement, `(N,)` by custom."""

    anomaly_score: Floats
    p_value: Floats


class Scored(NamedTuple):
    """Scores `(N, K)` of K members, what each is of, and how one number each is given back to the user."""

    values: Floats
    unit: Unit
    arrange: Callable[[Floats], Floats]
