r"""The parts of a level of Glow: affine maps of the channels, couplings, splits, and edges of odd sides.

All are of the form z = a * x + b where a and b come from another part of the input, or from none, so that
the inverse and the log-determinant cost no more than the map itself.

*Tones.* Before the first level every value goes through an increasing, piecewise linear curve, the
distribution function of all the values of some training images: in many images half of the pixels have the
same value, and the nets would need very long to learn so sharp a peak.

*Channels.* The actnorm and the 1x1 convolution of a step are one affine map y = W diag(e^l) x + b with
W = P L U, P a fixed permutation, L of unit diagonal, U of diagonal sign * e^d, all steps of a level built by
one batched product. Its log-determinant is H W (sum l + sum d), one number a level.

*Coupling.* Of two halves the first stays, the second becomes x2 * exp(s(x1)) + t(x1), where (s, t) is
a net of three convolutions, 3x3, 1x1 and 3x3, the last one zero at first and s bounded by a tanh. A split
turns the second half into a latent by such a map, of one convolution: Glow's learned prior
N(mu(x1), sigma(x1)^2), standardised, so that the latent is N(0, I) at every level.

*Edges.* An odd side cannot be halved: its last row or column is split off as a latent, standardised by
a net that reads the rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.stored import StoredModule, require

CAP = 2.0
"""The bound of a coupling's log-scale."""
LEAST_SPREAD = 1e-3
"""A channel's standard deviation, in units of the largest one, below which it counts as constant."""


EVEN = 0.3
"""The share of even tones that is mixed into those of the training images: the curve's least slope."""


class ToneCurve(StoredModule):
    """An increasing, piecewise linear curve from (-1/2, -1/2) to (1/2, 1/2), of slope one outside.

    Args:
        pieces: number of pieces, of equal width; 1 is the identity.
    """

    heights: Tensor

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.register_buffer("heights", torch.linspace(-0.5, 0.5, pieces + 1, dtype=torch.float32))

    def _piece(self, x: Tensor) -> Tensor:
        return ((x.detach() + 0.5) * self.pieces).floor().clamp(0, self.pieces - 1).long()

    def _line(self, piece: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
        """Slope and height at zero of the line through each value."""
        slopes = self.heights.diff() * self.pieces
        starts = self.heights[:-1] - slopes * (torch.arange(self.pieces).to(slopes) / self.pieces - 0.5)
        slope = torch.where(inside, slopes[piece], torch.ones_like(slopes[piece]))
        return slope, torch.where(inside, starts[piece], torch.zeros_like(slope))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The values of the curve, and the log-determinants: `(N, ...)` -> `(N, ...)`, `(N,)`."""
        slope, start = self._line(self._piece(x), x.detach().abs() <= 0.5)
        return x * slope + start, slope.log().flatten(1).sum(1, dtype=torch.float64)

    def inverse(self, z: Tensor) -> Tensor:
        """The inverse of the curve: `(N, ...)` -> `(N, ...)`."""
        piece = torch.searchsorted(self.heights, z.detach().contiguous(), right=True) - 1
        slope, start = self._line(piece.clamp(0, self.pieces - 1), z.detach().abs() <= 0.5)
        return (z - start) / slope

    def init_from_data(self, x: Tensor) -> None:
        """Set the curve to the distribution function of the values of `x (N, ...)`."""
        counts = torch.bincount(self._piece(x).flatten(), minlength=self.pieces).double()
        shares = (1 - EVEN) * counts / counts.sum() + EVEN / self.pieces
        self.heights[1:-1] = (shares.cumsum(0)[:-1] - 0.5).to(self.heights)

    def check_values(self) -> None:
        """Refuse heights that do not rise from -1/2 to 1/2; raises ValueError."""
        require(self.heights.diff() > 0, "the tone curve must rise")
        require(self.heights[[0, -1]].abs() == 0.5, "the tone curve must go from -1/2 to 1/2")


class AffineMap(NamedTuple):
    """A map x -> matrix x + bias of the channels of every pixel.

    Args:
        matrix: `(C, C)`.
        bias: `(C,)`.
    """

    matrix: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """`(N, C, H, W) -> (N, C, H, W)`."""
        return functional.conv2d(x, self.matrix[:, :, None, None], self.bias)

    def inverse(self) -> AffineMap:
        """The inverse map, computed in float64."""
        back = torch.linalg.inv(self.matrix.double())
        return AffineMap(back.to(self.matrix), -(back @ self.bias.double()).to(self.bias))


class ChannelMaps(StoredModule):
    """The affine maps of all steps of one level, as parameters.

    Args:
        depth: number of steps.
        channels: C.
        generator: source of the initial rotations; None draws from torch's own.
    """

    signs: Tensor
    permutations: Tensor

    def __init__(self, depth: int, channels: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        rotation = torch.linalg.qr(
            torch.randn(depth, channels, channels, generator=generator, dtype=torch.float32)
        )[0]
        permutations, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal(dim1=1, dim2=2)
        self.lower, self.upper = nn.Parameter(lower.contiguous()), nn.Parameter(upper.contiguous())
        self.diagonal = nn.Parameter(diagonal.abs().log())
        self.scale = nn.Parameter(torch.zeros(depth, channels, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(depth, channels, dtype=torch.float32))
        self.register_buffer("signs", diagonal.sign())
        self.register_buffer("permutations", permutations)

    def rotations(self) -> Tensor:
        """W = P L U of every step: `(depth, C, C)`."""
        one = torch.eye(self.signs.shape[1], dtype=self.signs.dtype, device=self.signs.device)
        upper = self.upper.triu(1) + torch.diag_embed(self.signs * self.diagonal.exp())
        return self.permutations @ (self.lower.tril(-1) + one) @ upper

    def maps(self) -> list[AffineMap]:
        """The map of every step."""
        matrices = self.rotations() * self.scale.exp()[:, None, :]
        return [AffineMap(*pair) for pair in zip(matrices.unbind(), self.bias.unbind(), strict=True)]

    def ladj(self) -> Tensor:
        """The log-determinant at one pixel of all steps: scalar."""
        return self.scale.sum() + self.diagonal.sum()

    def check_values(self) -> None:
        """Refuse permutations that are none, and signs of another size than 1; raises ValueError."""
        order = self.permutations
        one = (order == 0) | (order == 1), order.sum(1) == 1, order.sum(2) == 1
        require(all(bool(part.all()) for part in one), "a permutation of channels must be one")
        require(self.signs.abs() == 1, "signs must be 1 or -1")

    def init_from_data(self, step: int, x: Tensor) -> Tensor:
        """Let one step's map give the channels of `x (N, C, H, W)` mean 0 and variance 1, and apply it."""
        mean, spread = _moments(x.transpose(0, 1).flatten(1))
        self.scale[step] = -spread.log()
        self.bias[step] = -(self.rotations()[step] @ (mean / spread))
        return self.maps()[step](x)


class Conditioner(nn.Module):
    """The net of a coupling: log-scale and shift of some channels by others.

    Args:
        inputs: channels read.
        outputs: channels to be scaled and shifted.
        hidden: filters of the two layers between; 0 for a single convolution.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        sizes = [(hidden, inputs, 3), (hidden, hidden, 1)] if hidden else []
        self.conv_weights = nn.ParameterList(
            torch.empty(o, i, k, k, dtype=torch.float32) for o, i, k in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for o, _, _ in sizes)
        for w in self.conv_weights:
            nn.init.normal_(w, std=math.sqrt(2 / w[0].numel()), generator=generator)
        self.last = nn.Parameter(torch.zeros(2 * outputs, hidden or inputs, 3, 3, dtype=torch.float32))
        self.offset = nn.Parameter(torch.zeros(2 * outputs, dtype=torch.float32))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale, within +-CAP, and shift: `(N, inputs, H, W)` -> twice `(N, outputs, H, W)`."""
        h = x.contiguous(memory_format=torch.channels_last)
        for w, b in zip(self.conv_weights, self.biases, strict=True):
            h = functional.relu_(functional.conv2d(h, w, b, padding=w.shape[-1] // 2))
        raw, shift = functional.conv2d(h, self.last, self.offset, padding=1).chunk(2, 1)
        return CAP * torch.tanh(raw / CAP), shift


class ChannelCoupling(nn.Module):
    """One half of the channels scaled and shifted by a net of the other half.

    Args:
        channels: of both halves together, an even number.
        hidden: filters of the conditioner's layers.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(self, channels: int, hidden: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.conditioner = Conditioner(channels // 2, channels // 2, hidden, generator)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The half that stays, the other one mapped, and the log-determinants `(N,)`."""
        kept, moved = x.chunk(2, 1)
        scale, shift = self.conditioner(kept)
        return kept, moved * scale.exp() + shift, _row_sums(scale)

    def inverse(self, kept: Tensor, moved: Tensor) -> Tensor:
        """The inputs of `forward`, both halves."""
        scale, shift = self.conditioner(kept)
        return torch.cat([kept, (moved - shift) * torch.exp(-scale)], 1)


class Edges(nn.Module):
    """The last row and column of odd sides, split off as a latent.

    Args:
        channels: C.
        height: rows; the last is split off if their number is odd.
        width: columns, likewise.
        hidden: filters of the conditioner's layers.
        generator: source of the initial weights; None draws from torch's own.
    """

    def __init__(
        self, channels: int, height: int, width: int, hidden: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.channels, self.height, self.width = channels, height, width
        self.conditioner = Conditioner(channels, channels, hidden, generator)
        self.scale, self.bias = (
            nn.Parameter(torch.zeros(channels, 1, dtype=torch.float32)) for _ in range(2)
        )
        self.size = height * width - (height // 2 * 2) * (width // 2 * 2)

    def _positions(self) -> Tensor:
        """Where the edges are among the pixels, row after row: `(K,)`."""
        rows, columns = self.height // 2 * 2, self.width // 2 * 2
        device = self.scale.device
        right = torch.arange(columns, self.width, dtype=torch.int64, device=device)
        right = torch.arange(rows, dtype=torch.int64, device=device)[:, None] * self.width + right
        below = torch.arange(rows * self.width, self.height * self.width, dtype=torch.int64, device=device)
        return torch.cat([right.flatten(), below])

    def _map(self, inner: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift of the edges by the even part: `(N, C, K)` each."""
        lacking = (0, self.width - inner.shape[3], 0, self.height - inner.shape[2])
        scale, shift = self.conditioner(functional.pad(inner, lacking))
        scale, shift = (part.flatten(2)[:, :, self._positions()] for part in (scale, shift))
        return scale + self.scale, shift + self.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The even part, the edges as a latent `(N, C K)`, and the log-determinants `(N,)`."""
        inner = x[:, :, : self.height // 2 * 2, : self.width // 2 * 2]
        scale, shift = self._map(inner)
        z = x.flatten(2)[:, :, self._positions()] * scale.exp() + shift
        return inner, z.flatten(1), _row_sums(scale)

    def inverse(self, inner: Tensor, z: Tensor) -> Tensor:
        """The whole image, `(N, C, H, W)`."""
        scale, shift = self._map(inner)
        edges = (z.reshape(scale.shape) - shift) * torch.exp(-scale)
        lacking = (0, self.width - inner.shape[3], 0, self.height - inner.shape[2])
        flat = functional.pad(inner, lacking).flatten(2)
        return flat.index_copy(2, self._positions(), edges).reshape(
            -1, self.channels, self.height, self.width
        )

    def init_from_data(self, x: Tensor) -> None:
        """Give the edges of `x (N, C, H, W)` mean 0 and variance 1."""
        mean, spread = _moments(x.flatten(2)[:, :, self._positions()].transpose(0, 1).flatten(1))
        self.scale.copy_(-spread.log()[:, None])
        self.bias.copy_(-(mean / spread)[:, None])


class GlowLevel(nn.Module):
    """One level: odd edges split off, two by two pixels made one, steps of map and coupling, half split off.

    Args:
        shape: (C, H, W) of the input.
        depth: number of steps.
        hidden: filters of the conditioners' layers.
        last: whether nothing is split off at the end.
        generator: source of the initial weights; None draws from torch's own.

    Attributes:
        out: (C, H, W) of the output, or of the last latent.
        given: shapes of the latents split off.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        depth: int,
        hidden: int,
        last: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        channels, height, width = shape
        odd = height % 2 or width % 2
        self.edges = Edges(*shape, hidden, generator) if odd else None
        self.channels = ChannelMaps(depth, 4 * channels, generator)
        self.couplings = nn.ModuleList(ChannelCoupling(4 * channels, hidden, generator) for _ in range(depth))
        self.split = None if last else ChannelCoupling(4 * channels, 0, generator)
        self.out = ((4 if last else 2) * channels, height // 2, width // 2)
        self.given: list[tuple[int, ...]] = []
        if self.edges is not None:
            self.given.append((channels * self.edges.size,))
        if not last:
            self.given.append(self.out)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """The output of the level, the latents split off, and the log-determinants `(N,)`, in float64."""
        latents = []
        ladj = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        if self.edges is not None:
            x, z, part = self.edges(x)
            latents.append(z)
            ladj = ladj + part
        x = functional.pixel_unshuffle(x, 2)
        for affine, coupling in zip(self.channels.maps(), self.couplings, strict=True):
            kept, moved, part = coupling(affine(x))
            x, ladj = torch.cat([kept, moved], 1), ladj + part
        ladj = ladj + self.channels.ladj() * (x.shape[2] * x.shape[3])
        if self.split is not None:
            x, z, part = self.split(x)
            latents.append(z)
            ladj = ladj + part
        return x, latents, ladj

    def inverse(self, x: Tensor, latents: list[Tensor]) -> Tensor:
        """The input of `forward`."""
        latents = list(latents)
        if self.split is not None:
            x = self.split.inverse(x, latents.pop())
        for affine, coupling in reversed(list(zip(self.channels.maps(), self.couplings, strict=True))):
            assert isinstance(coupling, ChannelCoupling)
            x = affine.inverse()(coupling.inverse(*x.chunk(2, 1)))
        x = functional.pixel_shuffle(x, 2)
        return x if self.edges is None else self.edges.inverse(x, latents.pop())

    def init_from_data(self, x: Tensor) -> Tensor:
        """Initialise every step from data; the level's output is returned."""
        if self.edges is not None:
            self.edges.init_from_data(x)
            x = self.edges(x)[0]
        x = functional.pixel_unshuffle(x, 2)
        for step, coupling in enumerate(self.couplings):
            kept, moved, _ = coupling(self.channels.init_from_data(step, x))
            x = torch.cat([kept, moved], 1)
        return x if self.split is None else self.split(x)[0]


def _row_sums(x: Tensor) -> Tensor:
    return x.sum((1, 2, 3) if x.dim() == 4 else (1, 2), dtype=torch.float64)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel `(C, M) -> (C,)`; that of a constant one counts as 1."""
    mean, spread = values.mean(1), values.std(1, correction=0)
    varies = spread > LEAST_SPREAD * spread.max()
    return mean, torch.where(varies, spread, torch.ones_like(spread))
