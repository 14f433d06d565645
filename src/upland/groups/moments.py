r"""Means and covariances of the vectors that a group's latents are cut into.

Latents are cut into vectors v (`upland.groups.splits`), and these are written in the coordinates in which
normal vectors (those that `fit` gets) have mean 0 and covariance I. A group has the moments

    m = mean v,   S = mean v v' - m m' + mean diag variance,

where the variance is that of an encoder. With `against="prior"` vectors stay as they are, so that moments are
compared with those of the model's N(0, I).

With fewer than 5 vectors a dimension S is shrunk towards I as if k vectors had been added that show it,

    S <- (n P S + k I) / (n P + k),   k = max(5 d - n P, 1e-6 n P),

P vectors a row, so that every group has a finite value, one row or constant latents included.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from upland.groups.base import Statistic, bounded
from upland.groups.gaussians import LEAST_EIGENVALUE
from upland.groups.outputs import ModelOutputs
from upland.groups.splits import WIDEST, cut
from upland.models.base import Level

ENOUGH = 5  # vectors a dimension from which a covariance is taken as it is
THIN = 1e-4  # of the mean variance, below which a direction counts as having that much
LEAST_PRIOR = 1e-6  # part of the vectors that is always added as prior ones

INPUT = -1
"""The level that is the encoded rows themselves, flat, for models without latents and beside them."""

Against = Literal["normal", "prior"]


class GaussianMoments(NamedTuple):
    """Means and covariances of K Gaussians in each of G groups.

    Args:
        mean: `(G, K, d)`.
        covariance: `(G, K, d, d)`, shrunk.
    """

    mean: Tensor
    covariance: Tensor


def shrunk(covariance: Tensor, count: Tensor, target: Tensor) -> Tensor:
    """A covariance of `count` vectors with prior ones added up to 5 a dimension: `(..., d, d)`.

    Args:
        covariance: `(..., d, d)` by maximum likelihood.
        count: vectors it is from, `(...)`.
        target: `(..., d, d)` that of the prior vectors.
    """
    prior = torch.maximum(ENOUGH * covariance.shape[-1] - count, LEAST_PRIOR * count)
    n, k = count[..., None, None], prior[..., None, None]
    return (n * covariance + k * target) / (n + k)


@dataclass
class MomentStatistic(Statistic):
    """A statistic of the first two moments of vectors that a level is cut into: abstract.

    Args:
        split: how, a name of `upland.groups.splits`.
        level: which level's latents, or `INPUT`.
        against: "normal" measures in units of normal vectors, "prior" in those of N(0, I).
    """

    split: str = "location"
    level: int = 0
    against: Against = "normal"

    def learn(self, outputs: ModelOutputs) -> dict[str, Tensor]:
        """Mean and whitening of normal vectors, and how many a row has.

        Args:
            outputs: of normal rows.

        Raises:
            ValueError: vectors have more than 64 coordinates, or there is no such split of these latents.
        """
        vectors, variances = self._cut(outputs)
        n, p, k, d = vectors.shape
        if d > WIDEST:
            raise ValueError(
                f"split {self.split!r} gives vectors of {d} coordinates; at most {WIDEST} are possible"
            )
        pooled = torch.tensor(float(p), dtype=torch.float64)
        identity = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        if self.against == "prior":
            return {
                "center": torch.zeros(k, d, dtype=torch.float64),
                "whitening": identity.clone(),
                "pooled": pooled,
            }
        flat = bounded(vectors).flatten(0, 1).transpose(0, 1)
        center = flat.mean(1)
        away = flat - center[:, None]
        covariance = away.mT @ away / (n * p)
        if variances is not None:
            covariance = covariance + torch.diag_embed(bounded(variances).mean((0, 1)))
        size = covariance.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=LEAST_EIGENVALUE)
        target = size[:, None, None] * identity
        count = torch.full((k,), float(n * p), dtype=torch.float64)
        values, axes = torch.linalg.eigh(shrunk(covariance, count, target))
        thin = values.maximum(THIN * values.mean(-1, keepdim=True)).clamp(min=LEAST_EIGENVALUE)
        whitening = axes @ torch.diag_embed(thin.rsqrt()) @ axes.mT
        return {"center": center, "whitening": whitening, "pooled": pooled}

    def vectors(self, outputs: ModelOutputs) -> tuple[Tensor, Tensor | None]:
        """Vectors `(N, P, K, d)` in normal units, and the mean covariance `(N, K, d, d)` left uncertain.

        Args:
            outputs: of N rows.
        """
        vectors, variances = self._cut(outputs)
        whitening = self.fitted["whitening"]
        away = (bounded(vectors) - self.fitted["center"]).unsqueeze(-2) @ whitening
        if variances is None:
            return bounded(away.squeeze(-2)), None
        spread = torch.diag_embed(bounded(variances).mean(1))
        return bounded(away.squeeze(-2)), whitening @ spread @ whitening

    def _cut(self, outputs: ModelOutputs) -> tuple[Tensor, Tensor | None]:
        level = Level(outputs.points.flatten(1)) if self.level == INPUT else outputs.levels[self.level]
        variance = None if level.variance is None else cut(level.variance, self.split)
        return cut(level.mean, self.split), variance

    def features(self, outputs: ModelOutputs) -> Tensor:
        """First and second moments of a row's vectors: `(N, K (d + d (d + 1) / 2))`."""
        v, spread = self.vectors(outputs)
        n, p, _, d = v.shape
        second = torch.einsum("npki,npkj->nkij", v, v) / p
        if spread is not None:
            second = second + spread
        above = torch.triu_indices(d, d)
        return torch.cat([v.mean(1).reshape(n, -1), second[:, :, above[0], above[1]].reshape(n, -1)], 1)

    def moments(self, means: Tensor, sizes: Tensor) -> GaussianMoments:
        """The moments of groups, in normal units.

        Args:
            means: `(G, F)` of features.
            sizes: `(G,)`.
        """
        mean, second = self.averages(means)
        count = sizes.double() * self.fitted["pooled"]
        covariance = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        target = torch.eye(mean.shape[-1], dtype=means.dtype)
        return GaussianMoments(mean, shrunk(covariance, count[:, None].expand(mean.shape[:2]), target))

    def averages(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Means of v and of v v' out of means of features: `(G, F)` -> `(G, K, d)`, `(G, K, d, d)`."""
        k, d = self.fitted["center"].shape
        above = torch.triu_indices(d, d)
        where = torch.zeros(d, d, dtype=torch.int64)
        where[above[0], above[1]] = where[above[1], above[0]] = torch.arange(above.shape[1])
        second = means[:, k * d :].reshape(-1, k, above.shape[1])[:, :, where]
        return means[:, : k * d].reshape(-1, k, d), second
