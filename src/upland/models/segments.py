r"""Energies of many segments (machines, shops, sites), all of them in batched products.

Rows x of a segment g are taken for Gaussian about a mean m_g with a precision P (fitted in
`upland.models.segment_fitting`). With d = x - m_g there are two energies:

    conditional   mean_j log(1 + r_j^2 / 3),  r_j = (P d)_j / sqrt(P_jj): a pseudo-likelihood (Besag 1975),
                  with Student's t for each column given the others
    distance      log(1 + d' P d / D): Mahalanobis'

They join the energy of a model of all segments together. Each of the three is put in standard deviations of
the segment's training rows. The score is the cubic mean of their softplus, in which the pooled energy has the
weight 1 and the other two a weight B in [0, 1], which says how far the segment's own rows are to be believed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from upland.models.credibility import BLOCK

BEND = 4.0
"""Size of a code from which it grows as a logarithm."""

MANY = 16
"""Rows of a segment from which they have a product of their own."""

NUMBERS = 1 << 20
"""Numbers of the precisions of the other rows that are scored together, at most."""

PARTS = 3
"""The energy of all segments together, the conditional energy and the distance."""


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
        return torch.cat([self._score(*block) for block in _blocks(x, pooled, of)])

    def _score(self, x: Tensor, pooled: Tensor, of: Tensor) -> Tensor:
        _, squares, distance = self._residuals(x, of)
        weights, cubes = self._cubes(energies(squares, distance, pooled), of)
        return ((weights * cubes).sum(1) / weights.sum(1)).pow(1 / 3)

    def _residuals(self, x: Tensor, of: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What each column is above its expected value given the others, the squares of these in standard
        deviations, `(N, D)` each, and the squared distance `(N,)`.
        """
        d = bent(x) - self.centre[of]
        product, own = self._products(d, of), self.precision.diagonal(dim1=1, dim2=2)[of].double()
        return product / own, product.square() / own, (product * d).sum(1)

    def _products(self, d: Tensor, of: Tensor) -> Tensor:
        """P d of each row `(N, D)`: by a product for each segment of many rows, row by row for the others."""
        found, order = torch.empty_like(d), torch.argsort(of, stable=True)
        segments, counts = of[order].unique_consecutive(return_counts=True)
        many, starts = counts >= MANY, counts.cumsum(0) - counts
        for place in many.nonzero()[:, 0].tolist():
            rows = order[int(starts[place]) : int(starts[place] + counts[place])]
            found[rows] = d[rows] @ self.precision[segments[place]].double()
        few = order[~many.repeat_interleave(counts)]
        for rows in few.split(max(NUMBERS // d.shape[1] ** 2, 1)):
            found[rows] = torch.bmm(self.precision[of[rows]].double(), d[rows][:, :, None])[:, :, 0]
        return found

    def _cubes(self, values: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the energies in the cubic mean, and the cubes of their softplus, `(N, 3)` each."""
        z = (values - self.location[of]) / self.scale[of]
        own = self.weight[of]
        return torch.stack([torch.ones_like(own), own, own], 1), nn.functional.softplus(z).pow(3)

    def shares(self, x: Tensor, pooled: Tensor, of: Tensor, pooled_shares: Tensor) -> tuple[Tensor, Tensor]:
        """What each input adds to the score, and its expected value given the others: `(N, D)` twice.

        A part of the score is divided among the inputs as its energy is: the pooled one by its own shares,
        the others by the squared residuals.

        Args:
            x: `(N, D)` encoded rows.
            pooled: `(N,)` their energies under the model of all segments together.
            of: `(N,)` the number of each row's segment.
            pooled_shares: `(N, D)` shares of the inputs in the pooled energies.
        """
        found = [self._shares(*block) for block in _blocks(x, pooled, of, pooled_shares)]
        added, expected = zip(*found, strict=True)
        return torch.cat(added), torch.cat(expected)

    def _shares(self, x: Tensor, pooled: Tensor, of: Tensor, pooled_shares: Tensor) -> tuple[Tensor, Tensor]:
        residuals, squares, distance = self._residuals(x, of)
        weights, cubes = self._cubes(energies(squares, distance, pooled), of)
        added = weights * cubes
        total = added.sum(1, keepdim=True)
        scores = (total / weights.sum(1, keepdim=True)).pow(1 / 3)
        divided = [_parts_of_one(by) for by in (pooled_shares, torch.log1p(squares / 3), squares)]
        of_score = torch.where(
            total > 0, added / total.clamp_min(1e-300), 1 / PARTS
        )  # equal parts of a score of 0
        found = scores * (of_score[:, :, None] * torch.stack(divided, 1)).sum(1)
        return found, unbent(bent(x) - residuals)


def _blocks(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Rows of some tensors that are computed together."""
    yield from zip(*(values.split(BLOCK) for values in (x, *others)), strict=True)


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
