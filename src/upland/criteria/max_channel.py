r"""The largest smoothed residual of any channel, for steps of long series.

A fault shows in one channel first, and is lost in the sum over many. So each channel c has a level of its
own: the square of its residual, r_tc = x_tc - f(x)_tc in the frame that ends with the step, is smoothed over
the past,

    m_tc = (1 - a) m_{t-1,c} + a r_tc^2,   a = 2 / (span + 1),

and the score of the step is max_c m_tc, in squared units of the encoded input. Before the first step m_0c is
the mean of r_c^2 among normal steps. Smoothing separates a lasting fault from a spike, and the score falls
slowly after it. With span 1 nothing is smoothed. The score is one-sided: what is calmer than normal data
passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
from scipy.signal import lfilter
from torch import Tensor

from upland.criteria.base import Floats, Shares
from upland.criteria.reading import Codes, Indices, precise, step_values, stretches
from upland.criteria.sequence import (
    EncodedSequences,
    Memory,
    Of,
    SequenceCriterion,
    SequenceReference,
    State,
    frame_parts,
    lengths_of_steps,
    settled_steps,
)
from upland.models.base import EnergyModel
from upland.models.sequential import SequenceModel


class MaxChannel(SequenceCriterion):
    """The largest smoothed squared residual of any channel.

    Args:
        unit: what one score is of; that of a sequence is the mean over its steps.
    """

    def __init__(self, unit: Of) -> None:
        super().__init__(unit)
        self.usual, self.smoothing = torch.zeros(0, dtype=torch.float32), 1

    def fit(self, reference: SequenceReference) -> Self:
        """Learn each channel's mean squared residual among normal steps.

        Args:
            reference: a trained model and normal sequences.
        """
        whole = reference.whole
        steps = settled_steps(reference)
        usual = channel_reference(reference.model, whole.codes, whole.lengths, steps)
        return self.restore(reference.model, reference.sigma, reference.smoothing, {"usual": usual})

    def restore(
        self, model: SequenceModel, sigma: float, smoothing: int, state: Mapping[str, Tensor]
    ) -> Self:
        """Take up what `state` gave.

        Args:
            model: as trained.
            sigma: scale of the noise.
            smoothing: steps that the exponential mean is over, about.
            state: each channel's mean squared residual, `(D,)`.
        """
        super().restore(model, sigma, smoothing, state)
        self.usual, self.smoothing = state["usual"], smoothing
        return self

    def state(self) -> State:
        """Each channel's mean squared residual, `(D,)`."""
        return {"usual": self.usual}

    def check_state(self, model: SequenceModel, state: Mapping[str, Tensor]) -> None:
        """Refuse what is no mean square of each channel; raises ValueError.

        Args:
            model: as trained.
            state: of a file.
        """
        usual = state.get("usual", torch.zeros(0, dtype=torch.float64))
        if len(state) != 1 or usual.shape != (model.width,) or usual.dtype != torch.float64:
            raise ValueError("a MaxChannel keeps a number of each channel")
        if not bool(usual.isfinite().all() and (usual >= 0).all()):
            raise ValueError("mean squared residuals must be finite, and not negative")

    def step_scores(self, x: EncodedSequences) -> Floats:
        """The largest level of any channel at each step: `(S,)`, float64."""
        found = channel_tests(self.model, x.codes, x.lengths, self.usual, self.smoothing)
        return found.numpy()

    def shares(self, x: EncodedSequences) -> Shares:
        """The score divided among the channels by their levels, and what was expected: `(S, D)` twice."""
        folded = self.unit == "sequence"
        _, expected = frame_parts(self.model, x, self.sigma, folded)
        levels = channel_levels(self.model, x.codes, x.lengths, self.usual, self.smoothing).numpy()
        shares = levels * (levels.max(axis=1, keepdims=True) / levels.sum(axis=1, keepdims=True))
        return Shares(shares / lengths_of_steps(x) if folded else shares, expected)

    def start(self, model: SequenceModel, n: int) -> Memory:
        """The level of each channel, `(n, D)`: what is usual."""
        return {"level": np.tile(self.usual.numpy(), (n, 1))}

    def score_next(
        self, model: SequenceModel, memory: Memory, points: Tensor, context: Tensor
    ) -> tuple[Tensor, Memory]:
        """The largest levels at the next steps, and the levels to go on with; see
        `SequenceCriterion.score_next`.
        """
        channels = Channels(model, self.usual, self.smoothing, len(points))
        channels.level = memory["level"]
        return channels.advance(points, context).amax(-1), {"level": channels.level}


class Channels:
    """Smoothed residuals of channels as steps are read; the past is one number a channel.

    Args:
        model: in float64.
        usual: what is usual, `(D,)`.
        span: steps that the exponential mean is over, about.
        n: sequences that are read together.
    """

    def __init__(self, model: SequenceModel, usual: Tensor, span: int, n: int) -> None:
        self.model = model
        self.share = 2 / (span + 1)
        self.level: Floats = np.tile(usual.numpy(), (n, 1))

    def advance(self, points: Tensor, context: Tensor) -> Tensor:
        """Read on: `(n, L, P D)`, `(n, L, S)` -> the smoothed squares of each channel, `(n, L, D)`."""
        n, length = points.shape[:2]
        with torch.no_grad():
            given = self.model.given(context.flatten(0, 1))
            squares = channel_squares(given, points.flatten(0, 1), self.model.frame).reshape(n, length, -1)
        kept = 1 - self.share
        if length == 1:
            self.level = kept * self.level + self.share * squares[:, 0].cpu().numpy()
            return torch.from_numpy(self.level[:, None])
        smooth, _ = lfilter(
            [self.share], [1, -kept], squares.cpu().numpy(), axis=1, zi=kept * self.level[:, None]
        )
        self.level = smooth[:, -1].copy()
        return torch.from_numpy(smooth)


def channel_reference(model: SequenceModel, codes: Codes, lengths: Indices, wanted: Indices) -> Tensor:
    """Each encoded channel's mean squared residual among some steps: `(D,)`.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
        wanted: the steps that count.
    """

    def squares(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        return channel_squares(given, points, model.frame)

    return step_values(squares, model, codes, lengths, 1.0)[torch.from_numpy(wanted)].mean(0)


def channel_levels(model: SequenceModel, codes: Codes, lengths: Indices, usual: Tensor, span: int) -> Tensor:
    """The smoothed squares of each channel at every step: `(S, D)`, float64; arguments as above."""
    return _read(model, codes, lengths, usual, span, whole=True)


def channel_tests(model: SequenceModel, codes: Codes, lengths: Indices, usual: Tensor, span: int) -> Tensor:
    """The score of every step: `(S,)`, float64; arguments as above."""
    return _read(model, codes, lengths, usual, span, whole=False)


def _read(
    model: SequenceModel, codes: Codes, lengths: Indices, usual: Tensor, span: int, whole: bool
) -> Tensor:
    exact = precise(model)
    parts, positions = [], []
    reader: Channels | None = None
    for read in stretches(exact, codes, lengths):
        if reader is None or read.begin == 0:
            reader = Channels(exact, usual, span, len(read.group))
        levels = reader.advance(read.points, read.context)[read.valid.cpu()]
        parts.append(levels if whole else levels.amax(-1))
        positions.append(read.positions[read.valid.cpu()])
    return torch.cat(parts)[torch.argsort(torch.cat(positions))]


def channel_squares(given: EnergyModel, points: Tensor, frame: int) -> Tensor:
    """Squared residual of each channel at the last step of the frame: `(M, P D) -> (M, D)`."""
    away = (points - given.reconstruct(points)).reshape(points.shape[0], frame, -1)
    return away[:, -1].square()
