r"""Glow: a multi-scale normalising flow for images (Kingma and Dhariwal, NeurIPS 2018, arXiv 1807.03039).

An image is mapped to latents z = f(x) by bijections, and its density is

    log p(x) = log N(z; 0, I) + log |det df/dx|.

Values first go through a tone curve. At each of L levels two by two pixels then become the channels of one, K
steps follow, each an affine map of the channels and an affine coupling (`upland.models.glowlevels`), and half
of the channels are split off as latents; the last level keeps all. Every latent is N(0, I) under the model,
whatever its level, and there are as many as the image has values, C H W.

Pixels are whole numbers, and a density of them is unbounded: it is fitted to pixels with uniform noise of the
width of one step. For pixels of D dimensions that are b apart, -log p(x) + D log(1/b) is then a bound on the
nats of the discrete image (Theis, van den Oord, Bethge, ICLR 2016): see `LikelihoodModel.bits_per_dim`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from upland.models.base import Latent, Level, LikelihoodModel
from upland.models.glowlevels import GlowLevel, ToneCurve

LEVELS = 3
"""The most levels that are taken by default."""
_LEAST_SIDE = 3  # of the last level, by default


class Glow(LikelihoodModel, Latent):
    """A Glow for images `(N, C, H, W)` of any size from 2 x 2 on.

    Args:
        shape: of one image, (C, H, W).
        levels: number of scales L, each of half the sides of the one before; None takes three, or as many as
            leave a last one of 3 x 3 pixels.
        depth: steps of each level, K.
        hidden: filters of the couplings' layers.
        tones: pieces of the tone curve, which `init_from_data` fits: as many as a pixel has values, where
            they are encoded to lie between -1/2 and 1/2, but no more than some hundreds; 1 for no curve.
        generator: source of the initial weights; None draws from torch's own.

    Attributes:
        latent_shapes: of the latents of one image in the order of `encode`: of each level first the edges
            of odd sides, if there are, `(D,)`, then the half that is split off, `(C, H, W)`; at the end the
            output of the last level.

    Raises:
        ValueError: no level, no step, no filter or no piece, or more levels than the sides can be halved.

    Examples:
        >>> import torch
        >>> model = Glow((1, 28, 28), depth=2, hidden=8, generator=torch.Generator().manual_seed(0))
        >>> z, ladj = model.encode(torch.zeros(5, 1, 28, 28))
        >>> sum(part[0].numel() for part in z), ladj.shape
        (784, torch.Size([5]))
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: int | None = None,
        depth: int = 8,
        hidden: int = 32,
        tones: int = 256,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.shape = (channels, height, width)
        side = min(height, width)
        most = side.bit_length() - 1
        levels = default_levels(shape) if levels is None else levels
        counts = {"levels": levels, "depth": depth, "hidden": hidden, "tones": tones}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be positive, got {count}")
        if levels > most:
            raise ValueError(f"levels must be at most {most} for sides of {height} x {width}, got {levels}")
        self.tones = ToneCurve(tones)
        self.levels = nn.ModuleList()
        self.latent_shapes: list[tuple[int, ...]] = []
        inside = self.shape
        for number in range(levels):
            level = GlowLevel(inside, depth, hidden, number == levels - 1, generator)
            self.levels.append(level)
            self.latent_shapes += level.given
            inside = level.out
        self.latent_shapes.append(inside)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Set the tone curve to the distribution function of the values, and the first maps so that the
        channels of every step have mean 0 and variance 1.

        Args:
            x: `(N, C, H, W)`, training images.
            generator: not used: nothing is random here.
        """
        self.tones.init_from_data(x)
        x = self.tones(x)[0]
        for level in self.levels:
            assert isinstance(level, GlowLevel)
            x = level.init_from_data(x)

    def encode(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The latents in the order of `latent_shapes`, and the log-determinants: `(N, C, H, W)` -> list of
        `(N, ...)`, `ladj (N,)` in nats, in float64.
        """
        z: list[Tensor] = []
        x, ladj = self.tones(x)
        for level in self.levels:
            x, given, part = level(x)
            z += given
            ladj = ladj + part
        return [*z, x], ladj

    def decode(self, z: Sequence[Tensor]) -> Tensor:
        """The images of latents in the order of `latent_shapes`: list of `(N, ...)` -> `(N, C, H, W)`."""
        *given, x = z
        for level in reversed(self.levels):
            assert isinstance(level, GlowLevel)
            start = len(given) - len(level.given)
            x, given = level.inverse(x, given[start:]), given[:start]
        return self.tones.inverse(x)

    def latents(self, x: Tensor) -> list[Level]:
        """The latents of `encode`, as levels: `(N, C, H, W)` -> list of `(N, D)` or `(N, C', H', W')`."""
        return [Level(part) for part in self.encode(x)[0]]

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density, in nats: `(N, C, H, W) -> (N,)`, in float64."""
        z, ladj = self.encode(x)
        squares = torch.stack([part.flatten(1).square().sum(1, dtype=torch.float64) for part in z]).sum(0)
        return ladj - 0.5 * (squares + math.prod(self.shape) * math.log(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Images drawn from the model: `(n, C, H, W)`.

        Args:
            n: number of images.
            generator: source of the latents; None draws from torch's own.
        """
        like = next(self.parameters())
        z = [
            torch.randn(n, *shape, generator=generator, dtype=like.dtype, device=like.device)
            for shape in self.latent_shapes
        ]
        with torch.no_grad():
            return self.decode(z)


def default_levels(shape: Sequence[int]) -> int:
    """Three levels, or as many as leave a last one of 3 x 3 positions.

    Args:
        shape: of one picture, (C, H, W).
    """
    return max(1, min(LEVELS, (min(shape[1:]) // _LEAST_SIDE).bit_length() - 1))
