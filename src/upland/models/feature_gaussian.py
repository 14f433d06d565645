r"""A density of the vectors of features of images: a Gaussian in closed form, with latents along its axes.

The vectors of an image, of length one each where it is their directions that matter, are put side by side as
u, V numbers, with the mean m among normal images. K axes v_k of the largest variances l_k have each its own
variance, all other directions one, s (Tipping and Bishop, "Probabilistic principal component analysis", JRSS
B 61, 1999):

    z_k = v_k (u - m) / l_k^(1/2),      r = u - m - sum_k v_k (v_k (u - m)),
    -log p(u) = 1/2 |z|^2 + 1/2 sum_k log l_k + 1/2 |r|^2 / s + (V - K) / 2 log s + V / 2 log(2 pi).

Of few wide rows the largest variances come out too large and s too small. So what rows have along the axes of
others says by how much the l_k are multiplied, all alike, and what s is, the mean of |r|^2 / (V - K).

It is a flow of one linear map, with the latents z from N(0, I). Couplings on the axes, trained by their
likelihood, made held-out images likelier, but neither images nor groups easier to tell
(docs/decisions/0034-flow-of-features.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from upland.data.image.features import FeatureLayout
from upland.models.base import Latent, Level, LikelihoodModel, OfFeatures
from upland.models.principal import principal_axes
from upland.models.stored import StoredModule, require

AXES = 64
"""Axes with a variance of their own, at most."""

SHARE = 0.05
"""Of the mean variance, the least that an axis and the rest have."""

FOLDS = 5
LEAST_VARIANCE = 1e-12
LEAST_LENGTH = 1e-12
LEAST_SQUARE = 1e-300


class FeatureGaussian(LikelihoodModel, Latent, OfFeatures, StoredModule):
    """A Gaussian of the vectors of images, fitted in closed form.

    Args:
        layout: of the features.
        axes: with a variance of their own, at most.

    Examples:
        >>> import torch
        >>> model = FeatureGaussian(FeatureLayout((4, 6), (0, 1, 1), directions=True), axes=3)
        >>> rows = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
        >>> model.init_from_data(rows)
        >>> model.log_prob(rows).shape, model.latents(rows)[0].mean.shape
        (torch.Size([50]), torch.Size([50, 3]))
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, layout: FeatureLayout, axes: int = AXES) -> None:
        super().__init__()
        self.layout, self.width = layout, layout.of_vectors
        count = min(axes, self.width)
        self.register_buffer("mean", torch.zeros(self.width, dtype=torch.float32))
        self.register_buffer("axes", torch.eye(self.width, count, dtype=torch.float32))
        self.register_buffer("variances", torch.ones(count, dtype=torch.float32))
        self.register_buffer("rest", torch.ones(1, dtype=torch.float32))
        # models live where their parameters do
        self.anchor = nn.Parameter(torch.zeros(1, dtype=torch.float32), requires_grad=False)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Fit mean, axes and variances.

        Args:
            x: `(N, D)` features of normal images.
            generator: not used: nothing is random here.
        """
        u = self.vectors(x).double()
        count = self.axes.shape[1]
        folds = torch.arange(len(u), dtype=torch.int64, device=u.device) % FOLDS
        parts = range(min(FOLDS if len(u) <= self.width else 1, len(u)) if len(u) > 1 else 0)
        left_out = [_left_out(u[folds != fold], u[folds == fold], count) for fold in parts]
        mean, squares, axes, rest = _moments(u, count)
        if left_out:
            times, rests = torch.stack(left_out).mean(0)
            rest = rests.maximum(rest)
            squares = (squares * times).maximum(rest)
        self.mean, self.axes = mean.to(x), axes.to(x).contiguous()
        self.variances, self.rest = squares.to(x), rest.reshape(1).to(x)

    # -- density ---------------------------------------------------------------------------------------------

    def vectors(self, x: Tensor) -> Tensor:
        """The vectors, of length one where directions matter: `(N, D) -> (N, V)`; D may have a map behind.

        A vector of one number has no direction and stays as it is.
        """
        found = x[:, : self.width]
        if not self.layout.directions:
            return found
        parts = found.split(list(self.layout.vectors), 1)
        lengths = (part.norm(dim=1, keepdim=True).clamp(min=LEAST_LENGTH) for part in parts)
        units = [
            part / length if part.shape[1] > 1 else part for part, length in zip(parts, lengths, strict=True)
        ]
        return torch.cat(units, 1)

    def _along(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The latents, and the squared length of the rest: `(N, K)`, `(N,)` float64."""
        centred = self.vectors(x) - self.mean
        # rows are the columns of the product: then their numbers do not depend on their places
        along = (self.axes.T @ centred.T).T
        whole = centred.square().sum(1, dtype=torch.float64)
        rest = (whole - along.square().sum(1, dtype=torch.float64)).clamp(min=0)
        return along / self.variances.sqrt(), rest

    def _nats(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Half the squared length of a row in units of normal ones, along the axes and along all others:
        `(N,)` twice, float64.
        """
        z, rest = self._along(x)
        others = float(self.width > z.shape[1])
        return 0.5 * z.square().sum(1, dtype=torch.float64), 0.5 * others * rest / self.rest.double()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p of the vectors, in nats: `(N, D) -> (N,)`, float64."""
        of_axes, of_rest = self._nats(x)
        others = self.width - self.axes.shape[1]
        scales = self.variances.double().log().sum() + others * self.rest.double().log()
        return -of_axes - of_rest - 0.5 * (scales + self.width * math.log(2 * math.pi))

    def latents(self, x: Tensor) -> list[Level]:
        """The latents along the axes, N(0, I) under the model: one level `(N, K)`."""
        return [Level(self._along(x)[0])]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Vectors drawn from the model: `(n, V)`; those of length one are of that length only nearly.

        Args:
            n: number of them.
            generator: source of the draws; None draws from torch's own.
        """
        like = self.mean
        draws = torch.randn(n, self.width, generator=generator, device=like.device, dtype=like.dtype)
        along = draws @ self.axes
        spread = along * self.variances.sqrt() - along * self.rest.sqrt()
        return self.mean + self.rest.sqrt() * draws + spread @ self.axes.T

    def shares(self, x: Tensor) -> Tensor:
        """1/2 |z|^2 + 1/2 |r|^2 / s, in nats, divided among the numbers of the vectors by their squared
        distances from the mean: `(N, D) -> (N, D)`, float64, not negative.
        """
        nats = torch.stack(self._nats(x)).sum(0)
        squares = (self.vectors(x) - self.mean).double().square()
        parts = squares / squares.sum(1, keepdim=True).clamp(min=LEAST_SQUARE)
        return nn.functional.pad(nats[:, None] * parts, (0, x.shape[1] - self.width))

    # -- persistence -----------------------------------------------------------------------------------------

    def check_values(self) -> None:
        """Refuse variances that are not positive; raises ValueError."""
        require(self.variances > 0, "variances must be positive")
        require(self.rest > 0, "the variance of the rest must be positive")


def _moments(u: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, variances along the axes of the largest, these axes, and the mean variance along all others:
    `(V,)`, `(K,)`, `(V, K)`, scalar.
    """
    mean, width = u.mean(0), u.shape[1]
    squares, axes, total = whole_axes(u - mean, count)
    total = total if len(u) > 1 else u.square().sum()  # of a single row nothing is known but its length
    least = (SHARE * total / width).clamp(min=LEAST_VARIANCE)
    rest = (total - squares.sum()) / max(width - count, 1)
    return mean, squares.maximum(least), axes, rest.maximum(least)


def _left_out(u: Tensor, others: Tensor, count: int) -> Tensor:
    """What other rows have along the axes of some, as a share of what these have, and along all other
    directions: the variance of the axes and the mean |r|^2 / (V - K), `(2,)`.
    """
    mean, squares, axes, _ = _moments(u, count)
    along = (others - mean) @ axes
    rest = ((others - mean).square().sum(1) - along.square().sum(1)).mean() / max(u.shape[1] - count, 1)
    return torch.stack([along.square().mean(0).sum() / squares.sum(), rest.clamp(min=LEAST_VARIANCE)])


def whole_axes(centred: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Variances along the axes of the largest, these axes, and the variance of all: `(K,)`, `(V, K)`, scalar.

    Of few rows some axes have no variance; they are any at right angles to the others.

    Args:
        centred: `(N, V)` rows with mean zero, float64.
        count: K, V at most.
    """
    total = centred.square().mean(0).sum()
    squares, axes = principal_axes(centred, count, LEAST_VARIANCE * total)
    if len(centred) > centred.shape[1]:
        return squares, axes, total
    squares, axes = squares[squares > 0], axes[:, squares > 0]
    lacking = count - axes.shape[1]
    if lacking:
        away = torch.eye(len(axes), count, dtype=axes.dtype, device=axes.device)
        away = away - axes @ (axes.T @ away)
        axes = torch.cat([axes, torch.linalg.svd(away, full_matrices=False)[0][:, :lacking]], 1)
    return torch.cat([squares, squares.new_zeros(lacking)]), axes, total
