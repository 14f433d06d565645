r"""What rows and groups of rows are judged by where a model has latents, or a likelihood.

A member's yardsticks (statistics of groups, `upland.groups.statistic`) are learned from rows that do not
calibrate: reference moments from training rows, what is usual from others, where there are enough (of fewer
than some four hundred rows from training rows too). Of a single row, a group of one, they are criteria:

* likelihood: the energy, -log p(x) or its bound, in nats;
* typicality: |E(x) - mean E|, in nats (Nalisnick et al. 2019);
* divergence: the KL of one latent's many small parts from those of normal rows (KLODS, arXiv 2002.03328), the
  mean over its splits of the squared number of standard deviations of normal rows;
* complexity: the nats of the discrete image less those that a lossless compressor needs (Serrà et al., ICLR
  2020);
* combined: the mean of divergence and of the squared number of standard deviations by which the complexity is
  too high.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.data.image.encoder import ImageEncoder
from upland.detectors.fitting import Member
from upland.detectors.kinds import RECONSTRUCTION, Floats, Judge
from upland.detectors.references import reference_of
from upland.groups.base import Statistic
from upland.groups.joint import JointStatistic
from upland.groups.outputs import ModelOutputs, model_outputs
from upland.groups.tester import GroupTester


@dataclass
class Complexity(Statistic):
    """The energy less the compressed length, in nats, of groups its mean; images of whole numbers only.

    The length stands in `ModelOutputs.points`, one number a row.
    """

    positive = False

    def features(self, outputs: ModelOutputs) -> Tensor:
        """Energy less length: `(N, 1)`."""
        return (outputs.energy - outputs.points.double())[:, None]

    def value(self, means: Tensor, sizes: Tensor) -> Tensor:
        """The mean: `(G, 1)`, `(G,)` -> `(G,)`."""
        return means[:, 0]


NEED_ROWS = ("typicality", "divergence", "combined")
"""Criteria that compare with rows kept with the model."""

_testers: WeakKeyDictionary[Member, GroupTester] = WeakKeyDictionary()
_complexities: WeakKeyDictionary[Member, JointStatistic] = WeakKeyDictionary()


def tester_of(member: Member) -> GroupTester:
    """The tester of groups of a member, with the statistics that it has fitted; remembered.

    Args:
        member: as fitted.
    """
    if member not in _testers:
        _testers[member] = GroupTester(reference_of(member))
    return _testers[member]


def of_one(name: str) -> Judge:
    """The criterion of points that a statistic of groups is for a group of one.

    Args:
        name: one of `upland.catalogue.STATISTICS`.
    """

    def judge(member: Member, x: Tensor) -> Floats:
        found: Floats = tester_of(member).statistic(name).of_each_row(_outputs(member, x)).numpy()
        return found

    return judge


def likelihood(member: Member, x: Tensor) -> Floats:
    """The energy in nats: `(N, ...)` -> `(N,)`."""
    found: Floats = _outputs(member, x).energy.numpy()
    return found


def complexity(member: Member, x: Tensor) -> Floats:
    """Nats of the discrete image beyond the compressed length: `(N, C, H, W)` -> `(N,)`."""
    encoder = member.encoder
    assert isinstance(encoder, ImageEncoder)
    return likelihood(member, x) - encoder.width * log(encoder.bin) - lengths(member, x)


def combined(member: Member, x: Tensor) -> Floats:
    """The mean of divergence and squared complexity, in standard deviations of normal rows: `(N, C, H, W)` ->
    `(N,)`.
    """
    if member not in _complexities:
        standard = _outputs(member, reference_of(member).reference_rows())
        nats = torch.from_numpy(lengths(member, standard.points))
        _complexities[member] = JointStatistic([Complexity()]).fit(standard._replace(points=nats))
    rows, known = _outputs(member, x), _complexities[member]
    beyond = known.features(rows._replace(points=torch.from_numpy(lengths(member, x))))
    too_high = known.standardised(beyond, torch.ones(len(beyond), dtype=torch.float64))[:, 0].clamp(min=0)
    divergence = tester_of(member).statistic("divergence").of_each_row(rows)
    both: Floats = 0.5 * (divergence.numpy() + too_high.square().numpy())
    return both


def _outputs(member: Member, x: Tensor) -> ModelOutputs:
    return model_outputs(member.model, member.sigma, x)


def lengths(member: Member, x: Tensor) -> Floats:
    """Nats that a lossless compressor (DEFLATE, differences of neighbours) needs: `(N, ...)` -> `(N,)`."""
    return np.array([8 * log(2) * _compressed(image) for image in _levels(member, x)], dtype=np.float64)


def _levels(member: Member, x: Tensor) -> NDArray[np.uint8 | np.uint16]:
    """The whole numbers that codes between -1/2 and 1/2 stand for: `(N, H, W, C)`."""
    encoder = member.encoder
    assert isinstance(encoder, ImageEncoder)
    most = round(1 / encoder.bin) - 1
    levels = np.clip(np.rint((x.numpy() + 0.5) / encoder.bin - 0.5), 0, most)
    return np.moveaxis(levels, 1, 3).astype(np.uint8 if most < 256 else np.uint16)


def _compressed(image: NDArray[np.uint8 | np.uint16]) -> int:
    """Bytes; the shortest of the image and its differences to the left and to the one above."""
    across, down = np.diff(image, axis=1, prepend=0), np.diff(image, axis=0, prepend=0)
    return min(len(zlib.compress(part.astype(image.dtype).tobytes(), 9)) for part in (image, across, down))


FLOW_TABLES: Mapping[str, Judge] = {
    "likelihood": likelihood,
    "typicality": of_one("typicality"),
    "divergence": of_one("divergence"),
}
FLOW_IMAGES: Mapping[str, Judge] = {
    "combined": combined,
    "divergence": of_one("divergence"),
    "likelihood": likelihood,
    "typicality": of_one("typicality"),
    "complexity": complexity,
}
VAE_TABLES: Mapping[str, Judge] = {"reconstruction": RECONSTRUCTION, **FLOW_TABLES}
VAE_IMAGES: Mapping[str, Judge] = {"reconstruction": RECONSTRUCTION, **FLOW_IMAGES}
