"""Measures of a scored series: VUS-PR, the volume under the precision-recall surface, and two beside it.

Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin, "Volume under the surface: a new accuracy evaluation
measure for time-series anomaly detection", VLDB 2022. Labels of steps are blurred by buffers: for a width w,
a step at distance d <= w // 2 from an anomalous segment counts sqrt(1 - d / w) of an anomaly (sums over
segments are capped at 1). At each threshold,

    precision = flagged weight / flagged steps,
    recall    = min(1, flagged weight / (P + B / 2)) * (share of segments with a flagged step),

P the number of anomalous steps, B the flagged weight inside the buffers; segments whose buffers touch count
as one. The area under the steps of precision over recall is averaged over the widths 0, 1, ..., L. Nothing is
adjusted: flagging one step of a segment earns no credit for the others.

Range-AUC-PR is the area at the width L alone. Affiliation F (Huet, Navarro and Rossi, KDD 2022) is the one of
the package TSB_AD, with steps flagged above mean + 3 standard deviations of the scores, as there.

L is 100 here for every series and every method: buffers reach 50 steps to either side. (The published
benchmark, TSB-AD, takes L from each series' own period.) The 250 thresholds are ranks of the scores in equal
steps, as in TSB-AD's code, whose values this module gives to rounding, in a sixtieth of the time;
`thresholds=None` takes every distinct score.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Segments = list[tuple[int, int]]  # first and last step, in order

LONGEST = 100
THRESHOLDS = 250


def vus_pr(
    labels: ArrayLike, scores: ArrayLike, longest: int = LONGEST, thresholds: int | None = THRESHOLDS
) -> float:
    """Volume under the precision-recall surface over the widths 0 to `longest`.

    Args:
        labels: (T,), 1 where the step is anomalous.
        scores: (T,), higher = worse.
        longest: the largest width L; buffers reach L // 2 steps to either side.
        thresholds: how many thresholds, at ranks in equal steps; None for every distinct score.

    Raises:
        ValueError: the shapes differ, there is no anomaly, or a score is not finite.
    """
    surface = surface_of(labels, scores, thresholds)
    return float(np.mean([surface.average_precision(width) for width in range(longest + 1)]))


def range_auc_pr(
    labels: ArrayLike, scores: ArrayLike, width: int = LONGEST, thresholds: int | None = THRESHOLDS
) -> float:
    """Area under precision over recall at one width of the buffers; arguments and refusals as in `vus_pr`."""
    return surface_of(labels, scores, thresholds).average_precision(width)


def affiliation_f(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Affiliation F of the steps above mean + 3 standard deviations; None where TSB_AD is not installed."""
    module = package()
    if module is None:
        return None
    marks, values = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    flags = values > values.mean() + 3.0 * values.std()
    return float(module.basic_metricor().metric_Affiliation(marks, values, flags)) if flags.any() else 0.0


def package() -> ModuleType | None:
    """The measures of TSB_AD, which need nothing that the benchmarks do not have; None if not installed.

    No extra can name that package, as it asks for NumPy 1: `pip install --no-deps TSB_AD==1.5`.
    """
    try:
        return import_module("TSB_AD.evaluation.basic_metrics")
    except ImportError:
        return None


def surface_of(labels: ArrayLike, scores: ArrayLike, thresholds: int | None) -> Surface:
    marks, values = np.asarray(labels).astype(np.int64), np.asarray(scores, dtype=np.float64)
    if marks.shape != values.shape or marks.ndim != 1:
        raise ValueError(
            f"labels of shape {marks.shape} and scores of shape {values.shape} are not one series"
        )
    if not marks.any():
        raise ValueError("VUS-PR needs at least one anomalous step")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.sum(~np.isfinite(values))} scores are not finite")
    entries, count = flagged_from(values, thresholds)
    return Surface(entries, count, segments_of(marks), marks)


def flagged_from(values: Array, thresholds: int | None) -> tuple[Places, int]:
    """For each step the first threshold, from high to low, that flags it; and their number."""
    descending = -np.sort(-values)
    if thresholds is None:
        levels = np.unique(values)[::-1]
    else:
        levels = descending[np.linspace(0, len(values) - 1, thresholds).astype(np.int64)]
    return np.searchsorted(-levels, -values, side="left"), len(levels)


def segments_of(marks: Places) -> Segments:
    """First and last step of every run of ones."""
    edges = np.diff(np.concatenate([[0], marks, [0]]))
    return list(
        zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True)
    )


class Surface:
    """What one series' scores flag at each threshold, for any width of the buffers."""

    def __init__(self, entries: Places, count: int, segments: Segments, marks: Places) -> None:
        self.entries, self.count, self.segments = entries, count, segments
        self.marks = marks.astype(np.float64)
        self.flagged = self.up_to(np.ones(len(entries)))
        self.inside = self.up_to(self.marks)

    def average_precision(self, width: int) -> float:
        """Area under the steps of precision over recall at one width."""
        weight = self.up_to(self.blurred(width))
        recall = np.minimum(weight / (self.marks.sum() + (weight - self.inside) / 2.0), 1.0)
        recall *= self.segments_found(width)
        return float(np.sum(np.diff(recall, prepend=0.0) * weight / self.flagged))

    def up_to(self, weights: Array) -> Array:
        """Sum of the weights of the steps that each threshold flags."""
        there = np.flatnonzero(weights)
        return np.cumsum(np.bincount(self.entries[there], weights[there], minlength=self.count))

    def blurred(self, width: int) -> Array:
        """Labels with buffers: 1 inside a segment, sqrt(1 - d / width) at distance d beside it."""
        reach = width // 2
        if not reach:
            return self.marks
        ramp = np.sqrt(1.0 - np.arange(1, reach + 1) / width)
        weights = self.marks.copy()
        for first, last in self.segments:
            behind = weights[last + 1 : last + 1 + reach]
            behind += ramp[: len(behind)]
            before = weights[max(first - reach, 0) : first]
            before += ramp[: len(before)][::-1]
        return np.minimum(weights, 1.0)

    def segments_found(self, width: int) -> Array:
        """Share of the segments, merged where their buffers touch, with a flagged step at each threshold."""
        regions = merged(self.segments, width // 2)
        found = [self.entries[max(first, 0) : last + 1].min() for first, last in regions]
        return np.cumsum(np.bincount(found, minlength=self.count)) / len(regions)


def merged(segments: Segments, reach: int) -> Segments:
    """Segments with `reach` steps on either side; those that touch or overlap are one."""
    regions: Segments = []
    for first, last in ((first - reach, last + reach) for first, last in segments):
        if regions and first <= regions[-1][1]:
            regions[-1] = (regions[-1][0], last)
        else:
            regions.append((first, last))
    return regions
