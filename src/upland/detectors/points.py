"""What detectors of tables and of images have in common: points that are scored each by itself."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from upland.calibration.false_discovery import Control
from upland.detectors.base import Detector
from upland.detectors.reference_rows import to_be_kept
from upland.groups.joint import LARGEST
from upland.groups.labels import is_names, labels_by, largest_group, listed
from upland.groups.tester import check_statistic
from upland.groups.verdicts import GroupVerdicts
from upland.io.arrays import is_array_file
from upland.io.formats import blanks_at
from upland.io.places import is_place


class PointDetector(Detector):
    """A detector of rows or images: abstract."""

    keep_rows: int

    def _group_verdicts(
        self, X: Any, groups: Any, alpha: float, control: Control, statistic: str, reasons: bool
    ) -> GroupVerdicts:
        """By the first member and the normal rows held out from it; its statistic is refused before data are
        read.
        """
        check_statistic(statistic, self.members_[0].model)
        largest = LARGEST  # of a column it is not known yet
        if not (isinstance(groups, str) or is_names(groups)):
            groups = listed(groups)
            largest = largest_group(groups)
        self.group_tester_.check(statistic, largest)
        x, labels = self.encoded_with_labels(X, groups)
        return self.group_tester_.test(x, labels, alpha, control, statistic, reasons)

    def encoded_with_labels(self, X: Any, groups: Any) -> tuple[Tensor, Any]:
        """The encoded points `(N, ...)` and the group of each.

        Args:
            X: data like those of the fit.
            groups: `(N,)` the group of each, or the name of a column, or a tuple of names.

        Raises:
            ValueError: as `score_groups`.
        """
        encoder = self.encoder_
        by = (groups,) if isinstance(groups, str) else groups if is_names(groups) else None
        if by is not None and self.modality == "image":
            raise ValueError(f"images have no column {by[0]!r}: give groups an array with the group of each")
        features = {used["name"] for used in encoder.describe()}
        x, labels = [], []
        for piece in self.plan_.reader.pieces(X, encoder):
            if by is not None:
                labels += labels_by(piece, by, features, self._blanks(X))
            x.append(to_be_kept(encoder, self.encode(encoder, piece)))
        return torch.cat(x), groups if by is None else labels

    def _blanks(self, X: Any) -> Collection[str]:
        """Texts that stand for a missing label: those of a missing cell in files of text."""
        return blanks_at(X) if self.modality == "table" and is_place(X) and not is_array_file(X) else ()
