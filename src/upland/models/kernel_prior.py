r"""Kernel and mixture priors: the energy of a density with centres at training rows or at means of clusters.

With centres c_i, weights w_i and a bandwidth s, seen in a view phi (`upland.models.views`),

    E(x) = -s^2 log mean_C exp(-m_C(x) / (2 s^2)),   m_C(x) = min over i in chunk C of
                                                     |phi(x) - phi(c_i)|^2 - 2 s^2 log(w_i / max w),

in units of s^2 nats, never negative. With every centre a chunk of its own this is the kernel density estimate
(Parzen 1962): the optimum of denoising score matching on the training rows (Vincent 2011). Of a chunk of
centres in random order only the nearest counts, which changes little where s is the distance between
neighbours, and saves most of the exponentials.

* kernel: the centres are distinct training rows, some thousands at most, of equal weight, and stay in the
  model. They are distinct because rows that are repeated a thousand times would otherwise fill the sample.
* mixture: the centres are the means of a few clusters (Lloyd 1957) of several rows each, and the bandwidth is
  their standard deviation. No row is kept; single values of the columns are, as the knots of their ranks.

Each view has an energy of its own. The gradient is explicit: with the weights r_C of the chunks' nearest
centres, grad E = phi'(x) (phi(x) - sum_C r_C phi(c_C)).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from upland.models.stored import StoredModule, require
from upland.models.views import Ranks, log_compressed

WIDE, NARROW = 4.0, 1.0
"""Knees of the view that keeps far values far, and of the one that draws them in."""

VIEWS = 3
CHUNK = 64
CENTRES_AT_ONCE = 128
NUMBERS_AT_ONCE = 1 << 22
MEASURED_ROWS = 2_000  # rows that bandwidths and usual distances are measured on
BANDWIDTH_FACTOR = 1.0  # bandwidth in units of the distance between neighbours
LEAST_DISTANCE = 0.02
CLUSTERS, ROUNDS = 64, 20
CLUSTER_ROWS, CLUSTER_LEAST = 8, 3  # least rows of a cluster, on average and of each
LEAST_DEVIATION = 0.02
SIZED = ("centres", "penalties", "ranks.knots", "ranks.heights", "ranks.slopes")  # by training rows
FAINTEST = -80.0  # logarithm of a weight that float32 sums do not notice; smaller ones are slow


class Nearest(NamedTuple):
    """The centres nearest to some rows, in one view.

    Args:
        row: `(N, D)` weighted mean of the nearest centres, as rows.
        pull: `(N, D)` phi(x) minus the weighted mean of the nearest centres.
        slope: `(N, D)` of the view.
        squares: `(N, D)` weighted mean of the squared differences from the nearest centres.
    """

    row: Tensor
    pull: Tensor
    slope: Tensor
    squares: Tensor


class KernelPrior(StoredModule):
    """The energy of a kernel density, or of a mixture of clusters, in three views of the rows.

    Args:
        width: number of inputs, D.
        clusters: number of clusters of a mixture; 0 is a kernel density.
        support_points: centres of a kernel density, at most.
    """

    unbounded = ("viewed",)

    centres: Tensor
    penalties: Tensor
    bandwidths: Tensor
    normal_means: Tensor
    normal_deviations: Tensor
    viewed: Tensor

    def __init__(self, width: int, clusters: int = 0, support_points: int = 4_096) -> None:
        super().__init__()
        self.clusters, self.support_points = clusters, support_points
        self.ranks = Ranks(width)
        self.register_buffer("centres", torch.zeros(1, width, dtype=torch.float32))
        self.register_buffer("penalties", torch.zeros(1, dtype=torch.float32))
        self.register_buffer("bandwidths", torch.ones(VIEWS, dtype=torch.float32))
        self.register_buffer("normal_means", torch.zeros(VIEWS, dtype=torch.float32))
        self.register_buffer("normal_deviations", torch.ones(VIEWS, dtype=torch.float32))
        self.register_buffer(
            "viewed", torch.zeros(VIEWS, 1, width + 1, dtype=torch.float32), persistent=False
        )
        self._update_views()

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Choose centres and bandwidths from training rows `x (N, D)`, and fit the normalisation on them.

        Args:
            x: `(N, D)` encoded rows.
            generator: source of the order in which rows are taken; None draws from torch's own.
        """
        x = x[torch.randperm(len(x), generator=generator).to(x.device)]
        self.ranks.fit(x)
        if self.clusters:
            measured, own = self._fit_clusters(x[: self.support_points]), None
        else:
            measured, own = x[:MEASURED_ROWS], self._choose_rows(x)
        self._update_views()
        self.fit_normalization(self._energies(measured, own))

    def _fit_clusters(self, x: Tensor) -> Tensor:
        """Take the means of clusters as centres; the rows that were measured are returned."""
        count = min(self.clusters, max(1, len(x) // CLUSTER_ROWS))
        self.centres, cluster, share = _clusters(x, count)
        self.penalties = -2 * (share / share.max()).log()
        measured = x[:MEASURED_ROWS]
        bandwidths = []
        for number in range(VIEWS):
            rows = self.view(measured, number)[0]
            away = rows - self.view(self.centres, number)[0][cluster[:MEASURED_ROWS]]
            deviation = float(away.square().mean().sqrt())
            bandwidths.append(max(deviation, BANDWIDTH_FACTOR * _neighbour_distance(rows)))
        self.bandwidths = x.new_tensor(bandwidths)
        return measured

    def _choose_rows(self, x: Tensor) -> Tensor:
        """Take distinct rows as centres; returned is, for the measured rows, the centre that a row is itself.

        It is -1 where no centre is to be left out when the row is compared with the others: the row is not a
        centre, has copies, or is the only one.
        """
        first, copies, centre = distinct_rows(x)
        self.centres = x[first[: self.support_points]]
        self.penalties = x.new_zeros(len(self.centres))
        views = [self.view(x[:MEASURED_ROWS], number)[0] for number in range(VIEWS)]
        self.bandwidths = x.new_tensor([BANDWIDTH_FACTOR * _neighbour_distance(rows) for rows in views])
        absent = (copies > 1) | (centre >= self.support_points) | (len(first) < 2)
        return torch.where(absent, -1, centre)[:MEASURED_ROWS]

    def fit_normalization(self, energies: Sequence[Tensor]) -> None:
        """Fit mean and standard deviation of the distances of normal rows from their energies in each view,
        `(N,)`.
        """
        distances = torch.stack([(2 * part).sqrt() for part in energies])
        least = LEAST_DEVIATION * self.bandwidths.double() * math.sqrt(self.centres.shape[1])
        self.normal_means = distances.mean(1).to(self.normal_means)
        self.normal_deviations = torch.maximum(distances.std(1, correction=0), least).to(
            self.normal_deviations
        )

    def view(self, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """A view of rows and its slopes: `x (N, D)` -> `(N, D)` twice."""
        if number == VIEWS - 1:
            ranked: tuple[Tensor, Tensor] = self.ranks(x)
            return ranked
        return log_compressed(x, (WIDE, NARROW)[number])

    def energies(self, x: Tensor) -> list[Tensor]:
        """The energy in each view, in units of its s^2 nats: `x (N, D)` -> `(N,)`, float64."""
        return self._energies(x)

    def standard_scores(self, x: Tensor) -> Tensor:
        """Distances sqrt(2 E), standardised by those of normal rows: `x (N, D)` -> `(V, N)`."""
        distances = torch.stack([(2 * part).sqrt() for part in self.energies(x)])
        return (distances - self.normal_means.double()[:, None]) / self.normal_deviations.double()[:, None]

    def nearest(self, x: Tensor, number: int) -> Nearest:
        """The nearest centres of rows `x (N, D)` in one view, and what the gradient is made of."""
        rows, slope = self.view(x, number)
        scale = 2 * self.bandwidths[number] ** 2
        least, positions = torch.cat(list(self._gaps(rows, number))).min(1)
        gaps, chosen = least.T, positions.T
        gaps = (gaps + rows.square().sum(1, keepdim=True)).clamp(min=0)
        weights = torch.softmax(-gaps / scale, 1)[:, :, None]
        chosen = chosen + CHUNK * torch.arange(gaps.shape[1], device=x.device)
        row, pull, squares = (torch.zeros_like(rows) for _ in range(3))
        together = max(1, NUMBERS_AT_ONCE // max(1, rows.numel()))  # chunks
        for some, weight in zip(chosen.split(together, 1), weights.split(together, 1), strict=True):
            away = rows[:, None] - self.viewed[number][some][..., :-1]
            row += (weight * self.centres[some]).sum(1)
            pull += (weight * away).sum(1)
            squares += (weight * away.square()).sum(1)
        return Nearest(row, pull, slope, squares)

    def _update_views(self) -> None:
        """Compute the views of the centres, and in a last column |c|^2 plus the penalty of the weight."""
        centres = self.centres
        seen = torch.stack([self.view(centres, number)[0] for number in range(VIEWS)])
        offsets = seen.square().sum(2) + self.penalties * self.bandwidths[:, None] ** 2
        self.viewed = nn.functional.pad(
            torch.cat([seen, offsets[:, :, None]], 2), (0, 0, 0, (-len(centres)) % CHUNK)
        )
        self.viewed[:, len(centres) :, -1] = math.inf

    def _gaps(self, rows: Tensor, number: int) -> Iterator[Tensor]:
        """|c|^2 - 2 x.c of the centres, in their chunks: `rows (N, D)` -> parts `(C, CHUNK, N)`, small enough
        for the processor's cache.
        """
        doubled = torch.cat([-2 * rows, torch.ones_like(rows[:, :1])], 1).T
        for centres in self.viewed[number].split(CENTRES_AT_ONCE):
            yield torch.mm(centres, doubled).view(-1, CHUNK, rows.shape[0])

    def _energies(self, x: Tensor, own: Tensor | None = None) -> list[Tensor]:
        """The energies, each without the centre of number `own (N,)`; -1 leaves none out."""
        found = []
        for number in range(VIEWS):
            rows = self.view(x, number)[0]
            if own is None:
                nearest = torch.cat([part.amin(1) for part in self._gaps(rows, number)])
            else:
                gaps = torch.cat(list(self._gaps(rows, number)))
                left_out = own >= 0
                gaps.view(-1, len(x))[own[left_out], left_out.nonzero()[:, 0]] = math.inf
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

    def check_values(self) -> None:
        """Refuse widths that are not positive, and weights of more than one; raises ValueError."""
        require(self.bandwidths > 0, "bandwidths must be positive")
        require(self.normal_deviations > 0, "deviations of normal rows must be positive")
        require(self.penalties >= 0, "penalties of centres must not be negative")

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Take over the sizes of the stored buffers that go by the training rows, and compute the views
        again.
        """
        stored = {name: state[prefix + name] for name in SIZED if prefix + name in state}
        for name, buffer in stored.items():
            module: nn.Module = self.ranks if name.startswith("ranks.") else self
            setattr(module, name.removeprefix("ranks."), self.centres.new_zeros(buffer.shape))
        super()._load_from_state_dict(state, prefix, *rest)
        for name in stored:
            self.get_buffer(name).copy_(stored[name])
        self._update_views()


def _neighbour_distance(x: Tensor) -> float:
    """The median distance per dimension from a row to the nearest other one: `x (N, D)`; copies count
    once.
    """
    rows = torch.unique(x, dim=0)
    if len(rows) < 2:
        return LEAST_DISTANCE
    gaps = torch.cdist(rows, rows).fill_diagonal_(math.inf).amin(1)
    return max(float(gaps.median()) / math.sqrt(x.shape[1]), LEAST_DISTANCE)


def distinct_rows(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of `x (N, D)`: the first position of each distinct row, in the order of the rows, `(K,)`; of each row
    the number of rows equal to it, itself included, `(N,)`, and the number of its distinct row, `(N,)`.
    """
    _, index, counts = torch.unique(x, dim=0, return_inverse=True, return_counts=True)
    positions = torch.arange(len(x), device=x.device)
    first = torch.full_like(counts, len(x)).scatter_reduce_(0, index, positions, "amin")
    first, order = first.sort()
    number = torch.empty_like(order)
    number[order] = torch.arange(len(order), device=x.device)
    return first, counts[index], number[index]


def _clusters(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means of clusters, each row's cluster, and their shares: `x (N, D)` -> `(K, D)`, `(N,)`, `(K,)`.

    Clusters of too few distinct rows, whose mean would nearly be one of them, are dropped, the smallest
    first; their rows go to the other clusters.
    """
    distinct = torch.unique(x, dim=0, return_inverse=True)[1]
    centres = x[:count].clone()
    for _ in range(ROUNDS):
        cluster = torch.cdist(x, centres).argmin(1)
        centres, _ = _means(x, cluster, centres)
    while True:
        cluster = torch.cdist(x, centres).argmin(1)
        pairs = torch.unique(torch.stack([cluster, distinct]), dim=1)[0]
        rows = torch.bincount(pairs, minlength=len(centres))
        if len(centres) == 1 or rows.min() >= CLUSTER_LEAST:
            break
        kept = torch.arange(len(centres), device=x.device) != rows.argmin()
        centres = centres[kept]
    centres, counts = _means(x, cluster, centres)
    return centres, cluster, (counts / len(x)).to(x.dtype)


def _means(x: Tensor, cluster: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the rows of each cluster, the mean from before where there are none, and their numbers."""
    counts = torch.bincount(cluster, minlength=len(before))
    sums = torch.zeros_like(before).index_add_(0, cluster, x)
    return torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], before), counts
