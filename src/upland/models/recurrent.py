r"""Recurrent structured energies: the sequential model of DSEBM (Zhai, Cheng, Lu, Zhang, ICML 2016,
arXiv 1605.07717).

A sequence's density is the product of what each step is, given the steps before it:

    p(x) = product over t of p(x_t | x_<t),   p(x_t | x_<t) = exp(-E(x_t | h_{t-1})) / Z(h_{t-1}),

and each factor is a dense energy (`upland.models.energies`) whose biases are affine in the state h of a
recurrent net that has read the steps before:

    b'_t = b' + B' h_{t-1},   b_{l,t} = b_l + B_l h_{t-1}.

Given h the gradient is that of a dense energy, through the tied weights: training needs one backward pass,
which goes through the states into the recurrent weights as well.

A *frame* of P steps generalises the point: factor t is of (x_{t-P+1}, ..., x_t), with zeros before the start,
given h_{t-P}. One step of a smooth signal is mostly a copy of the one before, and a copy tells little; a
frame shows a stretch of the curve. P = 1 is the paper's model; a larger P is a composite likelihood, in which
a step is counted once in each frame that holds it. Nothing depends on what comes later, and one more step
costs the same however many came before.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from upland.models.base import EnergyModel

Cell = Literal["gru", "lstm", "rnn"]
CELLS: dict[str, type[nn.GRU | nn.LSTM | nn.RNN]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class State(NamedTuple):
    """What a model knows of n sequences that it has read so far; never changed in place.

    Args:
        steps: `(n, P - 1, D)` the last steps, zeros before the start.
        contexts: `(n, P, S)` the recurrent states after each of the last P steps, zeros before the start.
        cell: `(n, S)` the inner state of an LSTM; of width 0 for the other cells.
    """

    steps: Tensor
    contexts: Tensor
    cell: Tensor


class RecurrentEnergy(EnergyModel):
    """The recurrent energy for sequences `(N, T, D)`, with NaN behind the end of a shorter one.

    Args:
        width: numbers of a time step, D.
        hidden: units of each layer of the factors' energy; its length is the depth L.
        state: units of the recurrent net, S.
        frame: steps of a factor, P.
        cell: the recurrent net: "gru", "lstm" or "rnn".
        generator: source of the initial weights; None draws from torch's own.

    Raises:
        ValueError: `cell` is none of these.

    Example:
        >>> import torch
        >>> model = RecurrentEnergy(3, frame=4, generator=torch.Generator().manual_seed(0))
        >>> model.energy(torch.zeros(5, 20, 3)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] = (64, 64),
        state: int = 32,
        frame: int = 1,
        cell: Cell = "gru",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.width, self.state, self.frame = width, state, frame
        sizes = [frame * width, *hidden]
        self.prior = nn.Parameter(torch.zeros(sizes[0]))
        self.weights = nn.ParameterList(torch.empty(o, i) for i, o in pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(o) for o in sizes[1:])
        self.of_context = nn.Parameter(torch.empty(sum(sizes), state))
        for w in [*self.weights, self.of_context]:
            _uniform(w, generator)
        with torch.random.fork_rng(devices=[]):  # its own initial weights are drawn and thrown away
            self.net = CELLS[cell](width, state, batch_first=True)
        for w in self.net.parameters():
            _uniform(w, generator, state)

    # -- reading -----------------------------------------------------------------------------------

    def start(self, n: int) -> State:
        """Before the first step of n sequences."""
        new = self.prior.new_zeros
        cell = self.state if isinstance(self.net, nn.LSTM) else 0
        return State(new(n, self.frame - 1, self.width), new(n, self.frame, self.state), new(n, cell))

    def advance(self, state: State, x: Tensor) -> tuple[Tensor, Tensor, State]:
        """Read on: the points of L more steps and what conditions them.

        Args:
            state: after the steps so far.
            x: `(n, L, D)` the steps that follow.

        Returns:
            The points `(n, L, P D)`, one for each step; their contexts `(n, L, S)`; the state after them.
        """
        length = x.shape[1]
        last = state.contexts[:, -1].contiguous()[None]
        if isinstance(self.net, nn.LSTM):
            out, (_, inner) = self.net(x, (last, state.cell[None].contiguous()))
            cell = inner[0]
        else:
            out, _ = self.net(x, last)
            cell = state.cell
        steps = torch.cat([state.steps, x], dim=1)
        contexts = torch.cat([state.contexts, out], dim=1)
        points = steps.unfold(1, self.frame, 1).transpose(2, 3).reshape(x.shape[0], length, -1)
        after = State(steps[:, length:], contexts[:, length:], cell)
        return points, contexts[:, :length], after

    # -- judging -----------------------------------------------------------------------------------

    def given(self, context: Tensor) -> "Conditional":
        """The energy of points, each with its context: `(M, S)`."""
        return Conditional(self, context)

    def factors(self, x: Tensor) -> tuple[Tensor, "Conditional"]:
        """A point for each step there is, and their energy given the steps before: `(N, T, D) -> (M, P D)`.

        The points hold no gradient of x; the contexts do not depend on noise that is put on the points.
        """
        there = ~torch.isnan(x).any(2)
        points, context, _ = self.advance(self.start(x.shape[0]), torch.where(there[..., None], x, 0.0))
        return points[there], self.given(context[there])

    def energy(self, x: Tensor) -> Tensor:
        """The sum over a sequence's factors: `(N, T, D) -> (N,)`, in float64.

        It lacks the sum of log Z(h), which depends on the sequence: see `Conditional.log_partition`.
        """
        there = ~torch.isnan(x).any(2)
        points, conditional = self.factors(x)
        owner = there.nonzero()[:, 0]
        each = conditional.energy(points)
        total: Tensor = each.new_zeros(x.shape[0]).index_add(0, owner, each)
        return total


class Conditional(EnergyModel):
    """The dense energy of points `(M, P D)` whose biases are affine in their contexts.

    Args:
        model: whose weights these are.
        context: `(M, S)`.
    """

    def __init__(self, model: RecurrentEnergy, context: Tensor) -> None:
        super().__init__()
        self.train(model.training)
        self.weights = list(model.weights)
        sizes = [model.prior.shape[0], *(w.shape[0] for w in self.weights)]
        bias = torch.cat([model.prior, *model.biases])
        self.prior, *self.biases = torch.addmm(bias, context, model.of_context.T).split(sizes, dim=1)

    def energy(self, x: Tensor) -> Tensor:
        """E(x | h): `(M, P D) -> (M,)`, summed in float64."""
        h = x
        for w, b in zip(self.weights, self.biases, strict=True):
            h = functional.softplus(b + h @ w.T)
        return 0.5 * (x - self.prior).square().sum(-1, dtype=torch.float64) - h.sum(-1, dtype=torch.float64)

    def reconstruct(self, x: Tensor) -> Tensor:
        """f(x | h) = x - grad E(x | h) through the tied weights: `(M, P D) -> (M, P D)`."""
        h, gates = x, []
        for i, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = b + h @ w.T
            gates.append(torch.sigmoid(a))
            if i + 1 < len(self.weights):
                h = functional.softplus(a)
        u = gates.pop()
        for w in reversed(self.weights[1:]):
            u = gates.pop() * (u @ w)
        return self.prior + u @ self.weights[0]


def _uniform(w: Tensor, generator: torch.Generator | None, fan: int | None = None) -> None:
    bound = 1 / math.sqrt(fan or w.shape[1])
    nn.init.uniform_(w, -bound, bound, generator=generator)
