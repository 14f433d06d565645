"""The interface of every model: an energy.

An energy E(x) is one number for one input, in nats up to a constant, higher = more anomalous, and defines
the density p(x) = exp(-E(x)) / Z. The gradient of log p is the *score*, -grad E(x); it needs no Z. The only
abstract method is `energy`; from it follow the gradient, the reconstruction f(x) = x - grad E(x),
explanations and every objective based on the score. A model whose density is a product of factors overrides
`factors`.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class EnergyModel(nn.Module, ABC):
    """A module from points to energies: abstract, `energy` is to be written.

    `reconstruct` has a default by automatic differentiation, for any differentiable energy; a model whose
    gradient has a closed form overrides it, so that training needs a single backward pass.

    Attributes:
        block_rows: rows that are scored together.
        may_stay_unchanged: names of parameters that a training may leave as they were; of any other one that
            did not change the user is warned.
    """

    block_rows = 256
    may_stay_unchanged: tuple[str, ...] = ()

    @abstractmethod
    def energy(self, x: Tensor) -> Tensor:
        """Energies of points: `(N, ...) -> (N,)`, in nats up to a constant, higher = more anomalous."""

    def forward(self, x: Tensor) -> Tensor:
        """The same as `energy`, so that the module can be called: `(N, ...) -> (N,)`."""
        return self.energy(x)

    def factors(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, "EnergyModel"]:
        """The points whose energies add up to that of x, and the energy of such a point.

        A density that is a product has an energy that is a sum. By default each x is one point, `(N, ...)`;
        of a conditional energy, p(x) = product over t of p(x_t | x_<t), every x_t is one, `(M, ...)`, and its
        energy holds the history fixed. Objectives perturb points only.

        Args:
            x: `(N, ...)`.
            generator: source of the choice where a model in training uses only some of very many points.
        """
        return x, self

    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Initialise what starts from data, before training; nothing by default.

        Args:
            x: `(N, ...)` encoded training rows.
            generator: source of random choices; None draws from torch's own.
        """

    def fit_normalization(self, x: Tensor, fresh: bool = True) -> None:
        """Fit the statistics that scores are standardised by, after training; nothing by default.

        Args:
            x: `(N, ...)` encoded normal rows.
            fresh: whether the model has not been trained on them.
        """

    def without_prior(self) -> "EnergyModel":
        """The energy without terms centred at single training rows, for statistics that compare such rows
        with others: itself by default.
        """
        return self

    def reconstruct_without_prior(self, x: Tensor) -> Tensor:
        """The reconstruction without terms centred at single training rows: `(N, ...) -> (N, ...)`."""
        return self.without_prior().reconstruct(x)

    def expected(self, x: Tensor) -> Tensor:
        """The normal row that would be expected instead of each row: `(N, ...) -> (N, ...)`;
        the reconstruction by default.
        """
        return self.reconstruct(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The regularised auto-encoder f(x) = x - grad E(x): `(N, ...) -> (N, ...)`, differentiable in the
        weights.
        """
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(
                self.energy(point).sum(), point, create_graph=self.training or x.requires_grad
            )
        return x - gradient


class LikelihoodModel(EnergyModel):
    """An energy whose Z is known: E(x) = -log p(x); abstract, `log_prob` is to be written."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), in nats: `(N, ...) -> (N,)`."""

    def energy(self, x: Tensor) -> Tensor:
        """-log p(x), in nats: `(N, ...) -> (N,)`."""
        return -self.log_prob(x)

    @torch.no_grad()
    def bits_per_dim(self, x: Tensor, step: float, generator: torch.Generator | None = None) -> Tensor:
        """An upper bound of the bits per dimension of discrete data, by one draw of the dequantising noise:
        `(N, ...) -> (N,)` (Theis, van den Oord, Bethge, ICLR 2016, arXiv 1511.01844).

        Args:
            x: values that are multiples of `step` apart, `(N, ...)`.
            step: between two neighbouring values, in the units of x.
            generator: source of the noise, uniform and as wide as a step; None draws from torch's own.
        """
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 0.5
        nats = -self.log_prob(x + step * noise) / x[0].numel()
        return (nats - math.log(step)) / math.log(2)


class Level(NamedTuple):
    """The latents of some rows at one level of a model.

    Args:
        mean: `(N, D)` or `(N, C, H, W)`; under the model a draw of N(0, I), whatever the level.
        variance: of the posterior (an encoder's sigma^2), likewise; None where latents are exact.
    """

    mean: Tensor
    variance: Tensor | None = None


class Latent(ABC):
    """A model with latents that are N(0, I): a flow, a VAE; abstract, `latents` is to be written."""

    @abstractmethod
    def latents(self, x: Tensor) -> list[Level]:
        """The latents of `x (N, ...)` at each level, the finest (split off first) first."""


class OfFeatures(ABC):
    """A model of features of images and not of their pixels; abstract, `shares` is to be written."""

    @abstractmethod
    def shares(self, x: Tensor) -> Tensor:
        """What each feature of `x (N, D)` adds to the energy above its least: `(N, D)`, float64."""


class JoinedEnergy(EnergyModel):
    """An energy of several parts that one score joins, in units of normal rows: abstract."""

    @abstractmethod
    def joined_score(self, x: Tensor) -> Tensor:
        """The anomaly score, in standard deviations of normal rows: `(N, D) -> (N,)`, float64."""

    @abstractmethod
    def shares(self, x: Tensor) -> Tensor:
        """The share of each input in the joined score, which they sum to: `(N, D) -> (N, D)`."""


class ExpertEnergy(JoinedEnergy):
    """A product of experts: energies of several aspects of the data, fitted in closed form; abstract."""


class NoiseConditional(JoinedEnergy):
    """An ensemble of energies to which the scale of the noise is an input: abstract.

    Attributes:
        scales: of the score, ascending; training draws between the first and the last.
        n_nets: number of nets, M.
    """

    scales: tuple[float, ...]
    n_nets: int

    @abstractmethod
    def denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Each net's x - grad E(x, sigma), E in units of sigma^2 nats: `(M, B, D)`, `(M, B, 1)` ->
        `(M, B, D)`.
        """


class Variational(EnergyModel, Latent):
    """An energy that bounds -log p(x) by a mean over draws of a latent: abstract, `bound` is to be
    written.

    Args:
        latent: dimensions of the latent, K.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    @abstractmethod
    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """The energy with the mean taken over some draws, in nats: `(N, ...) -> (N,)`, float64.

        Args:
            x: `(N, ...)`.
            noise: `(S, K)`, the same S draws of N(0, I) for every row, or `(S, N, K)`.
        """


class ModuleEnergy(EnergyModel):
    """Any module from `(N, ...)` to one energy per row, `(N,)` or `(N, 1)`; gradients by autograd.

    Args:
        module: the user's network; it must be differentiable twice for score matching.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def energy(self, x: Tensor) -> Tensor:
        """Energies of points: `(N, ...) -> (N,)`.

        Raises:
            ValueError: the module does not return one number per row.
        """
        e: Tensor = self.module(x)
        if e.numel() != x.shape[0]:
            raise ValueError(
                f"an energy is one number per row: the module gave {tuple(e.shape)} for {tuple(x.shape)}"
            )
        return e.reshape(x.shape[0])
