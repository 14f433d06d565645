"""Conformal p-values in a graph (`upland.calibration.conformal`).

A row that a calibration row equals has its score, and p-values count it. A graph's score may differ from that
by the rounding of another library, so a score counts as reached from `TIE` below it, relative to its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.calibration.conformal import Calibration
from upland.export.functions import below
from upland.export.graph import Value

TIE = 1e-6
"""Relative difference up to which two scores are one."""


def p_values(calibration: Calibration, scores: Sequence[Value]) -> Value:
    """p-values of rows: scores `(N,)` under each fold's detector -> `(N,)`.

    Args:
        calibration: of the detector.
        scores: one for each fold; one for a split.
    """
    folds = calibration.folds
    tables = [
        calibration.scores if folds is None else calibration.scores[folds == k] for k in range(len(scores))
    ]
    reached = [_at_least(np.sort(table), score) for table, score in zip(tables, scores, strict=True)]
    total = reached[0]
    for count in reached[1:]:
        total = total + count
    return (total + 1).to(np.float64) / (calibration.size + 1)


def _at_least(table: np.ndarray, score: Value) -> Value:
    """#{reference >= score}: `(N,)`, int64; a tie is one within rounding."""
    low = (score - score.abs() * TIE).reshape(1, -1)
    return (len(table) - below(table[None], low)).reshape(-1)
