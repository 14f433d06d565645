"""Scores of new rows against those of the calibration, and their p-values.

Scores are counted on a scale that is linear near the median m of the calibration scores and logarithmic
further out, asinh((s - m) / c) with c their spread, in bins that do not depend on the new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from upland.calibration.conformal import Calibration
from upland.calibration.false_discovery import added_counts, discovery_cut
from upland.catalogue import Unit
from upland.detectors.scoring import ScoringDetector
from upland.detectors.segmented import SegmentedDetector
from upland.reporting.base import Floats, Indices, Settings
from upland.reporting.charts import altair, finished, rows
from upland.reporting.page import Chart, Prose, Section
from upland.reporting.uniformity import BAND, BINS, GapCounter, Uniformity, uniformity

STEP = 0.02
"""Width of the bins that scores are counted in."""

FURTHEST = 80.0
"""Where the last bin ends; infinity on any scale of floating-point numbers is nearer."""

BARS = 60
"""Bars of the chart at most."""

LEVEL = 0.01
"""The level at which the page says that rows as a whole differ."""


DISCOVERY = 0.1
"""The false discovery rate that the summary names."""


class ScoreCounter:
    """Counts scores and p-values of rows as they go by.

    Args:
        detector: Fitted.
        settings: Of the page.
        unit: What a score is of; the calibration is of such.
    """

    def __init__(self, detector: ScoringDetector, settings: Settings, unit: Unit = "row") -> None:
        self.settings, self.units = settings, f"{unit}s"
        calibration = detector.calibration_ if unit == "row" else detector.calibrations_[unit]
        self.segmented = isinstance(detector, SegmentedDetector)
        self.size, self.smallest_p = calibration.size, calibration.smallest_p
        self.folded = calibration.method == "cross"
        self.threshold = None if self.segmented else calibration.threshold(settings.alpha)
        low, self.middle, high = np.quantile(calibration.scores, [0.1, 0.5, 0.9]).tolist()
        self.spread = max(high - low, abs(self.middle) * 1e-9, 1e-300)
        self.normal = self._counted(calibration.scores)
        self.new: Indices = np.zeros_like(self.normal)
        self.count = self.flagged = self.left_out = 0
        self.worst = -np.inf
        self._values, self._often = np.empty(0), np.empty(0, dtype=np.int64)
        self._folds = _counters(detector, calibration)

    def see(self, scores: Floats, p_values: Floats, values: Floats, segments: Indices | None) -> None:
        """Take in rows.

        Args:
            scores: `(N,)`.
            p_values: `(N,)`.
            values: `(N, K)` scores under the member of each fold.
            segments: `(N,)` the number of each row's segment, None without segments.
        """
        self.new += self._counted(scores)
        self.count += scores.size
        self.flagged += int((p_values <= self.settings.alpha).sum())
        self.worst = max(self.worst, float(scores.max(initial=-np.inf)))
        self._values, self._often = added_counts(self._values, self._often, p_values)
        for fold, counters in enumerate(self._folds):
            of_fold = values[:, fold]
            if segments is None:
                counters[0].see(of_fold)
                continue
            for number in np.unique(segments).tolist():
                if number < len(counters):
                    counters[number].see(of_fold[segments == number])
                else:
                    self.left_out += int((segments == number).sum())

    def discoveries(self) -> int:
        """Rows that are flagged at a false discovery rate of `DISCOVERY` (Benjamini-Hochberg)."""
        cut = discovery_cut(self._values, self._often, DISCOVERY)
        return int(self._often[self._values <= cut].sum())

    def tested(self) -> Uniformity | None:
        """What the p-values as a whole say; None where no row has calibration rows of its own."""
        seen = [counters for counters in self._folds if any(counter.m for counter in counters)]
        return uniformity(seen) if len(seen) == len(self._folds) else None

    def section(self, dependent: bool = False) -> Section:
        """The scores against the calibration, and the p-values.

        Args:
            dependent: Whether what is scored depends on its neighbours, so that no test of all applies.
        """
        tested = None if dependent else self.tested()
        parts: list[Any] = [self._scores()]
        if dependent:
            return Section("Scores", parts)
        if tested is not None:
            parts += [self._p_values(tested), Prose([self._test(tested)])]
        return Section("Scores and p-values", parts)

    def _counted(self, scores: Floats) -> Indices:
        places = np.arcsinh((scores - self.middle) / self.spread)
        numbers = np.clip(np.floor((places + FURTHEST) / STEP), 0, round(2 * FURTHEST / STEP) - 1)
        found: Indices = np.bincount(numbers.astype(np.int64), minlength=round(2 * FURTHEST / STEP))
        return found

    def _scores(self) -> Chart:
        occupied = np.flatnonzero(self.normal + self.new)
        first, last = int(occupied[0]), int(occupied[-1]) + 1
        merged = -(-(last - first) // BARS)
        starts = np.arange(first, last, merged)
        records = []
        names = [f"calibration {self.units}", f"new {self.units}"]
        for name, counts in zip(names, (self.normal, self.new), strict=True):
            shares = np.add.reduceat(counts[: starts[-1] + merged], starts) / max(counts.sum(), 1)
            places = (starts * STEP - FURTHEST).tolist()
            records += [
                {"of": name, "start": place, "end": place + merged * STEP, "share": share}
                for place, share in zip(places, shares.tolist(), strict=True)
            ]
        spans = [first * STEP - FURTHEST, last * STEP - FURTHEST]
        alt = altair()
        axis = alt.Axis(values=self._ticks(*spans), labelExpr=self._label(), grid=False)
        x = alt.X(
            "start:Q", title="anomaly score", axis=axis, scale=alt.Scale(domain=spans, nice=False, zero=False)
        )
        y = alt.Y("share:Q", title=f"share of {self.units}, as its square root", scale=alt.Scale(type="sqrt"))
        y.axis = alt.Axis(format=".3~%", tickCount=5)
        chart = alt.Chart(rows([it for it in records if it["of"] == names[0]]))
        chart = chart.mark_bar(style="normal", stroke=None).encode(
            x=x.bin("binned"), x2="end:Q", y=y, color=_colour(alt, names)
        )
        new = [it for it in records if it["of"] == names[1]]
        lines = alt.Chart(rows([*new, {**new[-1], "start": new[-1]["end"]}]))
        lines = lines.mark_line(interpolate="step-after", strokeWidth=2).encode(
            x=x, y=y, color=_colour(alt, names)
        )
        layers = [chart, lines]
        if self.threshold is not None:
            at = float(np.arcsinh((self.threshold - self.middle) / self.spread))
            rule = alt.Chart(rows([{"start": at, "text": f"alpha = {self.settings.alpha:g}"}]))
            place = alt.X("start:Q")
            layers.append(rule.mark_rule(style="threshold", strokeDash=[4, 3]).encode(x=place))
            text = rule.mark_text(align="left", dx=5, dy=6, baseline="top", fontSize=12)
            layers.append(text.encode(x=place, y=alt.value(0), text="text:N"))
        title = f"Scores of the new {self.units} against those of the calibration"
        return finished(alt.layer(*layers), title, self._described())

    def _described(self) -> str:
        lines = [
            f"{self.count:,} new {self.units} (line) and {self.size:,} calibration {self.units} (bars); the "
            "scale is linear near the middle of the calibration scores and logarithmic further out."
        ]
        if self.threshold is not None:
            above = self.flagged / self.count
            lines.append(
                f"The broken line is the threshold at alpha = {self.settings.alpha:g}, a score of "
                f"{self.threshold:.4g}: {above:.3g} of the new {self.units} are flagged."
            )
            if self.folded:
                lines.append(
                    "With cross calibration each fold has a threshold of its own, so that flags near the "
                    "line are on both sides of it."
                )
        else:
            lines.append("Thresholds differ by segment and are not drawn.")
        return " ".join(lines)

    def _ticks(self, first: float, last: float) -> list[float]:
        """Round scores on the scale, some of each order of magnitude."""
        low, high = (float(self.middle + self.spread * np.sinh(place)) for place in (first, last))
        size = 10.0 ** np.floor(np.log10(self.spread))
        far = np.outer(size * 10.0 ** np.arange(1, 80), [1, 2, 5]).ravel()
        scores = np.unique(np.concatenate([np.arange(-5, 6) * size, far, -far]))
        scores = scores[(scores >= low) & (scores <= high)]
        places = np.arcsinh((scores - self.middle) / self.spread)
        found: list[float] = []
        for place in places.tolist():
            if not found or place - found[-1] >= (last - first) / 12:
                found.append(place)
        return found

    def _label(self) -> str:
        score = f"({self.middle!r} + {self.spread!r} * (exp(datum.value) - exp(-datum.value)) / 2)"
        return f"format(abs({score}) < {self.spread * 1e-6!r} ? 0 : {score}, '.3~g')"

    def _p_values(self, tested: Uniformity) -> Chart:
        alt = altair()
        width, total = 1 / BINS, max(tested.counts.sum(), 1)
        records = [
            {"start": number * width, "end": (number + 1) * width, "share": count, "low": low, "high": high}
            for number, (count, low, high) in enumerate(
                zip(*(part / total for part in (tested.counts, tested.low, tested.high)), strict=True)
            )
        ]
        x = alt.X("start:Q", title="p-value", bin="binned", scale=alt.Scale(domain=[0, 1]))
        bars = alt.Chart(rows(records)).mark_bar(style="normal", stroke=None)
        y = alt.Y("share:Q", title=f"share of {self.units}", axis=alt.Axis(format=".2~%", tickCount=5))
        layers = [bars.encode(x=x, x2="end:Q", y=y)]
        if tested.folds == 1:
            for edge in ("low", "high"):
                line = alt.Chart(rows(records)).mark_rule(style="threshold", strokeDash=[4, 3])
                layers.append(line.encode(x=alt.X("start:Q"), x2="end:Q", y=alt.Y(f"{edge}:Q")))
        first = tested.counts[0] / total
        words = (
            f"{first:.3g} of the {self.units} have a p-value of at most {width:g}, of normal ones about "
            f"{width:g}."
        )
        if tested.folds == 1:
            words += (
                f" Between the broken lines lies each bar of normal data with {BAND:.0%} probability, given "
                f"that {self.size:,} calibration {self.units} are compared with."
            )
        return finished(alt.layer(*layers), f"P-values: flat if all {self.units} are normal", words, 180)

    def _test(self, tested: Uniformity) -> str:
        differ = tested.p_value <= LEVEL
        what = (
            f"The {self.units} as a whole differ from"
            if differ
            else f"There is no clear evidence that the {self.units} as a whole differ from"
        )
        how = (
            "a Monte Carlo test of the Anderson-Darling distance that takes into account that all "
            f"{self.units} are compared with the same calibration {self.units}"
        )
        folds = f"; {tested.folds} tests, one a fold, together" if tested.folds > 1 else ""
        left = (
            f" {self.left_out:,} rows of segments that the fit did not see are left out."
            if self.left_out
            else ""
        )
        why = " A few strong anomalies among many can be too few to show here." if not differ else ""
        return f"{what} those of the calibration (p = {tested.p_value:.3g}; {how}{folds}).{why}{left}"


def _colour(alt: Any, names: Sequence[str]) -> Any:
    return alt.Color("of:N", title=None, scale=alt.Scale(domain=names))


def _counters(detector: ScoringDetector, calibration: Calibration) -> list[list[GapCounter]]:
    """Of each fold of the calibration a counter for each of its urns."""
    if isinstance(detector, SegmentedDetector):
        held_out = detector.segment_calibration_
        order = np.argsort(held_out.of, kind="stable")
        parts: Sequence[Floats] = np.split(held_out.scores[order], np.cumsum(held_out.sizes)[:-1])
        return [[GapCounter(part, (0, number)) for number, part in enumerate(parts)]]
    if calibration.folds is None:
        return [[GapCounter(calibration.scores)]]
    folds = np.unique(calibration.folds).tolist()
    return [[GapCounter(calibration.scores[calibration.folds == fold], (1, fold))] for fold in folds]
