r"""The adaptive kernel energy: a kernel density on training rows whose bandwidth grows where rows are sparse.

With support points c_i, a view phi of the rows and bandwidths h_i,

    E(x) = -s^2 log 1/M sum_i exp(-|phi(x) - phi(c_i)|^2 / (2 s^2 h_i^2)),     h_i^2 = delta_i,

delta_i being the mean distance from c_i to its nearest other support points, relative to the median of these.
Abramson ("On bandwidth variation in kernel estimates: a square root law", The Annals of Statistics 10, 1982)
takes h_i proportional to the density to the power -1/2, for which delta_i^(1/2) stands; with h_i = 1 it is
the usual kernel density (Parzen, The Annals of Mathematical Statistics 33, 1962). s is half the usual
distance between neighbours, so that E is a soft minimum of squared distances, each in units of the distances
around its support point. Adaptive, it is large for what lies apart from its own cluster, dense or sparse;
with one bandwidth, for what lies far from all rows. The value of the part is the length sqrt(2 E).

Four views of the codes are used. *Plain*: z-scores, compressed beyond eight standard deviations; every level
of a one-hot column has unit variance. *Bent*: compressed beyond two, as the codes are. *Centred*: the
codes less their mean, so that distances of features far from 0 keep their digits. *Whitened*: bent, stretched
along the principal axes: one of variance l is divided by sqrt((1 - r) l + r t), t being the mean variance and
r a shrinkage. Columns that depend on each other vary little along some axes, and a row that breaks the
dependence is far away there.

Of each chunk of support points in random order only the nearest counts, as in `upland.models.kernel_prior`.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from upland.models.parts import Layout, Part
from upland.models.stored import require
from upland.models.views import log_compressed

View = Literal["plain", "bent", "centred", "whitened"]

NEIGHBOURS = 10
"""Neighbours of a support point that its bandwidth is measured by."""

CHUNK = 64
MEASURED = 2_000
FOLDS = 5
WIDE_KNEE = 8.0
LEVELS = 10
"""Levels of a one-hot column from which their inputs are made smaller, so that no column counts for more."""

SHRINKAGE = 0.02
LEAST_BANDWIDTH, LEAST_SCALE = 0.05, 1e-6
LEAST_DISTANCE = 0.02
FAINTEST = -80.0
LEAST_ENERGY = 1e-24
"""Below it the length is cut, and its gradient is zero."""

ROUNDING = 4e-6
"""Squared distances below this share of the squared length of the row are rounding errors."""

EXPLAINING = 16


class AdaptiveKernel(Part):
    """An adaptive kernel density in one view of the rows.

    Args:
        layout: of the encoded inputs.
        view: "plain", "bent", "centred" or "whitened".
        adaptive: whether bandwidths grow where rows are sparse.
        sharpness: s in units of the usual distance between neighbours.
        chunk: support points of a chunk.

    Examples:
        >>> import torch
        >>> from upland.models.parts import plain_layout
        >>> kernel = AdaptiveKernel(plain_layout(2), "plain")
        >>> rows = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
        >>> kernel.set_points(rows, torch.arange(50), torch.arange(50))
        >>> kernel.fit(rows, None).shape
        torch.Size([50])
    """

    sized = ("bandwidths",)
    unbounded = ("factors",)

    scale: Tensor
    mean: Tensor
    axes: Tensor
    bandwidths: Tensor
    usual_distance: Tensor
    points: Tensor
    viewed: Tensor
    factors: Tensor

    def __init__(
        self,
        layout: Layout,
        view: View,
        adaptive: bool = True,
        sharpness: float = 0.5,
        chunk: int = CHUNK,
    ) -> None:
        super().__init__()
        self.adaptive, self.view = adaptive, view
        self.sharpness, self.chunk = sharpness, chunk
        width = layout.width
        owners = torch.tensor(layout.columns, dtype=torch.int64)
        self.levels = torch.tensor(layout.categorical, dtype=torch.bool)[owners]
        counts = torch.bincount(owners)[owners]
        self.level_scale = (LEVELS / counts.float()).sqrt().clamp(max=1.0)
        axes = width if view == "whitened" else 0
        self.register_buffer("scale", torch.ones(width, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros(width, dtype=torch.float32))
        self.register_buffer("axes", torch.zeros(axes, axes, dtype=torch.float32))
        self.register_buffer("bandwidths", torch.ones(1, dtype=torch.float32))
        self.register_buffer("usual_distance", torch.ones(1, dtype=torch.float32))
        self.register_buffer("points", torch.zeros(1, width, dtype=torch.float32), persistent=False)
        self.register_buffer("viewed", torch.zeros(1, width, dtype=torch.float32), persistent=False)
        self.register_buffer("factors", torch.zeros(1, width + 2, dtype=torch.float32), persistent=False)

    # -- fit

    def set_points(self, points: Tensor, index: Tensor, own: Tensor) -> None:
        """Take support points, which the parts of one product share.

        Args:
            points: `(M, D)` distinct training rows.
            index: `(M,)` where they stand among the training rows.
            own: for each training row the support point that it is itself, -1 where it is none or has copies.
        """
        self.points, self.index, self.own = points, index, own

    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fit view and bandwidths; returned are the energies of the first rows, each without itself.

        The whitened view is fitted in folds for that: whether a row is far along an axis of small variance
        must not be asked of axes that it had a part in.

        Args:
            x: `(N, D)` encoded rows in random order, those of `set_points`.
            generator: not used.
        """
        size, points = min(MEASURED, len(x)), self.points
        in_folds = self.view == "whitened" and len(points) >= 2 * FOLDS
        found = x.new_zeros(size, dtype=torch.float64)
        for fold in range(FOLDS if in_folds else 0):
            self.points = points[self.index % FOLDS != fold]
            self._fit_view(x[torch.arange(len(x), dtype=torch.int64, device=x.device) % FOLDS != fold])
            self._fit_bandwidths()
            found[fold::FOLDS] = self.values(x[fold:size:FOLDS])
        self.points = points
        self._fit_view(x)
        self._fit_bandwidths()
        return found if in_folds else self._energies(x[:size], self.own[:size] if len(points) > 1 else None)

    def _fit_view(self, x: Tensor) -> None:
        deviation = x.std(0, correction=0)
        one_hot = torch.where(deviation > LEAST_SCALE, 1 / deviation.clamp(min=LEAST_SCALE), 1.0)
        levels = self.levels.to(x.device)
        self.scale = torch.where(levels, one_hot * self.level_scale.to(x), 1.0).to(x)
        if self.view in ("centred", "whitened"):
            z = x * self.scale
            self.mean = z.mean(0)
            if self.view == "whitened":
                self.axes = _whitening(z - self.mean)

    def _fit_bandwidths(self) -> None:
        """Bandwidths from the distances between support points, and the usual distance itself."""
        self.bandwidths = torch.ones(len(self.points), dtype=torch.float32, device=self.points.device)
        self.after_loading()
        delta = _neighbour_distances(self.viewed)
        usual = delta.median().clamp(min=LEAST_DISTANCE)
        self.usual_distance = usual.reshape(1)
        if self.adaptive:
            self.bandwidths = (delta / usual).clamp(min=LEAST_BANDWIDTH)
        self.after_loading()

    def after_loading(self) -> None:
        """Compute the support points in the view; and, for products with [phi(x), |phi(x)|^2, 1], what gives
        squared distances in bandwidths: [-2 c, 1, |c|^2] / h^2, padded to whole chunks.
        """
        self.viewed = self.rows_in_view(self.points)
        squares = self.viewed.square().sum(1, keepdim=True)
        factors = (
            torch.cat([-2 * self.viewed, torch.ones_like(squares), squares], 1) / self.bandwidths[:, None]
        )
        lacking = (-len(factors)) % self.chunk
        self.factors = torch.nn.functional.pad(factors, (0, 0, 0, lacking))
        self.factors[len(self.viewed) :, -1] = math.inf

    def rows_in_view(self, x: Tensor) -> Tensor:
        """Rows in the view: `(N, D)` twice."""
        if self.view == "plain":
            return torch.where(self.levels.to(x.device), x, log_compressed(x, WIDE_KNEE)[0]) * self.scale
        if self.view == "bent":
            return x * self.scale
        if self.view == "centred":
            return x * self.scale - self.mean
        # rows are the columns of the product: then their numbers do not depend on their places
        return (self.axes.T @ (x * self.scale - self.mean).T).T

    # -- energies

    def values(self, x: Tensor) -> Tensor:
        """The length sqrt(2 E): `(N, D) -> (N,)`, float64."""
        return self._energies(x, None)

    def _gaps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distances in bandwidths, in chunks of support points: `(N, D) -> (K, chunk, N)`, and below
        which they are rounding errors: `(N,)`.
        """
        seen = self.rows_in_view(x)
        squares = seen.square().sum(1, keepdim=True)
        columns = torch.cat([seen, squares, torch.ones_like(squares)], 1).T
        gaps = torch.mm(self.factors, columns).view(-1, self.chunk, x.shape[0])
        return gaps, ROUNDING * squares[:, 0]

    def _energies(self, x: Tensor, own: Tensor | None) -> Tensor:
        """The energies, each without the support point of number `own (N,)`; -1 leaves none out."""
        gaps, rounding = self._gaps(x)
        if own is not None:
            there = own >= 0
            gaps.view(-1, len(x))[own[there], there.nonzero()[:, 0]] = math.inf
        nearest = gaps.amin(1)
        nearest = torch.where(nearest < rounding, 0.0, nearest)
        scale = 2 * (self.sharpness * self.usual_distance).square()
        least = nearest.amin(0)
        mass = torch.exp(((least - nearest) / scale).clamp(min=FAINTEST)).mean(0)
        soft: Tensor = least.double() - scale.double() * mass.double().log()
        return soft.clamp(min=LEAST_ENERGY).sqrt()

    def shares(self, x: Tensor) -> Tensor:
        """The value divided by the squared differences from the nearest support points: `(N, D)`."""
        rows, weights = self._nearest(x)
        away = (self.rows_in_view(x)[:, None] - self.viewed[rows]).double().square()
        whole = (weights[..., None] * away).sum(1)
        total = whole.sum(1, keepdim=True)
        even = torch.full_like(whole, 1 / whole.shape[1])
        return self.values(x)[:, None] * torch.where(total > 0, whole / total.clamp(min=1e-300), even)

    def expected(self, x: Tensor) -> Tensor:
        """The weighted mean of the nearest support points: `(N, D) -> (N, D)`."""
        rows, weights = self._nearest(x)
        mean: Tensor = (weights[..., None].to(x) * self.points[rows]).sum(1)
        return mean

    def _nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The few support points with the largest part in the sum, and their weights: `(N, k)` twice."""
        gaps, position = self._gaps(x)[0].min(1)
        few = min(EXPLAINING, len(gaps))
        least, chosen = gaps.clamp(min=0).topk(few, 0, largest=False)
        rows = chosen * self.chunk + position.gather(0, chosen)
        scale = 2 * (self.sharpness * self.usual_distance).square()
        return rows.T, torch.softmax(-least / scale, 0).T.double()

    def check_values(self) -> None:
        """Refuse widths that are not positive; raises ValueError."""
        require(self.bandwidths > 0, "bandwidths must be positive")
        require(self.usual_distance > 0, "the usual distance must be positive")
        require(self.scale > 0, "scales must be positive")


def _whitening(centred: Tensor) -> Tensor:
    """The symmetric matrix that divides principal axes by sqrt((1 - r) l + r t): `(N, D) -> (D, D)`."""
    exact = centred.double()
    variances, axes = torch.linalg.eigh(exact.T @ exact / len(exact))
    variances = variances.clamp(min=0)
    mean = variances.mean().clamp(min=LEAST_SCALE**2)
    shrunk = (1 - SHRINKAGE) * variances + SHRINKAGE * mean
    matrix: Tensor = (axes * (mean / shrunk).sqrt()) @ axes.T
    return matrix.to(centred)


def _neighbour_distances(x: Tensor) -> Tensor:
    """The mean distance of each row to its nearest others: `(M, D) -> (M,)`."""
    if len(x) < 2:
        return x.new_ones(len(x))
    count = min(NEIGHBOURS, len(x) - 1)
    parts = []
    for start in range(0, len(x), MEASURED):
        block = x[start : start + MEASURED]
        gaps = torch.cdist(block, x)
        gaps[:, start : start + len(block)].fill_diagonal_(math.inf)
        parts.append(gaps.topk(count, 1, largest=False).values.mean(1))
    return torch.cat(parts)
