r"""The variational auto-encoder (Kingma and Welling, ICLR 2014, arXiv 1312.6114).

A latent z ~ N(0, I) is decoded into the mean g(z) of a Gaussian of one width s, and an encoder gives the
Gaussian q(z | x) = N(mu(x), diag v(x)), an approximation of the posterior. The energy is the negative of a
lower bound of log p(x),

    E(x) = E_q [ |x - g(z)|^2 / (2 s^2) ] + D/2 log(2 pi s^2) + KL(q || N(0, I))  >=  -log p(x).

The mean over q is taken over a few fixed quasi-random draws (Sobol' points through the normal quantile), the
same for every row, so that a row's energy is a function of the row. The width s is learned (Rybkin et al.
2021, "sigma-VAE"). The likelihood itself is not known, only its bound; the reconstruction of x is g(mu(x)).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import Level, Variational
from upland.models.nets import affine
from upland.models.quasirandom import sobol_points

DRAWS = 8
LEAST_LOG_WIDTH, MOST_LOG_VARIANCE = -4.0, 10.0


class SiLUNet(nn.Module):
    """Dense layers with SiLU between them: `(N, I) -> (N, O)`.

    Args:
        sizes: inputs, units of each hidden layer, outputs.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(self, sizes: Sequence[int], generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.weights = nn.ParameterList(torch.empty(i, o, dtype=torch.float32) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for o in sizes[1:])
        for w in self.weights:
            _start(w, w.shape[0], generator)

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's outputs."""
        h = x
        for number, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = affine(functional.silu(h) if number else h, w, b, not self.training)
        return h


class ConvolutionalEncoder(nn.Module):
    """Convolutions that halve the sides, then a dense layer: `(N, C, H, W) -> (N, O)`.

    Args:
        shape: of one image, (C, H, W).
        filters: of each convolution.
        outputs: number of outputs.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        outputs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sizes = [shape[0], *filters]
        self.conv_weights = nn.ParameterList(
            torch.empty(o, i, 3, 3, dtype=torch.float32) for i, o in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(n, dtype=torch.float32) for n in filters)
        for w in self.conv_weights:
            _start(w, w[0].numel(), generator)
        self.top = SiLUNet([math.prod(_top(shape, filters)), outputs], generator)

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's outputs."""
        for w, b in zip(self.conv_weights, self.biases, strict=True):
            x = functional.silu(functional.conv2d(x, w, b, 2, 1))
        return self.top(x.flatten(1))  # type: ignore[no-any-return]


class ConvolutionalDecoder(nn.Module):
    """A dense layer, then convolutions over doubled sides: `(N, I) -> (N, C, H, W)`.

    Args:
        shape: of one image, (C, H, W).
        filters: of the encoder's convolutions; the decoder has them in reverse order.
        inputs: number of inputs.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(
        self,
        shape: Sequence[int],
        filters: Sequence[int],
        inputs: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.low = tuple(shape), _top(shape, filters)
        self.sides = [_top(shape, filters[:n])[1:] for n in range(len(filters))][::-1]
        self.bottom = SiLUNet([inputs, math.prod(self.low)], generator)
        ways = list(pairwise([*filters[::-1], shape[0]]))
        self.conv_weights = nn.ParameterList(torch.empty(o, i, 3, 3, dtype=torch.float32) for i, o in ways)
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for _, o in ways)
        for w in self.conv_weights:
            _start(w, w[0].numel(), generator)

    def forward(self, z: Tensor) -> Tensor:
        """The mean of an image."""
        h: Tensor = self.bottom(z).reshape(-1, *self.low)
        for (height, width), w, b in zip(self.sides, self.conv_weights, self.biases, strict=True):
            h = functional.interpolate(functional.silu(h), scale_factor=2, mode="nearest")
            h = functional.conv2d(h[..., :height, :width], w, b, 1, 1)
        return h


class VAE(Variational):
    """A VAE with any encoder and decoder; `dense_vae` and `convolutional_vae` make them.

    Args:
        encoder: from `(N, ...)` to `(N, 2 K)`: mu and log v.
        decoder: from `(N, K)` to `(N, ...)`.
        latent: dimensions of the latent, K.

    Examples:
        >>> import torch
        >>> model = dense_vae(3, (16,), 2, torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 3)).shape
        torch.Size([5])
    """

    draws: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent: int) -> None:
        super().__init__(latent)
        self.encoder, self.decoder = encoder, decoder
        self.log_width = nn.Parameter(torch.zeros(1, dtype=torch.float32))
        points = sobol_points(DRAWS, latent, torch.float32)
        self.register_buffer("draws", torch.special.ndtri(points.clamp(1e-4, 1 - 1e-4)), persistent=False)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x): `(N, ...)` -> `(N, K)` twice."""
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return mean, log_variance.clamp(-MOST_LOG_VARIANCE, MOST_LOG_VARIANCE)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """The energy with the mean over q taken over some draws, in nats: `(N, ...)` -> `(N,)`, float64."""
        mean, log_variance = self.posterior(x)
        away = x.new_zeros(x.shape[0], dtype=torch.float64)
        for draw in noise:
            z = mean + (0.5 * log_variance).exp() * draw
            away = away + (x - self.decoder(z)).square().flatten(1).sum(1, dtype=torch.float64)
        log_width = self.log_width.clamp(min=LEAST_LOG_WIDTH).double()
        size = x[0].numel()
        gaussian = away / len(noise) / 2 * (-2 * log_width).exp() + size * (
            0.5 * math.log(2 * math.pi) + log_width
        )
        latent = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1, dtype=torch.float64)
        return gaussian + latent

    def energy(self, x: Tensor) -> Tensor:
        """-ELBO(x), in nats: `(N, ...) -> (N,)`, float64; an upper bound of -log p(x)."""
        return self.bound(x, self.draws.to(x.dtype))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The decoded mean g(mu(x)): `(N, ...) -> (N, ...)`."""
        decoded: Tensor = self.decoder(self.posterior(x)[0])
        return decoded

    def latents(self, x: Tensor) -> list[Level]:
        """Mu and v: one level, `(N, K)`."""
        mean, log_variance = self.posterior(x)
        return [Level(mean, log_variance.exp())]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Rows drawn from the model: `(n, ...)`.

        Args:
            n: number of rows.
            generator: source of the latents and of the noise; None draws from torch's own.
        """
        like = self.log_width
        z = torch.randn(n, self.latent, generator=generator, dtype=like.dtype, device=like.device)
        with torch.no_grad():
            mean: Tensor = self.decoder(z)
            noise = torch.randn(mean.shape, generator=generator, dtype=like.dtype, device=like.device)
            return mean + self.log_width.clamp(min=LEAST_LOG_WIDTH).exp() * noise


def dense_vae(
    width: int, hidden: Sequence[int], latent: int, generator: torch.Generator | None = None
) -> VAE:
    """A VAE for rows of a table `(N, D)`.

    Args:
        width: number of columns, D.
        hidden: units of each layer of the encoder; the decoder has them in reverse order.
        latent: dimensions of the latent.
        generator: source of the initial weights; None draws from torch's own.
    """
    encoder = SiLUNet([width, *hidden, 2 * latent], generator)
    return VAE(encoder, SiLUNet([latent, *hidden[::-1], width], generator), latent)


def convolutional_vae(
    shape: Sequence[int], filters: Sequence[int], latent: int, generator: torch.Generator | None = None
) -> VAE:
    """A VAE for images `(N, C, H, W)`.

    Args:
        shape: of one image, (C, H, W).
        filters: of each convolution, which halves the sides.
        latent: dimensions of the latent.
        generator: source of the initial weights; None draws from torch's own.
    """
    encoder = ConvolutionalEncoder(shape, filters, 2 * latent, generator)
    return VAE(encoder, ConvolutionalDecoder(shape, filters, latent, generator), latent)


def _top(shape: Sequence[int], filters: Sequence[int]) -> tuple[int, int, int]:
    """Channels and sides above the convolutions."""
    channels, height, width = shape
    for count in filters:
        channels, height, width = count, (height + 1) // 2, (width + 1) // 2
    return channels, height, width


def _start(w: Tensor, fan_in: int, generator: torch.Generator | None) -> None:
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(w, -bound, bound, generator=generator)
