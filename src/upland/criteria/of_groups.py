"""Statistics of groups as scores of single points: of a group of one row, a statistic is a criterion."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.likelihood import likelihood_shares
from upland.groups.base import Statistic
from upland.groups.outputs import Reference
from upland.groups.tester import fit_statistic


class OfGroupOfOne(PointCriterion):
    """A statistic of groups for groups of one: abstract; a subclass names the statistic.

    Attributes:
        statistic: a name of `upland.catalogue.STATISTICS`.
    """

    needs_rows: ClassVar[bool] = True
    statistic: ClassVar[str]
    fitted: Statistic

    def fit(self, reference: Reference) -> Self:
        """Fit the statistic on the reference rows.

        Args:
            reference: a trained model and encoded normal rows.

        Raises:
            ValueError: there are too few reference rows.
        """
        self.reference = reference
        self.fitted = fit_statistic(self.statistic, reference, largest=1)
        return self

    def score(self, x: Tensor) -> Floats:
        """The statistic of every point by itself: `(N, ...) -> (N,)`, float64."""
        return self.fitted.of_each_row(self.reference.outputs(x)).numpy()

    def of_block(self, x: Tensor) -> Tensor:
        """The statistic of some points, each by itself: `(N, ...) -> (N,)`, float64."""
        features = self.fitted.features(self.reference.of_block(x))
        return self.fitted.value(features, torch.ones(1, dtype=torch.float64))

    def shares(self, x: Tensor) -> Shares:
        """The shares of the likelihood: `(N, ...)` twice; they need not sum to the score."""
        return likelihood_shares(self.reference, x)
