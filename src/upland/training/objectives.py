r"""Training objectives: functions `(model, x, sigma, generator) -> scalar`, the mean over the points of x:
its rows, or the factors of a model whose density is a product (`EnergyModel.factors`).

Two of them fit grad E to the gradient of a log density, without sampling and without a partition function.
With f(x) = x - grad E(x) and the score s(x) = -grad E(x) / sigma^2, so that E / sigma^2 is in nats:

* Denoising score matching (Vincent 2011; DSEBM eq. 6): E |x - f(x + eps)|^2, eps ~ N(0, sigma^2 I). By
  Tweedie's formula the optimum is grad E = -sigma^2 grad log q_sigma, where q_sigma is the data's density
  smoothed by the noise. For N(mu, S) it is minimal at N(mu, S + sigma^2 I).
* Sliced score matching (Song et al., UAI 2019, arXiv 1905.07088), the variance-reduced form:
  E [v' (grad_x v' s(x)) + 1/2 |s(x)|^2], v of independent signs, times sigma^2 to condition it. There is no
  noise on x: for N(mu, S) it is minimal at N(mu, S). It needs a density, hence continuous columns; sigma is
  then only the finest scale that the prior term 1/2 |x - b'|^2 can express.

* Conditional: denoising at every scale between two, sigma^2-weighted, so that scales count alike (Song and
  Ermon 2019; Karras et al. 2022): (1 + sigma^2) / sigma^2 is what makes the error of the best constant or
  identity denoiser about one at any scale.

A model whose Z is known is fitted by its likelihood, in nats.

* Likelihood: E -log p(x + eps), eps ~ N(0, sigma^2 I), fits the same smoothed density q_sigma as denoising
  does; for N(mu, S) it is minimal at N(mu, S + sigma^2 I). Without noise it is minimal at S, but a density
  of rows that lie on a surface has no bound.
* Dequantised (Theis, van den Oord, Bethge, ICLR 2016, arXiv 1511.01844): E -log p(x + sigma u), u uniform in
  [-1/2, 1/2)^D, for numbers that are sigma apart; minus D log sigma it bounds the nats of the discrete
  distribution.

* Evidence: the same of a bound, -ELBO(x + eps), of a VAE (Kingma and Welling, ICLR 2014).

The noise should be about as large as the distance between neighbours, like the bandwidth of a kernel density:
`neighbour_distance` measures it on training rows.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from upland.models.base import EnergyModel, NoiseConditional, Variational

Objective = Callable[[EnergyModel, Tensor, float, torch.Generator], Tensor]


def denoising(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """E |x - f(x + eps)|^2 by one noise draw a point: `x (N, ...)` -> scalar."""
    points, energy = model.factors(x, generator)
    noise = torch.randn(points.shape, generator=generator, device=points.device, dtype=points.dtype)
    residual = points - energy.reconstruct(points + sigma * noise)
    return residual.square().flatten(1).sum(1).mean()


def sliced(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """sigma^2 E [v' grad(v' s) + 1/2 |s|^2] by one random direction a point: `x (N, ...)` -> scalar."""
    points, energy = model.factors(x, generator)
    bits = torch.randint(0, 2, points.shape, generator=generator, device=points.device)
    direction = (2 * bits - 1).to(points.dtype)
    with torch.enable_grad():
        point = points.detach().requires_grad_()
        drift = energy.reconstruct(point) - point
        (curvature,) = torch.autograd.grad((drift * direction).sum(), point, create_graph=model.training)
    per_row = (curvature * direction).flatten(1).sum(1) + 0.5 * drift.square().flatten(1).sum(1) / sigma**2
    return per_row.mean()


def neighbour_distance(x: Tensor, least: float = 0.1, most: float = 1.0) -> float:
    """The median distance of a row to its nearest other row, per dimension: `x (N, D)` -> |x - x'| /
    sqrt(D), within bounds.

    Copies of a row are counted once, so that duplicates do not make the distance vanish.
    """
    rows = torch.unique(x, dim=0)
    if rows.shape[0] < 2:
        return most
    distance = torch.cdist(rows.double(), rows.double()).fill_diagonal_(torch.inf)
    found = distance.min(dim=1).values.median().item() / x.shape[1] ** 0.5
    return float(min(max(found, least), most))


def likelihood(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Mean of E(x + eps), eps ~ N(0, sigma^2 I), of an energy in nats over its factors: `x (N, ...)` ->
    scalar.
    """
    points, energy = model.factors(x, generator)
    noise = torch.randn(points.shape, generator=generator, device=points.device, dtype=points.dtype)
    return energy.energy(points + sigma * noise).mean()


def dequantised(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Mean of E(x + sigma u), u uniform in [-1/2, 1/2), of an energy in nats: `x (N, ...)` -> scalar."""
    noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 0.5
    return model.energy(x + sigma * noise).mean()


def evidence(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Mean of the bound E(x + eps) of a variational model, with one draw of the latent a row: `x (N, ...)` ->
    scalar.
    """
    assert isinstance(model, Variational)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    draws = torch.randn((1, x.shape[0], model.latent), generator=generator, device=x.device, dtype=x.dtype)
    return model.bound(x + sigma * noise, draws).mean()


def conditional(model: EnergyModel, x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Denoising at scales drawn evenly in log sigma, weighted by (1 + sigma^2) / sigma^2, for each net of
    a noise-conditional energy: `x (N, D)` -> scalar, the sum over the nets; `sigma` is not used.
    """
    assert isinstance(model, NoiseConditional)
    shape = (model.n_nets, *x.shape)
    first, last = math.log(model.scales[0]), math.log(model.scales[-1])
    even = torch.rand((*shape[:2], 1), generator=generator, device=x.device, dtype=x.dtype)
    scale = torch.exp(first + (last - first) * even)
    noise = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
    residual = (x - model.denoise(x + scale * noise, scale)) * ((1 + scale.square()).sqrt() / scale)
    return residual.square().sum(-1).mean(1).sum()


OBJECTIVES: dict[str, Objective] = {
    "denoising": denoising,
    "sliced": sliced,
    "conditional": conditional,
    "likelihood": likelihood,
    "dequantised": dequantised,
    "evidence": evidence,
}
"""The objectives by name."""
