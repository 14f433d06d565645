"""The squared norm of the encoded row: a criterion in one file."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares, finite


class Norm(PointCriterion):
    """The squared norm |x|^2; shares sum to it."""

    def score(self, x: Tensor) -> Floats:
        """The squared norm: `(N, ...) -> (N,)`, float64."""
        return finite(x.double().square().flatten(1).sum(1).numpy())

    def shares(self, x: Tensor) -> Shares:
        """The squares, and zeros: `(N, ...)` twice."""
        return Shares(x.double().square().numpy(), np.zeros(x.shape, dtype=np.float32))
