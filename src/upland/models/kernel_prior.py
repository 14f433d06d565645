r"""Kernel and mixture priors: the energy of a density that stands on training rows.

With centres c_i, weights w_i and a bandwidth s, seen in a view phi (`upland.models.views`),

    E(x) = -s^2 log mean_C exp(-m_C(x) / (2 s^2)),   m_C(x) = min over i in chunk C of
                                                     |phi(x) - phi(c_i)|^2 - 2 s^2 log(w_i / max w),

in units of s^2 nats, never negative. With every centre a chunk of its own this is the kernel density estimate
(Parzen 1962): the optimum of denoising score matching on the rows at hand (Vincent 2011), hence what a net
must not forget. Of a chunk of centres in random order only the nearest counts, which changes little where s
is the distance between neighbours, and saves all exponentials but a few.

* kernel: the centres are distinct training rows, some thousands at most, of one weight: the rows stay in the
  model. Of rows that are repeated a thousand times the rare ones beside them would else never be drawn.
* mixture: the centres are the means of a few clusters (Lloyd 1957) of several rows each, the bandwidth their
  inner spread: no row stays. Single values of the columns do, as the knots of their ranks.

Each view has an energy of its own. The gradient is explicit: with the soft shares r_C of the chunks' nearest
centres, grad E = phi'(x) (phi(x) - sum_C r_C phi(c_C)).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from upland.models.views import Ranks, bent

WIDE, NARROW = 4.0, 1.0
"""Knees of the view that keeps far values far, and of the one that draws them in."""

VIEWS = 3
CHUNK = 64
AT_ONCE = 128  # centres
NUMBERS_AT_ONCE = 1 << 22
SOME = 2_000  # rows that spacing and spread are measured on
SPACINGS = 1.0
LEAST_SPACING = 0.02
CLUSTERS, ROUNDS = 64, 20
CLUSTER_ROWS, CLUSTER_LEAST = 8, 3  # rows a cluster has on average at least, and by itself
LEAST_SPREAD = 0.02
FAINTEST = -80.0  # logarithm of a share that one more float32 cannot notice; smaller ones are slow


class Near(NamedTuple):
    """What a view says of some rows.

    Args:
        row: `(N, D)` the soft mean of the nearest centres, as rows.
        pull: `(N, D)` phi(x) less the soft mean of the nearest centres.
        slope: `(N, D)` of the view.
        squares: `(N, D)` soft mean of the squared differences from the nearest centres.
    """

    row: Tensor
    pull: Tensor
    slope: Tensor
    squares: Tensor


class KernelPrior(nn.Module):
    """The energy of a kernel density, or of a mixture of clusters, over three views of the rows.

    Args:
        width: number of inputs, D.
        clusters: number of clusters; 0 stands for a kernel on every row.
        support_points: centres of a kernel, at most.
    """

    centres: Tensor
    penalties: Tensor
    bandwidths: Tensor
    levels: Tensor
    spreads: Tensor
    seen: Tensor

    def __init__(self, width: int, clusters: int = 0, support_points: int = 4_096) -> None:
        super().__init__()
        self.clusters, self.support_points = clusters, support_points
        self.ranks = Ranks(width)
        self.register_buffer("centres", torch.zeros(1, width))
        self.register_buffer("penalties", torch.zeros(1))
        self.register_buffer("bandwidths", torch.ones(VIEWS))
        self.register_buffer("levels", torch.zeros(VIEWS))
        self.register_buffer("spreads", torch.ones(VIEWS))
        self.register_buffer("seen", torch.zeros(VIEWS, 1, width + 1), persistent=False)
        self._look()

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Stand on training rows `x (N, D)`, and learn how far normal rows usually are."""
        order = torch.randperm(len(x), generator=generator).to(x.device)
        x = x[order]
        some = x[:SOME]
        self.ranks.fit(x)
        owner = alone = None
        if self.clusters:
            x = x[: self.support_points]
            some = x[:SOME]
            self.centres, owner, share = _clusters(x, min(self.clusters, max(1, len(x) // CLUSTER_ROWS)))
            self.penalties = -2 * (share / share.max()).log()
        else:
            first, copies, kind = _distinct(x)
            self.centres = x[first[: self.support_points]]
            self.penalties = x.new_zeros(len(self.centres))
            alone = torch.where((copies > 1) | (kind >= self.support_points) | (len(first) < 2), -1, kind)[
                :SOME
            ]
        bandwidths = []
        for view in range(VIEWS):
            rows = self.view(some, view)[0]
            if owner is None:
                bandwidths.append(SPACINGS * _spacing(rows))
            else:
                away = rows - self.view(self.centres, view)[0][owner[:SOME]]
                bandwidths.append(max(float(away.square().mean().sqrt()), SPACINGS * _spacing(rows)))
        self.bandwidths = x.new_tensor(bandwidths)
        self._look()
        self.fit_normalization(self._energies(some, alone))

    def fit_normalization(self, energies: Sequence[Tensor]) -> None:
        """Learn how far normal rows usually are, from their energies in each view, `(N,)`."""
        roots = torch.stack([(2 * part).sqrt() for part in energies])
        least = LEAST_SPREAD * self.bandwidths.double() * math.sqrt(self.centres.shape[1])
        self.levels = roots.mean(1).to(self.levels)
        self.spreads = torch.maximum(roots.std(1, correction=0), least).to(self.spreads)

    def view(self, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """A view of rows and its slopes: `x (N, D)` -> `(N, D)` twice."""
        if number == VIEWS - 1:
            ranked: tuple[Tensor, Tensor] = self.ranks(x)
            return ranked
        return bent(x, (WIDE, NARROW)[number])

    def energies(self, x: Tensor) -> list[Tensor]:
        """The energy in each view, in units of its s^2 nats: `x (N, D)` -> `(N,)`, float64."""
        return self._energies(x)

    def standard_scores(self, x: Tensor) -> Tensor:
        """Distances sqrt(2 E), as standard scores among those of training rows: `x (N, D)` -> `(V, N)`."""
        found = torch.stack([(2 * part).sqrt() for part in self.energies(x)])
        return (found - self.levels.double()[:, None]) / self.spreads.double()[:, None]

    def near(self, x: Tensor, number: int) -> Near:
        """The nearest centres, the gradient and the differences in one view: `x (N, D)`."""
        rows, slope = self.view(x, number)
        scale = 2 * self.bandwidths[number] ** 2
        least, places = torch.cat(list(self._gaps(rows, number))).min(1)
        gaps, at = least.T, places.T
        gaps = (gaps + rows.square().sum(1, keepdim=True)).clamp(min=0)
        share = torch.softmax(-gaps / scale, 1)
        at = at + CHUNK * torch.arange(gaps.shape[1], device=x.device)
        row, pull, squares = (torch.zeros_like(rows) for _ in range(3))
        together = max(1, NUMBERS_AT_ONCE // max(1, rows.numel()))  # chunks
        for some, weight in zip(at.split(together, 1), share[:, :, None].split(together, 1), strict=True):
            away = rows[:, None] - self.seen[number][some][..., :-1]
            row += (weight * self.centres[some]).sum(1)
            pull += (weight * away).sum(1)
            squares += (weight * away.square()).sum(1)
        return Near(row, pull, slope, squares)

    def _look(self) -> None:
        """Compute what depends on the centres alone: their views, and behind each |c|^2 with its weight."""
        kept = self.centres
        seen = torch.stack([self.view(kept, number)[0] for number in range(VIEWS)])
        offsets = seen.square().sum(2) + self.penalties * self.bandwidths[:, None] ** 2
        self.seen = nn.functional.pad(
            torch.cat([seen, offsets[:, :, None]], 2), (0, 0, 0, (-len(kept)) % CHUNK)
        )
        self.seen[:, len(kept) :, -1] = math.inf

    def _gaps(self, rows: Tensor, number: int) -> Iterator[Tensor]:
        """|c|^2 - 2 x.c of the centres, in their chunks: `rows (N, D)` -> parts `(C, CHUNK, N)`, small enough
        for the processor's cache.
        """
        doubled = torch.cat([-2 * rows, torch.ones_like(rows[:, :1])], 1).T
        for centres in self.seen[number].split(AT_ONCE):
            yield torch.mm(centres, doubled).view(-1, CHUNK, len(rows))

    def _energies(self, x: Tensor, alone: Tensor | None = None) -> list[Tensor]:
        """The energies, each without the centre of number `alone (N,)`; -1 leaves none out."""
        found = []
        for number in range(VIEWS):
            rows = self.view(x, number)[0]
            if alone is None:
                nearest = torch.cat([part.amin(1) for part in self._gaps(rows, number)])
            else:
                gaps = torch.cat(list(self._gaps(rows, number)))
                there = alone >= 0
                gaps.view(-1, len(x))[alone[there], there.nonzero()[:, 0]] = math.inf
                nearest = gaps.amin(1)
            least = nearest.T + rows.square().sum(1, keepdim=True)
            found.append(self._soft(least.clamp(min=0), number))
        return found

    def _soft(self, gaps: Tensor, number: int) -> Tensor:
        """-s^2 log mean exp(-m / 2 s^2) over the chunks: `(N, C)` -> `(N,)`, float64."""
        scale = 2 * self.bandwidths[number] ** 2
        least = gaps.amin(1, keepdim=True)
        mass = torch.exp(((least - gaps) / scale).clamp(min=FAINTEST)).mean(1)
        soft: Tensor = 0.5 * (least[:, 0].double() - scale.double() * mass.double().log())
        return soft

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take the sizes that the file has, and compute the views again."""
        for module, inner in ((self, prefix), (self.ranks, prefix + "ranks.")):
            for name, buffer in list(module._buffers.items()):
                stored = state.get(inner + name)
                if buffer is not None and stored is not None and stored.shape != buffer.shape:
                    setattr(module, name, buffer.new_zeros(stored.shape))
        super()._load_from_state_dict(state, prefix, *rest)
        for name, buffer in list(self.ranks._buffers.items()):
            stored = state.get(f"{prefix}ranks.{name}")
            if buffer is not None and stored is not None:
                buffer.copy_(stored)
        self._look()


def _spacing(x: Tensor) -> float:
    """The median distance per dimension from a row to the nearest other one: `x (N, D)`; copies count
    once.
    """
    rows = torch.unique(x, dim=0)
    if len(rows) < 2:
        return LEAST_SPACING
    gaps = torch.cdist(rows, rows).fill_diagonal_(math.inf).amin(1)
    return max(float(gaps.median()) / math.sqrt(x.shape[1]), LEAST_SPACING)


def _distinct(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of distinct rows, in the order in which they come: where each comes first, `(K,)`; of every row how
    many copies there are, itself included, and which distinct row it is, `(N,)`; from `x (N, D)`.
    """
    _, kind, counts = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    places = torch.arange(len(x), device=x.device)
    first = torch.full_like(counts, len(x)).scatter_reduce_(0, kind, places, "amin")
    first, order = first.sort()
    number = torch.empty_like(order)
    number[order] = torch.arange(len(order), device=x.device)
    return first, counts[kind], number[kind]


def _clusters(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means of clusters, each row's cluster, and their shares: `x (N, D)` -> `(K, D)`, `(N,)`, `(K,)`.

    Clusters of too few distinct rows, whose mean would nearly be one of them, go, the smallest first; their
    rows fall to the others.
    """
    kinds = torch.unique(x, dim=0, return_inverse=True)[1]
    centres = x[:count].clone()
    for _ in range(ROUNDS):
        owner = torch.cdist(x, centres).argmin(1)
        centres, _ = _means(x, owner, centres)
    while True:
        owner = torch.cdist(x, centres).argmin(1)
        pairs = torch.unique(torch.stack([owner, kinds]), dim=1)[0]
        rows = torch.bincount(pairs, minlength=len(centres))
        if len(centres) == 1 or rows.min() >= CLUSTER_LEAST:
            break
        kept = torch.arange(len(centres), device=x.device) != rows.argmin()
        centres = centres[kept]
    centres, counts = _means(x, owner, centres)
    return centres, owner, (counts / len(x)).to(x.dtype)


def _means(x: Tensor, owner: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the rows of each cluster, the mean from before where there are none, and their numbers."""
    counts = torch.bincount(owner, minlength=len(before))
    sums = torch.zeros_like(before).index_add_(0, owner, x)
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], before), counts
