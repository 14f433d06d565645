r"""Criteria of steps that go by exponential means of some numbers of each step over the past.

    m_t = (1 - a) m_{t-1} + a y_t,   a = 2 / (span + 1),

of numbers y_t `(C,)` of the step given the steps before it; m_0 is their mean among normal steps. With span 1
nothing is smoothed. A score may be the mean of what the means over several spans say. Of a whole sequence the
numbers are averaged over its steps alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from upland.criteria.base import Floats, Shares
from upland.criteria.reading import precise, step_values, stretches
from upland.criteria.sequence import (
    EncodedSequences,
    Memory,
    Of,
    SequenceCriterion,
    SequenceReference,
    State,
    expected_steps,
    lengths_of_steps,
    settled_steps,
)
from upland.models.base import EnergyModel
from upland.models.recurrent_flow import RecurrentFlow
from upland.models.sequential import SequenceModel


class RunningMeans(SequenceCriterion):
    """A sum over channels of what the means of their numbers say: abstract, `numbers` and `parts` to write.

    Args:
        unit: what one score is of.

    Attributes:
        least_span: steps that the means are over at least.
        short_span: steps of a second mean, where it is shorter; 0 where there is none.
        numbers_per_channel: how many numbers a channel has, C = D times as many.
    """

    needs_beside_tensors: ClassVar[str] = "the maps of a flow at each step"
    least_span: ClassVar[int] = 1
    short_span: ClassVar[int] = 0
    numbers_per_channel: ClassVar[int] = 1

    spans: tuple[int, ...]

    def __init__(self, unit: Of) -> None:
        super().__init__(unit)
        self.usual, self.largest = torch.zeros(2, 0, dtype=torch.float64)
        self.spans = (1,)

    @abstractmethod
    def numbers(self, given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        """The numbers of points `(M, P D)`, given their contexts: `(M, C)`, float64."""

    @abstractmethod
    def parts(self, means: Floats) -> Floats:
        """What each channel adds to the score, by means `(..., C)`: `(..., D)`."""

    # -- what is learned

    def fit(self, reference: SequenceReference) -> Self:
        """Learn the mean of the numbers among normal steps, and the largest in windows, each read as if its
        series began there.

        Args:
            reference: a trained model and normal sequences.
        """
        whole, steps = reference.whole, torch.from_numpy(settled_steps(reference))
        found = step_values(self.numbers, reference.model, whole.codes, whole.lengths, reference.sigma)
        cut = reference.windows
        within = step_values(self.numbers, reference.model, cut.codes, cut.lengths, reference.sigma)
        state = {"usual": found[steps].mean(0), "largest": within.amax(0)}
        return self.restore(reference.model, reference.sigma, reference.smoothing, state)

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: steps that the exponential means are over, about.
            state: the mean of the numbers and the largest, `(C,)` each.
        """
        super().restore(model, sigma, smoothing, state)
        self.usual, self.largest = state["usual"], state["largest"]
        span = max(smoothing, self.least_span)
        self.spans = (self.short_span, span) if 0 < self.short_span < span else (span,)
        return self

    def state(self) -> State:
        """The mean of the numbers among normal steps and the largest in windows of them, `(C,)` each."""
        return {"usual": self.usual, "largest": self.largest}

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what are no means of the numbers; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        count = self.numbers_per_channel * model.width
        if state.keys() != {"usual", "largest"}:
            raise ValueError(f"a {type(self).__name__} keeps usual and largest numbers")
        for name, found in state.items():
            if found.shape != (count,) or found.dtype != torch.float64 or not bool(found.isfinite().all()):
                raise ValueError(f"{name} must be {count} finite float64 number(s)")

    # -- scores

    def score(self, x: EncodedSequences) -> Floats:
        """A number for each step `(S,)`, or by the plain means of each sequence `(N,)`."""
        if self.unit == "step":
            return self.step_scores(x)
        total: Floats = self.parts(self._plain_means(x)).sum(1)
        return total

    def step_scores(self, x: EncodedSequences) -> Floats:
        """The sum of the channels' parts at each step: `(S,)`, float64."""
        total: Floats = self._step_parts(x).sum(1)
        return total

    def shares(self, x: EncodedSequences) -> Shares:
        """The channels' parts, of a whole sequence spread evenly over its steps, and what was expected:
        `(S, D)` twice.
        """
        wanted = expected_steps(self.model, x, self.sigma)
        if self.unit == "step":
            return Shares(self._step_parts(x), wanted)
        parts = np.repeat(self.parts(self._plain_means(x)), x.lengths, axis=0)
        return Shares(parts / lengths_of_steps(x), wanted)

    def _plain_means(self, x: EncodedSequences) -> Floats:
        """The mean of the numbers over each sequence: `(N, C)`."""
        numbers = step_values(self.numbers, self.model, x.codes, x.lengths, self.sigma).numpy()
        means: Floats = np.add.reduceat(numbers, x.starts) / x.lengths[:, None]
        return means

    def _step_parts(self, x: EncodedSequences) -> Floats:
        """The channels' parts at each step: `(S, D)`."""
        exact = precise(self.model)
        found, positions, memory = [], [], self.start(exact, 1)
        for read in stretches(exact, x.codes, x.lengths):
            if read.begin == 0:
                memory = self.start(exact, len(read.group))
            parts, memory = self._next_parts(exact, memory, read.points, read.context)
            there = read.valid.cpu().numpy()
            found.append(parts[there])
            positions.append(read.positions.numpy()[there])
        in_order: Floats = np.concatenate(found)[np.argsort(np.concatenate(positions))]
        return in_order

    def start(self, model: SequenceModel, n: int) -> Memory:
        """The means over each span before the first step, less those among normal steps, `(n, spans, C)`; and
        how many steps there were.
        """
        return {"level": np.zeros((n, len(self.spans), self.usual.numel())), "age": np.zeros(n)}

    def _settled(self, model: SequenceModel, beyond: Floats, ages: Floats) -> Floats:
        """Numbers less the usual ones, `(n, L, C)`, without those of the first steps of a series, which say
        how little is known of the past; but a channel with a larger one than normal steps have keeps its own.
        """
        if not isinstance(model, RecurrentFlow) or self.spans[-1] == 1:
            return beyond
        by_kind = beyond.reshape(*beyond.shape[:2], self.numbers_per_channel, -1)
        most = (self.largest - self.usual).numpy().reshape(by_kind.shape[2:])
        far = (by_kind > most).any(axis=2, keepdims=True)
        early = (ages < min(model.lags, self.spans[-1]))[..., None, None]
        return np.where(early & ~far, 0.0, by_kind).reshape(beyond.shape)

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The numbers of the next steps, and the means to go on with; see `SequenceCriterion.score_next`."""
        parts, after = self._next_parts(model, memory, points, context)
        return torch.from_numpy(parts.sum(-1)), after

    def _next_parts(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Floats, Memory]:
        """The channels' parts at the next steps, `(n, L, D)`, and what is remembered."""
        with torch.no_grad():
            given = model.given(context.flatten(0, 1))
            flat = self.numbers(given, points.flatten(0, 1), self.sigma).cpu().numpy()
        ages = memory["age"][:, None] + np.arange(points.shape[1])
        usual = self.usual.numpy()
        beyond = self._settled(model, flat.reshape(*points.shape[:2], -1) - usual, ages)
        parts, levels = [], []
        for number, span in enumerate(self.spans):
            share = 2 / (span + 1)
            before = (1 - share) * memory["level"][:, None, number]
            means, _ = lfilter([share], [1, share - 1], beyond, axis=1, zi=before)
            parts.append(self.parts(means + usual))
            levels.append(means[:, -1])
        age = memory["age"] + points.shape[1]
        return np.mean(parts, axis=0), {"level": np.stack(levels, axis=1), "age": age}
