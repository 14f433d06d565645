r"""The score test: how large is the gradient in the model's biases over a stretch of a sequence?

The reconstruction error of a sequence is one-sided: a sequence that is calmer than the normal ones is
reconstructed better than they are. Rao's score test (1948) is two-sided. Were the model to be fitted to these
steps alone, its biases would move along the mean of the gradients

    -dE/db_l = u_l   (the units of the tied decoder),

so the vector V of their means, together with the mean residual x - f(x) of each channel and the logarithm of
its mean square, is compared with the same vector of the normal sequences: with mean m and covariance C,

    T(V) = (V - m)' C^-1 (V - m) / K,

K its dimension. C is the covariance of standardised vectors, its correlations shrunk towards zero (Chen et
al. 2010, OAS), as sequences may be fewer than dimensions. (As feature vectors of sequences these gradients
are the Fisher vectors of Jaakkola and Haussler, 1998.)

Of a whole sequence the means are over its steps; of a step in a long series they are over the last w steps,
for several w, and the score is the sum over w of T in units of its median among the normal steps.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.reading import Codes, Indices, precise, stretches
from upland.models.blocks import fitting_threads
from upland.models.recurrent import Conditional
from upland.models.sequential import SequenceModel

Floats = NDArray[np.float64]

WINDOWS = (16, 32, 64)
"""Steps that a running mean is taken over."""

LEAST_SQUARE = 1e-6  # added to mean squared residuals before their logarithm
LEAST_SHRINKAGE = 0.1
SAMPLES = 4_000  # vectors that a reference of steps is made from


class VectorReference(NamedTuple):
    """What the vectors of normal data are like.

    Args:
        center: `(K,)` their mean.
        whitening: `(K, K)` what makes their covariance the identity.
        unit: the median T of normal steps; 1 where vectors are of whole sequences.
    """

    center: Tensor
    whitening: Tensor
    unit: float

    def usual(self, width: int) -> Tensor:
        """The means `(K,)` whose vector is the center: what a step adds without any evidence."""
        return torch.cat([self.center[:-width], self.center[-width:].exp() - LEAST_SQUARE])

    def test(self, vectors: Tensor) -> Tensor:
        """T of vectors `(..., K)`, in units of the median T: `(...)`."""
        away = (vectors - self.center.to(vectors.device)) @ self.whitening.to(vectors.device)
        return away.square().mean(-1) / self.unit


def evidence(model: SequenceModel, points: Tensor, context: Tensor) -> Tensor:
    """Each point's part of the vector: `(M, P D)`, `(M, S)` -> `(M, K)`; mean squares not yet logarithms."""
    given = model.given(context)
    assert isinstance(given, Conditional)
    residual = (points - given.reconstruct(points)).reshape(points.shape[0], model.frame, model.width)
    return torch.cat([*given.slopes(points), residual.mean(1), residual.square().mean(1)], dim=1)


def vector(means: Tensor, width: int) -> Tensor:
    """Means `(..., K)` of parts to vectors: logarithms of the last `width` entries."""
    return torch.cat([means[..., :-width], (means[..., -width:] + LEAST_SQUARE).log()], dim=-1)


def sequence_vectors(model: SequenceModel, codes: Codes, lengths: Indices) -> Tensor:
    """The vector of each whole sequence, over its full frames: `(N, K)`, float64, on the CPU.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
    """
    exact = precise(model)
    total: Tensor | None = None
    for read in stretches(exact, codes, lengths):
        partial = torch.arange(read.begin, read.begin + read.valid.shape[1], device=read.valid.device)
        short = torch.from_numpy(lengths[read.group] < exact.frame).to(read.valid.device)
        counted = read.valid & ((partial >= exact.frame - 1) | short[:, None])
        with torch.no_grad(), fitting_threads(exact, 1_024):
            parts = evidence(exact, read.points[counted], read.context[counted]).cpu()
        if total is None:
            total = parts.new_zeros(len(lengths), parts.shape[1])
        owner = torch.from_numpy(read.group)[counted.cpu().nonzero()[:, 0]]
        total.index_add_(0, owner, parts)
    assert total is not None
    counts = np.where(lengths < exact.frame, lengths, lengths - exact.frame + 1)
    return vector(total / torch.from_numpy(counts)[:, None], exact.width)


class Running:
    """Running vectors of steps as they are read; what they need of the past is a tail of bounded length.

    Before the start all was as usual: a running mean near the start is filled up with what is.

    Args:
        model: in float64.
        windows: steps of each running mean, and what is usual for it; without it a mean is over what there
            is.
        n: sequences that are read together.
    """

    def __init__(self, model: SequenceModel, windows: Mapping[int, VectorReference | None], n: int) -> None:
        self.model, self.windows = model, dict(windows)
        self.n = n
        self.seen = torch.zeros(n, dtype=torch.float64)
        self.tail: Tensor | None = None

    def advance(self, points: Tensor, context: Tensor) -> list[Tensor]:
        """Read on: `(n, L, P D)`, `(n, L, S)` -> for each window the vectors `(n, L, K)`."""
        length = points.shape[1]
        with torch.no_grad(), fitting_threads(self.model, 1_024):
            parts = evidence(self.model, points.flatten(0, 1), context.flatten(0, 1))
        parts = parts.reshape(self.n, length, -1)
        most = max(self.windows)
        if self.tail is None:
            self.tail = parts.new_zeros(self.n, most - 1, parts.shape[2])
        joined = torch.cat([self.tail, parts], dim=1)
        self.seen = self.seen.to(parts.device)
        steps = self.seen[:, None] + torch.arange(1, length + 1, device=parts.device)
        found = []
        for window, reference in self.windows.items():
            sums = joined[:, most - window :].unfold(1, window, 1).sum(-1)
            there = steps.clamp(max=window)[..., None]
            if reference is None:
                means = sums / there
            else:
                usual = reference.usual(self.model.width).to(parts.device)
                means = (sums + (window - there) * usual) / window
            found.append(vector(means, self.model.width))
        self.tail, self.seen = joined[:, length:], self.seen + length
        return found


def running_vectors(
    model: SequenceModel, codes: Codes, lengths: Indices, windows: Sequence[int], wanted: Indices
) -> list[Tensor]:
    """For each window the running vectors of some steps: `(len(wanted), K)`, float64, on the CPU.

    Args:
        model: as trained.
        codes: encoded steps from start to stop; sequence stands after sequence.
        lengths: `(N,)` steps of each sequence.
        windows: steps of each running mean.
        wanted: the steps whose vectors are kept, sorted.
    """
    exact = precise(model)
    parts: list[list[Tensor]] = [[] for _ in windows]
    positions: list[Tensor] = []
    kept = torch.zeros(int(lengths.sum()), dtype=torch.bool)
    kept[torch.from_numpy(wanted)] = True
    running: Running | None = None
    for read in stretches(exact, codes, lengths):
        if running is None or read.begin == 0:
            running = Running(exact, dict.fromkeys(windows), len(read.group))
        found = running.advance(read.points, read.context)
        there = read.valid.cpu()
        there[there.clone()] = kept[read.positions[there]]
        for part, vectors in zip(parts, found, strict=True):
            part.append(vectors.cpu()[there])
        positions.append(read.positions[there])
    order = torch.argsort(torch.cat(positions))
    return [torch.cat(part)[order] for part in parts]


def step_tests(
    model: SequenceModel, codes: Codes, lengths: Indices, references: Mapping[int, VectorReference]
) -> Tensor:
    """The score of every step: `(S,)`, float64, on the CPU; arguments as `running_vectors`."""
    exact = precise(model)
    parts, positions = [], []
    running: Running | None = None
    for read in stretches(exact, codes, lengths):
        if running is None or read.begin == 0:
            running = Running(exact, references, len(read.group))
        scores = summed(running.advance(read.points, read.context), references)
        parts.append(scores[read.valid].cpu())
        positions.append(read.positions[read.valid.cpu()])
    return torch.cat(parts)[torch.argsort(torch.cat(positions))]


def summed(vectors: Sequence[Tensor], references: Mapping[int, VectorReference]) -> Tensor:
    """The sum over the windows of T in units of its median."""
    tests = [reference.test(v) for v, reference in zip(vectors, references.values(), strict=True)]
    return torch.stack(tests).sum(0)


def reference_of(vectors: Tensor, relative: bool) -> VectorReference:
    """Mean and shrunk covariance of the vectors of normal data, `(n, K)`.

    Args:
        vectors: of normal data, two at least.
        relative: whether T is to be in units of its median among these vectors.
    """
    n, width = vectors.shape
    center = vectors.mean(0)
    spread = vectors.std(0, correction=0) + 1e-3 * center.abs() + 1e-6
    z = (vectors - center) / spread
    correlation = z.T @ z / n
    shrunk = max(oas(correlation, n), LEAST_SHRINKAGE)
    level = correlation.diagonal().mean().clamp_min(1e-6)
    correlation = (1 - shrunk) * correlation + shrunk * level * torch.eye(width, dtype=vectors.dtype)
    size, axes = torch.linalg.eigh(correlation)
    whitening = (axes * size.clamp_min(1e-9).rsqrt() / spread[:, None]).contiguous()
    reference = VectorReference(center, whitening, 1.0)
    usual = float(reference.test(vectors).median()) if relative else 1.0
    return reference._replace(unit=max(usual, 1e-9))


def oas(covariance: Tensor, n: int) -> float:
    """The share by which a covariance `(K, K)` of n samples is best shrunk (Chen et al. 2010, eq. 23)."""
    width = covariance.shape[0]
    square, trace = float(covariance.square().sum()), float(covariance.trace())
    alpha = square / width**2
    mean = (trace / width) ** 2
    above, below = alpha + mean, (n + 1) * (alpha - mean / width)
    return 1.0 if below <= 0 else min(above / below, 1.0)
