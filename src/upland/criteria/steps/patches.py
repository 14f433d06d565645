r"""Experts of the shape of the last steps of a channel, its *patch*.

* Patches: the squared distance of the patch from the nearest of at most 256 normal ones, where a patch is
  embedded as the means of its 8 to 16 equal pieces (piecewise aggregate approximation, Keogh et al. 2001).
* Subspace: the squared distance of the patch from the affine subspace of the principal components that hold
  nine tenths of the variance of normal ones (Sub-PCA).
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from upland.criteria.base import Floats
from upland.criteria.steps.part import Normal, StepPart, past_windows, spread

SUPPORTS = 256
"""Normal patches that new ones are compared with, at most."""

KEPT = 0.9  # share of the variance that the subspace holds
MOST = 5_000  # patches that a subspace is fitted on


class Patches(StepPart):
    """The squared distance from the nearest normal patch, a mean over its steps.

    Args:
        length: steps of a patch.
        piece: steps that are averaged to one number; a divisor of the length.
    """

    FIELDS: ClassVar = {"supports": ("channel", "patch", "piece")}
    supports: Floats

    def __init__(self, length: int, piece: int) -> None:
        self.reach, self.piece = length, piece

    def sizes(self) -> dict[str, int]:
        """See `StepPart.sizes`."""
        return {"piece": self.reach // self.piece}

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, SUPPORTS)]
        windows = normal.windows(ends, self.reach)[..., : normal.n_channels]
        pieces = windows.reshape(len(ends), -1, self.piece, normal.n_channels).mean(axis=2)
        self.supports = np.ascontiguousarray(pieces.transpose(2, 0, 1))
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        n_channels, _, pieces = self.supports.shape
        means = past_windows(steps[..., :n_channels], self.piece).mean(axis=-1)
        patches = past_windows(means, self.reach - self.piece + 1)[..., :: self.piece]
        n, length = patches.shape[:2]
        found = np.empty((n, length, n_channels))
        for channel, supports in enumerate(self.supports):
            rows = np.ascontiguousarray(patches[:, :, channel]).reshape(-1, pieces)
            half = 0.5 * np.einsum("kp,kp->k", supports, supports)
            nearest = (half - rows @ supports.T).min(axis=1)
            squares = np.einsum("np,np->n", rows, rows) + 2 * nearest
            found[..., channel] = np.maximum(squares, 0.0).reshape(n, length) / pieces
        return found


class Subspace(StepPart):
    """The squared distance from the subspace of normal patches, a mean over its steps.

    Args:
        length: steps of a patch.
    """

    FIELDS: ClassVar = {"mean": ("channel", "length"), "outside": ("channel", "length", "length")}
    mean: Floats
    outside: Floats

    def __init__(self, length: int = 32) -> None:
        self.reach = length

    def sizes(self) -> dict[str, int]:
        """See `StepPart.sizes`."""
        return {"length": self.reach}

    def fit(self, normal: Normal) -> Self:
        """See `StepPart.fit`."""
        ends = normal.ends[spread(normal.ends.size, MOST)]
        windows = normal.windows(ends, self.reach)[..., : normal.n_channels]
        self.mean = np.ascontiguousarray(windows.mean(axis=0).T)
        self.outside = np.zeros((normal.n_channels, self.reach, self.reach))
        for channel in range(normal.n_channels):
            away = windows[:, :, channel] - self.mean[channel]
            variances, axes = np.linalg.eigh(away.T @ away / len(away))
            held = np.cumsum(variances[::-1]) / max(float(variances.sum()), 1e-12)
            kept = min(int(np.searchsorted(held, KEPT)) + 1, self.reach - 1)
            self.outside[channel, :, : self.reach - kept] = axes[:, : self.reach - kept]
        return self

    def squares(self, steps: Floats) -> Floats:
        """See `StepPart.squares`."""
        windows = past_windows(steps[..., : len(self.mean)], self.reach)
        found = np.empty(windows.shape[:3])
        for channel, (mean, outside) in enumerate(zip(self.mean, self.outside, strict=True)):
            rows = (windows[:, :, channel] - mean) @ outside
            found[..., channel] = np.einsum("nlw,nlw->nl", rows, rows) / self.reach
        return found
