r"""The worst channel: of a step in a long series, how far any one channel is from its usual residual.

A fault shows in one channel first, and in the sum over many it drowns. So each channel c is judged alone: the
mean square of its residual over the frame that ends with the step, q_tc, smoothed over the past,

    m_tc = (1 - a) m_{t-1,c} + a q_tc,   a = 2 / (span + 1),

in units of its mean among the normal steps, u_c, with a floor for channels that hardly move; the score of the
step is

    max_c m_tc / (u_c + 0.1).

Before the start all was as usual: m_0 = u. Smoothing trades the moment for the certainty: a fault that lasts is
told from a spike, and the score falls back slowly after it. With span 1 nothing is smoothed.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor

from upland.criteria.evidence import Reference
from upland.criteria.steps import Codes, Indices, precise, step_values, stretches
from upland.models.base import EnergyModel
from upland.models.recurrent import RecurrentEnergy

Floats = NDArray[np.float64]

FLOOR = 0.1  # squared units of the encoded input


class Channels:
    """Smoothed residuals of channels as steps are read; the past is one number a channel.

    Args:
        model: in float64.
        known: what is usual, as `channel_reference` makes it.
        span: steps that the exponential mean is over, about.
        n: sequences that are read together.
    """

    def __init__(self, model: RecurrentEnergy, known: Reference, span: int, n: int) -> None:
        self.model, self.known = model, known
        self.share = 2 / (span + 1)
        self.level: Floats = np.tile(known.center.numpy(), (n, 1))

    def advance(self, points: Tensor, context: Tensor) -> Tensor:
        """Read on: `(n, L, P D)`, `(n, L, S)` -> each channel in units of its usual, `(n, L, D)`."""
        n, length = points.shape[:2]
        with torch.no_grad():
            given = self.model.given(context.flatten(0, 1))
            squares = _squares(given, points.flatten(0, 1), self.model.frame).reshape(n, length, -1)
        kept = 1 - self.share
        smooth, _ = lfilter(
            [self.share], [1, -kept], squares.cpu().numpy(), axis=1, zi=kept * self.level[:, None]
        )
        self.level = smooth[:, -1].copy()
        return torch.from_numpy(smooth) * self.known.whitening.diagonal()


def channel_reference(model: RecurrentEnergy, codes: Codes, lengths: Indices, wanted: Indices) -> Reference:
    """Each encoded channel's mean squared residual among some steps.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
        wanted: the steps that count.
    """

    def squares(given: EnergyModel, points: Tensor, sigma: float) -> Tensor:
        return _squares(given, points, model.frame)

    usual = step_values(squares, model, codes, lengths, 1.0)[torch.from_numpy(wanted)].mean(0)
    return Reference(usual, torch.diag(1 / (usual + FLOOR)), 1.0)


def channel_levels(
    model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Reference, span: int
) -> Tensor:
    """Each channel of every step in units of its usual: `(S, D)`, float64; arguments as above."""
    return _read(model, codes, lengths, known, span, whole=True)


def channel_tests(
    model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Reference, span: int
) -> Tensor:
    """The score of every step: `(S,)`, float64; arguments as above."""
    return _read(model, codes, lengths, known, span, whole=False)


def _read(
    model: RecurrentEnergy, codes: Codes, lengths: Indices, known: Reference, span: int, whole: bool
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
    """Mean squared residual of each channel over the frame: `(M, P D) -> (M, D)`."""
    return (points - given.reconstruct(points)).square().reshape(len(points), frame, -1).mean(1)
