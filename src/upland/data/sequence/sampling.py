"""Warnings of sequences with gaps, and of those that are sampled otherwise than the fit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.data.sequence.clock import Floats, typical
from upland.data.sequence.container import Sequences
from upland.data.table.dateparts import DAY

_UNITS = {"day": DAY, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

FEWEST = 8
"""Distances that say at least how a sequence is sampled, where any has as many."""

GAP = 5.0
"""A gap of more than this many median steps is worth a warning."""

SAMPLING = 1.5
"""Times by which the median distance of steps may differ from that of the fit without a warning."""


def check_sampling(fitted: float | None, sequences: Sequences) -> None:
    """Warn of the sequence whose median distance differs most from that of the fit, by more than `SAMPLING`.

    Args:
        fitted: the median distance of the fit.
        sequences: new ones.
    """
    distances = sequences.distances
    if not fitted or distances is None:
        return
    n = sequences.n_sequences
    owners = np.repeat(np.arange(n), sequences.lengths)
    there = np.isfinite(distances)
    like = there & (distances < SAMPLING * fitted) & (distances * SAMPLING > fitted)
    counts = np.bincount(owners[there], minlength=n)
    doubtful = 2 * np.bincount(owners[like], minlength=n) <= counts  # of the others the median is like it
    doubtful &= counts >= min(FEWEST, max(counts.max(), 1))
    off, ratios = {}, {}
    for row in np.flatnonzero(doubtful).tolist():
        off[row] = typical(sequences.take(np.array([row])).distances) or np.finfo(float).tiny
        ratios[row] = max(off[row] / fitted, fitted / off[row])
    ratios = {row: ratio for row, ratio in ratios.items() if ratio > SAMPLING}
    if not ratios:
        return
    worst = max(ratios, key=lambda row: ratios[row])
    dated = sequences.stamps is not None and sequences.stamps.dtype.kind in "mM"
    others = f" (and {len(ratios) - 1} more sequence(s))" if len(ratios) > 1 else ""
    found, usual = _words(off[worst], dated), _words(fitted, dated)
    warnings.warn(
        f"{sequences.called(worst)}{others}: the steps are typically {found} apart, those of the fit were "
        f"{usual}: a model knows sequences at one sampling interval; resample these to that of the fit",
        UserWarning,
        stacklevel=4,
    )


def warn_of_gaps(sequences: Sequences) -> None:
    """One warning for the sequence with the largest gap, in units of its median distance.

    Args:
        sequences: with time stamps or without.
    """
    if sequences.distances is None or sequences.n_steps < 2:
        return
    owner = np.repeat(np.arange(sequences.n_sequences), sequences.lengths)
    inside = np.isfinite(sequences.distances)
    steps, owner = sequences.distances[inside], owner[inside]
    if not steps.size:
        return
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    largest = np.maximum.reduceat(steps, starts)
    suspects = largest / GAP > np.minimum.reduceat(steps, starts)  # no median is below the least step
    counts = np.diff(np.r_[starts, owner.size])
    if not suspects.any():
        return
    kept = np.repeat(suspects, counts)
    medians = _medians(steps[kept], owner[kept], counts[suspects])
    ratios = largest[suspects] / np.maximum(medians, np.finfo(float).tiny)
    if ratios.max() <= GAP:
        return
    worst = int(np.argmax(ratios))
    others = int(np.sum(ratios > GAP)) - 1
    name = sequences.called(int(owner[starts[suspects]][worst]))
    warnings.warn(
        f"{name}: its largest gap is {ratios[worst]:.3g} times "
        "its median step"
        f"{f' ({others} more sequence(s) have gaps)' if others else ''}; "
        "steps are read one after the other, whatever the time between them",
        UserWarning,
        stacklevel=5,
    )


def _words(step: float | None, dated: bool) -> str:
    """A distance with its unit: `90 s`, `1.5 h`."""
    if step is None or not dated:
        return f"{step:.6g}" if step is not None else "nothing"
    unit = next((unit for unit, size in _UNITS.items() if step >= size), "ns")
    return f"{step / _UNITS[unit]:.4g} {unit}"


def _medians(values: Floats, owner: NDArray[Any], counts: NDArray[Any]) -> Floats:
    ordered = values[np.lexsort((values, owner))]
    starts = np.cumsum(counts) - counts
    medians: Floats = ordered[starts + (counts - 1) // 2] / 2 + ordered[starts + counts // 2] / 2
    return medians
