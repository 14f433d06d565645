"""Which columns have moved: the means of their codes since the estimated beginning of a change.

The change is estimated to have begun after the last batch at which there was no evidence: the log martingale
was the least so far, or the e-detector at most 1. Sums of the
codes, cut off at `CUT`, are kept since then and before then, so that no earlier batch is read again. The
reference is the normal rows that the model keeps, or where it keeps none the batches before. For each column

    z = (mean since - mean of the reference) / (sd sqrt(1/n + 1/m)),    n, m rows of each,

of a column with several codes (levels of a category) the largest in size; shifts are in standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from upland.calibration.conformal import Floats
from upland.criteria.sequence import EncodedSequences
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.base import Detector
from upland.groups.reasons import regions
from upland.watch.decision import Evidence

CUT = 8.0
"""Codes are cut off here on both sides, so that one broken value is not a moved mean."""
LEAST_SPREAD = 1e-3
INPUTS = 512
"""Codes whose means are followed, those of the first columns."""
STEPS = 16_384
RARE = 1e-3
"""The chance that any column of unchanged data counts as moved."""


@dataclass(frozen=True)
class Totals:
    """Sums over rows.

    Args:
        count: rows.
        sums: `(D,)` of codes.
        squares: `(D,)` of their squares.
    """

    count: float
    sums: Floats
    squares: Floats

    @classmethod
    def of(cls, codes: NDArray[Any]) -> Totals:
        """The sums of codes `(N, D)`."""
        cut = np.clip(codes.astype(np.float64, copy=False), -CUT, CUT)
        return cls(float(len(cut)), cut.sum(axis=0), np.einsum("nd,nd->d", cut, cut))

    def plus(self, other: Totals) -> Totals:
        """Both together."""
        return Totals(self.count + other.count, self.sums + other.sums, self.squares + other.squares)

    @property
    def mean(self) -> Floats:
        """`(D,)`."""
        return self.sums / max(self.count, 1.0)

    @property
    def spread(self) -> Floats:
        """`(D,)` standard deviations."""
        variance = self.squares / max(self.count, 1.0) - np.square(self.mean)
        return np.maximum(np.sqrt(np.maximum(variance, 0.0)), LEAST_SPREAD)


@dataclass(frozen=True)
class Moved:
    """How far a column has moved.

    Args:
        column: its name.
        shift: of its mean, in standard deviations.
        z: the same, in standard errors.
    """

    column: str
    shift: float
    z: float


class Columns:
    """The codes of a detector's first member, by column.

    Args:
        detector: fitted.
    """

    def __init__(self, detector: Detector) -> None:
        encoder = detector.encoder_
        if isinstance(encoder, FeatureEncoder):
            self.names, self.slots = encoder.column_names, np.asarray(encoder.slots)[:INPUTS]
        elif isinstance(encoder, ImageEncoder):
            self.names, of = regions(encoder.shape)
            self._of = of.numpy()
            self.slots = np.arange(len(self.names))
        else:
            assert isinstance(encoder, SequenceEncoder | TableEncoder)
            self.names, self.slots = encoder.column_names, np.asarray(encoder.slots)[:INPUTS]
        self.labels = self._labels()
        standard = detector.members_[0].standard
        self.reference = None if standard is None else Totals.of(self._by_input(standard.numpy()))

    def _labels(self) -> tuple[str, ...]:
        """A name for each code: that of the column, numbered where it has several."""
        counts = np.bincount(self.slots, minlength=len(self.names))
        seen: dict[int, int] = {}
        found = []
        for slot in self.slots.tolist():
            seen[slot] = seen.get(slot, -1) + 1
            name = self.names[slot]
            found.append(name if counts[slot] == 1 else f"{name} [{seen[slot]}]")
        return tuple(found)

    def nothing(self) -> Totals:
        """The sums of no rows."""
        return Totals(0.0, np.zeros(len(self.slots)), np.zeros(len(self.slots)))

    def totals(self, codes: Any) -> Totals:
        """The sums of a piece of a batch.

        Args:
            codes: as the detector encodes it.
        """
        if not isinstance(codes, EncodedSequences):
            return Totals.of(self._by_input(codes.numpy()))
        found, steps = self.nothing(), int(codes.lengths.sum())
        for start in range(0, steps, STEPS):
            found = found.plus(
                Totals.of(self._by_input(codes.codes(start, min(start + STEPS, steps)).numpy()))
            )
        return found

    def _by_input(self, codes: NDArray[Any]) -> NDArray[Any]:
        """Codes as rows `(N, D)`; of images the means of regions."""
        if codes.ndim == 2:
            return codes[:, : len(self.slots)]
        flat = codes.reshape(len(codes), -1)
        sums = np.stack([flat[:, self._of == region].mean(axis=1) for region in self.slots], axis=1)
        found: NDArray[Any] = np.nan_to_num(sums)
        return found

    def moved(self, change: ChangeSums) -> list[Moved]:
        """How far each column has moved since the estimated beginning, the one that moved furthest first.

        Args:
            change: the sums since then and before.
        """
        before = self.reference if self.reference is not None else change.before
        if change.since.count < 1 or before.count < 2:
            return []
        shift = (change.since.mean - before.mean) / before.spread
        z = shift / np.sqrt(1 / change.since.count + 1 / before.count)
        found = []
        for column, name in enumerate(self.names):
            inputs = np.flatnonzero(self.slots == column)
            if inputs.size:
                furthest = inputs[np.argmax(np.abs(z[inputs]))]
                found.append(Moved(name, float(shift[furthest]), float(z[furthest])))
        return sorted(found, key=lambda moved: -abs(moved.z))

    def threshold(self) -> float:
        """The size of z that no column of unchanged data reaches but with a chance of `RARE`."""
        return float(norm.isf(RARE / (2 * max(len(self.slots), 1))))


@dataclass(frozen=True)
class ChangeSums:
    """Sums since the estimated beginning of a change, and before.

    It begins after the last batch at which the log martingale was the least so far, or the e-detector, which
    forgets an earlier change that has passed, was at most 1.

    Args:
        since: of the batches after that.
        before: of the earlier ones.
        least: the least log martingale.
        begins: the number of the first batch after it.
    """

    since: Totals
    before: Totals
    least: float
    begins: int

    @classmethod
    def begin(cls, width: int, batch: int) -> ChangeSums:
        """Before the first batch.

        Args:
            width: D.
            batch: the number of the first batch.
        """
        none = Totals(0.0, np.zeros(width), np.zeros(width))
        return cls(none, none, 0.0, batch)

    def after(self, totals: Totals, evidence: Evidence, batch: int) -> ChangeSums:
        """After one more batch.

        Args:
            totals: of the batch.
            evidence: after it.
            batch: its number.
        """
        since = self.since.plus(totals)
        if evidence.log_martingale <= self.least or evidence.log_detector <= 0:
            none = Totals(0.0, np.zeros_like(since.sums), np.zeros_like(since.squares))
            least = min(evidence.log_martingale, self.least)
            return ChangeSums(none, self.before.plus(since), least, batch + 1)
        return ChangeSums(since, self.before, self.least, self.begins)

    def including(self, totals: Totals) -> ChangeSums:
        """With one more batch since the beginning, whatever its evidence at its end.

        Args:
            totals: of the batch.
        """
        return ChangeSums(self.since.plus(totals), self.before, self.least, self.begins)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain state; `from_arrays` is the exact way back."""
        return {
            "numbers": np.array([self.since.count, self.before.count, self.least, self.begins]),
            "since": np.stack([self.since.sums, self.since.squares]),
            "before": np.stack([self.before.sums, self.before.squares]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ChangeSums:
        """From what `to_arrays` gave."""
        since, before, least, begins = arrays["numbers"].tolist()
        return cls(Totals(since, *arrays["since"]), Totals(before, *arrays["before"]), least, int(begins))
