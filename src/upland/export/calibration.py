"""Conformal p-values in a graph (`upland.calibration.conformal`).

A row that equals a calibration row has its score, and its p-value counts that one. A graph's score may differ
from it by the rounding of another library, so that scores count as equal within a small relative difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.calibration.conformal import Calibration, Floats
from upland.export.functions import below
from upland.export.graph import Value


def p_values(calibration: Calibration, scores: Sequence[Value], tie: float) -> Value:
    """p-values of rows: scores `(N,)` under each fold's detector -> `(N,)`.

    Args:
        calibration: of the detector.
        scores: one for each fold; one for a split.
        tie: relative difference up to which scores are equal.
    """
    folds = calibration.folds
    tables = [
        calibration.scores if folds is None else calibration.scores[folds == k] for k in range(len(scores))
    ]
    reached = [at_least(np.sort(table), score, tie) for table, score in zip(tables, scores, strict=True)]
    total = reached[0]
    for count in reached[1:]:
        total = total + count
    return (total + 1).to(np.float64) / (calibration.size + 1)


def at_least(table: Floats, score: Value, tie: float) -> Value:
    """#{reference >= score}, within rounding: `(N,)`, int64.

    Args:
        table: the reference, ascending.
        score: `(N,)`.
        tie: relative difference up to which scores are equal.
    """
    low = (score - score.abs() * tie).reshape(1, -1)
    return (len(table) - below(table[None], low)).reshape(-1)
