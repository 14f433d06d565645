"""Criteria of sequences: of each time step given the steps before it, or of each whole sequence.

A criterion is made for one *unit*, "step" or "sequence". The score of a whole sequence is the mean over its
steps unless a criterion says otherwise. Of steps `score_next` gives the numbers of `score` as the steps come,
in constant memory, of one series or of many side by side: what a criterion remembers of the past of n series
are arrays `(n, ...)`, which it passes on and never changes. So the memories of series can be put together,
taken apart and stored without knowing the criterion.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from upland.criteria.base import Criterion, Floats, finite
from upland.criteria.reading import Codes, Indices, step_values
from upland.criteria.residuals import residual
from upland.criteria.score_vectors import WINDOWS
from upland.models.base import EnergyModel
from upland.models.recurrent_flow import ConditionalFlow, RecurrentFlow
from upland.models.sequential import SequenceModel

Of = Literal["sequence", "step"]
State = dict[str, Tensor]
Memory = Mapping[str, Floats]
"""What is remembered of n series: arrays `(n, ...)` of float64 by name."""


class EncodedSequences(NamedTuple):
    """Encoded sequences, one after the other.

    Args:
        codes: the encoded steps `(stop - start, D + C)` from start to stop, the context behind the channels.
        lengths: `(N,)` steps of each sequence, S in all.
    """

    codes: Codes
    lengths: Indices

    @property
    def owners(self) -> Indices:
        """`(S,)` the number of each step's sequence."""
        return np.repeat(np.arange(self.lengths.size), self.lengths)

    @property
    def starts(self) -> Indices:
        """`(N,)` the first step of each sequence."""
        return np.cumsum(self.lengths) - self.lengths

    def channels(self, width: int) -> EncodedSequences:
        """The same without context.

        Args:
            width: encoded numbers of the channels of a step, D.
        """
        codes = self.codes
        return EncodedSequences(lambda start, stop: codes(start, stop)[:, :width], self.lengths)


@dataclass(frozen=True, eq=False)
class SequenceReference:
    """A trained model and the normal sequences that a criterion is fitted on.

    Args:
        model: as trained.
        sigma: scale of the noise that it was trained with.
        smoothing: steps that the score of a step is smoothed over, where it is.
        windows: the sequences, or windows of them, that may be seen.
        whole: all normal sequences uncut; the past of a step may hold steps that are not in `steps`.
        steps: the steps of `whole` that may be seen, sorted.
        positions: how many steps come before each of them in its own sequence.
    """

    model: SequenceModel
    sigma: float
    smoothing: int
    windows: EncodedSequences
    whole: EncodedSequences
    steps: Indices
    positions: Indices


class SequenceCriterion(Criterion[SequenceReference, EncodedSequences]):
    """A score of steps or of whole sequences: abstract, `step_scores`, `shares` and `score_next` to write.

    Args:
        unit: what one score is of.

    Attributes:
        learns_by_unit: whether what `fit` learns for steps is of no use for whole sequences.
    """

    learns_by_unit: ClassVar[bool] = False

    model: SequenceModel
    sigma: float

    def __init__(self, unit: Of) -> None:
        self.unit = unit

    def fit(self, reference: SequenceReference) -> Self:
        """Keep the model; what a criterion learns beyond it, it says.

        Args:
            reference: a trained model and normal sequences.
        """
        return self.restore(reference.model, reference.sigma, reference.smoothing, {})

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: steps that the score of a step is smoothed over, where it is.
            state: what was learned, by name.
        """
        self.model, self.sigma = model, sigma
        return self

    def state(self) -> State:
        """What was learned beyond the model: tensors by name."""
        return {}

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse a state that `state` does not give; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        if state:
            raise ValueError(f"a {type(self).__name__} learns nothing beyond the model")

    @abstractmethod
    def step_scores(self, x: EncodedSequences) -> Floats:
        """A number for each step, given those before it: `(S,)`, float64."""

    def start(self, model: SequenceModel, n: int) -> Memory:
        """What is remembered of n series before their first step; nothing, unless a criterion says otherwise.

        Args:
            model: in float64.
            n: how many series there are.
        """
        return {}

    @abstractmethod
    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The numbers `(n, L)` of the next L steps of n series, and what to pass on with those after them.

        A series' numbers depend on that series alone. Arrays that are given are not changed.

        Args:
            model: in float64.
            memory: what `start` gave, or was passed on, of these series.
            points: `(n, L, P D)` frames that end with the steps.
            context: `(n, L, S)` what conditions them.
        """

    def score(self, x: EncodedSequences) -> Floats:
        """A number for each step `(S,)`, or for each sequence `(N,)` the mean over its steps."""
        scores = self.step_scores(x)
        if self.unit == "step":
            return scores
        means: Floats = np.add.reduceat(scores, x.starts) / x.lengths
        return means


def frame_parts(
    model: SequenceModel, x: EncodedSequences, sigma: float, folded: bool
) -> tuple[Floats, Floats]:
    """Squared residuals of the frame that ends with each step, and what was expected of the step.

    Args:
        model: as trained.
        x: sequences of S steps in all.
        sigma: scale of the noise.
        folded: whether the squares are of each step of the frame, `(S, P D)`, or summed over it, `(S, D)`.

    Returns:
        The squares, and the last step of each reconstructed frame, `(S, D)`.
    """
    frame, width = model.frame, model.width

    def parts(energy: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        away = residual(energy, points, sigma).reshape(-1, frame, width)
        latest = points.reshape(-1, frame, width)[:, -1] - away[:, -1]
        squares = away**2
        return torch.cat([squares.flatten(1) if folded else squares.sum(1), latest], dim=1)

    found = finite(step_values(parts, model, x.codes, x.lengths, sigma).numpy())
    return found[:, :-width], found[:, -width:]


def expected_steps(model: SequenceModel, x: EncodedSequences, sigma: float) -> Floats:
    """What a model expects of each step, `(S, D)`: a flow the conditional median, an energy the last step of
    the reconstructed frame.

    Args:
        model: as trained.
        x: sequences of S steps in all.
        sigma: scale of the noise.
    """
    if not isinstance(model, RecurrentFlow):
        return frame_parts(model, x, sigma, folded=False)[1]

    def medians(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        assert isinstance(given, ConditionalFlow)
        return given.expected(points)[:, -model.width :]

    return finite(step_values(medians, model, x.codes, x.lengths, sigma).numpy())


def folded_back(squares: Floats, x: EncodedSequences, frame: int) -> Floats:
    """Parts of frames `(S, P D)` added up at the steps where they arise, of each sequence's mean: `(S, D)`.

    What falls before the start of a sequence counts for its first step.

    Args:
        squares: of each step of the frame that ends with each step.
        x: the sequences.
        frame: steps of a frame, P.
    """
    width = squares.shape[1] // frame
    shares = np.zeros((len(squares), width))
    firsts = np.repeat(x.starts, x.lengths)
    for lag in range(frame):
        where = np.maximum(np.arange(len(squares)) - lag, firsts)
        position = frame - 1 - lag
        np.add.at(shares, where, squares[:, position * width : (position + 1) * width])
    return shares / lengths_of_steps(x)


def lengths_of_steps(x: EncodedSequences) -> Floats:
    """The length of each step's sequence: `(S, 1)`."""
    return np.repeat(x.lengths, x.lengths)[:, None].astype(np.float64)


def windows_of(reference: SequenceReference) -> list[int]:
    """The windows of running means that the sequences are long enough for, in steps.

    Args:
        reference: normal sequences.
    """
    longest = int(reference.whole.lengths.max())
    return [window for window in WINDOWS if window <= max(longest // 4, WINDOWS[0])]


def settled_steps(reference: SequenceReference) -> Indices:
    """The steps whose past fills the longest window, or a quarter of the longest sequence; all of them where
    these are too few.

    Args:
        reference: normal sequences.
    """
    longest = int(reference.whole.lengths.max())
    past = min(reference.model.frame - 1 + windows_of(reference)[-1], longest // 4)
    steps = reference.steps[reference.positions >= past]
    return steps if steps.size > 1 else reference.steps
