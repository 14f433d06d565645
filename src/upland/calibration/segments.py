"""Conformal p-values of rows in segments (machines, shops, sites), and what they guarantee.

Held-out rows of all segments calibrate. A new row of segment g, whose calibration rows are n_g in number, has
two p-values: p_own, against those of g alone, which is exact in g (Mondrian conformal prediction, Vovk et al.
2005), and p_class, against those of all segments with about as many calibration rows: at least c and fewer
than the next of `LEVELS`. Below 1 / (c + 1) the own one is too coarse, so that

    p = p_own                           where p_own > 1 / (c + 1)
        min(p_class, 1 / (c + 1))       elsewhere

Then p <= alpha is the same as p_own <= alpha for every alpha >= 1 / (c + 1): exact in each segment. For
smaller alpha it implies p_class <= alpha: exact over the segments of the class together, in the proportions
of the calibration rows. With fewer than 19 calibration rows c is 0, and p = p_class. A class is compared with
its own rows however few they are; with m of them no p-value is below 1 / (m + 1).

Rows of a segment that the fit did not see are compared with all calibration rows, scored as rows of no
segment. This is exact where such rows are like those of all segments together, which those of a new segment
are not where segments differ, or where the pooled detector fits the segments that it saw more closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from upland.calibration.conformal import Calibration, Floats

Indices = NDArray[np.int64]

LEVELS = (0, 19, 99, 999)
"""Calibration rows from which a segment has its own p-values at alpha of 1, .05, .01 and .001."""

GUARANTEE = (
    "exact in each segment at alpha >= 0.05 with 19 calibration rows of its own, at alpha >= 0.01 with 99, "
    "at alpha >= 0.001 with 999; otherwise exact over the segments of such sizes together"
)
"""What the p-values guarantee."""

OF_UNSEEN = (
    "none for segments that the fit did not see: their rows are compared with those of segments that it saw, "
    "and alarm more often than alpha"
)
"""The same of rows of other segments."""


OF_GROUPS = (
    "groups are tested by the pooled detector, against rows of all segments: a group may be flagged "
    "for the segments that its rows are of; the rate holds for groups of the normal mix of segments"
)
"""What is said of verdicts on groups."""


@dataclass(frozen=True)
class SegmentCalibration:
    """Held-out scores of rows in segments, and the p-values that follow from them.

    Args:
        scores: `(n,)` of held-out rows in their segments.
        of: `(n,)` the number of each one's segment.
        unsegmented: `(m,)` scores of them, or of some, as rows of no segment.
        count: of segments, S.
    """

    scores: Floats
    of: Indices
    unsegmented: Floats
    count: int

    def __post_init__(self) -> None:
        if np.isnan(self.scores).any() or np.isnan(self.unsegmented).any():
            raise ValueError("a calibration score is NaN: p-values of it would mean nothing")

    @property
    def overall(self) -> Calibration:
        """The same without the segments."""
        return Calibration(self.scores)

    @cached_property
    def sizes(self) -> Indices:
        """Calibration rows of each segment: `(S,)`."""
        return np.bincount(self.of, minlength=self.count).astype(np.int64)

    @cached_property
    def classes(self) -> Indices:
        """The number of each segment's entry of `LEVELS`: `(S,)`."""
        found: Indices = np.searchsorted(LEVELS, self.sizes, side="right") - 1
        return found

    @cached_property
    def _sorted(self) -> Floats:
        return np.sort(self.scores)

    @cached_property
    def _unsegmented(self) -> Floats:
        return np.sort(self.unsegmented)

    @cached_property
    def _keys(self) -> tuple[Indices, Indices]:
        """Ranks of the scores among all, segment after segment, and where each segment starts."""
        ranks = np.searchsorted(self._sorted, self.scores, side="left")
        keys = np.sort(self.of * (self.scores.size + 1) + ranks)
        return keys, np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def _of_classes(self) -> list[Floats]:
        """The sorted scores that each class is compared with."""
        return [np.sort(self.scores[self.classes[self.of] == number]) for number in range(len(LEVELS))]

    @property
    def smallest_p(self) -> float:
        """The least p-value that can be reached in any segment."""
        rows = np.array([part.size for part in self._of_classes])[self.classes]
        return float(1 / (rows.max() + 1))

    def n_below(self, alpha: float) -> int:
        """Segments in which a p-value can be at most alpha.

        Args:
            alpha: the level.
        """
        rows = np.array([part.size for part in self._of_classes])[self.classes]
        return int((1 / (rows + 1) <= alpha).sum())

    def p_values(self, scores: Floats, of: Indices) -> Floats:
        """p-values of new rows: `(N,)`.

        Args:
            scores: `(N,)`.
            of: `(N,)` the number of each row's segment; S for a row of none, scored as such.
        """
        p = np.empty(scores.size)
        new = of >= self.count
        p[new] = _p_values(self._unsegmented, scores[new])
        s, g = scores[~new], of[~new]
        levels = np.array(LEVELS)[self.classes[g]]
        least, own = 1 / (levels + 1), self._own(s, g)
        of_class = np.empty(s.size)
        for number, reference in enumerate(self._of_classes):
            here = self.classes[g] == number
            of_class[here] = _p_values(reference, s[here])
        p[~new] = np.where(own > least, own, np.minimum(of_class, least))
        return p

    def _own(self, scores: Floats, of: Indices) -> Floats:
        """p-values against the calibration rows of the same segment."""
        keys, starts = self._keys
        ranks = np.searchsorted(self._sorted, scores, side="left")
        below = np.searchsorted(keys, of * (self.scores.size + 1) + ranks, side="left") - starts[of]
        own: Floats = (1 + self.sizes[of] - below) / (1 + self.sizes[of])
        return own


def _p_values(reference: Floats, scores: Floats) -> Floats:
    """Split conformal p-values against sorted scores."""
    found: Floats = (1 + reference.size - np.searchsorted(reference, scores, side="left")) / (
        reference.size + 1
    )
    return found
