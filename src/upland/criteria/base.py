"""What a row, an image, a sequence or a time step is scored by: one contract for all criteria.

A criterion is fitted on a *reference*: a trained model and encoded normal data. Then `score` gives one number
for each encoded point, higher = more anomalous, and `shares` says which inputs the number comes from. What
`fit` learns is a function of the reference alone, so that a criterion fitted again on the same one gives the
same bits. Criteria of time steps also score a series as it comes (`upland.criteria.sequence`).

A new criterion is one file here and one line of `upland.catalogue.CRITERIA`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from upland.groups.outputs import Reference
from upland.models.base import EnergyModel

Floats = NDArray[np.float64]
Normal = TypeVar("Normal")
Points = TypeVar("Points")


class Shares(NamedTuple):
    """What each input adds to a score, and what a normal point in its place would have.

    Args:
        inputs: the share of each encoded input, shaped as the points.
        expected: encoded, likewise.
    """

    inputs: Floats
    expected: NDArray[Any]


class Criterion(ABC, Generic[Normal, Points]):
    """A score of encoded data: abstract.

    Attributes:
        requires: the type of model that it can score with.
        needs_rows: whether it compares with reference rows kept with the model.
        needs_pixels: whether the model must be of the pixels of images and not of features of them.
        needs_beside_tensors: what a score takes that no graph of tensor operations, as ONNX, has; empty where
            there is no such thing.
    """

    requires: ClassVar[type] = EnergyModel
    needs_rows: ClassVar[bool] = False
    needs_pixels: ClassVar[bool] = False
    needs_beside_tensors: ClassVar[str] = ""

    @abstractmethod
    def fit(self, reference: Normal) -> Self:
        """Learn what scores are compared with.

        Args:
            reference: a trained model and encoded normal data.
        """

    @abstractmethod
    def score(self, x: Points) -> Floats:
        """Anomaly scores of encoded data, one for each unit: `(N,)`, float64, higher = more anomalous."""

    @abstractmethod
    def shares(self, x: Points) -> Shares:
        """What each encoded input adds to the score, and what was expected in its place."""


class PointCriterion(Criterion[Reference, Tensor]):
    """A score of rows or images, each by itself: abstract, `score` and `shares` to write.

    Points are `(N, D)` encoded rows or `(N, C, H, W)` encoded images, and shares are shaped as they are.
    """

    reference: Reference

    def fit(self, reference: Reference) -> Self:
        """Keep the model; what a criterion learns beyond it, it says.

        Args:
            reference: a trained model and encoded normal rows.

        Raises:
            ValueError: there are too few reference rows for a criterion that needs them.
        """
        self.reference = reference
        return self

    def of_block(self, x: Tensor) -> Tensor:
        """The scores of some points by operations on tensors alone, as an exported graph holds them:
        `(N, ...) -> (N,)`, float64.

        Raises:
            NotImplementedError: they are none such.
        """
        raise NotImplementedError(f"{type(self).__name__} has no form that a graph can hold")


def finite(scores: Floats) -> Floats:
    """The scores themselves.

    Args:
        scores: of points.

    Raises:
        FloatingPointError: some are NaN; the message says how many.
    """
    if lost := int(np.isnan(scores).sum()):
        raise FloatingPointError(f"the model gives no number (NaN) for {lost} of {scores.size} rows")
    return scores
