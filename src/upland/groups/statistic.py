r"""How anomalous a group of rows is, as a function of means over its rows (KLOD and KLODS, arXiv 2002.03328).

A group statistic T is built from *features* phi, some numbers of each row, and depends on a group of n rows
through their mean alone,

    T = value(1/n sum_i phi(x_i), n),

in float64. So it depends on its own group and on what was fitted, a million rows in a thousand groups are one
pass, and a permutation of rows among groups is another average of the same matrix. Higher is more anomalous.

The divergence of a group: its latents are cut into vectors v (`criteria.splits`), these are written in the
coordinates in which normal vectors have mean 0 and covariance I (those that `fit` gets), and

    KL(N(m, S) || N(0, I)),   m = mean v,   S = mean v v' - m m' + mean diag variance,

is the KL between the group's Gaussian and that of normal rows, the two-sample form; with `against="prior"`
vectors stay as they are and the comparison is with the model's N(0, I). The variance is that of an encoder.
With fewer than 5 vectors a dimension S is shrunk towards I as if k vectors had been added that show it,

    S <- (n P S + k I) / (n P + k),   k = max(5 d - n P, 1e-6 n P),

P vectors a row, so that every group has a finite value, one row or constant latents included.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from upland.groups.gaussians import (
    ENOUGH,
    LEAST_EIGENVALUE,
    anisotropy,
    divergence_from_standard,
    marginals,
    null_mean,
    sphericity,
    total_correlation,
)
from upland.groups.splits import cut
from upland.models.base import Level

LIMIT = 1e6
"""Standardised numbers beyond it, infinite ones and what is no number count as it."""

WIDEST = 64
"""Coordinates of a vector up to which covariances are told."""

THIN = 1e-4  # of the mean variance, below which a direction counts as having that much
LEAST_PRIOR = 1e-6  # part of the vectors that is always added as prior ones

INPUT = -1
"""The level that is the encoded rows themselves, flat, for models without latents and beside them."""

Against = Literal["normal", "prior"]


class Rows(NamedTuple):
    """What a model says of some rows.

    Args:
        points: `(N, ...)` the encoded rows.
        energy: `(N,)` in nats, float64.
        levels: their latents, one or more levels; empty for a model without.
        score: `(N, ...)` the gradient of log p at the points, or None where nothing needs it.
    """

    points: Tensor
    energy: Tensor
    levels: list[Level]
    score: Tensor | None = None

    def take(self, index: Tensor | slice) -> "Rows":
        """Some of the rows.

        Args:
            index: which.
        """
        levels = [
            Level(z.mean[index], None if z.variance is None else z.variance[index]) for z in self.levels
        ]
        score = None if self.score is None else self.score[index]
        return Rows(self.points[index], self.energy[index], levels, score)


@dataclass
class Statistic(ABC):
    """A number for a group of rows: abstract, two methods to write beside `learn`.

    What is learned from normal rows lies in `known`, tensors by name, and is a function of these rows: fitted
    on the same ones again, a statistic gives the same bits.
    """

    known: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)
    positive = True  # whether values are at least 0 and told apart by their ratios

    def fit(self, rows: Rows) -> Self:
        """Learn from normal rows.

        Args:
            rows: that the model has not been trained on.
        """
        self.known = self.learn(rows)
        return self

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """What there is to know of normal rows: nothing, unless a statistic says so."""
        return {}

    @property
    def name(self) -> str:
        """What it is called in a report."""
        chosen = [str(value) for key, value in vars(self).items() if key != "known"]
        return " ".join([type(self).__name__.lower(), *chosen])

    @abstractmethod
    def features(self, rows: Rows) -> Tensor:
        """The numbers of each row: `(N, F)`, float64, finite."""

    @abstractmethod
    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The statistic of groups from the means of features `(G, F)` and the sizes `(G,)`: `(G,)`."""

    def parts(self, means: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """What the value is made of, by name: `(G,)` or `(G, K)` each; nothing by default."""
        return {}


def bounded(x: Tensor) -> Tensor:
    """Numbers within +-1e6, whatever they were."""
    return torch.nan_to_num(x.double(), nan=LIMIT, posinf=LIMIT, neginf=-LIMIT).clamp(-LIMIT, LIMIT)


def shrunk(covariance: Tensor, count: Tensor, target: Tensor) -> Tensor:
    """A covariance of `count` vectors with prior ones added up to 5 a dimension, as the page says.

    Args:
        covariance: `(..., d, d)` by maximum likelihood.
        count: vectors it is from, `(...)`.
        target: `(..., d, d)` that of the prior vectors.
    """
    prior = torch.maximum(ENOUGH * covariance.shape[-1] - count, LEAST_PRIOR * count)
    n, k = count[..., None, None], prior[..., None, None]
    return (n * covariance + k * target) / (n + k)


class Moments(NamedTuple):
    """Means and covariances of K Gaussians in each of G groups.

    Args:
        mean: `(G, K, d)`.
        covariance: `(G, K, d, d)`, shrunk.
        vectors: `(G,)` that each is from.
    """

    mean: Tensor
    covariance: Tensor
    vectors: Tensor


@dataclass
class OfVectors(Statistic):
    """A statistic of the first two moments of vectors that a level is cut into: abstract.

    Args:
        split: how, a name of `criteria.splits`.
        level: which level's latents, or `INPUT`.
        against: "normal" measures in units of normal vectors, "prior" in those of N(0, I).
    """

    split: str = "location"
    level: int = 0
    against: Against = "normal"

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """Mean and whitening of normal vectors, and how many a row has.

        Args:
            rows: held-out normal ones.

        Raises:
            ValueError: vectors have more than 64 coordinates, or there is no such split of these latents.
        """
        vectors, variances = self._cut(rows)
        n, p, k, d = vectors.shape
        if d > WIDEST:
            raise ValueError(f"split {self.split!r} gives vectors of {d} coordinates; at most {WIDEST} serve")
        pooled = torch.tensor(float(p), dtype=torch.float64)
        identity = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        if self.against == "prior":
            return {"center": torch.zeros(k, d).double(), "whitening": identity.clone(), "pooled": pooled}
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

    def vectors(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Vectors `(N, P, K, d)` in normal units, and the mean covariance `(N, K, d, d)` left uncertain."""
        vectors, variances = self._cut(rows)
        whitening = self.known["whitening"]
        away = (bounded(vectors) - self.known["center"]).unsqueeze(-2) @ whitening
        if variances is None:
            return bounded(away.squeeze(-2)), None
        spread = torch.diag_embed(bounded(variances).mean(1))
        return bounded(away.squeeze(-2)), whitening @ spread @ whitening

    def _cut(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        level = Level(rows.points.flatten(1)) if self.level == INPUT else rows.levels[self.level]
        return cut(level.mean, self.split), None if level.variance is None else cut(
            level.variance, self.split
        )

    def features(self, rows: Rows) -> Tensor:
        """First and second moments of a row's vectors: `(N, K (d + d (d + 1) / 2))`."""
        v, spread = self.vectors(rows)
        n, p, _, d = v.shape
        second = torch.einsum("npki,npkj->nkij", v, v) / p
        if spread is not None:
            second = second + spread
        above = torch.triu_indices(d, d)
        return torch.cat([v.mean(1).reshape(n, -1), second[:, :, above[0], above[1]].reshape(n, -1)], 1)

    def moments(self, means: Tensor, sizes: Tensor) -> Moments:
        """The moments that means of features stand for, in normal units.

        Args:
            means: `(G, F)`.
            sizes: `(G,)`.
        """
        mean, second = self.averages(means)
        count = sizes.double() * self.known["pooled"]
        covariance = second - mean.unsqueeze(-1) * mean.unsqueeze(-2)
        target = torch.eye(mean.shape[-1], dtype=means.dtype)
        return Moments(mean, shrunk(covariance, count[:, None].expand(mean.shape[:2]), target), count)

    def averages(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """Means of v and of v v' out of means of features: `(G, F)` -> `(G, K, d)`, `(G, K, d, d)`."""
        k, d = self.known["center"].shape
        above = torch.triu_indices(d, d)
        entries = means[:, k * d :].reshape(-1, k, len(above[0]))
        second = means.new_empty(means.shape[0], k, d, d)
        second[:, :, above[0], above[1]] = entries
        second[:, :, above[1], above[0]] = entries
        return means[:, : k * d].reshape(-1, k, d), second


@dataclass
class Divergence(OfVectors):
    """The KL of a group from normal rows or from the prior, in nats a vector: sum over the K Gaussians.

    Args:
        split: how a level is cut; "whole" is KLOD, any other KLODS.
        level: which level's latents.
        against: "normal" for the two-sample form, "prior" for N(0, I).
    """

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """KL of moments: `(G, F)`, `(G,)` -> `(G,)`, at least 0."""
        moments = self.moments(means, sizes)
        return divergence_from_standard(moments.mean, moments.covariance).sum(-1).clamp(min=0)

    def parts(self, means: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """`dependence` and `marginals` `(G,)`, which add up to the value, `columns` `(G, K d)`, the terms of
        the second, and `excess` `(G,)`, the value less the mean it has for independent normal vectors,
        where there are 5 a dimension.
        """
        moments = self.moments(means, sizes)
        each = marginals(moments.mean, moments.covariance)
        k, d = each.shape[1:]
        value = divergence_from_standard(moments.mean, moments.covariance).sum(-1)
        enough = moments.vectors >= ENOUGH * d
        return {
            "dependence": total_correlation(moments.covariance).sum(-1),
            "marginals": each.sum((-1, -2)),
            "columns": each.flatten(1),
            "excess": torch.where(enough, value - k * null_mean(moments.vectors, d), value),
        }


@dataclass
class Sphericity(OfVectors):
    """The geometric detector: how thin the ellipsoid of a group's latents is, whatever its size.

    Args:
        split: how a level is cut.
        level: which level's latents.
        against: whose units vectors are in.
    """

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """-1/2 log(|S| / (tr S / d)^d), summed over the K Gaussians: `(G, F)`, `(G,)` -> `(G,)`."""
        return sphericity(self.moments(means, sizes).covariance).sum(-1).clamp(min=0)


@dataclass
class Isotropy(OfVectors):
    """How far the directions of a group's latents are from uniform, whatever their lengths.

    Args:
        split: how a level is cut.
        level: which level's latents.
        against: whose units vectors are in.
    """

    def vectors(self, rows: Rows) -> tuple[Tensor, Tensor | None]:
        """Unit vectors `(N, P, K, d)`; one of length 0 stays. An encoder's variance has no direction."""
        v, _ = super().vectors(rows)
        return torch.nn.functional.normalize(v, dim=-1), None

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """Rayleigh's and Bingham's statistics, summed over the K Gaussians: `(G, F)`, `(G,)` -> `(G,)`."""
        return anisotropy(*self.averages(means)).sum(-1)
