r"""A recurrent normalising flow: an exact density of each step of a sequence given all steps before it.

    p(x) = product over t of p(x_t | x_<t),   log p(x_t | x_<t) = log N(z_t; 0, I) + log |det dz_t / dx_t|.

A step is conditioned on a window of the last K steps (delay embedding) and on the state of an LSTM that has
read all of them. Its channels are taken one after the other, the last one first (Papamakarios, Pavlakou,
Murray, NeurIPS 2017, arXiv 1705.07057):

1. u = (x_t - m) T: the residual of a forecast in closed form, whitened by a triangular matrix
   (`upland.models.autoregression`), so that linear dynamics and many others are met before training;
2. v_c = u_c exp(s_c) + b_c, with s and b given by a net of the past and of the channels before c (masked
   layers: Germain et al., ICML 2015, arXiv 1502.03509);
3. w_c = 2 asinh(v_c / 2), the identity near 0, so that the density falls as a power of log v far out, and one
   outlier has tens of nats, not thousands;
4. z_c = a monotonic rational-quadratic spline of w_c, its knots given by the same net
   (`upland.models.splines`).

Every map is increasing in its own channel and has a closed inverse, so that the density integrates to one,
samples are exact, and -log p(x_t | x_<t) is the sum over channels of -log p(x_tc | later channels, x_<t). If
the model is right, the latents z are N(0, I) and independent over time (Rosenblatt, 1952).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from upland.models.autoregression import Autoregression
from upland.models.base import Latent, Level, LikelihoodModel
from upland.models.couplings import BINS
from upland.models.nets import TanhNet
from upland.models.sequential import SequenceModel
from upland.models.splines import Spline

STATE = 32
"""Units of the LSTM."""

BOUND = 5.0
"""Of the spline."""

TERMS = 2 + 3 * BINS - 1
"""Numbers that the map of a channel is given by."""

LEAST_POINTS, MOST_VALUES = 512, 16_384
"""Steps of a training batch that the loss is computed on: at least so many, or of so many values."""

STEEPEST = 6.0
"""Bound of the logarithm of a channel's scale."""

FAR = 2.0
"""Standard deviations from which the density falls more slowly than that of a Gaussian."""


def features_of(inputs: int) -> int:
    """Random features of a forecast from so many numbers: 512, and of more than 128 numbers 256.

    Args:
        inputs: of the window, K D.
    """
    return 512 if inputs <= 128 else 256


class FlowState(NamedTuple):
    """The state after the steps read so far of n sequences; never changed in place.

    Args:
        read: `(n, 1)` how many steps there were, as a share of K, at most 1.
        steps: `(n, K, D)` the last steps; before the start the first one, and zeros where there is none yet.
        hidden: `(n, S)` the state of the LSTM.
        cell: `(n, S)` its cell state.
    """

    read: Tensor
    steps: Tensor
    hidden: Tensor
    cell: Tensor


class RecurrentFlow(SequenceModel):
    """The conditional flow of the steps of sequences `(N, T, D + C)`, NaN behind the end of a shorter one.

    Args:
        width: values of a time step, D.
        lags: steps of the window that a step is conditioned on, K.
        hidden: units of each layer of the net of the past; the masked layer has as many as the last.
        features: random features of the forecast.
        state: units of the LSTM, S.
        generator: source of the initial weights; None draws from torch's own.
        context_width: values of a time step that its density is conditioned on, C; they stand behind the D.

    Examples:
        >>> import torch
        >>> model = RecurrentFlow(3, lags=4, generator=torch.Generator().manual_seed(0))
        >>> model.log_prob(torch.zeros(5, 20, 3)).shape
        torch.Size([5])
    """

    frame = 1
    may_stay_unchanged = ("conditioner.of_channels",)  # of one channel there are none before it

    def __init__(
        self,
        width: int,
        lags: int = 16,
        hidden: Sequence[int] = (64, 64),
        features: int = 256,
        state: int = STATE,
        generator: torch.Generator | None = None,
        context_width: int = 0,
    ) -> None:
        super().__init__()
        self.width, self.lags, self.state = width, lags, state
        self.context_width = context_width
        self.points_per_batch = max(LEAST_POINTS, MOST_VALUES // width)
        self.regression = Autoregression(width, lags, features, generator)
        with torch.random.fork_rng(devices=[]):  # its own initial weights are overwritten below
            self.net = nn.LSTM(width + context_width, state, batch_first=True, dtype=torch.float32)
        for w in self.net.parameters():
            nn.init.uniform_(w, -1 / math.sqrt(state), 1 / math.sqrt(state), generator=generator)
        self.past = TanhNet(lags * width + 1 + state + context_width, hidden[:-1], hidden[-1], generator)
        self.conditioner = Conditioner(width, hidden[-1], generator)

    # -- reading

    def start(self, n: int) -> FlowState:
        """The state before the first step of n sequences."""
        new = self.regression.constant.new_zeros
        return FlowState(new(n, 1), new(n, self.lags, self.width), new(n, self.state), new(n, self.state))

    def advance(self, state: FlowState, x: Tensor) -> tuple[Tensor, Tensor, FlowState]:
        """Read L more steps.

        Args:
            state: after the steps read so far.
            x: `(n, L, D + C)` the steps that follow.

        Returns:
            The steps themselves, `(n, L, D)`; their contexts `(n, L, D + H)`: the forecast, and the net's
            outputs of the past; the state after them.
        """
        n, length, _ = x.shape
        out, (_, cell) = self.net(x, (state.hidden[None].contiguous(), state.cell[None].contiguous()))
        before = torch.cat([state.hidden[:, None], out[:, :-1]], 1)
        x, known = x[..., : self.width], x[..., self.width :]
        windows, steps = self._windows(state, x)
        read = state.read + torch.arange(length + 1, dtype=x.dtype, device=x.device) / self.lags
        read = read.clamp_max(1.0)
        with torch.no_grad():
            forecast = self.regression(windows.flatten(0, 1))
        of_past = self.past(torch.cat([windows, read[:, :-1, None], before, known], 2).flatten(0, 1))
        context = torch.cat([forecast, of_past], 1).unflatten(0, (n, length))
        return x, context, FlowState(read[:, -1:], steps, out[:, -1], cell[0])

    def _windows(self, state: FlowState, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last K steps before each step, flat, `(n, L, K D)`, and those before the next, `(n, K, D)`."""
        begins = (state.read == 0)[..., None]
        steps = torch.cat([torch.where(begins, x[:, :1], state.steps), x], 1)
        windows = steps[:, :-1].unfold(1, self.lags, 1).flatten(2)
        first = torch.where(begins, 0.0, windows[:, :1])
        return torch.cat([first, windows[:, 1:]], 1), steps[:, x.shape[1] :]

    # -- densities

    def given(self, context: Tensor) -> ConditionalFlow:
        """The conditional flow of steps, given the context of each, `(M, D + H)`."""
        return ConditionalFlow(self, context)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x), the sum over a sequence's steps, in nats: `(N, T, D) -> (N,)`, float64."""
        return -self.energy(x)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        steps: int,
        generator: torch.Generator | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Draws from the model: `(n, steps, D)`.

        Args:
            n: sequences.
            steps: of each.
            generator: of the draws; None is torch's own.
            context: `(n, steps, C)` what the steps are conditioned on; None is zeros.
        """
        state, like, found = self.start(n), self.regression.constant, []
        known = like.new_zeros(n, steps, self.context_width) if context is None else context
        nothing = like.new_zeros(n, 1, self.width)
        for step in range(steps):
            here = known[:, step : step + 1]
            _, given, _ = self.advance(state, torch.cat([nothing, here], 2))
            z = torch.randn(n, self.width, generator=generator, device=like.device, dtype=like.dtype)
            x = self.given(given[:, 0]).decode(z)[:, None]
            state = self.advance(state, torch.cat([x, here], 2))[2]
            found.append(x)
        return torch.cat(found, 1)

    @torch.no_grad()
    def init_from_data(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        """Fit the forecast in closed form.

        Args:
            x: `(N, T, D)` training sequences or windows, NaN behind the end of a shorter one.
            generator: not used: nothing is random here.
        """
        there = ~torch.isnan(x).any(2)
        known = torch.where(there[..., None], x, 0.0)[..., : self.width]
        windows, _ = self._windows(self.start(len(x)), known)
        whole = there.clone()
        whole[:, : min(self.lags, x.shape[1] // 2)] = False  # their windows are filled
        chosen = whole if int(whole.sum()) > 1 else there
        self.regression.fit(windows[chosen], known[chosen])


class Conditioner(nn.Module):
    """The numbers that the map of each channel is given by, from the past and from the channels before it.

    Args:
        width: channels, D.
        hidden: numbers of the past, and units of the masked layer, H.
        generator: source of the initial weights; None draws from torch's own.
    """

    seen: Tensor
    used: Tensor

    def __init__(self, width: int, hidden: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.width = width
        order = torch.arange(width - 1, -1, -1, dtype=torch.int64)  # the last channel first
        degrees = torch.arange(hidden, dtype=torch.int64) * width // hidden  # channels that a unit sees
        self.register_buffer("seen", (order[:, None] < degrees).float(), persistent=False)
        used = (degrees[:, None] <= order).float()
        self.register_buffer("used", used.repeat_interleave(TERMS, 1), persistent=False)
        self.of_past = nn.Parameter(torch.empty(hidden, hidden, dtype=torch.float32))
        self.of_channels = nn.Parameter(torch.empty(width, hidden, dtype=torch.float32))
        self.bias = nn.Parameter(torch.zeros(hidden, dtype=torch.float32))
        self.direct = nn.Parameter(torch.zeros(hidden, width * TERMS, dtype=torch.float32))
        self.last = nn.Parameter(torch.zeros(hidden, width * TERMS, dtype=torch.float32))
        self.offset = nn.Parameter(torch.zeros(width * TERMS, dtype=torch.float32))
        for w in (self.of_past, self.of_channels, self.direct, self.last):
            bound = 1 / math.sqrt(w.shape[0])
            nn.init.uniform_(w, -bound, bound, generator=generator)
        with torch.no_grad():
            self.direct.mul_(0.01)
            self.last.mul_(0.01)

    def forward(self, past: Tensor, u: Tensor) -> Tensor:
        """`(M, H)`, `(M, D)` -> `(M, D, TERMS)`."""
        h = torch.tanh(torch.addmm(self.bias, past, self.of_past) + u @ (self.of_channels * self.seen))
        found = torch.addmm(self.offset, torch.tanh(past), self.direct) + h @ (self.last * self.used)
        terms: Tensor = found.unflatten(1, (self.width, TERMS))
        return terms


class ConditionalFlow(LikelihoodModel, Latent):
    """The flow of steps `(M, D)` given their contexts.

    Args:
        model: the owner of the weights.
        context: `(M, D + H)`.
    """

    def __init__(self, model: RecurrentFlow, context: Tensor) -> None:
        super().__init__()
        self.train(model.training)
        self.whitening, self.conditioner = model.regression.whitening, model.conditioner
        self.forecast, self.past = context[:, : model.width], context[:, model.width :]

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The latents of steps, and -log p of each channel given those before it and the past, in nats:
        `(M, D)` twice, the second float64.
        """
        matrix = self.whitening.triangle.tril()
        u = (x - self.forecast - self.whitening.mean) @ matrix
        scale, shift, spline = self._maps(u)
        v = u * scale.exp() + shift
        z, slope = spline.forward(FAR * torch.asinh(v / FAR))
        slope = slope + scale + matrix.diagonal().log() - 0.5 * torch.log1p((v / FAR).square())
        return z, 0.5 * z.double().square() + 0.5 * math.log(2 * math.pi) - slope.double()

    def log_prob(self, x: Tensor) -> Tensor:
        """Log p(x_t | x_<t) in nats: `(M, D) -> (M,)`, float64."""
        return -self.parts(x)[1].sum(1)

    def latents(self, x: Tensor) -> list[Level]:
        """The one level of `(M, D)`."""
        return [Level(self.parts(x)[0])]

    def expected(self, x: Tensor) -> Tensor:
        """The median of each channel given those before it, as they are, and the past: `(M, D) -> (M, D)`."""
        matrix = self.whitening.triangle.tril()
        u = (x - self.forecast - self.whitening.mean) @ matrix
        usual = self._back(torch.zeros_like(x), *self._maps(u))
        return x + (usual - u) / matrix.diagonal()

    def decode(self, z: Tensor) -> Tensor:
        """The steps of latents, channel after channel: `(M, D) -> (M, D)`."""
        u = torch.zeros_like(z)
        for channel in range(z.shape[1] - 1, -1, -1):
            u[:, channel] = self._back(z, *self._maps(u))[:, channel]
        matrix = self.whitening.triangle.tril()
        centred: Tensor = torch.linalg.solve_triangular(matrix, u, upper=False, left=False)
        return centred + self.whitening.mean + self.forecast

    def _maps(self, u: Tensor) -> tuple[Tensor, Tensor, Spline]:
        """Log scale, shift and spline of each channel."""
        terms = self.conditioner(self.past, u)
        scale, shift, knots = terms[..., 0], terms[..., 1], terms[..., 2:]
        return STEEPEST * torch.tanh(scale / STEEPEST), shift, Spline(knots, BOUND)

    @staticmethod
    def _back(z: Tensor, scale: Tensor, shift: Tensor, spline: Spline) -> Tensor:
        """From the latents to u."""
        v = FAR * torch.sinh(spline.inverse(z) / FAR)
        u: Tensor = (v - shift) * (-scale).exp()
        return u
