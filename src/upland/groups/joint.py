r"""Several statistics of a group in one, standardised at the group's own size on held-out normal rows.

For a statistic t (its logarithm, where it is positive) the median and the distances to the 16th and 84th
percentile are taken over random groups of n held-out normal rows, on a grid of sizes n; between its points
they are interpolated in log n. Where n is more than half the rows, groups would be too much alike: there
means of features are drawn from a Gaussian of the rows' own mean and covariance. With these,

    u = (t - median) / (the spread on that side),

so that |u| is about the number of standard deviations, on either side: a group may be too good as well, as
constant or over-smooth ones are; of the mean energy the two sides together are a test of typicality. The
joint statistic is the mean of u^2 over the components.

It is a function of the group's means and size like any other, so its p-values are exact whatever the
standardisation; that says only how components are weighed. For n = 1 it is a criterion of single rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from upland.groups.base import Statistic
from upland.groups.outputs import ModelOutputs

DRAWS = 400  # groups at each size of the grid
LARGEST = 4_096  # rows of a group, beyond which the standardisation stays
RATIO = 1.5  # ratio of neighbouring sizes
SEED = 2002_03328
LEAST = 1e-12  # of a positive statistic, before its logarithm
LEAST_SPREAD = 1e-9  # in units of 1 + |median|


@dataclass
class JointStatistic(Statistic):
    """The mean square of its components, each standardised at the size of the group.

    Args:
        components: the statistics; they are fitted on some rows, and standardised on others.
    """

    components: Sequence[Statistic] = field(default_factory=list)

    def fit(
        self, outputs: ModelOutputs, training: ModelOutputs | None = None, largest: int = LARGEST
    ) -> Self:
        """Fit the components and standardise them; returns the statistic itself.

        Args:
            outputs: of held-out normal rows, at least 4, that components are standardised on.
            training: of other normal rows that components are fitted on, which the model may have been
                trained on; None fits them on the first half of `outputs`, and standardises on the second.
            largest: rows of the groups that will be asked about, at most: a statistic of small groups is
                fitted much faster, and gives the same bits.

        Raises:
            ValueError: there are fewer than 4 rows, or no components.
        """
        count = len(outputs.energy)
        if count < 4 or not self.components:
            raise ValueError(
                f"at least 4 rows and a component are needed, got {count} and {len(self.components)}"
            )
        half = 0 if training is not None else count // 2
        first = outputs.take(slice(None, half)) if training is None else training
        for statistic in self.components:
            statistic.fit(first)
        widths = [statistic.features(first.take(slice(0, 1))).shape[1] for statistic in self.components]
        self.fitted = {"widths": torch.tensor(widths, dtype=torch.int64)}
        sizes = sizes_up_to(largest)
        table = self._table(self.features(outputs.take(slice(half, None))), sizes)
        self.fitted |= {"sizes": sizes, "table": table}
        return self

    def reaches(self, largest: int) -> bool:
        """Whether it was fitted for groups of so many rows.

        Args:
            largest: rows.
        """
        return len(self.fitted["sizes"]) >= len(sizes_up_to(largest))

    def _table(self, features: Tensor, sizes: Tensor) -> Tensor:
        """Median, lower and upper spread of every component at every size: `(L, C, 3)`."""
        source = torch.Generator().manual_seed(SEED)
        near = sizes[sizes <= max(len(features) // 2, 1)]
        near_part = torch.stack([self._grid_point(features, n, source) for n in near.long().tolist()])
        far = sizes[len(near) :].long().tolist()
        return torch.cat([near_part, *(self._beyond(features, n, source)[None] for n in far)])

    def _grid_point(self, features: Tensor, n: int, source: torch.Generator) -> Tensor:
        """The same at one size, `(C, 3)`: groups drawn from a finite sample vary less than fresh ones do."""
        means = drawn(len(features), n, source) @ features / n
        t = self._logarithms(means, torch.full((DRAWS,), float(n), dtype=torch.float64))
        middle, low, high = t.quantile(torch.tensor([0.5, 0.16, 0.84], dtype=torch.float64), 0)
        fresh = math.sqrt(1 - n / len(features)) if len(features) > n else 1.0
        least = LEAST_SPREAD * (1 + middle.abs())
        return torch.stack(
            [middle, ((middle - low) / fresh).maximum(least), ((high - middle) / fresh).maximum(least)], 1
        )

    def _beyond(self, features: Tensor, n: int, source: torch.Generator) -> Tensor:
        """The same at a size that there are too few rows for, `(C, 3)`: means of features are near Gaussian.

        Around the rows' own mean, not around the true one, values are too high by what M rows are off, M
        their number. That is the rise from the value of their mean to the median of groups of M.
        """
        count, center = len(features), features.mean(0)
        weights = torch.randn(DRAWS, count, generator=source, dtype=torch.float64)
        away = weights @ (features - center) / math.sqrt(count)
        at_n, at_count = (self._plain(center + away / math.sqrt(size), n) for size in (n, count))
        low, middle, high = at_n.quantile(torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64), 0)
        own = self._plain(center[None], n)[0]
        risen = (at_count.median(0).values - own).clamp(min=0)
        positive = torch.tensor([statistic.positive for statistic in self.components], dtype=torch.bool)
        true = torch.where(positive, (middle - risen).maximum(middle - own).clamp(min=LEAST), middle)
        spread = (high - low) / 2
        least = LEAST_SPREAD * (1 + true.abs())
        spread = torch.where(positive, torch.log1p(spread / true), spread).maximum(least)
        return torch.stack([torch.where(positive, true.log(), true), spread, spread], 1)

    def _plain(self, means: Tensor, n: int) -> Tensor:
        """The components themselves: `(G, F)` -> `(G, C)`."""
        positive = torch.tensor([statistic.positive for statistic in self.components], dtype=torch.bool)
        found = self._logarithms(means, torch.full((len(means),), float(n), dtype=torch.float64))
        return torch.where(positive, found.exp(), found)

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Those of the components side by side: `(N, F)`."""
        return torch.cat([statistic.features(outputs) for statistic in self.components], 1)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean of u^2: `(G, F)`, `(G,)` -> `(G,)`."""
        return self.standardised(means, sizes).square().mean(1)

    def standardised(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The components in standard deviations of normal groups of the same size: `(G, C)`.

        Args:
            means: `(G, F)` of features.
            sizes: `(G,)`.
        """
        usual = self._usual(sizes.double())
        away = self._logarithms(means, sizes) - usual[..., 0]
        return away / torch.where(away < 0, usual[..., 1], usual[..., 2])

    def _logarithms(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The components, of positive ones the logarithm: `(G, C)`."""
        parts = means.split(self.fitted["widths"].tolist(), 1)
        values = []
        for statistic, part in zip(self.components, parts, strict=True):
            value = statistic.value(part, sizes)
            values.append(value.clamp(min=LEAST).log() if statistic.positive else value)
        return torch.stack(values, 1)

    def _usual(self, sizes: Tensor) -> Tensor:
        """The table at these sizes, medians linear and spreads geometric in log n: `(G, C, 3)`."""
        grid, table = self.fitted["sizes"].log(), self.fitted["table"]
        logs = sizes.log().clamp(grid[0], grid[-1])
        after = torch.searchsorted(grid, logs).clamp(1, max(len(grid) - 1, 1))
        before = after - 1
        after = after.clamp(max=len(grid) - 1)
        gap = (grid[after] - grid[before]).clamp(min=1e-300)
        share = ((logs - grid[before]) / gap)[:, None, None]
        middle = table[before][..., :1].lerp(table[after][..., :1], share)
        spread = table[before][..., 1:].log().lerp(table[after][..., 1:].log(), share).exp()
        return torch.cat([middle, spread], -1)


def drawn(rows: int, n: int, source: torch.Generator) -> Tensor:
    """Which rows are in each of some random groups of n, none twice: `(400, rows)` of 0 and 1, float64.

    Args:
        rows: there are to draw from.
        n: rows of a group.
        source: of the draws.
    """
    chosen = torch.rand(DRAWS, rows, generator=source, dtype=torch.float32).topk(n, 1).indices
    return torch.zeros(DRAWS, rows, dtype=torch.float64).scatter_(1, chosen, 1.0)


def sizes_up_to(largest: int) -> Tensor:
    """The sizes at which components are standardised for groups of so many rows: the least of the grid that
    is no smaller comes last.

    Args:
        largest: rows.
    """
    grid = size_grid(LARGEST)
    return grid[: int(torch.searchsorted(grid, float(largest))) + 1]


def size_grid(most: int) -> Tensor:
    """The sizes at which components are standardised: from 1, each half as large again.

    Args:
        most: rows of a group.
    """
    sizes, n = [], 1.0
    while n <= most:
        sizes.append(round(n))
        n = max(n * RATIO, n + 1)
    return torch.tensor(sorted(set(sizes)), dtype=torch.float64)
