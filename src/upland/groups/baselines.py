r"""Statistics of groups that need no Gaussian: likelihood, typicality, projections, kernels, Stein.

Each is a function of means over the group's rows, as `criteria.groups` has it.

* `Likelihood`: the mean energy. `Typicality`: |mean E - reference mean| (Nalisnick et al. 2019).
* `Projections`: the Kolmogorov-Smirnov distance between the group's and the normal rows' distribution along
  random directions, mean over them of max_q |F_group(q) - F(q)|, at the quantiles of normal rows; GOD2KS, and
  with `against="prior"`, where F is that of N(0, 1), GOD1KS (Jiang, Sun, Yu, ICLR 2022). Along the columns of
  the points in place of directions it is the usual test of drift, column by column.
* `Kernel`: the squared maximum mean discrepancy |mean phi - reference mean|^2 in random Fourier features of a
  Gaussian kernel (Gretton et al. 2012; Rahimi and Recht 2007), bandwidth by the median distance.
* `Stein`: the finite-set Stein discrepancy (Jitkrittum et al. 2017). By Stein's identity xi(x, v) = s(x) k(x,
  v) + grad_x k(x, v) has mean 0 where s is the gradient of the rows' own log p, whatever v. A model fits
  imperfectly, so means are compared with those of normal rows, in units of their spread,

      T = mean over v and coordinates of ((mean xi - reference mean) / spread)^2,

  at locations v among normal rows, with the inverse multiquadric k = (1 + |x - v|^2 / (2 h^2))^(-1/2). Wide
  rows are told by projections of xi on a few orthogonal directions.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from upland.groups.statistic import Against, Rows, Statistic, bounded

SEED = 2002_03328
PAIRS = 1_000  # rows among which the median distance is taken
LEAST_SPREAD = 1e-12

Place = Literal["latents", "points"]


def flat(rows: Rows, place: Place) -> Tensor:
    """All latents, or the points, of each row: `(N, D)`, within bounds.

    Args:
        rows: of a model.
        place: "latents" or "points".
    """
    if place == "points":
        return bounded(rows.points).flatten(1)
    return torch.cat([bounded(level.mean).flatten(1) for level in rows.levels], 1)


def median_distance(x: Tensor) -> Tensor:
    """The median distance between two rows among the first thousand: `(N, D)` -> scalar, positive."""
    distances = torch.pdist(x[:PAIRS])
    positive = distances[distances > 0]
    return positive.median() if len(positive) else torch.ones((), dtype=x.dtype)


def _random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)


@dataclass
class Likelihood(Statistic):
    """The mean energy of a group, in nats."""

    positive = False

    def features(self, rows: Rows) -> Tensor:
        """The energy: `(N, 1)`."""
        return torch.nan_to_num(rows.energy.double(), nan=1e30, posinf=1e30, neginf=-1e30)[:, None].clamp(
            -1e30, 1e30
        )

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """Mean E: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


@dataclass
class Typicality(Likelihood):
    """How far a group's mean energy is from that of normal rows, in nats, on either side."""

    positive = True

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """The mean energy of normal rows.

        Args:
            rows: held-out normal ones.
        """
        return {"mean": self.features(rows).mean(0)}

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """|mean E - reference mean|: `(G, 1)`, `(G,)` -> `(G,)`."""
        return (means - self.known["mean"])[:, 0].abs()


@dataclass
class Projections(Statistic):
    """Kolmogorov-Smirnov along directions: GOD2KS, GOD1KS, or column by column.

    Args:
        place: "latents" or "points".
        directions: number of random ones; 0 for the columns themselves.
        quantiles: of normal rows, at which distributions are compared.
        against: "normal" (two-sample) or "prior".
    """

    place: Place = "latents"
    directions: int = 32
    quantiles: int = 15
    against: Against = "normal"

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """Directions, and the quantiles of normal rows along them.

        Args:
            rows: held-out normal ones.
        """
        x = flat(rows, self.place)
        known = {}
        if self.directions:
            known["directions"] = torch.nn.functional.normalize(_random(x.shape[1], self.directions), dim=0)
            x = x @ known["directions"]
        levels = torch.arange(1, self.quantiles + 1, dtype=torch.float64) / (self.quantiles + 1)
        if self.against == "prior":
            normal = [NormalDist().inv_cdf(float(level)) for level in levels]
            grid = torch.tensor(normal, dtype=torch.float64).expand(x.shape[1], -1).contiguous()
            return {**known, "grid": grid, "below": levels.expand_as(grid).contiguous()}
        ordered = x.sort(0).values
        places = (levels * len(x)).ceil().long().sub(1).clamp(0, len(x) - 1)
        grid = ordered[places].T.contiguous()
        below = (x.T[:, None] <= grid[..., None]).double().mean(-1)
        return {**known, "grid": grid, "below": below}

    def features(self, rows: Rows) -> Tensor:
        """Which quantiles a row is not above, along each direction: `(N, M Q)` of 0 and 1."""
        x = flat(rows, self.place)
        if self.directions:
            x = x @ self.known["directions"]
        return (x[..., None] <= self.known["grid"]).double().flatten(1)

    def distances(self, means: Tensor) -> Tensor:
        """The distance along each direction: `(G, M Q)` -> `(G, M)`.

        Args:
            means: of features.
        """
        below = self.known["below"]
        return (means.reshape(-1, *below.shape) - below).abs().amax(-1)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean distance: `(G, M Q)`, `(G,)` -> `(G,)`."""
        return self.distances(means).mean(-1)

    def parts(self, means: Tensor, sizes: Tensor) -> dict[str, Tensor]:
        """`columns`, the distance along each direction `(G, M)`."""
        return {"columns": self.distances(means)}


@dataclass
class Kernel(Statistic):
    """The squared maximum mean discrepancy from normal rows.

    Args:
        place: "latents" or "points".
        frequencies: random ones, each a cosine and a sine.
    """

    place: Place = "latents"
    frequencies: int = 128

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """Frequencies of the kernel and the mean embedding of normal rows.

        Args:
            rows: held-out normal ones.
        """
        x = flat(rows, self.place)
        self.known = {"frequencies": _random(x.shape[1], self.frequencies) / median_distance(x)}
        return {**self.known, "mean": self.features(rows).mean(0)}

    def features(self, rows: Rows) -> Tensor:
        """Cosines and sines: `(N, 2 M)`."""
        angle = flat(rows, self.place) @ self.known["frequencies"]
        return torch.cat([angle.cos(), angle.sin()], 1) / math.sqrt(self.frequencies)

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """|mean - reference mean|^2: `(G, 2 M)`, `(G,)` -> `(G,)`."""
        return (means - self.known["mean"]).square().sum(-1)


@dataclass
class Stein(Statistic):
    """The finite-set Stein discrepancy, for models that have no latents.

    Args:
        locations: number of them, J.
        widest: coordinates of xi from which it is projected on so many directions.
    """

    locations: int = 8
    widest: int = 64

    def learn(self, rows: Rows) -> dict[str, Tensor]:
        """Locations, bandwidth, directions, and the normal rows' mean and spread of xi.

        Args:
            rows: held-out normal ones, with their scores.
        """
        x = flat(rows, "points")
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(SEED))[: self.locations]
        known = {"locations": x[order], "bandwidth": median_distance(x)}
        if x.shape[1] > self.widest:
            known["directions"] = torch.linalg.qr(_random(x.shape[1], self.widest)).Q
        self.known = known
        xi = self._xi(rows)
        spread = xi.std(0, correction=0).clamp(min=LEAST_SPREAD)
        return {**known, "mean": xi.mean(0), "spread": spread}

    def _xi(self, rows: Rows) -> Tensor:
        """Xi at every location: `(N, J M)`."""
        if rows.score is None:
            raise ValueError("the Stein discrepancy needs the gradient of log p at the rows")
        x, s = flat(rows, "points"), bounded(rows.score).flatten(1)
        v, h = self.known["locations"], self.known["bandwidth"].square()
        away, s = x @ self._directions(x), s @ self._directions(x)
        base: Tensor = 1 + torch.cdist(x, v, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * h)
        xi = s[:, None] * base.pow(-0.5)[..., None]
        xi = xi - (away[:, None] - v @ self._directions(x)) * (base.pow(-1.5) / (2 * h))[..., None]
        return xi.flatten(1)

    def _directions(self, x: Tensor) -> Tensor:
        return self.known.get("directions", torch.eye(x.shape[1], dtype=x.dtype))

    def features(self, rows: Rows) -> Tensor:
        """Xi in units of normal rows: `(N, J M)`."""
        return bounded((self._xi(rows) - self.known["mean"]) / self.known["spread"])

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean square of the means: `(G, J M)`, `(G,)` -> `(G,)`."""
        return means.square().mean(-1)
