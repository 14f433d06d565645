"""The usual tests of a shift between two batches: Kolmogorov-Smirnov, PSI and MMD on rows as they are.

All see the rows that a detector holds out, in the user's columns: the first part to fit on, the second
to compare with.

* `ColumnTests`: the two-sample Kolmogorov-Smirnov test of each column against both parts together, at the
  level 0.05 over the number of columns (Bonferroni). Distances are exact, p-values those of scipy's
  `ks_2samp(method="asymp")`.
* `StabilityIndex`: the population stability index, the mean over columns of sum_b (q_b - p_b) log(q_b / p_b)
  over ten bins with a tenth of the rows each, half a row added to every bin. Its usual thresholds (0.1, 0.25)
  are of large samples, so it is compared with normal groups of the same size, as upland's statistics are.
* MMD is upland's `MeanDiscrepancy` on z-scored rows, compared in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import distributions
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.outputs import ModelOutputs

Array = NDArray[np.float64]
BINS = 10


@dataclass
class ColumnTests:
    """Kolmogorov-Smirnov column by column, against `reference` `(M, D)`."""

    reference: Array

    def __post_init__(self) -> None:
        self.columns = [np.sort(column) for column in self.reference.T]

    def distances(self, groups: Array) -> Array:
        """The distance of each group's columns: `(G, n, D)` -> `(G, D)`."""
        return np.stack([distance(column, groups[:, :, d]) for d, column in enumerate(self.columns)], axis=1)

    def p_values(self, distances: Array, n: int) -> Array:
        """Bonferroni's over the columns: `(G, D)` -> `(G,)`."""
        m = len(self.reference)
        found, which = np.unique(distances.max(axis=1), return_inverse=True)
        p = np.clip(distributions.kstwo.sf(found, np.round(m * n / (m + n))), 0, 1)
        return np.minimum(1.0, p * len(self.columns))[which]


def distance(reference: Array, rows: Array) -> Array:
    """max |F_rows - F_reference| of each line of `rows` `(G, n)`, where both may jump at one value."""
    rows = np.sort(rows, axis=1)
    n, m = rows.shape[1], len(reference)
    below, upto = (np.searchsorted(reference, rows, side=side) / m for side in ("left", "right"))
    steps = np.arange(1, n + 1) / n
    last = np.concatenate([rows[:, 1:] > rows[:, :-1], np.ones((len(rows), 1), dtype=bool)], axis=1)
    first = np.concatenate([np.ones((len(rows), 1), dtype=bool), rows[:, 1:] > rows[:, :-1]], axis=1)
    above = np.where(last, np.abs(steps - upto), 0.0).max(axis=1)
    under = np.where(first, np.abs(below - (steps - 1 / n)), 0.0).max(axis=1)
    return np.maximum(above, under)


@dataclass
class StabilityIndex(Statistic):
    """The population stability index, mean over columns."""

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        x = outputs.points.double()
        levels = torch.arange(1, BINS, dtype=torch.float64) / BINS
        self.fitted = {"edges": torch.quantile(x, levels, dim=0).T.contiguous()}
        share = self.features(outputs).mean(0)
        return {**self.fitted, "share": (share * len(x) + 0.5) / (len(x) + 0.5 * BINS)}

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Which bin each column is in: `(N, 10 D)` of 0 and 1."""
        bins = torch.searchsorted(self.fitted["edges"], outputs.points.double().T.contiguous())
        return torch.nn.functional.one_hot(bins.T, BINS).double().flatten(1)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        n = sizes.double()[:, None]
        found, usual = (means * n + 0.5) / (n + 0.5 * BINS), self.fitted["share"]
        terms = (found - usual) * (found / usual).log()
        return terms.reshape(len(means), -1, BINS).sum(-1).mean(-1)
