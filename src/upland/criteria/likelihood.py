r"""The negative log-likelihood -log p(x), or a bound of it, in nats; and shares of models with a likelihood.

A likelihood has no reconstruction, and its gradient at a far row points anywhere. There the share of a column
is what another value in it would save,

    share_j = max(0, E(x) - min_v E(x with v in column j)),   v among quantiles of normal rows,

in nats, and the best v is what was expected. Columns share what they explain together, so shares need not sum
to the score. The share of a pixel is the part of 1/2 |z|^2 of the latents of its position, over all levels.
A VAE has a reconstruction, and shares of it; of features of images the model says its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.residuals import residual, residual_shares
from upland.groups.outputs import Reference
from upland.models.base import EnergyModel, LikelihoodModel, OfFeatures
from upland.models.blocks import in_blocks

VALUES = 9
"""Values that are tried in a column."""


class Likelihood(PointCriterion):
    """-log p(x), or its bound, of each point."""

    def score(self, x: Tensor) -> Floats:
        """The energy in nats: `(N, ...) -> (N,)`, float64."""
        return nats(self.reference, x)

    def of_block(self, x: Tensor) -> Tensor:
        """The energy of some points: `(N, ...) -> (N,)`, float64."""
        return self.reference.of_block(x).energy

    def shares(self, x: Tensor) -> Shares:
        """What another value would save, by column; of pixels the parts of their latents: `(N, ...)`
        twice.
        """
        return likelihood_shares(self.reference, x)


def nats(reference: Reference, x: Tensor) -> Floats:
    """-log p(x), or its bound: `(N, ...) -> (N,)`.

    Args:
        reference: holds the model.
        x: `(N, ...)` encoded points.
    """
    found: Floats = reference.outputs(x).energy.numpy()
    return found


def likelihood_shares(reference: Reference, x: Tensor) -> Shares:
    """Shares by the type of the model, as the module's page says: `(N, ...)` twice.

    Args:
        reference: holds the model and normal rows.
        x: `(N, D)` encoded rows or `(N, C, H, W)` images.
    """
    if isinstance(reference.model, OfFeatures):
        return Shares(in_blocks(_of_features, reference.model, x, reference.sigma).numpy(), x.numpy())
    if not isinstance(reference.model, LikelihoodModel):
        return residual_shares(reference, x)
    return _of_columns(reference, x) if x.ndim == 2 else _of_pixels(reference, x)


def _of_features(model: EnergyModel, x: Tensor, sigma: float) -> Tensor:
    assert isinstance(model, OfFeatures)
    return model.shares(x)


def _of_columns(reference: Reference, rows: Tensor) -> Shares:
    now = nats(reference, rows)
    shares, expected = np.zeros(rows.shape), rows.clone()
    normal = rows.new_zeros(1, rows.shape[1]) if reference.rows is None else reference.rows
    columns = np.arange(rows.shape[1]) if reference.columns is None else np.asarray(reference.columns)
    for column in np.unique(columns):
        inputs = np.flatnonzero(columns == column)
        saved = np.zeros(len(rows))
        for value in _tried(normal[:, inputs]):
            other = rows.clone()
            other[:, inputs] = value
            gain = now - nats(reference, other)
            better = gain > saved
            saved[better] = gain[better]
            expected[np.ix_(better, inputs)] = value
        shares[:, inputs[0]] = saved
    return Shares(shares, expected.numpy())


def _tried(normal: Tensor) -> Tensor:
    """Values of a column that normal rows have: quantiles of a number, the commonest codes of a category."""
    if normal.shape[1] == 1:
        return torch.quantile(normal, torch.linspace(0.02, 0.98, VALUES, dtype=torch.float32), dim=0)
    codes, counts = normal.unique(dim=0, return_counts=True)
    commonest: Tensor = codes[counts.argsort(descending=True)[:VALUES]]
    return commonest


def _of_pixels(reference: Reference, x: Tensor) -> Shares:
    heat = torch.zeros(len(x), *x.shape[2:], dtype=torch.float64)
    for level in reference.outputs(x).levels:
        heat += _spread(level.mean.double(), x.shape[2:])
    shares = (heat / x.shape[1])[:, None].expand(x.shape).numpy()
    slope = in_blocks(residual, reference.model, x, reference.sigma)
    return Shares(shares, (x.double() - reference.sigma**2 * slope).numpy())


def _spread(z: Tensor, sides: torch.Size) -> Tensor:
    """1/2 |z|^2 of each position of a level, spread evenly over the pixels that it covers: `(N, H, W)`."""
    energy = 0.5 * z.square()
    if z.ndim != 4:
        return (energy.flatten(1).sum(1) / sides.numel())[:, None, None].expand(-1, *sides)
    positions = energy.sum(1, keepdim=True)
    wide = functional.interpolate(positions, tuple(sides), mode="nearest")
    size = wide.sum((1, 2, 3), keepdim=True).clamp(min=1e-300)
    spread: Tensor = wide / size * positions.sum((1, 2, 3), keepdim=True)
    return spread[:, 0]
