r"""Time steps scored by several experts, joined as the experts of tables are.

Each expert gives a step a number of every channel (`upland.criteria.steps`: level, shift, movement, patches
of three lengths, subspace, dynamics, relation and transitions; and the squared residual of the recurrent
energy). A number counts as 300 times its 99th percentile at most. It is smoothed over the past by exponential
means of two spans s, an eighth of `smoothing` and `smoothing` steps (less those that the number is of, where
these are more than 32),

    m_t = (1 - a) m_{t-1} + a e_t,   a = 2 / (s + 1),

and divided by the 99th percentile of what it is among normal steps, which the experts but the last had not
been fitted on, by channel and then for the largest channel, u = max_c (m_c / q_c) / q. The score of the step
is

    A = (mean over experts and spans of log(1 + u)^3)^(1/3),

where transitions weigh half, between the mean and the maximum: a step scores high where one expert is far
from usual, or many are somewhat. Nothing depends on later steps, and what is remembered of a series is its
last steps, 95 at most, and the means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.base import Floats, Shares, finite
from upland.criteria.max_channel import channel_squares
from upland.criteria.reading import Indices, precise, stretches
from upland.criteria.sequence import (
    EncodedSequences,
    Memory,
    Of,
    SequenceCriterion,
    SequenceReference,
    State,
    frame_parts,
    lengths_of_steps,
)
from upland.criteria.steps.fitted import (
    EXPERTS,
    MOST,
    PARTS,
    RECURRENT,
    RELATION,
    TRANSITIONS,
    Expert,
    NormalSteps,
    check_expert,
    compared,
    fitted,
    restored,
    smoothed,
)
from upland.data.table.encodings import unsquash
from upland.models.sequential import SequenceModel

POWER = 3
NEGLIGIBLE = 1e-9  # weight of the shares of an expert that does not say in which channel a fault is
SHORTER = 8  # the shorter span is the longer one divided by this
TINY = 1e-300
FARTHEST = 1e5  # standard deviations
SAME = 1e-4  # of encoded values that are one value


class Found(NamedTuple):
    """What the experts say of some steps.

    Args:
        cubes: `(n, L, E, 2)` log(1 + u)^3 of each expert and span, times the expert's weight.
        ratios: of each expert `(n, L, 2, K)`, a channel's mean in units of its percentile.
        memory: with these steps.
        total: of the weights.
    """

    cubes: Floats
    ratios: list[Floats]
    memory: Memory
    total: float

    @property
    def scores(self) -> Floats:
        """Of each step, `(n, L)`."""
        means: Floats = self.cubes.sum(axis=(2, 3)) / self.total
        return means ** (1 / POWER)


class StepExperts(SequenceCriterion):
    """The anomaly of a step over several experts; shares sum to it.

    Args:
        unit: what one score is of; that of a sequence is the mean over its steps.
    """

    needs_beside_tensors: ClassVar[str] = "the nearest normal patches of the last steps"

    def __init__(self, unit: Of) -> None:
        super().__init__(unit)
        self.spans = (1, 1)
        self.experts: list[Expert] = []
        self.measured: Indices = np.zeros(0, dtype=np.int64)
        self.states: Indices = np.zeros(0, dtype=np.int64)

    # -- fit ---------------------------------------------------------------------------------------

    def fit(self, reference: SequenceReference) -> Self:
        """Fit every expert that the normal steps are enough for, and what its numbers are compared with.

        Args:
            reference: a trained model and normal sequences.
        """
        self._take(reference.model, reference.sigma, reference.smoothing)
        whole = reference.whole
        steps = _values(whole.codes(0, int(whole.lengths.sum())))
        few = _two_values(steps[reference.steps, : reference.model.width])
        self.measured, self.states = np.flatnonzero(~few), np.flatnonzero(few)
        normal = [self._normal(name, steps, reference) for name in PARTS]
        found = [fitted(name, one) for name, one in zip(PARTS, normal, strict=True) if one is not None]
        self.experts = [expert for expert in found if expert is not None]
        recurrent = self._recurrent(steps, reference, _recurrent_reach(self.model, len(self.experts)))
        if recurrent is not None:
            self.experts.append(recurrent)
        return self.restore(reference.model, reference.sigma, reference.smoothing, self.state())

    def _take(self, model: SequenceModel, sigma: float, smoothing: int) -> None:
        self.model, self.sigma = model, sigma
        self.spans = (max(smoothing // SHORTER, 1), smoothing)

    def _columns(self, name: str) -> Indices:
        """The columns that an expert reads: its channels, then the context inputs."""
        model = self.model
        channels = self.states if name == TRANSITIONS else self.measured
        return np.concatenate([channels, np.arange(model.width, model.width + model.context_width)])

    def _normal(self, name: str, steps: Floats, reference: SequenceReference) -> NormalSteps | None:
        """What an expert is fitted on; None where there is nothing for it."""
        given, columns = reference.model.context_width, self._columns(name)
        if columns.size == given or (name == RELATION and columns.size < 2):
            return None
        chosen, whole = np.ascontiguousarray(steps[:, columns]), reference.whole
        return NormalSteps(chosen, given, reference.steps, whole.starts, whole.lengths, self.spans)

    def _recurrent(self, steps: Floats, reference: SequenceReference, reach: int) -> Expert | None:
        normal = self._normal(RECURRENT, steps, reference)
        if normal is None:
            return None
        exact, numbers = precise(self.model), np.empty((len(steps), self.measured.size))
        for read in stretches(exact, reference.whole.codes, reference.whole.lengths):
            there = read.valid.cpu().numpy()
            residuals = _residuals(exact, read.points, read.context, self.measured)
            numbers[read.positions.numpy()[there]] = residuals[there]
        for start, length in zip(normal.starts, normal.lengths, strict=True):  # frames that are not full
            numbers[start : start + min(reach - 1, length)] = np.nan
        return compared(RECURRENT, None, reach, [(numbers, reference.steps)], normal)

    # -- what was learned --------------------------------------------------------------------------

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: steps that the longer mean is over, about.
            state: what the experts learned, and which channels have two values at most.
        """
        self._take(model, sigma, smoothing)
        of_two = state["two_values"].numpy()
        self.measured, self.states = np.flatnonzero(of_two == 0), np.flatnonzero(of_two)
        arrays = _by_expert(state)
        recurrent_reach = _recurrent_reach(model, len(arrays.keys() - {RECURRENT}))
        self.experts = [
            restored(name, arrays[name], self._n_channels(name), recurrent_reach, self.spans)
            for name in EXPERTS
            if name in arrays
        ]
        return self

    def _n_channels(self, name: str) -> int:
        return self.states.size if name == TRANSITIONS else self.measured.size

    def state(self) -> State:
        """What the experts learned by `expert/array`, and which channels have two values at most."""
        of_two = np.zeros(self.measured.size + self.states.size)
        of_two[self.states] = 1.0
        arrays: dict[str, NDArray[Any]] = {"two_values": of_two}
        for expert in self.experts:
            arrays |= {f"{expert.name}/{name}": value for name, value in expert.arrays().items()}
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what no experts of such a model learn; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        of_two = state.get("two_values", torch.zeros(0, dtype=torch.float64)).numpy()
        known = of_two.shape == (model.width,) and of_two.dtype == np.float64
        if not known or not np.isin(of_two, (0.0, 1.0)).all():
            raise ValueError("two_values says of each channel whether it has two values at most")
        self.measured, self.states = np.flatnonzero(of_two == 0), np.flatnonzero(of_two)
        found = _by_expert(state)
        if not found:
            raise ValueError("there must be an expert")
        for name, arrays in found.items():
            check_expert(name, arrays, self._n_channels(name), model.context_width)

    # -- scores ------------------------------------------------------------------------------------

    def start(self, model: SequenceModel, n: int) -> Memory:
        """The last steps, the means and the number of steps of n series before their first step.

        Args:
            model: in float64.
            n: how many series there are.
        """
        before = max((expert.reach for expert in self.experts if expert.part is not None), default=1) - 1
        usual = [np.tile(expert.usual, 2) for expert in self.experts]
        levels = np.tile(np.concatenate([np.zeros(0), *usual]), (n, 1))
        past = np.zeros((n, before, model.width + model.context_width))
        return {"past": past, "levels": levels, "age": np.zeros(n)}

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The numbers of the next steps, and the last steps and means to go on with.

        Args:
            model: in float64.
            memory: as above.
            points: `(n, L, P D)`.
            context: `(n, L, S)`.
        """
        found = self._found(model, memory, points, context)
        return torch.from_numpy(found.scores), found.memory

    def _found(self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor) -> Found:
        channels = points[..., points.shape[-1] - model.width :]
        given = context[..., context.shape[-1] - model.context_width :]
        new = _values(torch.cat([channels, given], dim=-1))
        past, age, length = memory["past"], memory["age"], new.shape[1]
        steps = np.concatenate([past, new], axis=1)
        ages = age[:, None] + np.arange(length)
        cubes, ratios, levels, done = [], [], [], 0
        for expert in self.experts:
            size = expert.usual.size
            before = memory["levels"][:, done : done + 2 * size].reshape(-1, 2, size)
            done += 2 * size
            if expert.part is None:
                numbers = _residuals(model, points, context, self.measured)
            else:
                read = steps[:, past.shape[1] - expert.reach + 1 :, self._columns(expert.name)]
                numbers = expert.part.squares(read)
            numbers = np.where((ages < expert.reach - 1)[..., None], expert.usual, numbers)
            means = smoothed(np.minimum(numbers, expert.most), before, expert.spans)
            levels.append(means[:, -1].reshape(len(means), -1))
            ratios.append(means / expert.scale)
            cubes.append(expert.weight * np.log1p(ratios[-1].max(axis=-1) / expert.joint) ** POWER)
        kept = np.ascontiguousarray(steps[:, steps.shape[1] - past.shape[1] :])
        return Found(
            np.stack(cubes, axis=2),
            ratios,
            {"past": kept, "levels": np.concatenate(levels, axis=1), "age": age + length},
            len(self.spans) * sum(expert.weight for expert in self.experts),
        )

    def _passes(self, x: EncodedSequences) -> Iterator[tuple[Found, NDArray[np.bool_], Indices]]:
        """What the experts say in a pass over sequences, which steps there are, and their positions."""
        exact = precise(self.model)
        memory: Memory = {}
        for read in stretches(exact, x.codes, x.lengths):
            if read.begin == 0:
                memory = self.start(exact, len(read.group))
            found = self._found(exact, memory, read.points, read.context)
            memory = found.memory
            there = read.valid.cpu().numpy()
            yield found, there, read.positions.numpy()[there]

    def step_scores(self, x: EncodedSequences) -> Floats:
        """The anomaly of each step: `(S,)`, float64."""
        scores = np.empty(int(x.lengths.sum()))
        for found, there, positions in self._passes(x):
            scores[positions] = found.scores[there]
        return finite(scores)

    def shares(self, x: EncodedSequences) -> Shares:
        """The score divided among the experts by their cubes and among the channels of each by their
        means, and what the recurrent energy expected: `(S, D)` twice.

        Where a channel is off, the regressions of those that it explains err, and not its own alone; so what
        the relation adds is divided among the channels as what the other experts add.
        """
        folded = self.unit == "sequence"
        _, expected = frame_parts(self.model, x, self.sigma, folded)
        shares = np.zeros((int(x.lengths.sum()), self.model.width))
        for found, there, positions in self._passes(x):
            weights = found.cubes.copy()
            weights[:, :, [expert.name == RELATION for expert in self.experts]] *= NEGLIGIBLE
            weights /= np.maximum(weights.sum(axis=(2, 3), keepdims=True), TINY)
            for number, (expert, ratios) in enumerate(zip(self.experts, found.ratios, strict=True)):
                columns = self.states if expert.name == TRANSITIONS else self.measured
                whole = np.maximum(ratios.sum(axis=-1, keepdims=True), TINY)
                parts = ratios / whole * weights[:, :, number, :, None]
                added = parts.sum(axis=2) * found.scores[..., None]
                shares[positions[:, None], columns] += added[there]
        return Shares(shares / lengths_of_steps(x) if folded else shares, expected)


def _recurrent_reach(model: SequenceModel, others: int) -> int:
    """Steps that a number of the recurrent expert depends on.

    Where it is the only one, for want of steps, those whose frame is not full count too.
    """
    return model.frame if others else 1


def _values(codes: Tensor) -> Floats:
    """What the experts read: standard scores, heavy tails among them as they are, within bounds."""
    return np.clip(unsquash(codes.double().cpu().numpy()), -FARTHEST, FARTHEST)


def _residuals(model: SequenceModel, points: Tensor, context: Tensor, channels: Indices) -> Floats:
    """Squared residuals of some channels at the last step of the frame: `(n, L, K)`."""
    n, length = points.shape[:2]
    with torch.no_grad():
        given = model.given(context.flatten(0, 1))
        squares = channel_squares(given, points.flatten(0, 1), model.frame)
    found: Floats = squares.reshape(n, length, -1).cpu().numpy()[..., channels]
    return np.minimum(found, MOST)


def _two_values(channels: Floats) -> NDArray[np.bool_]:
    """Which channels have two values at most; none, where all of them have: `(S, D) -> (D,)`."""
    low, high = channels.min(axis=0), channels.max(axis=0)
    between = (np.abs(channels - low) > SAME) & (np.abs(channels - high) > SAME)
    few: NDArray[np.bool_] = ~between.any(axis=0)
    return np.zeros_like(few) if few.all() else few


def _by_expert(state: Mapping[str, Tensor]) -> dict[str, dict[str, NDArray[Any]]]:
    """Arrays by the name of the expert; raises ValueError for names of another form."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in state.items():
        if key == "two_values":
            continue
        expert, divided, name = key.partition("/")
        if not divided:
            raise ValueError(f"{key!r} is no array of an expert")
        found.setdefault(expert, {})[name] = value.numpy()
    return found
