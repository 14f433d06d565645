r"""Which moments and channels a score test comes from.

T = sum_k z_k y_k, where z = V - m and y = C^-1 z / K. An entry of V that is a mean over steps is shared out
step by step, (v_tk - m_k) y_k / n; the logarithm of a mean square in proportion to the squares. Entries of a
channel (mean residual, mean square) are that channel's. What the hidden units add has no channel of its own:
a frame's part is divided among its values by |x_i dg/dx_i|, g the frame's sum of u_k y_k, that is, by how
much each drives it. All shares of a score sum to it; a negative one speaks for normal.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.reading import Codes, Indices, precise, stretches
from upland.criteria.score_vectors import LEAST_SQUARE, Running, VectorReference, evidence, vector
from upland.models.recurrent import Conditional
from upland.models.sequential import SequenceModel

Floats = NDArray[np.float64]


def shares_of_sequences(
    model: SequenceModel, codes: Codes, lengths: Indices, reference: VectorReference
) -> Floats:
    """Shares of each step and encoded channel in its sequence's score: `(S, D)`.

    What a frame adds goes to the steps in it; what falls before the start counts for the first step.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
        reference: what whole sequences are compared with.
    """
    exact = precise(model).cpu()  # where the references are
    shares = np.zeros((int(lengths.sum()), exact.width))
    for start, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
        points, context = _read(exact, codes, int(start), int(length))
        first = exact.frame - 1 if length >= exact.frame else 0
        spread = _spread(exact, points[first:], context[first:], reference)
        steps = first + np.arange(len(spread))[:, None] + np.arange(1 - exact.frame, 1)
        np.add.at(shares, start + np.maximum(steps, 0), spread)
    return shares


def shares_of_steps(
    model: SequenceModel, codes: Codes, lengths: Indices, references: dict[int, VectorReference]
) -> Floats:
    """Shares of each encoded channel in every step's score: `(S, D)`; arguments as `shares_of_sequences`."""
    exact = precise(model).cpu()  # where the references are
    width, shares = exact.width, np.zeros((int(lengths.sum()), exact.width))
    for start, length in zip(np.cumsum(lengths) - lengths, lengths, strict=True):
        points, context = _read(exact, codes, int(start), int(length))
        found = Running(exact, references, 1).advance(points[None], context[None])
        for vectors, reference in zip(found, references.values(), strict=True):
            pull = _pull(vectors[0], reference)
            product = (vectors[0] - reference.center) * pull
            own = product[:, -2 * width : -width] + product[:, -width:]
            hidden = product[:, : -2 * width].sum(1, keepdim=True)
            drive = _drive(exact, points, context, pull[:, : -2 * width]).sum(1)
            shares[start : start + length] += (own + hidden * drive).numpy()
    return shares


def _read(model: SequenceModel, codes: Codes, start: int, length: int) -> tuple[Tensor, Tensor]:
    """The points `(T, P D)` of one sequence and their contexts `(T, S)`."""

    def own(begin: int, stop: int) -> Tensor:
        return codes(start + begin, start + stop)

    found = list(stretches(model, own, np.array([length])))
    return torch.cat([r.points[0] for r in found]), torch.cat([r.context[0] for r in found])


def _pull(vectors: Tensor, reference: VectorReference) -> Tensor:
    """Y = C^-1 (V - m) / K in units of the median T: `(..., K)`."""
    away = (vectors - reference.center) @ reference.whitening @ reference.whitening.T
    return away / (vectors.shape[-1] * reference.unit)


def _spread(model: SequenceModel, points: Tensor, context: Tensor, reference: VectorReference) -> Floats:
    """Shares of the positions of every frame of one sequence: `(T, P, D)`."""
    width, steps, frame = model.width, len(points), model.frame
    with torch.no_grad():
        parts = evidence(model, points, context)
        away = (points - model.given(context).reconstruct(points)).reshape(steps, frame, width)
    vectors = vector(parts.mean(0), width)
    pull = _pull(vectors, reference)
    means = slice(-2 * width, -width)
    linear = (away - reference.center[means]) * pull[means] / (steps * frame)
    squares = away.square() + LEAST_SQUARE
    logs = (vectors - reference.center)[-width:] * pull[-width:] * squares / squares.sum((0, 1))
    slopes = (parts[:, : -2 * width] - reference.center[: -2 * width]) @ pull[: -2 * width] / steps
    drive = _drive(model, points, context, pull[: -2 * width].expand(steps, -1))
    both: Tensor = linear + logs + slopes[:, None, None] * drive
    return both.numpy()


def _drive(model: SequenceModel, points: Tensor, context: Tensor, pull: Tensor) -> Tensor:
    """How much each position of a frame drives the hidden units' part: `(T, P, D)`, each frame's sum to 1."""
    with torch.enable_grad():
        x = points.detach().requires_grad_()
        given = model.given(context.detach())
        assert isinstance(given, Conditional)
        slopes = torch.cat(given.slopes(x), dim=1)
        (slope,) = torch.autograd.grad((slopes * pull.detach()).sum(), x)
    size = (slope * points).abs().reshape(len(points), model.frame, -1) + 1e-12
    return size / size.sum((1, 2), keepdim=True)
