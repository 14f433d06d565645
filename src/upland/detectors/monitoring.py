"""The change monitor of a fitted detector."""

from __future__ import annotations

import numpy as np

from upland.calibration.monitor import Monitor
from upland.catalogue import Unit
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector


def monitor_of(detector: ScoringDetector, seed: int, block: int = 1, unit: Unit | None = None) -> Monitor:
    """A monitor before the first row, for the values and segments that `detector.assess_members` gives.

    Args:
        detector: fitted.
        seed: of the random draws.
        block: rows of which one counts, drawn at random; of each segment.
        unit: what each value is of; the fit's if left out.
    """
    detector.check_fitted()
    if isinstance(detector, SegmentedDetector):
        held_out = detector.segment_calibration_
        return Monitor.of_segments(held_out.scores, held_out.of, held_out.count, seed, block)
    calibration = detector.calibrations_[unit or detector.unit_]
    folds = np.zeros(calibration.size, np.int64) if calibration.folds is None else calibration.folds
    parts = [calibration.scores[folds == number] for number in range(int(folds.max()) + 1)]
    return Monitor.begin(parts, seed, block)
