r"""Normalising flows: a density by a change of variables (Tabak and Vanden-Eijnden 2010; Dinh et al., ICLR
2017, arXiv 1605.08803).

A composition of bijections maps x to z = f(x), and the base density is N(0, I):

    log p(x) = -1/2 |z|^2 - D/2 log 2 pi + log |det df/dx|.

The density is exact, and so are samples: x = f^-1(z) with z drawn from N(0, I).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from upland.models.base import Latent, Level, LikelihoodModel
from upland.models.bijections import ActNorm, Bijection, InvertibleLinear, Permutation
from upland.models.couplings import AffineCoupling, SplineCoupling
from upland.models.whitening import Whitening

WIDEST = 256
"""Columns up to which a table's flow mixes them by a full matrix; more are permuted."""


class Flow(LikelihoodModel, Latent):
    """A composition of bijections with the base density N(0, I), for rows `(N, D)`.

    Args:
        bijections: from the data to the latent.
        width: columns D.

    Examples:
        >>> import torch
        >>> model = table_flow(3, generator=torch.Generator().manual_seed(0))
        >>> model.log_prob(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    def __init__(self, bijections: Sequence[Bijection], width: int) -> None:
        super().__init__()
        self.bijections = nn.ModuleList(bijections)
        self.width = width

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """`x (N, D)` -> the one latent `[z (N, D)]` and `ladj (N,)` in nats, summed in float64."""
        z, ladj = x, x.new_zeros(x.shape[0], dtype=torch.float64)
        for bijection in self.bijections:
            z, part = bijection(z)
            ladj = ladj + part
        return [z], ladj

    @torch.no_grad()
    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """`[z (N, D)]` -> `x (N, D)`."""
        (x,) = z
        for bijection in reversed(self._chain()):
            x = bijection.inverse(x)
        return x

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x) in nats: `(N, D) -> (N,)`, summed in float64."""
        (z,), ladj = self.encode(x)
        base = z.double().square().sum(1) + self.width * math.log(2 * math.pi)
        return ladj - 0.5 * base

    def latents(self, x: Tensor) -> list[Level]:
        """The one level of `(N, D)`."""
        return [Level(z) for z in self.encode(x)[0]]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws from the model: `(n, D)`."""
        like = next(self.parameters())
        z = torch.randn(n, self.width, generator=generator, device=like.device, dtype=like.dtype)
        return self.decode([z])

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Initialise every bijection from the outputs of those before it for some training rows.

        Args:
            x: `(N, D)` encoded rows.
            generator: not used: nothing is random here.
        """
        for bijection in self._chain():
            bijection.init_from_data(x)
            x, _ = bijection(x)

    def _chain(self) -> list[Bijection]:
        return [bijection for bijection in self.bijections if isinstance(bijection, Bijection)]


def table_flow(
    width: int,
    layers: int = 4,
    hidden: Sequence[int] = (128, 128),
    coupling: Literal["affine", "spline"] = "affine",
    generator: torch.Generator | None = None,
) -> Flow:
    """The flow for tables: `layers` times ActNorm, a mixing of the columns, and a coupling.

    Args:
        width: columns D.
        layers: number of couplings.
        hidden: units of the hidden layers of each coupling's net.
        coupling: "affine" shifts and scales, "spline" maps each column by a monotonic spline.
        generator: source of the initial weights; None draws from torch's own.

    Columns that are only permuted keep their deviations, so a constant one, which is all noise in training,
    is scaled up by the first ActNorm alone.
    """
    mixing = InvertibleLinear if width <= WIDEST else Permutation
    made = AffineCoupling if coupling == "affine" else SplineCoupling
    bijections: list[Bijection] = [ActNorm(width)]
    for _ in range(layers):
        bijections += [
            mixing(width, generator),
            made(width, hidden, generator=generator),
            ActNorm(width) if width <= WIDEST else ActNorm(width, least=1.0),
        ]
    return Flow(bijections, width)


def gaussian_flow(width: int) -> Flow:
    """The flow that is a Gaussian, N(0, I) until `Whitening.fit`.

    Args:
        width: columns D.
    """
    return Flow([Whitening(width)], width)


def fitted_gaussian(x: Tensor, sigma: float, independent: bool = False) -> Flow:
    """The Gaussian of some rows, with shrunk covariance in closed form.

    Args:
        x: `(N, D)` encoded rows.
        sigma: standard deviation of the noise that is added to them.
        independent: whether columns are taken to be independent.
    """
    whitening = Whitening(x.shape[1]).to(x.device)
    whitening.fit(x, sigma, independent)
    return Flow([whitening], x.shape[1])
