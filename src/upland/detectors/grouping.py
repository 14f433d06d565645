"""Groups of a user's rows, images or sequences: how they are read, and `score_groups`."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from upland.calibration.conformal import Calibration, Floats
from upland.calibration.false_discovery import Control
from upland.criteria.judges import tester_of
from upland.data.encoder import Encoder
from upland.detectors.arguments import check_rate
from upland.detectors.fitting import Member
from upland.detectors.kinds import Kind, Unit
from upland.detectors.results import Scored
from upland.groups.labels import labels_in
from upland.groups.tester import check_of_scores, verdicts_from_scores
from upland.groups.verdicts import GroupVerdicts
from upland.io.csv import NULLS
from upland.io.source import suffix_of

TEXT = ("csv", "tsv")  # files in which a missing label is text


def encoded_with_labels(kind: Kind, encoder: Encoder, X: Any, groups: Any) -> tuple[Tensor, Any]:
    """The encoded rows or images `(N, ...)` and the group of each.

    Args:
        kind: how the data are read.
        encoder: fitted.
        X: new data.
        groups: `(N,)` the group of each, or the name of a column of X that is no feature.

    Raises:
        ValueError: the column is a feature or is missing, or X has no columns.
    """
    by = groups if isinstance(groups, str) else None
    if by is not None and kind.name == "image":
        raise ValueError(f"images have no column {by!r}: give groups an array with the group of each")
    a_file = kind.name == "table" and isinstance(X, str | Path)
    blanks = NULLS if a_file and suffix_of(Path(X)) in TEXT else ()
    features = {used["name"] for used in encoder.describe()}
    x, labels = [], []
    for piece in kind.pieces(X, encoder):
        if by is not None:
            labels += labels_in(piece, by, features, blanks)
        x.append(torch.from_numpy(encoder.transform(piece)))
    return torch.cat(x), groups if by is None else labels


class GroupContract(ABC):
    """Verdicts on groups, for detectors: abstract."""

    members_: list[Member]
    unit_: Unit
    calibrations_: dict[Unit, Calibration]

    @abstractmethod
    def data_kind(self) -> Kind:
        """How the data of the fit are read."""

    @abstractmethod
    def _scored(self, X: Any, unit: Unit | None = None) -> Scored:
        """Each member's scores."""

    @abstractmethod
    def anomaly_score(self, X: Any) -> Floats:
        """How anomalous the data are."""

    def score_groups(
        self,
        X: Any,
        groups: Any,
        alpha: float = 0.05,
        control: Control = "fdr",
        statistic: str = "auto",
        reasons: bool = True,
    ) -> GroupVerdicts:
        """Test whole groups of rows, images or sequences.

        Args:
            X: data like those of the fit; or the path of a file or folder.
            groups: `(N,)` the group of each, or the name of a column of X that is no feature.
            alpha: the rate that is kept, in (0, 1).
            control: "fdr" keeps the share of flagged groups that are normal; "false_alarm" the share of
                normal groups that are flagged.
            statistic: "auto" puts together what suits the model; the others are in
                `upland.catalogue.STATISTICS`.
            reasons: whether verdicts say which columns or regions contribute; sequences have no reasons.

        Returns:
            A verdict for each group, in order of first appearance.

        Raises:
            TypeError: the statistic is of latents, and the model has none; or it is none of scores, for
                groups of sequences.
            ValueError: an argument is none of these; the column is a feature or is missing; a row has no
                group; too few normal rows were kept.
        """
        check_is_fitted(self)
        check_rate(alpha, control)
        kind, member = self.data_kind(), self.members_[0]
        if kind.name == "sequence":
            return self._sequences_in_groups(X, groups, alpha, control, statistic)
        tester = tester_of(member)
        tester.check(statistic)  # before data are read
        x, labels = encoded_with_labels(kind, member.encoder, X, groups)
        return tester.test(x, labels, alpha, control, statistic, reasons)

    def _sequences_in_groups(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str
    ) -> GroupVerdicts:
        """The same for sequences, by the distribution of their anomaly scores."""
        check_of_scores(statistic)
        if isinstance(groups, str):
            raise ValueError("name the group of each sequence in an array: groups=[...], one a sequence")
        unit = self.unit_
        calibration = self.calibrations_[unit]
        if calibration.folds is None:
            normal, scores = calibration.scores, self.anomaly_score(X)
        else:  # the first member alone, and what it has not seen
            normal, scored = calibration.scores[calibration.folds == 0], self._scored(X, unit)
            scores = scored.arrange(scored.values[:, 0])
        if unit == "step":
            warnings.warn(
                "time steps depend on each other, so the p-values of their groups are approximate",
                stacklevel=3,
            )
        return verdicts_from_scores(
            normal, scores, labels=groups, alpha=alpha, control=control, statistic=statistic
        )
