"""Warnings of sequences with gaps, and of those that are sampled otherwise than the fit.

Distances are the times between steps. A fit of regular steps has one median. Where steps are irregular the
medians of parts of the fit, `STRETCH` distances each, differ from each other, and a new sequence may have any
of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.data.sequence.clock import Floats, typical
from upland.data.sequence.container import Sequences
from upland.data.table.dateparts import DAY
from upland.io.locks import warnings_apart
from upland.io.records import check_types

_UNITS = {"day": DAY, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}

FEWEST = 8
"""Distances that say at least how a sequence is sampled, where any has as many."""

GAP = 5.0
"""A gap of more than this many median steps is worth a warning."""

SAMPLING = 1.5
"""Times by which the median distance of steps may differ from those of the fit without a warning."""

STRETCH = 16
"""Distances of a part of a sequence of irregular steps; of fewer the median says too little."""

UNKNOWN = 2.0
"""Times by which medians of parts may differ from that of the fit, where the fit is too short for parts."""


class Intervals(NamedTuple):
    """How far apart the steps of a fit are.

    Args:
        least: the smallest median distance.
        largest: the largest one; that of regular steps is the smallest one as well.
        irregular: whether these are the medians of parts of the fit.
    """

    least: float
    largest: float
    irregular: bool = False


def learned_intervals(step: float | None, irregular: bool, found: Sequence[Sequences]) -> Intervals | None:
    """How far apart the steps of a fit are; None where the median is not known, or is 0.

    Args:
        step: the median distance.
        irregular: whether distances are inputs of the model.
        found: the sequences of the fit.
    """
    if not step:
        return None
    if not irregular:
        return Intervals(step, step)
    medians = [median for some in found for median in _medians_of_parts(some)]
    ends = (min(medians), max(medians)) if medians else (step / UNKNOWN, step * UNKNOWN)
    return Intervals(*ends, True)


def stored_intervals(step: float | None, irregular: bool, record: Any) -> Intervals | None:
    """The same from a file; raises ValueError for what `learned_intervals` does not give.

    Args:
        step: the median distance.
        irregular: whether distances are inputs of the model.
        record: two numbers of irregular steps; None of regular ones.
    """
    if record is None and not irregular:
        return learned_intervals(step, False, ())
    ends = check_types({"ends": tuple[float, ...]}, {"ends": record}, "the intervals")["ends"]
    if not irregular or len(ends) != 2 or not 0 <= ends[0] <= ends[1] < math.inf:
        raise ValueError(f"not the state of a SequenceEncoder: its intervals are {record!r}")
    return Intervals(ends[0], ends[1], True)


def check_sampling(fitted: Intervals | None, sequences: Sequences, whole: bool = True) -> None:
    """Warn of the sequence whose median distance is farthest outside those of the fit, by more than
    `SAMPLING`.

    Args:
        fitted: the distances of the fit.
        sequences: new ones.
        whole: whether they are; of a few steps of series that go on the distance says too little.
    """
    distances = sequences.distances
    if fitted is None or distances is None:
        return
    low, high = fitted.least / SAMPLING, fitted.largest * SAMPLING
    n = sequences.n_sequences
    owners = np.repeat(np.arange(n), sequences.lengths)
    there = np.isfinite(distances)
    like = there & (distances < high) & (distances > low)
    counts = np.bincount(owners[there], minlength=n)
    doubtful = 2 * np.bincount(owners[like], minlength=n) <= counts  # of the others the median is like it
    fewest = min(FEWEST, max(counts.max(), 1)) if whole else FEWEST
    doubtful &= counts >= (STRETCH if fitted.irregular else fewest)
    off, ratios = {}, {}
    for row in np.flatnonzero(doubtful).tolist():
        off[row] = typical(sequences.take(np.array([row])).distances) or np.finfo(float).tiny
        ratios[row] = max(off[row] / fitted.largest, fitted.least / off[row])
    ratios = {row: ratio for row, ratio in ratios.items() if ratio > SAMPLING}
    if not ratios:
        return
    worst = max(ratios, key=lambda row: ratios[row])
    dated = sequences.stamps is not None and sequences.stamps.dtype.kind in "mM"
    others = f" (and {len(ratios) - 1} more sequence(s))" if len(ratios) > 1 else ""
    found, usual, most = (_words(step, dated) for step in (off[worst], fitted.least, fitted.largest))
    those = f"between {usual} and {most}" if fitted.irregular else usual
    warnings.warn(
        f"{sequences.called(worst)}{others}: the steps are typically {found} apart, those of the fit were "
        f"{those}: a model knows sequences sampled as in its fit; resample these to that of the fit",
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


def _medians_of_parts(sequences: Sequences) -> list[float]:
    """The median distances of consecutive parts, `STRETCH` distances each, of all sequences."""
    if sequences.distances is None:
        return []
    found: list[float] = []
    for own in np.split(sequences.distances, sequences.starts[1:]):
        there = own[np.isfinite(own)]
        parts = there[: there.size // STRETCH * STRETCH].reshape(-1, STRETCH)
        found += np.median(parts, axis=1).tolist() if parts.size else []
    return found


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


@contextmanager
def each_warning_once(said: set[str]) -> Iterator[None]:
    """Give warnings that were not given before.

    Args:
        said: texts of those that were; new ones are added.
    """
    with warnings_apart(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        if str(warning.message) not in said:
            said.add(str(warning.message))
            warnings.warn(warning.message, warning.category, stacklevel=3)
