r"""The nats of an image beyond those that a lossless compressor needs (Serrà et al., ICLR 2020).

    S(x) = -log p(x) - D log b - L(x),

b the width of one step of the pixels and L the length of the image under DEFLATE after the differences of
neighbours, in nats. Of images of whole numbers only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.criteria.base import Floats, PointCriterion, Shares
from upland.criteria.likelihood import likelihood_shares, nats
from upland.groups.base import Statistic
from upland.groups.outputs import ModelOutputs, Reference
from upland.models.base import Latent


class Complexity(PointCriterion):
    """-log p(x) less the compressed length of each image, in nats."""

    needs_beside_tensors: ClassVar[str] = "a compressor, DEFLATE"
    requires: ClassVar[type] = Latent
    needs_pixels: ClassVar[bool] = True

    def score(self, x: Tensor) -> Floats:
        """Nats beyond the compressed length: `(N, C, H, W) -> (N,)`, float64."""
        bin = step_of_pixels(self.reference)
        return nats(self.reference, x) - x[0].numel() * log(bin) - compressed_lengths(x, bin)

    def shares(self, x: Tensor) -> Shares:
        """The shares of the likelihood: `(N, C, H, W)` twice; they need not sum to the score."""
        return likelihood_shares(self.reference, x)


@dataclass
class ComplexityStatistic(Statistic):
    """The energy less the compressed length, in nats; of groups its mean.

    The length stands in `ModelOutputs.points`, one number a row.
    """

    positive = False

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Energy less length: `(N, 1)`."""
        return (outputs.energy - outputs.points.double())[:, None]

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


def step_of_pixels(reference: Reference) -> float:
    """The width of one step of the encoded pixels.

    Args:
        reference: of images.

    Raises:
        ValueError: it is not of images of whole numbers.
    """
    if reference.bin is None:
        raise ValueError("the complexity is of images of whole numbers: there is no step of their pixels")
    return reference.bin


def compressed_lengths(x: Tensor, bin: float) -> Floats:
    """Nats that DEFLATE needs for each image, the differences of its neighbours tried too: `(N, ...) ->
    (N,)`.

    Args:
        x: `(N, C, H, W)` codes between -1/2 and 1/2.
        bin: the width of one step.
    """
    return np.array([8 * log(2) * _compressed(image) for image in _levels(x, bin)], dtype=np.float64)


def with_lengths(outputs: ModelOutputs, x: Tensor, bin: float) -> ModelOutputs:
    """The outputs with the compressed lengths in place of the points, for `ComplexityStatistic`.

    Args:
        outputs: of the model, for N images.
        x: `(N, C, H, W)` these images, encoded.
        bin: the width of one step.
    """
    return outputs._replace(points=torch.from_numpy(compressed_lengths(x, bin)))


def _levels(x: Tensor, bin: float) -> NDArray[np.uint8 | np.uint16]:
    """The whole numbers that codes between -1/2 and 1/2 stand for: `(N, H, W, C)`."""
    most = round(1 / bin) - 1
    levels = np.clip(np.rint((x.numpy() + 0.5) / bin - 0.5), 0, most)
    return np.moveaxis(levels, 1, 3).astype(np.uint8 if most < 256 else np.uint16)


def _compressed(image: NDArray[np.uint8 | np.uint16]) -> int:
    """Bytes; the shortest of the image and its differences to the left and to the one above."""
    across, down = np.diff(image, axis=1, prepend=0), np.diff(image, axis=0, prepend=0)
    return min(len(zlib.compress(part.astype(image.dtype).tobytes(), 9)) for part in (image, across, down))
