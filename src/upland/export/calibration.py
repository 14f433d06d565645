"""Conformal p-values in a graph (`upland.calibration.conformal`).

A row that a calibration row equals has its score, and p-values count it. A graph's score may differ from that
by the rounding of another library, so a score counts as reached from a little below it: as far as the graph's
scores of normal rows are from upland's (`upland.export.members`), in units of the size of a score and the
spread of the calibration's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.calibration.conformal import Calibration, Floats
from upland.export.functions import below
from upland.export.graph import Value


def spread(calibration: Calibration) -> float:
    """How far the quartiles of the calibration scores are apart."""
    low, high = np.percentile(calibration.scores, [25, 75])
    return float(high - low)


def p_values(calibration: Calibration, scores: Sequence[Value], tie: float) -> Value:
    """p-values of rows: scores `(N,)` under each fold's detector -> `(N,)`.

    Args:
        calibration: of the detector.
        scores: one for each fold; one for a split.
        tie: difference up to which two scores are one, in units of their size and the spread.
    """
    folds, usual = calibration.folds, spread(calibration)
    tables = [
        calibration.scores if folds is None else calibration.scores[folds == k] for k in range(len(scores))
    ]
    pairs = zip(tables, scores, strict=True)
    reached = [at_least(np.sort(table), score, tie, usual) for table, score in pairs]
    total = reached[0]
    for count in reached[1:]:
        total = total + count
    return (total + 1).to(np.float64) / (calibration.size + 1)


def at_least(table: Floats, score: Value, tie: float, usual: float = 0.0) -> Value:
    """#{reference >= score}, within rounding: `(N,)`, int64.

    Args:
        table: the reference, ascending.
        score: `(N,)`.
        tie: difference up to which scores are equal, in units of their size and `usual`.
        usual: the spread of the calibration scores.
    """
    low = (score - (score.abs() + usual) * tie).reshape(1, -1)
    return (len(table) - below(table[None], low)).reshape(-1)
