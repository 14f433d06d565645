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
        self.usual, self.spans = torch.zeros(0, dtype=torch.float64), (1,)

    @abstractmethod
    def numbers(self, given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        """The numbers of points `(M, P D)`, given their contexts: `(M, C)`, float64."""

    @abstractmethod
    def parts(self, means: Floats) -> Floats:
        """What each channel adds to the score, by means `(..., C)`: `(..., D)`."""

    # -- what is learned

    def fit(self, reference: SequenceReference) -> Self:
        """Learn the mean of the numbers among normal steps.

        Args:
            reference: a trained model and normal sequences.
        """
        whole, steps = reference.whole, torch.from_numpy(settled_steps(reference))
        found = step_values(self.numbers, reference.model, whole.codes, whole.lengths, reference.sigma)
        usual = found[steps].mean(0)
        return self.restore(reference.model, reference.sigma, reference.smoothing, {"usual": usual})

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: steps that the exponential means are over, about.
            state: the mean of the numbers, `(C,)`.
        """
        super().restore(model, sigma, smoothing, state)
        self.usual, span = state["usual"], max(smoothing, self.least_span)
        self.spans = (self.short_span, span) if 0 < self.short_span < span else (span,)
        return self

    def state(self) -> State:
        """The mean of the numbers among normal steps, `(C,)`."""
        return {"usual": self.usual}

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what are no means of the numbers; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        usual, count = state.get("usual"), self.numbers_per_channel * model.width
        if usual is None or len(state) != 1 or usual.shape != (count,) or usual.dtype != torch.float64:
            raise ValueError(f"a {type(self).__name__} keeps {self.numbers_per_channel} number(s) a channel")
        if not bool(usual.isfinite().all()):
            raise ValueError("means among normal steps must be finite")

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
        """The means over each span before the first step, `(n, spans, C)`: those among normal steps; and how
        many steps there were.
        """
        return {"level": np.tile(self.usual.numpy(), (n, len(self.spans), 1)), "age": np.zeros(n)}

    def _lead(self, model: SequenceModel) -> int:
        """The first steps of a series, whose numbers say how little is known of the past: the usual ones
        stand in their place.
        """
        if not isinstance(model, RecurrentFlow) or self.spans[-1] == 1:
            return 0
        return min(model.lags, self.spans[-1])

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
        numbers = flat.reshape(*points.shape[:2], -1)
        numbers = np.where((ages < self._lead(model))[..., None], self.usual.numpy(), numbers)
        parts, levels = [], []
        for number, span in enumerate(self.spans):
            share = 2 / (span + 1)
            before = (1 - share) * memory["level"][:, None, number]
            means, _ = lfilter([share], [1, share - 1], numbers, axis=1, zi=before)
            parts.append(self.parts(means))
            levels.append(means[:, -1])
        age = memory["age"] + points.shape[1]
        return np.mean(parts, axis=0), {"level": np.stack(levels, axis=1), "age": age}
