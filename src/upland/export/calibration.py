"""Conformal p-values in a graph (`upland.calibration.conformal`).

A row that equals a calibration row has its score, and its p-value counts that one. A graph's score may differ
from it by the rounding of another library, so that scores within a small difference, the tie, are equal. A
tie is in units of the size of a score and the spread of the calibration's (`upland.export.members`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.calibration.conformal import Calibration, Floats
from upland.export.functions import below
from upland.export.graph import Value

_LARGEST = 1e300


def spread(reference: Floats) -> float:
    """How far the quartiles of some scores are apart."""
    low, high = np.percentile(reference, [25, 75])
    return float(high - low)


def tables_of(calibration: Calibration, count: int) -> list[Floats]:
    """The sorted calibration scores of each of some members; of a split, of the only one.

    Args:
        calibration: of the detector.
        count: of folds, or 1.
    """
    folds, scores = calibration.folds, calibration.scores
    return [np.sort(scores if folds is None else scores[folds == fold]) for fold in range(count)]


def p_values(calibration: Calibration, scores: Sequence[Value], tie: float) -> Value:
    """p-values of rows: scores `(N,)` under each fold's detector -> `(N,)`.

    Args:
        calibration: of the detector.
        scores: one for each fold; one for a split.
        tie: difference up to which scores are equal, in units of their size and the spread.
    """
    usual, tables = spread(calibration.scores), tables_of(calibration, len(scores))
    reached = [at_least(table, score, tie, usual) for table, score in zip(tables, scores, strict=True)]
    total = reached[0]
    for count in reached[1:]:
        total = total + count
    return (total + 1).to(np.float64) / (calibration.size + 1)


def at_least(table: Floats, score: Value, tie: float, usual: float) -> Value:
    """#{reference >= score}, within rounding: `(N,)`, int64.

    Args:
        table: the reference, ascending.
        score: `(N,)`.
        tie: difference up to which scores are equal, in units of their size and the spread.
        usual: the spread.
    """
    size = score.abs().at_most(_LARGEST)  # an infinite score is above all others, and not NaN
    low = (score - (size + usual) * tie).reshape(1, -1)
    return (len(table) - below(table[None], low)).reshape(-1)
