r"""Means, scales and covariances of many segments in closed form, all of them in batched products.

Those of a segment g of n rows are drawn to those of all segments (`upland.models.credibility`):

    m_g = (k m + n mean_g) / (k + n)
    s_gj^2 = (u_j 1 + (n - 1) var_gj / var_j) / (u_j + n - 1)         of each column j
    C_g = (v C + scatter_g) / (v + n)                                 of rows divided by s_g

m is the mean of all rows, var_j the variance of a column within segments, C the covariance of the divided
rows within segments, and k, u_j, v are ratios of variances within segments to variances between them: of the
rows in units of C, of the squares of a column about its mean, and of the squares and products of columns in
units of C; k and v by the mean of the inverse ratio over the columns, and over the cells (`common`). Where
segments do not differ they are infinite, and each segment has the pooled mean and covariance.

A training row has the energies of a model without that row: m_g and C_g in closed form (Sherman and Morrison
1950), s_g as it is. Their means and variances in each segment are drawn to those of all rows likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from upland.models.credibility import LEAST, Segments, share
from upland.models.segments import PARTS, SegmentEnergies, bent, energies

RIDGE = 0.02
"""Part of the mean variance that is added to the covariance within segments."""

SCALE_LEAST = 1e-2
"""Standard deviation of a column in a segment, over that in all, at least."""

CHUNK = 1 << 20
"""Numbers of the rows, or of the covariances, of the segments that are computed together."""


class _Chunk(NamedTuple):
    """Some segments with their rows, as many for each as the largest has.

    Args:
        segments: `(s,)` their numbers.
        rows: `(s, n)` numbers of rows; any where there are no more.
        there: `(s, n, 1)` 1.0 where there is a row, else 0.0.
    """

    segments: Tensor
    rows: Tensor
    there: Tensor


def _chunks(segments: Segments, width: int) -> Iterator[_Chunk]:
    """All segments that have rows, large ones first."""
    order = torch.argsort(segments.of, stable=True)
    counts = segments.counts.long()
    starts = counts.cumsum(0) - counts
    queue = torch.argsort(counts, descending=True, stable=True)
    sizes, first = counts[queue].tolist(), 0
    n_there = sum(size > 0 for size in sizes)
    while first < n_there:
        longest = sizes[first]
        last = min(first + max(CHUNK // (max(longest, width) * width), 1), n_there)
        chosen = queue[first:last]
        places = torch.arange(longest, dtype=torch.int64)[None]
        there = places < counts[chosen, None]
        rows = order[torch.where(there, starts[chosen, None] + places, 0)]
        yield _Chunk(chosen, rows, there[:, :, None].double())
        first = last


def fitted_segments(
    x: Tensor, of: Tensor, count: int, pooled: Tensor, fresh: Tensor
) -> tuple[SegmentEnergies, Tensor]:
    """The energies of segments, from their rows, and what pooled means and covariances weigh, in rows: k, v.

    Args:
        x: `(N, D)` encoded rows.
        of: `(N,)` the number of each row's segment, below `count`.
        count: S; some may have no rows.
        pooled: `(N,)` energies of the rows under the model of all segments together.
        fresh: energies of rows that this model was not fitted on, which set the mean and the standard
            deviation of the energies; those of the rows set the differences between segments.
    """
    segments = Segments(of, torch.bincount(of, minlength=count).double())
    moments = _Moments.of(x, segments)
    weights = moments.credibility(segments)
    found = SegmentEnergies(count, x.shape[1])
    values = pooled.double()[:, None].repeat(1, PARTS)
    _fit_gaussians(found, values, x, segments, moments, weights)
    location = segments.shrunk_means(values)
    scale = segments.shrunk_means((values - location[of]).square()).sqrt()
    overall = torch.stack([values.mean(0), values.std(0, correction=0)])
    ratio = fresh.std(correction=0) / overall[1, 0].clamp_min(LEAST)
    location[:, 0] = fresh.mean() + ratio * (location[:, 0] - overall[0, 0])
    scale[:, 0] *= ratio
    overall[:, 0] = torch.stack([fresh.mean(), fresh.std(correction=0)])
    found.location.copy_(torch.cat([location, overall[:1]]))
    found.scale.copy_(torch.cat([scale, overall[1:]]).clamp_min(LEAST))
    own = share(weights[None], segments.counts[:, None]).amax(1)
    found.weight[:-1] = own
    return found, weights


class _Moments(NamedTuple):
    """Means, scales and covariances of segments.

    Args:
        means: `(S, D)`, of the rows alone.
        mean: `(D,)` of all rows.
        scales: `(S, D)` standard deviations in units of those of all segments, drawn to 1.
        of_scales: rows that 1 weighs as much as in their squares, by the mean over the columns.
        scatter: `(S, D, D)` sums of squares and products of rows about their means, divided by the scales.
        covariance: `(D, D)` of these within segments.
        whitening: `(D, D)` W with W covariance W' = 1.
        fourth: `(D, D)` sums over rows of the squares of products of whitened columns, without the bias that
            comes of the mean.
    """

    means: Tensor
    mean: Tensor
    scales: Tensor
    of_scales: Tensor
    scatter: Tensor
    covariance: Tensor
    whitening: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, x: Tensor, segments: Segments) -> _Moments:
        """Of rows `(N, D)` in segments."""
        width, counts = x.shape[1], segments.counts
        means = segments.sums(lambda block, _: bent(block), x) / counts.clamp_min(1)[:, None]
        mean = (counts @ means) / len(x)
        scales, of_scales = _scales(x, segments, means)
        scatter = torch.zeros((len(counts), width, width), dtype=torch.float64)
        for chunk in _chunks(segments, width):
            dev = _deviations(x, chunk, means, scales)
            scatter[chunk.segments] = dev.mT @ dev
        inner = len(x) - int((counts > 0).sum())
        total = scatter.sum(0) / max(inner, 1)
        if not inner:  # one row each: nothing else is known of the covariance
            total = (means - mean).mT @ (means - mean) / len(x)
        ridge = RIDGE * total.diagonal().mean().clamp_min(LEAST)
        covariance = total + ridge * torch.eye(width, dtype=torch.float64)
        whitening = torch.linalg.inv(torch.linalg.cholesky(covariance))
        fourth = torch.zeros((width, width), dtype=torch.float64)
        for chunk in _chunks(segments, width):
            unbiased = _unbiased(counts[chunk.segments])[:, None, None]
            squares = (_deviations(x, chunk, means, scales) @ whitening.T).square() * unbiased
            fourth += torch.einsum("snd,sne->de", squares, squares)
        return cls(means, mean, scales, of_scales, scatter, covariance, whitening, fourth)

    def credibility(self, segments: Segments) -> Tensor:
        """Rows that the pooled mean, scales and covariance weigh as much as: k, u and v."""
        counts, white = segments.counts, self.whitening
        moved = ((self.means - self.mean) / self.scales) @ white.T
        inside = (white @ self.scatter.sum(0) @ white.T).diagonal()
        of_means = segments.common(inside, (counts[:, None] * moved.square()).sum(0))
        squares = segments.of_variances
        n = squares.counts[:, None, None]
        each = white @ self.scatter @ white.T / n.clamp_min(1)
        all_rows = (n * each).sum(0) / n.sum().clamp_min(1)
        within = self.fourth - (counts[:, None, None] * each.square()).sum(0)
        of_covariances = squares.common(within, (n * (each - all_rows).square()).sum(0))
        return torch.stack([of_means, self.of_scales, of_covariances])


def _scales(x: Tensor, segments: Segments, means: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviations of the columns in each segment, in units of those within all segments, their
    squares drawn to 1, each column by its own credibility; and that of all columns together.
    """
    counts, freedom = segments.counts[:, None], segments.of_variances
    unbiased, n = _unbiased(counts), freedom.counts[:, None]

    def squares(block: Tensor, of: Tensor) -> Tensor:
        return (bent(block) - means[of]).square() * unbiased[of]

    each = segments.sums(squares, x) / counts.clamp_min(1)
    fourth = segments.sums(lambda block, of: squares(block, of).square(), x).sum(0)
    pooled = (n * each).sum(0) / n.sum().clamp_min(1)
    within = fourth - (counts * each.square()).sum(0)
    between = (n * (each - pooled).square()).sum(0)
    own = share(freedom.credibility(within, between), n) * (each / pooled.clamp_min(LEAST) - 1)
    return (1 + own).clamp_min(SCALE_LEAST**2).sqrt(), freedom.common(within, between)


def _deviations(x: Tensor, chunk: _Chunk, means: Tensor, scales: Tensor) -> Tensor:
    """Rows of segments about their means, divided by their scales, 0 where there is no row: `(s, n, D)`."""
    s = chunk.segments
    return (bent(x[chunk.rows]) - means[s, None]) / scales[s, None] * chunk.there


def _unbiased(counts: Tensor) -> Tensor:
    """N / (n - 1) where there are two rows, else 0."""
    return torch.where(counts > 1, counts / (counts - 1).clamp_min(1), 0.0)


def _fit_gaussians(
    found: SegmentEnergies, values: Tensor, x: Tensor, segments: Segments, moments: _Moments, weights: Tensor
) -> None:
    """Put in the means and precisions, and the energies of each row without itself in `values`."""
    (k, _, v), counts = weights, segments.counts
    own = share(k, counts)[:, None]
    found.centre.copy_(torch.cat([moments.mean + own * (moments.means - moments.mean), moments.mean[None]]))
    pooled = torch.linalg.inv(moments.covariance)
    found.precision.copy_(pooled.float().expand_as(found.precision))
    for chunk in _chunks(segments, x.shape[1]):
        s, n = chunk.segments, counts[chunk.segments][:, None]
        scale = moments.scales[s, None]
        inverse = torch.linalg.inv(v * moments.covariance + moments.scatter[s])
        found.precision[s] = ((v + n)[:, :, None] * inverse / (scale * scale.mT)).float()
        rows, means = bent(x[chunk.rows]), moments.means[s, None]
        d = (
            rows
            - (k * moments.mean + n[:, :, None] * means - rows) / (k + n - 1).clamp_min(LEAST)[:, :, None]
        )
        squares, distance = _without_itself(inverse, (rows - means) / scale, d / scale, _unbiased(n))
        left = (v + n - 1)[:, :, None]
        there = chunk.there[:, :, 0] > 0
        numbers = chunk.rows[there]
        squares, distance = (squares * left)[there], (distance * left[:, :, 0])[there]
        values[numbers] = energies(squares, distance, values[numbers, 0])


def _without_itself(inverse: Tensor, dev: Tensor, d: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Squared residuals `(s, n, D)` and squared distances `(s, n)` of rows under the inverse of the scatter
    without them, by the formula of Sherman and Morrison.

    Args:
        inverse: `(s, D, D)` of A, the scatter with all rows.
        dev: `(s, n, D)` u, the rows about their mean.
        d: `(s, n, D)` the rows about the mean that they are compared with.
        factor: `(s, 1)` c, where A - c u u' is the scatter without a row.
    """
    along = dev @ inverse
    lift = factor / (1 - factor * (dev * along).sum(2)).clamp_min(LEAST)
    product = d @ inverse + (lift * (along * d).sum(2))[:, :, None] * along
    own = inverse.diagonal(dim1=1, dim2=2)[:, None] + lift[:, :, None] * along.square()
    return product.square() / own, (product * d).sum(2)
