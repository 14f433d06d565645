r"""Energies of many segments (machines, shops, sites) in closed form, all of them in batched products.

Rows x of a segment g are taken for Gaussian about a mean m_g with a covariance C_g, both drawn towards those
of all segments by credibility (Buhlmann and Straub 1970; the empirical Bayes of Efron and Morris 1973):

    m_g = (k m + n_g mean_g) / (k + n_g)            C_g = (v C + scatter_g) / (v + n_g)

n_g counts the segment's rows, m is the mean of all rows, C the covariance within segments. k and v are the
variance of rows within segments over the variance between segments, of x and of (x - mean)(x - mean)', both in
units of C, by the moments of an analysis of variance. Where segments do not differ, k and v are infinite, and
every segment has the pooled mean and covariance.

With P = C_g^{-1} and d = x - m_g there are two energies:

    conditional   mean_j log(1 + r_j^2 / 3),  r_j = (P d)_j / sqrt(P_jj): a pseudo-likelihood (Besag 1975), with
                  Student's t for each column given the others
    distance      log(1 + d' P d / D): Mahalanobis'

They join the energy of a model of all segments together. Each of the three is put in standard deviations of
the segment's training rows, whose mean and variance are drawn to those of all rows by the same rule, and the
score is the cubic mean of their softplus, in which the pooled energy has the weight 1 and the others
B = max(n_g / (n_g + k), n_g / (n_g + v)). A training row has the energies of a model without that row, in
closed form (Sherman and Morrison 1950).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

BEND = 4.0
"""Size of a code from which it grows as a logarithm."""

RIDGE = 0.02
"""Part of the mean variance that is added to the covariance within segments."""

MOST = 1e9
"""Rows that pooled values weigh as much as where segments do not differ."""

LEAST = 1e-9
"""The least variance, and standard deviation of an energy."""

SCALE_LEAST = 1e-2
"""Standard deviation of a column in a segment, over that in all, at least."""

CHUNK = 1 << 20
"""Numbers of the rows, or of the covariances, of the segments that are computed together."""

BLOCK = 4_096
"""Rows that are scored together."""

PARTS = 3
"""The energy of all segments together, the conditional energy and the distance."""


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
        """The variance between segments over the variance of rows within them, by the moments of an analysis of
        variance; below 0 by chance where there is none.

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
        """Rows that each pooled value weighs as much as, the inverse of the ratio, at most `MOST`; arguments are
        those of `ratios`.
        """
        return _inverse(self.ratios(within, between))

    def common(self, within: Tensor, between: Tensor) -> Tensor:
        """The same for several values together, by the mean of their ratios: a number."""
        return _inverse(self.ratios(within, between).mean())

    def shrunk_means(self, values: Tensor) -> Tensor:
        """The mean of each column in each segment, drawn to that of all rows: `(N, P) -> (S, P)`."""
        means, mean = self.means(values), values.mean(0)
        between = (self.counts[:, None] * (means - mean).square()).sum(0)
        rows = self.credibility((values - means[self.of]).square().sum(0), between)
        return mean + share(rows, self.counts[:, None]) * (means - mean)


def _inverse(ratios: Tensor) -> Tensor:
    """One over each, `MOST` where they are 0 or less."""
    return torch.where(ratios * MOST > 1, 1 / ratios.clamp_min(1 / MOST), MOST)


def share(rows: Tensor, counts: Tensor) -> Tensor:
    """The weight of a segment's own value, `n / (n + k)`; 0 where segments do not differ.

    Args:
        rows: k, that the pooled value weighs as much as.
        counts: n, of the segments.
    """
    return torch.where(rows < MOST, counts / (counts + rows).clamp_min(1e-300), 0.0)


def bent(x: Tensor) -> Tensor:
    """Codes beyond `BEND` as its logarithm, in float64.

    Args:
        x: codes of any shape.
    """
    z = x.double()
    size = z.abs()
    return torch.where(size > BEND, z.sign() * (BEND + torch.log1p((size - BEND).clamp_min(0))), z)


def unbent(z: Tensor) -> Tensor:
    """The way back from `bent`.

    Args:
        z: bent codes.
    """
    size = z.abs()
    return torch.where(size > BEND, z.sign() * (BEND + torch.expm1((size - BEND).clamp(0, 80))), z)


class SegmentEnergies(nn.Module):
    """The energies of S segments, one behind another, and as the last that of all segments together, for rows
    of none of them.

    Args:
        count: S.
        width: D of encoded rows.

    Attributes:
        centre: `(S + 1, D)` m_g.
        precision: `(S + 1, D, D)` P.
        location: `(S + 1, 3)` means of the energies.
        scale: `(S + 1, 3)` their standard deviations.
        weight: `(S + 1,)` B, 0 for the last.
    """

    centre: Tensor
    precision: Tensor
    location: Tensor
    scale: Tensor
    weight: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        for name, shape in self.shapes(count, width).items():
            dtype = torch.float32 if name == "precision" else torch.float64
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    @staticmethod
    def shapes(count: int, width: int) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor.

        Args:
            count: S.
            width: D of encoded rows.
        """
        n = count + 1
        parts = (n, PARTS)
        shapes = {"centre": (n, width), "precision": (n, width, width), "location": parts, "scale": parts}
        return shapes | {"weight": (n,)}

    def score(self, x: Tensor, pooled: Tensor, of: Tensor) -> Tensor:
        """The cubic mean of the softplus of the standardised energies: `(N,)`, float64.

        Args:
            x: `(N, D)` encoded rows.
            pooled: `(N,)` their energies under the model of all segments together.
            of: `(N,)` the number of each row's segment; S for a row of none.
        """
        parts = zip(x.split(BLOCK), pooled.split(BLOCK), of.split(BLOCK), strict=True)
        return torch.cat([self._score(*part) for part in parts]) if len(x) else pooled.double()

    def _score(self, x: Tensor, pooled: Tensor, of: Tensor) -> Tensor:
        _, squares, distance = self._residuals(x, of)
        weights, cubes = self._cubes(energies(squares, distance, pooled), of)
        return ((weights * cubes).sum(1) / weights.sum(1)).pow(1 / 3)

    def _residuals(self, x: Tensor, of: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each column is above its expected value given the others, the squares of these in standard
        deviations, `(N, D)` each, and the squared distance `(N,)`.
        """
        d, precision = bent(x) - self.centre[of], self.precision[of].double()
        product = torch.bmm(precision, d[:, :, None])[:, :, 0]
        own = precision.diagonal(dim1=1, dim2=2)
        return product / own, product.square() / own, (product * d).sum(1)

    def _cubes(self, values: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the energies in the cubic mean, and the cubes of their softplus, `(N, 3)` each."""
        z = (values - self.location[of]) / self.scale[of]
        own = self.weight[of]
        return torch.stack([torch.ones_like(own), own, own], 1), nn.functional.softplus(z).pow(3)

    def shares(self, x: Tensor, pooled: Tensor, of: Tensor, pooled_shares: Tensor) -> tuple[Tensor, Tensor]:
        """What each input adds to the score, and its expected value given the others: `(N, D)` twice.

        A part of the score is divided among the inputs as its energy is: the pooled one by its own shares, the
        others by the squared residuals.

        Args:
            x: `(N, D)` encoded rows.
            pooled: `(N,)` their energies under the model of all segments together.
            of: `(N,)` the number of each row's segment.
            pooled_shares: `(N, D)` shares of the inputs in the pooled energies.
        """
        residuals, squares, distance = self._residuals(x, of)
        weights, cubes = self._cubes(energies(squares, distance, pooled), of)
        added = weights * cubes
        total = added.sum(1, keepdim=True)
        scores = (total / weights.sum(1, keepdim=True)).pow(1 / 3)
        divided = [_parts_of_one(by) for by in (pooled_shares, torch.log1p(squares / 3), squares)]
        found = scores * (added[:, :, None] * torch.stack(divided, 1)).sum(1) / total
        return found, unbent(bent(x) - residuals)


def _parts_of_one(values: Tensor) -> Tensor:
    """Values of at least 0 as parts of their sum; equal parts where all are 0."""
    kept = values.clamp_min(0)
    total = kept.sum(1, keepdim=True)
    return torch.where(total > 0, kept / total.clamp_min(1e-300), 1 / kept.shape[1])


def energies(squares: Tensor, distance: Tensor, pooled: Tensor) -> Tensor:
    """The three energies: `(N, 3)`.

    Args:
        squares: `(N, D)` squared standardised residuals of each column given the others.
        distance: `(N,)` squared Mahalanobis distances.
        pooled: `(N,)` energies under the model of all segments together.
    """
    conditional = torch.log1p(squares / 3).mean(1)
    return torch.stack([pooled, conditional, torch.log1p(distance.clamp_min(0) / squares.shape[1])], 1)


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
    """Standard deviations of the columns in each segment, in units of those within all segments, their squares
    drawn to 1, each column by its own credibility; and that of all columns together.
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
    """n / (n - 1) where there are two rows, else 0."""
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
        d = rows - (k * moments.mean + n[:, :, None] * means - rows) / (k + n - 1).clamp_min(LEAST)[:, :, None]
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
