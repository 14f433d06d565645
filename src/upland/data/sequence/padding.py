"""Codes of the steps of sequences side by side, filled up behind the end of the shorter ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.float32]


def padded(codes: Codes, lengths: NDArray[np.int64]) -> Codes:
    """Codes of steps as `(N, T, D)`, T the longest sequence; NaN behind the end of a shorter one.

    Args:
        codes: `(S, D)`, sequence after sequence, S the sum of the lengths.
        lengths: `(N,)` steps of each sequence.
    """
    longest, width = int(lengths.max()), codes.shape[1]
    if lengths.min() == longest:
        return codes.reshape(lengths.size, longest, width)
    result = np.full((lengths.size, longest, width), np.nan, dtype=np.float32)
    result[np.arange(longest) < lengths[:, None]] = codes
    return result
