r"""Recurrent structured energies: the sequential model of DSEBM (Zhai, Cheng, Lu, Zhang, ICML 2016,
arXiv 1605.07717).

A sequence's density is the product of the conditional densities of its steps:

    p(x) = product over t of p(x_t | x_<t),   p(x_t | x_<t) = exp(-E(x_t | h_{t-1})) / Z(h_{t-1}),

and each factor is a dense energy (`upland.models.energies`) whose biases are affine in the state h of a
recurrent net that has read the steps before:

    b'_t = b' + B' h_{t-1},   b_{l,t} = b_l + B_l h_{t-1}.

Given h the gradient is that of a dense energy, through the tied weights: training needs one backward pass,
which goes through the states to the recurrent weights as well.

A *frame* of P steps generalises the point: factor t is of (x_{t-P+1}, ..., x_t), with zeros before the start,
given h_{t-P}. One step of a smooth signal is mostly a copy of the one before and carries little information;
a frame holds a piece of the curve. P = 1 is the paper's model; a larger P is a composite likelihood, in which
a step is counted once in each frame that holds it. No step depends on later ones, and the cost of one more
step does not depend on how many came before.

With *context inputs* c_t (control inputs, operating states, the time since the step before) the net reads
both, and a factor is conditioned on them up to the current step: to h_{t-P} are joined c_{t-P+1}, ..., c_t.
They are known at time t and have no energy of their own.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import EnergyModel
from upland.models.quasirandom import sobol_points
from upland.models.sequential import SequenceModel

Cell = Literal["gru", "lstm", "rnn"]
CELLS: dict[str, type[nn.GRU | nn.LSTM | nn.RNN]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
STATE = 32
"""Units of the recurrent net."""

POINTS_PER_BATCH = 512  # points of a training batch that the loss is computed on
CONTEXTS_AT_ONCE = 128  # whose log Z is estimated together
DESCENT_STEPS = 100  # steps towards the minimum of an energy
LEAST_CURVATURE = 0.05  # of the Gaussian that log Z is estimated with; that of 1/2 |x|^2 is 1


class RecurrentState(NamedTuple):
    """The state of a model after the steps read so far of n sequences; never changed in place.

    Args:
        steps: `(n, P - 1, D + C)` the last steps, zeros before the start.
        contexts: `(n, P, S)` the recurrent states after each of the last P steps, zeros before the start.
        cell: `(n, S)` the cell state of an LSTM; of width 0 for the other nets.
    """

    steps: Tensor
    contexts: Tensor
    cell: Tensor


class RecurrentEnergy(SequenceModel):
    """The recurrent energy for sequences `(N, T, D + C)`, with NaN behind the end of a shorter one.

    Args:
        width: values of a time step that have an energy, D.
        hidden: units of each layer of the factors' energy; its length is the depth L.
        state: units of the recurrent net, S.
        frame: steps of a factor, P.
        cell: the recurrent net: "gru", "lstm" or "rnn".
        generator: source of the initial weights; None draws from torch's own.
        context_width: values of a time step that the energy is conditioned on, C; they stand behind the D.

    Raises:
        ValueError: `cell` is none of these.

    Examples:
        >>> import torch
        >>> model = RecurrentEnergy(3, frame=4, generator=torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 20, 3)).shape
        torch.Size([5])
    """

    points_per_batch = POINTS_PER_BATCH

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] = (64, 64),
        state: int = STATE,
        frame: int = 1,
        cell: Cell = "gru",
        generator: torch.Generator | None = None,
        context_width: int = 0,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.width, self.state, self.frame = width, state, frame
        self.context_width = context_width
        sizes = [frame * width, *hidden]
        self.prior = nn.Parameter(torch.zeros(sizes[0], dtype=torch.float32))
        self.weights = nn.ParameterList(torch.empty(o, i, dtype=torch.float32) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(o, dtype=torch.float32) for o in sizes[1:])
        self.of_context = nn.Parameter(torch.empty(sum(sizes), self.conditions, dtype=torch.float32))
        for w in [*self.weights, self.of_context]:
            _uniform(w, generator)
        with torch.random.fork_rng(devices=[]):  # its own initial weights are overwritten below
            self.net = CELLS[cell](width + context_width, state, batch_first=True, dtype=torch.float32)
        for w in self.net.parameters():
            _uniform(w, generator, state)

    @property
    def conditions(self) -> int:
        """Values that a factor is conditioned on, S + P C."""
        return self.state + self.frame * self.context_width

    # -- reading

    def start(self, n: int) -> RecurrentState:
        """The state before the first step of n sequences."""
        new = self.prior.new_zeros
        cell = self.state if isinstance(self.net, nn.LSTM) else 0
        steps = new(n, self.frame - 1, self.width + self.context_width)
        return RecurrentState(steps, new(n, self.frame, self.state), new(n, cell))

    def advance(self, state: RecurrentState, x: Tensor) -> tuple[Tensor, Tensor, RecurrentState]:
        """Read L more steps.

        Args:
            state: after the steps read so far.
            x: `(n, L, D + C)` the steps that follow.

        Returns:
            The points `(n, L, P D)`, one for each step; their contexts `(n, L, S + P C)`; the state after
            them.
        """
        length = x.shape[1]
        if length == 1 and not self.training:
            return self._advance_one(state, x)
        last = state.contexts[:, -1].contiguous()[None]
        if isinstance(self.net, nn.LSTM):
            out, (_, inner) = self.net(x, (last, state.cell[None].contiguous()))
            cell = inner[0]
        else:
            out, _ = self.net(x, last)
            cell = state.cell
        steps = torch.cat([state.steps, x], dim=1)
        contexts = torch.cat([state.contexts, out], dim=1)
        frames = steps.unfold(1, self.frame, 1).transpose(2, 3)
        after = RecurrentState(steps[:, length:], contexts[:, length:], cell)
        return *self._parts(frames, contexts[:, :length]), after

    def _advance_one(self, state: RecurrentState, x: Tensor) -> tuple[Tensor, Tensor, RecurrentState]:
        """Read one more step, without what it costs to begin a sequence."""
        weights: Any = self.net._flat_weights
        last, cell = state.contexts[:, -1], state.cell
        if isinstance(self.net, nn.LSTM):
            out, cell = torch.lstm_cell(x[:, 0], [last, cell], *weights)
        elif isinstance(self.net, nn.GRU):
            out = torch.gru_cell(x[:, 0], last, *weights)
        else:
            out = torch.rnn_tanh_cell(x[:, 0], last, *weights)
        steps = torch.cat([state.steps, x], dim=1)
        contexts = torch.cat([state.contexts[:, 1:], out[:, None]], dim=1)
        after = RecurrentState(steps[:, 1:], contexts, cell)
        return *self._parts(steps[:, None], state.contexts[:, :1]), after

    def _parts(self, frames: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """The points and contexts of frames `(n, L, P, D + C)` and the states before them."""
        if not self.context_width:
            return frames.flatten(2), states
        context = frames[..., self.width :].flatten(2)
        return frames[..., : self.width].flatten(2), torch.cat([states, context], dim=2)

    # -- energies

    def given(self, context: Tensor) -> "Conditional":
        """The conditional energy of points, given the context of each, `(M, S + P C)`."""
        return Conditional(self, context)

    def energy(self, x: Tensor) -> Tensor:
        """The sum over a sequence's factors: `(N, T, D + C) -> (N,)`, in float64.

        The sum of log Z(h), which depends on the sequence, is not included: see `Conditional.log_partition`.
        """
        return super().energy(x)


class Conditional(EnergyModel):
    """The dense energy of points `(M, P D)` whose biases are affine in their contexts.

    Args:
        model: the owner of the weights.
        context: `(M, S + P C)`.
    """

    weights: list[Tensor]
    prior: Tensor
    biases: list[Tensor]

    def __init__(self, model: RecurrentEnergy, context: Tensor) -> None:
        super().__init__()
        self.training = model.training
        weights: list[Tensor] = list(model.weights)
        sizes = [model.prior.shape[0], *(w.shape[0] for w in weights)]
        bias = torch.cat([model.prior, *model.biases])
        prior, *biases = torch.addmm(bias, context, model.of_context.T).split(sizes, dim=1)
        # it has no parameters of its own: what a module's own way to take attributes costs is spared
        self.__dict__.update(weights=weights, prior=prior, biases=biases)

    def energy(self, x: Tensor) -> Tensor:
        """E(x | h): `(M, P D) -> (M,)`, summed in float64."""
        h = x
        for w, b in zip(self.weights, self.biases, strict=True):
            h = functional.softplus(torch.addmm(b, h, w.T))
        quadratic: Tensor = 0.5 * (x - self.prior).square().sum(-1, dtype=torch.float64)
        return quadratic - h.sum(-1, dtype=torch.float64)

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x | h) = x - grad E(x | h) through the tied weights: `(M, P D) -> (M, P D)`."""
        return torch.addmm(self.prior, self.slopes(x)[0], self.weights[0])

    def slopes(self, x: Tensor) -> list[Tensor]:
        """-dE/db_l at points, for every layer from the first: the units u_l of the tied decoder,
        `(M, P D)` to L tensors `(M, units of the layer)`.
        """
        first = torch.addmm(self.biases[0], x, self.weights[0].T)
        return _slopes(first, self.weights[1:], self.biases[1:])[0]

    def log_partition(self, sigma: float, draws: int = 256) -> Tensor:
        """An estimate of log Z(h), where p(x | h) = exp(-E(x | h) / sigma^2) / Z(h): `(M,)`, float64.

        Directions of x orthogonal to the first layer's weights are Gaussian and integrated exactly. In the
        others, at most as many as the first layer has units, Z is the mean of importance weights under a
        Gaussian at a minimum of E with the curvature there (Laplace's approximation, corrected), by draws
        that are the same for every point and every call. It is exact for L = 0 and close where p(x | h) has
        one mode; a mode far from that minimum is missed.

        Args:
            sigma: scale of the noise that the model was trained with.
            draws: points at which E is computed, for each context.
        """
        with torch.no_grad():
            parts = (b.split(CONTEXTS_AT_ONCE) for b in (self.prior, *self.biases))
            return torch.cat(
                [
                    _log_partition(self.weights, prior, biases, sigma, draws)
                    for prior, *biases in zip(*parts, strict=True)
                ]
            )


def _log_partition(
    weights: Sequence[Tensor], prior: Tensor, biases: Sequence[Tensor], sigma: float, draws: int
) -> Tensor:
    """In coordinates y of x - b' along the rows of W_1: E = 1/2 |y|^2 - S(a + G y), S the sum of the top."""
    first, *above = (w.double() for w in weights)
    u, scale, _ = torch.linalg.svd(first, full_matrices=False)
    rank = scale.numel()
    inward, at_prior = u * scale, biases[0].double() + prior.double() @ first.T
    upper = [b.double() for b in biases[1:]]
    y = prior.new_zeros(len(prior), rank, dtype=torch.float64)
    for _ in range(DESCENT_STEPS):
        y = 0.5 * (y + _slopes(at_prior + y @ inward.T, above, upper)[0][0] @ inward)
    hessian = _hessian(at_prior + y @ inward.T, above, upper)
    curvature = torch.eye(rank, dtype=y.dtype, device=y.device) - inward.T @ hessian @ inward
    size, axes = torch.linalg.eigh(curvature)
    size = size.clamp_min(LEAST_CURVATURE)
    normal = _normal_draws(draws, rank).to(y.device)
    shift = (normal[None] * (sigma * size.rsqrt())[:, None]) @ axes.transpose(1, 2)
    points = y[:, None] + shift
    h: Tensor = at_prior[:, None] + points @ inward.T
    for w, b in zip(above, upper, strict=True):
        h = b[:, None] + functional.softplus(h) @ w.T
    energy = 0.5 * points.square().sum(-1) - functional.softplus(h).sum(-1)
    weight: Tensor = torch.logsumexp(0.5 * normal.square().sum(-1) - energy / sigma**2, dim=1) - math.log(
        draws
    )
    volume: Tensor = prior.shape[1] * math.log(2 * math.pi * sigma**2) - size.log().sum(-1)
    return weight + 0.5 * volume


def _slopes(
    a: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradient of the sum of the top layer's units in the activations of every layer, and their gates.

    Args:
        a: `(M, H_1)` activations of the first layer.
        weights: of the layers above.
        biases: likewise, one row a point.
    """
    gates = [torch.sigmoid(a)]
    for w, b in zip(weights, biases, strict=True):
        a = torch.addmm(b, functional.softplus(a), w.T)
        gates.append(torch.sigmoid(a))
    slopes = [gates[-1]]
    for w, gate in zip(reversed(weights), reversed(gates[:-1]), strict=True):
        slopes.append(gate * (slopes[-1] @ w))
    return slopes[::-1], gates


def _hessian(a: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Hessian `(M, H_1, H_1)` of the sum of the top layer's units in the first layer's activations."""
    slopes, gates = _slopes(a, weights, biases)
    hessian = torch.diag_embed(slopes[-1] * (1 - gates[-1]))
    for w, gate, slope in zip(reversed(weights), reversed(gates[:-1]), reversed(slopes[:-1]), strict=True):
        through = gate[:, :, None] * (w.T @ hessian @ w) * gate[:, None]
        hessian = through + torch.diag_embed(slope * (1 - gate))
    return hessian


def _normal_draws(draws: int, width: int) -> Tensor:
    """Evenly spread standard normal points `(draws, width)`, always the same."""
    uniform = sobol_points(draws, width, torch.float64)
    normal: Tensor = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))
    return normal


def _uniform(w: Tensor, generator: torch.Generator | None, fan: int | None = None) -> None:
    bound = 1 / math.sqrt(fan or w.shape[1])
    nn.init.uniform_(w, -bound, bound, generator=generator)
