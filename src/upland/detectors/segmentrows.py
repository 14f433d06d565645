"""Rows of a table in segments: which of them train and which calibrate, and what a detector makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.data.table.frames import TableView
from upland.detectors.fitting import CALIBRATION_MOST, PIECE
from upland.models.credibility import share

Indices = NDArray[np.int64]

EVERY = 5
"""One row in so many calibrates, in every segment."""


class SegmentRows(NamedTuple):
    """Rows of segments: `(N,)` each, and the codes `(N, D)`.

    Args:
        of: the number of each row's segment; that of segments for a row of none.
        codes: as the first member of the pooled detector encodes them.
        pooled: their scores by the pooled detector.
    """

    of: Indices
    codes: Tensor
    pooled: Tensor


def parted(of: Indices, generator: np.random.Generator) -> tuple[Indices, Indices]:
    """The rows that train and those that calibrate, sorted: of every segment one in five at random, one more
    or less, and some thousands at most.

    Args:
        of: `(N,)` the number of each row's segment.
        generator: decides who calibrates.
    """
    order = generator.permutation(of.size)
    order = order[np.argsort(of[order], kind="stable")]
    chosen = order[int(generator.integers(min(EVERY, of.size))) :: EVERY]
    starts = np.searchsorted(of[chosen], of[chosen], side="left")
    chosen = np.sort(chosen[np.arange(chosen.size) - starts < CALIBRATION_MOST])
    return np.setdiff1d(np.arange(of.size), chosen, assume_unique=True), chosen


def pieces_of(rows: TableView, numbers: Indices) -> Iterator[TableView]:
    """Some rows of a table, in pieces.

    Args:
        rows: the table.
        numbers: of the rows, sorted.
    """
    return (rows.take(numbers[start : start + PIECE]) for start in range(0, numbers.size, PIECE))


def joined(parts: Sequence[SegmentRows]) -> SegmentRows:
    """Parts, one behind another.

    Args:
        parts: one at least.
    """
    of, codes, pooled = zip(*parts, strict=True)
    return SegmentRows(np.concatenate(of), torch.cat(codes), torch.cat(pooled))


def own_weights(weights: tuple[float, float, float], counts: Indices) -> dict[str, Any]:
    """The mean weight of the segments' own means, scales and covariances, and how many are mostly pooled.

    Args:
        weights: training rows that the pooled ones weigh as much as.
        counts: training rows of each segment.
    """
    rows = torch.from_numpy(counts).double()[:, None]
    own = share(torch.tensor([weights], dtype=torch.float64), rows)
    names = ("own_mean", "own_scales", "own_covariance")
    return dict(zip(names, own.mean(0).tolist(), strict=True)) | {
        "mostly_pooled": int((own.amax(1) < 0.5).sum())
    }
