"""The statistics of groups of a fitted detector, and the features of rows that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from upland.catalogue import STATISTICS
from upland.detectors.reference_rows import to_be_kept
from upland.groups.tester import GroupTester, needs_score

Features = dict[str, Tensor]  # `(N, F)` by the name of the statistic


class GroupFeatures:
    """Statistics of a detector of rows or images, fitted as `score_groups` fits them.

    Args:
        detector: fitted; its first member is used, as in `score_groups`.
        names: of statistics.
        tester: of groups; None for that of the detector.
    """

    def __init__(self, detector: Any, names: Sequence[str], tester: GroupTester | None = None) -> None:
        self.detector, self.tester = detector, tester or detector.group_tester_
        self.model = self.tester.reference.model
        self.statistics = {name: self.tester.statistic(name) for name in names}
        self.score = any(needs_score(name, self.model) for name in names)

    def encoded(self, X: Any) -> Tensor:
        """Rows or images as the model takes them."""
        encoder = self.detector.encoder_
        return to_be_kept(encoder, self.detector.encode(encoder, X))

    def of(self, X: Any) -> Features:
        """The features of rows or images."""
        return self._features(self.encoded(X))

    def held_out(self) -> Features:
        """The features of the normal rows that groups are compared with."""
        return self._features(self.tester.held_out())

    def energy(self, X: Any) -> Tensor:
        """Energies `(N,)` of rows or images, in nats."""
        return self.tester.reference.outputs(self.encoded(X)).energy

    def _features(self, x: Tensor) -> Features:
        outputs = self.tester.reference.outputs(x, self.score)
        return {name: statistic.features(outputs) for name, statistic in self.statistics.items()}


def statistics_of(family: str) -> list[str]:
    """The statistics that are compared for a family of models."""
    left_out = "latents" if family == "energy" else "score"
    return [name for name, entry in STATISTICS.items() if entry.needs != left_out]
