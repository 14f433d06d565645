r"""The worst channel: of a step in a long series, how far any one channel is from its usual residual.

A fault shows in one channel first, and in the sum over many it drowns. So each channel c is judged alone: the
square of its residual, r_tc = x_tc - f(x)_tc in the frame that ends with the step, is smoothed over the past,

    m_tc = (1 - a) m_{t-1,c} + a r_tc^2,   a = 2 / (span + 1),

and the score of the step is max_c m_tc, in squared units of the encoded input. Before the start all was as
usual: m_0c is the mean of r_c^2 among the normal steps. Smoothing trades the moment for certainty: a fault
that lasts is told from a spike, and the score falls back slowly after it. With span 1 nothing is smoothed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from upland.criteria.reading import Codes, Indices, precise, step_values, stretches
from upland.models.base import EnergyModel
from upland.models.recurrent import RecurrentEnergy

Floats = NDArray[np.float64]


class Channels:
    """Smoothed residuals of channels as steps are read; the past is one number a channel.

    Args:
        model: in float64.
        known: what is usual, `(D,)`.
        span: steps that the exponential mean is over, about.
        n: sequences that are read together.
    """

    def __init__(self, model: RecurrentEnergy, known: Tensor, span: int, n: int) -> None:
        self.model = model
        self.share = 2 / (span + 1)
        self.level: Floats = np.tile(known.numpy(), (n, 1))

    def advance(self, points: Tensor, context: Tensor) -> Tensor:
        """Read on: `(n, L, P D)`, `(n, L, S)` -> the smoothed squares of each channel, `(n, L, D)`."""
        n, length = points.shape[:2]
        with torch.no_grad():
            given = self.model.given(context.flatten(0, 1))
            squares = _squares(given, points.flatten(0, 1), self.model.frame).reshape(n, length, -1)
        kept = 1 - self.share
        smooth, _ = lfilter(
            [self.share], [1, -kept], squares.cpu().numpy(), axis=1, zi=kept * self.level[:, None]
        )
        self.level = smooth[:, -1].copy()
        return torch.from_numpy(smooth)


def channel_reference(model: RecurrentEnergy, codes: Codes, lengths: Indices, wanted: Indices) -> Tensor:
    """Each encoded channel's mean squared residual among some steps: `(D,)`.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
        wanted: the steps that count.
    """

    def squares(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        return _squares(given, points, model.frame)

    return step_values(squares, model, codes, lengths, 1.0)[torch.from_numpy(wanted)].mean(0)


def channel_levels(
    model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Tensor, span: int
) -> Tensor:
    """The smoothed squares of each channel at every step: `(S, D)`, float64; arguments as above."""
    return _read(model, codes, lengths, known, span, whole=True)


def channel_tests(model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Tensor, span: int) -> Tensor:
    """The score of every step: `(S,)`, float64; arguments as above."""
    return _read(model, codes, lengths, known, span, whole=False)


def _read(
    model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Tensor, span: int, whole: bool
) -> Tensor:
    exact = precise(model)
    parts, places = [], []
    reader: Channels | None = None
    for read in stretches(exact, codes, lengths):
        if reader is None or read.begin == 0:
            reader = Channels(exact, known, span, len(read.group))
        levels = reader.advance(read.points, read.context)[read.valid.cpu()]
        parts.append(levels if whole else levels.amax(-1))
        places.append(read.places[read.valid.cpu()])
    return torch.cat(parts)[torch.argsort(torch.cat(places))]


def _squares(given: EnergyModel, points: Tensor, frame: int) -> Tensor:
    """Squared residual of each channel at the last step of the frame: `(M, P D) -> (M, D)`."""
    away = (points - given.reconstruct(points)).reshape(len(points), frame, -1)
    return away[:, -1].square()
