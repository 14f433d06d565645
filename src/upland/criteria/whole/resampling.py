"""Sequences of several lengths on one grid, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upland.criteria.base import Floats

LONGEST = 512
"""Steps of a grid at most: what `window="auto"` leaves uncut."""


def median_length(sequences: Sequence[Floats], most: int = LONGEST) -> int:
    """The median length of sequences, in steps.

    Args:
        sequences: `(T_i, D)` each.
        most: what it is cut at.
    """
    return max(1, min(most, int(np.median([len(steps) for steps in sequences]))))


def resampling(steps: int, length: int) -> Floats:
    """What takes a sequence to a grid, by a product from the left: `(length, steps)`, each row sums to 1.

    A shorter sequence is interpolated linearly; of a longer one each step of the grid is a mean.

    Args:
        steps: of the sequence.
        length: of the grid.
    """
    if steps > length:
        edges = np.arange(length + 1) * (steps / length)
        first, last = edges[:-1, None], edges[1:, None]
        at = np.arange(steps)[None, :]
        overlap = np.minimum(last, at + 1) - np.maximum(first, at)
        parts = np.maximum(overlap, 0.0)
        means: Floats = parts / parts.sum(1, keepdims=True)
        return means
    positions = np.linspace(0.0, steps - 1.0, length)
    away = np.abs(positions[:, None] - np.arange(steps)[None, :])
    return np.maximum(1.0 - away, 0.0)


def on_grid(sequences: Sequence[Floats], length: int) -> Floats:
    """Sequences `(T_i, D)` on one grid: `(N, length, D)`.

    Args:
        sequences: one at least.
        length: of the grid.
    """
    return np.stack([resampling(len(steps), length) @ steps for steps in sequences])


def from_grid(shares: Floats, steps: int) -> Floats:
    """Shares of the grid `(length, D)` as those of the steps of a sequence `(steps, D)`; their sum stays.

    Args:
        shares: of the grid.
        steps: of the sequence.
    """
    found: Floats = resampling(steps, len(shares)).T @ shares
    return found
