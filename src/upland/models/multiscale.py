r"""The multi-scale energy: an ensemble of deep structured energies with the noise scale as an input.

A DSEBM (Zhai et al. 2016) learns the density of its rows smoothed by one noise. Here the scale is an input
(noise-conditional score networks, Song and Ermon 2019; as a scalar energy MULDE, Micorek et al. 2024). Of net
m, in units of sigma^2 nats,

    E_m(x, sigma) = sigma^2 |x - b'|^2 / (2 (1 + sigma^2)) - sigma sum_k v_k h_{L,k},
    h_0 = x / sqrt(1 + sigma^2),   h_l = softplus(W_l' h_{l-1} + b_l + U_l' phi(sigma)),

phi(sigma) being log sigma and three sinusoids of it. The first term is the paper's, smoothed: that of a
centre with unit variance, which encoded columns have. The v_k, absent from the paper, let a unit raise the
energy as well as lower it. The gradient is again a decoder with the encoder's own weights,

    f_m(x, sigma) = x - grad E_m = (x + sigma^2 b') / (1 + sigma^2) + sigma / sqrt(1 + sigma^2) W_1 u_1,
    u_L = v sigmoid(a_L),   u_{l-1} = sigmoid(a_{l-1}) (W_l u_l),

so that training needs one backward pass. All nets go through one batched product and share no weights.

**The energy of the whole** is the mean over nets and scales, and, with a kernel or mixture prior
(`upland.models.kernel_prior`), the mean of that and of the prior's over its views: a product of experts.

**The multi-scale score** is made of distances, each standardised by those of normal rows, z = (r - m) / s:

    A(x) = (sum_i w_i softplus(z_i)^3)^(1/3),   r_k = mean_m |x - f_m(x, sigma_k)|,   r_v = sqrt(2 E_v(x)),

over the scales k (of total weight 1 - w) and the views v of the prior (w). The cubic mean lies between the
mean and the maximum: a row scores high if one distance is very large or if all are somewhat large.

For a Gaussian with variances l_i and standardised coordinates z_i the squared residual at scale sigma is
sum_i z_i^2 l_i (sigma^2 / (l_i + sigma^2))^2, a band-pass around directions of variance sigma^2, whereas
the energy, sum_i z_i^2 l_i sigma^2 / (2 (l_i + sigma^2)), counts every direction of larger variance nearly in
full. So residuals of several scales separate what a single energy adds up.
"""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import NoiseConditional
from upland.models.kernel_prior import CLUSTERS, VIEWS, KernelPrior
from upland.models.nets import LEAST_COLUMNS
from upland.models.stored import StoredModule, require

Prior = Literal["kernel", "mixture", "centre"]

SCALES = (0.05, 0.274, 1.5)
"""Noise scales of the score, in standard deviations of a column; training draws between the ends."""

SCALE_FEATURES = 4
PRIOR_SHARE = 0.6
POWER = 3
LEAST_DEVIATION = 0.02


class MultiscaleEnergy(NoiseConditional, StoredModule):
    """An ensemble of dense energies of tables at several noise scales, with a prior.

    Args:
        width: number of inputs, D.
        hidden: units of each layer; its length is the depth L.
        n_nets: number of nets, M.
        scales: noise scales, K of them, ascending.
        prior: "kernel" has centres at training rows, "mixture" at means of clusters of them, "centre" is
            the paper's b' alone.
        support_points: training rows of a kernel prior, at most.
        generator: source of the initial weights; None draws from torch's own.

    Examples:
        >>> import torch
        >>> model = MultiscaleEnergy(3, (16, 16), generator=torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    block_rows = 512

    normal_means: Tensor
    normal_deviations: Tensor

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] = (128, 128),
        n_nets: int = 2,
        scales: Sequence[float] = SCALES,
        prior: Prior = "kernel",
        support_points: int = 4_096,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.scales, self.n_nets = tuple(float(scale) for scale in scales), n_nets
        if not scales or list(scales) != sorted(set(scales)) or scales[0] <= 0:
            raise ValueError(f"scales must be positive and ascending, got {tuple(scales)}")
        sizes = [width, *hidden]
        self.centre = nn.Parameter(torch.zeros(n_nets, 1, width, dtype=torch.float32))
        self.weights = nn.ParameterList(
            torch.empty(n_nets, i, o, dtype=torch.float32) for i, o in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(n_nets, 1, o, dtype=torch.float32) for o in sizes[1:])
        self.scale_weights = nn.ParameterList(
            0.1 * torch.randn(n_nets, SCALE_FEATURES, o, generator=generator, dtype=torch.float32)
            for o in sizes[1:]
        )
        for w in self.weights:
            nn.init.uniform_(w, -1 / math.sqrt(w.shape[1]), 1 / math.sqrt(w.shape[1]), generator=generator)
        signs = 1.0 - 2.0 * (torch.arange(sizes[-1], dtype=torch.float32) % 2)
        self.gains = nn.Parameter(signs.expand(n_nets, 1, -1).clone())
        self.register_buffer("normal_means", torch.zeros(len(self.scales), dtype=torch.float32))
        self.register_buffer("normal_deviations", torch.ones(len(self.scales), dtype=torch.float32))
        clusters = CLUSTERS if prior == "mixture" else 0
        self.prior = None if prior == "centre" else KernelPrior(width, clusters, support_points)

    # -- the energy and its gradient

    def energy(self, x: Tensor) -> Tensor:
        """Mean over nets and scales, halved with the prior's mean: `(N, D) -> (N,)`, float64."""
        total = torch.stack([self._energy(x, sigma) for sigma in self.scales]).mean(0)
        if self.prior is None:
            return total
        return 0.5 * (total + torch.stack(self.prior.energies(x)).mean(0))

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x) = x - grad E(x), the mean of the denoised rows: `(N, D) -> (N, D)`."""
        whole = torch.stack([self.denoised(x, sigma).mean(0) for sigma in self.scales]).mean(0)
        if self.prior is None:
            return whole
        pulls = []
        for view in range(VIEWS):
            near = self.prior.nearest(x, view)
            pulls.append(near.slope * near.pull)
        return 0.5 * (whole + x - torch.stack(pulls).mean(0))

    def expected(self, x: Tensor) -> Tensor:
        """The mean of the denoised row and of the prior's nearest centres, weighted as in the multi-scale
        score: `(N, D) -> (N, D)`.
        """
        whole = torch.stack([self.denoised(x, sigma).mean(0) for sigma in self.scales]).mean(0)
        if self.prior is None:
            return whole
        near = torch.stack([self.prior.nearest(x, view).row for view in range(VIEWS)]).mean(0)
        return (1 - PRIOR_SHARE) * whole + PRIOR_SHARE * near

    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """f_m(x, sigma) of each net: `(M, B, D)`, `(M, B, 1)` -> `(M, B, D)`."""
        one = 1 + sigma.square()
        h, features, gates = x * one.rsqrt(), _scale_features(sigma), []
        last = len(self.weights) - 1
        for i, (w, b, of_scale) in enumerate(zip(self.weights, self.biases, self.scale_weights, strict=True)):
            a = torch.baddbmm(torch.baddbmm(b, features, of_scale), h, w)
            gates.append(torch.sigmoid(a))
            h = functional.softplus(a) if i < last else a
        u = gates.pop() * self.gains
        for w in reversed(list(self.weights)[1:]):
            u = gates.pop() * torch.bmm(u, w.transpose(1, 2))
        u = torch.bmm(u, self.weights[0].transpose(1, 2))
        return (x + sigma.square() * self.centre) / one + sigma * one.rsqrt() * u

    def denoised(self, x: Tensor, sigma: float, first: Tensor | None = None) -> Tensor:
        """The same at one scale; the result does not depend on the row's position in the batch:
        `(N, D) -> (M, N, D)`.

        Args:
            x: encoded rows.
            sigma: the scale.
            first: `first_products(x)`, the same for every scale.
        """
        one = 1 + sigma**2
        h, gates = self.first_products(x) if first is None else first, []
        last = len(self.weights) - 1
        for i in range(last + 1):
            a = (
                self._layer(h, i, sigma)
                if i
                else torch.add(self._bias(0, sigma), h, alpha=1 / math.sqrt(one))
            )
            gates.append(torch.sigmoid(a))
            h = _softplus(a, gates[-1]) if i < last else a
        u = gates.pop() * self.gains
        for w in reversed(list(self.weights)[1:]):
            u = gates.pop() * _product(u, w)
        u = _product(u, self.weights[0])
        return torch.add((x + sigma**2 * self.centre) / one, u, alpha=sigma / math.sqrt(one))

    def first_products(self, x: Tensor) -> Tensor:
        """X W_1 of each net: `(N, D) -> (M, N, H)`."""
        w = self.weights[0]
        lacking = max(0, LEAST_COLUMNS - w.shape[2])
        padded = functional.pad(w, (0, lacking))
        return torch.matmul(x, padded)[..., : w.shape[2]]

    def _energy(self, x: Tensor, sigma: float) -> Tensor:
        """Mean over the nets at one scale: `(N, D) -> (N,)`, float64."""
        one = 1 + sigma**2
        h = (x / math.sqrt(one)).expand(self.n_nets, -1, -1)
        for i in range(len(self.weights)):
            h = functional.softplus(self._layer(h, i, sigma))
        quadratic = (x - self.centre).square().sum(-1, dtype=torch.float64) * (0.5 * sigma**2 / one)
        return (quadratic - sigma * (self.gains * h).sum(-1, dtype=torch.float64)).mean(0)

    def _bias(self, layer: int, sigma: float) -> Tensor:
        """The bias of a layer at one scale: `(M, 1, O)`."""
        of_scale = self.scale_weights[layer]
        features = _scale_features(of_scale.new_full((self.n_nets, 1, 1), sigma))
        return torch.baddbmm(self.biases[layer], features, of_scale)

    def _layer(self, h: Tensor, layer: int, sigma: float) -> Tensor:
        """A layer before its softplus; few units are padded, so that sums keep their order."""
        w, b = self.weights[layer], self._bias(layer, sigma)
        lacking = max(0, LEAST_COLUMNS - w.shape[2])
        a = torch.baddbmm(functional.pad(b, (0, lacking)), h, functional.pad(w, (0, lacking)))
        return a[..., : w.shape[2]]

    def without_prior(self) -> "MultiscaleEnergy":
        """The ensemble without its prior; it shares the weights."""
        if self.prior is None:
            return self
        bare = copy.copy(self)
        bare._modules = {**self._modules, "prior": None}
        return bare

    def check_values(self) -> None:
        """Refuse deviations that are not positive; raises ValueError."""
        require(self.normal_deviations > 0, "deviations of normal rows must be positive")

    # -- the multi-scale score

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the prior's centres from training rows `(N, D)`.

        Args:
            x: encoded rows.
            generator: source of the choice; None draws from torch's own.
        """
        if self.prior is not None:
            self.prior.init_from_data(x, generator)

    def fit_normalization(self, x: Tensor, fresh: bool = True) -> None:
        """Fit mean and standard deviation of the distances of normal rows `(N, D)`.

        The prior's are fitted on fresh rows only: `init_from_data` has fitted them on training rows, each
        without its own centre.

        Args:
            x: encoded rows.
            fresh: whether the model has not been trained on them.
        """
        with torch.no_grad():
            distances = self._distances(x).mean(1)
            if self.prior is not None and fresh:
                self.prior.fit_normalization(self.prior.energies(x))
        least = LEAST_DEVIATION * math.sqrt(x.shape[1]) * distances.new_tensor(self.scales)
        self.normal_means = distances.mean(1).to(self.normal_means)
        self.normal_deviations = torch.maximum(distances.std(1, correction=0), least).to(
            self.normal_deviations
        )

    def _distances(self, x: Tensor) -> Tensor:
        """|x - f_m(x, sigma_k)|: `(N, D) -> (K, M, N)`, float64."""
        first = self.first_products(x)
        away = [
            (x - self.denoised(x, sigma, first)).square().sum(-1, dtype=torch.float64)
            for sigma in self.scales
        ]
        return torch.stack(away).sqrt()

    def _weighted_cubes(self, x: Tensor) -> Tensor:
        """The terms of A(x)^3, of the scales and then of the views: `(N, D) -> (P, N)`, float64."""
        prior_share = 0.0 if self.prior is None else PRIOR_SHARE
        weights = [(1 - prior_share) / len(self.scales)] * len(self.scales)
        parts = (
            self._distances(x).mean(1) - self.normal_means.double()[:, None]
        ) / self.normal_deviations.double()[:, None]
        if self.prior is not None:
            weights += [prior_share / VIEWS] * VIEWS
            parts = torch.cat([parts, self.prior.standard_scores(x)])
        excess = torch.logaddexp(parts, torch.zeros_like(parts))
        return excess**POWER * excess.new_tensor(weights)[:, None]

    def joined_score(self, x: Tensor) -> Tensor:
        """The multi-scale score, in standard deviations of normal rows: `(N, D) -> (N,)`, float64."""
        cubes: Tensor = self._weighted_cubes(x).sum(0)
        return cubes ** (1 / POWER)

    def shares(self, x: Tensor) -> Tensor:
        """The share of each input in the multi-scale score: `(N, D) -> (N, D)`, float64, summing to it.

        The score is divided among the distances by their terms in A(x)^3, and each distance among the inputs
        by their squared differences.
        """
        cubes = self._weighted_cubes(x)
        whole = cubes.sum(0)
        parts = cubes * (whole ** (1 / POWER) / whole.clamp(min=1e-300))
        total = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        first = self.first_products(x)
        for sigma, part in zip(self.scales, parts, strict=False):
            away = (x - self.denoised(x, sigma, first)).double().square()
            of_the_nets = _split(away.sum(-1).sqrt().T, part).T
            total += _split(away, of_the_nets).sum(0)
        if self.prior is not None:
            for view, part in enumerate(parts[len(self.scales) :]):
                total += _split(self.prior.nearest(x, view).squares.double(), part)
        return total


def _scale_features(sigma: Tensor) -> Tensor:
    """Phi(sigma), the features of a scale that nets read: `(..., 1) -> (..., 4)`."""
    log = sigma.log()
    return torch.cat([log, log.sin(), log.cos(), (2 * log).sin()], -1)


def _softplus(a: Tensor, gate: Tensor) -> Tensor:
    """softplus(a) = a - log sigmoid(a), twice as fast where the sigmoid is known."""
    return (a - gate.clamp(min=1e-38).log()).clamp(min=0)


def _product(u: Tensor, w: Tensor) -> Tensor:
    """`u @ w'` for each net; few columns are padded, so that sums keep their order."""
    lacking = LEAST_COLUMNS - w.shape[1]
    if lacking <= 0:
        return torch.bmm(u, w.transpose(1, 2))
    return torch.bmm(u, functional.pad(w, (0, 0, 0, lacking)).transpose(1, 2))[..., :-lacking]


def _split(weights: Tensor, whole: Tensor) -> Tensor:
    """A whole divided in proportion to weights, evenly where they are all zero: `(..., D)`, `(...)`."""
    total = weights.sum(-1, keepdim=True)
    even = torch.full_like(weights, 1 / weights.shape[-1])
    return whole[..., None] * torch.where(total > 0, weights / total.clamp(min=1e-300), even)
