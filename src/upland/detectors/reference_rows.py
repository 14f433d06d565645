"""Which normal rows are kept with a model, to compare others with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder, kept_numbers

Indices = NDArray[np.int64]

KEPT_NUMBERS, KEPT_LEAST = 1 << 22, 256
"""Encoded numbers of each sort of rows that are kept with a model; rows, however wide."""


def some_of(rows: Indices, most: int, width: int, generator: np.random.Generator) -> Indices:
    """Some of the rows, sorted, few enough to be kept with a model.

    Args:
        rows: the numbers of those that may be kept, sorted.
        most: how many at most; of wide rows fewer.
        width: encoded numbers of a row.
        generator: chooses.
    """
    count = min(most, rows.size, max(KEPT_LEAST, KEPT_NUMBERS // width))
    if not count:
        return rows[:0]
    return np.sort(generator.choice(rows, count, replace=False))


def to_be_kept(encoder: Encoder, codes: Tensor) -> Tensor:
    """What of encoded rows is kept with a model, and groups are tested by: of features the vectors alone.

    Args:
        encoder: fitted.
        codes: `(n, ...)`.
    """
    if not isinstance(encoder, FeatureEncoder):
        return codes
    return codes[:, : kept_numbers(encoder)[0]].clone()  # a part would hold the whole
