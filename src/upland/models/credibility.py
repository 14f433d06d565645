"""How much of a segment's own mean is to be believed, beside that of all segments together.

A segment of n rows has the weight n / (n + k), and the pooled value the rest, where k is the variance of rows
within segments over the variance between segments: the credibility of Buhlmann and Straub (1970), the
empirical Bayes of Efron and Morris (1973). Both variances are by the moments of an analysis of variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MOST = 1e9
"""Rows that pooled values weigh as much as where segments do not differ."""

FEWEST = 1e-3
"""Rows that they weigh as much as at least."""

LEAST = 1e-9
"""The least variance, and standard deviation of an energy."""

BLOCK = 4_096
"""Rows that are computed together."""


class Segments(NamedTuple):
    """The segment of each row.

    Args:
        of: `(N,)` the number of each row's segment.
        counts: `(S,)` rows of each, float64; of variances their degrees of freedom.
        lost: what of the counts the means of the segments take, each.
    """

    of: Tensor
    counts: Tensor
    lost: int = 1

    def means(self, values: Tensor) -> Tensor:
        """The mean of each segment, `(N, P) -> (S, P)`; 0 where there are no rows."""
        sums = values.new_zeros((len(self.counts), values.shape[1]))
        sums.index_add_(0, self.of, values)
        return sums / self.counts.clamp_min(1)[:, None]

    @property
    def of_variances(self) -> Segments:
        """The same for squares about the means: one row is lost already."""
        return Segments(self.of, (self.counts - 1).clamp_min(0), lost=0)

    def sums(self, function: Callable[[Tensor, Tensor], Tensor], x: Tensor) -> Tensor:
        """The sum of a function of the rows in each segment: `(N, D) -> (S, D)`.

        Args:
            function: of some rows and the numbers of their segments.
            x: rows.
        """
        total = torch.zeros((len(self.counts), x.shape[1]), dtype=torch.float64)
        for of, block in zip(self.of.split(BLOCK), x.split(BLOCK), strict=True):
            total.index_add_(0, of, function(block, of))
        return total

    def ratios(self, within: Tensor, between: Tensor) -> Tensor:
        """The variance between segments over the variance of rows within them, by the moments of an analysis
        of variance; below 0 by chance where there is none.

        Args:
            within: sums of squares of rows about the means of their segments.
            between: sums of squares of the segments' means about the mean of all rows, each times its rows.
        """
        n, there = self.counts.sum(), (self.counts > 0).sum()
        effective = (n - self.counts.square().sum() / n.clamp_min(1)) / (there - 1).clamp_min(1)
        inside = within / (n - self.lost * there).clamp_min(1)
        across = (between / (there - 1).clamp_min(1) - inside) / effective.clamp_min(LEAST)
        known = (inside > 0) & (there > 1) & (n > self.lost * there)
        return torch.where(known, across / inside.clamp_min(1e-300), 0.0)

    def credibility(self, within: Tensor, between: Tensor) -> Tensor:
        """Rows that each pooled value weighs as much as, the inverse of the ratio, at most `MOST`; arguments
        are those of `ratios`.
        """
        return _inverse(self.ratios(within, between))

    def common(self, within: Tensor, between: Tensor) -> Tensor:
        """The same for several values together, 1 at least: one over the mean of their ratios, where a ratio
        counts as 1 at most, so that a column that is constant in each segment does not decide alone.
        """
        return _inverse(self.ratios(within, between).clamp_max(1).mean())

    def shrunk_means(self, values: Tensor) -> Tensor:
        """The mean of each column in each segment, drawn to that of all rows: `(N, P) -> (S, P)`."""
        means, mean = self.means(values), values.mean(0)
        between = (self.counts[:, None] * (means - mean).square()).sum(0)
        rows = self.credibility((values - means[self.of]).square().sum(0), between)
        return mean + share(rows, self.counts[:, None]) * (means - mean)


def _inverse(ratios: Tensor) -> Tensor:
    """One over each, `FEWEST` at least; `MOST` where they are 0 or less."""
    return torch.where(ratios * MOST > 1, 1 / ratios.clamp_min(1 / MOST), MOST).clamp_min(FEWEST)


def share(rows: Tensor, counts: Tensor) -> Tensor:
    """The weight of a segment's own value, `n / (n + k)`; 0 where segments do not differ.

    Args:
        rows: k, that the pooled value weighs as much as.
        counts: n, of the segments.
    """
    return torch.where(rows < MOST, counts / (counts + rows).clamp_min(1e-300), 0.0)
