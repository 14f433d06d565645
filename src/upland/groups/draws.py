"""Random draws of rows from a pool of normal rows and a group, and when enough of them have been seen."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

LEAST_BLOCK, MOST_BLOCK = 64, 512  # draws at a time: as many as there have been, within these
FEW_EXCEEDED = 20  # draws that reach T, after which there are no more where p is large
ENOUGH_EXCEEDED = 100  # the same where it is not
DENSE = 20  # part of the rows in a draw, 1 in so many, from which a matrix product is quicker


class Block(NamedTuple):
    """Draws that groups of one size share.

    Args:
        values: T of each draw, right where it holds none of the group's rows.
        touched: draws that hold some.
        sums: of features over their normal rows.
        members: `(touched, n)` which of the group's rows they hold, as 0 and 1.
    """

    values: Tensor
    touched: Tensor
    sums: Tensor
    members: Tensor


@dataclass
class Count:
    """How many draws have reached T, and the p-value that comes of it.

    Args:
        coarse: the p-value above which few are enough.
        exceeded: draws that have reached T.
        draws: all draws so far.
        enough: exceedances at which the draws stop.
        stopped: whether they have.
    """

    coarse: float
    exceeded: int = 0
    draws: int = 0
    enough: int = FEW_EXCEEDED
    stopped: bool = False

    @property
    def p(self) -> float:
        """The p-value of the draws so far."""
        return self.exceeded / self.draws if self.stopped else (1 + self.exceeded) / (self.draws + 1)

    def add(self, exceeds: Tensor) -> None:
        """Count a block of draws.

        Args:
            exceeds: `(B,)` which of them reach T.
        """
        total = self.exceeded + torch.cumsum(exceeds, 0)
        for enough in (FEW_EXCEEDED, ENOUGH_EXCEEDED):
            if enough < self.enough or total[-1] < enough:
                continue
            last = self.draws + 1 + int(torch.searchsorted(total, enough))
            if enough == ENOUGH_EXCEEDED or enough / last > self.coarse:
                self.exceeded, self.draws, self.stopped = enough, last, True
                return
            self.enough = ENOUGH_EXCEEDED
        self.exceeded, self.draws = int(total[-1]), self.draws + len(exceeds)


def chosen_rows(rows: int, n: int, start: int, seed: int) -> NDArray[np.int64]:
    """Which rows are in each draw of the block that begins with draw number `start`: `(B, n)`, none twice.

    Args:
        rows: there are to draw from.
        n: rows of a draw.
        start: draws before.
        seed: of the draws.
    """
    source = np.random.default_rng([seed, n, start])
    draws = min(max(start, LEAST_BLOCK), MOST_BLOCK)
    return np.stack([source.choice(rows, n, replace=False, shuffle=False) for _ in range(draws)])


def sums_of(features: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    """Sums of features over the normal rows of each draw: `(B, F)`.

    Args:
        features: `(R, F)` of the normal rows.
        chosen: `(B, n)` which rows are in each draw; those from R on are the group's own.
    """
    rows = len(features)
    draw = np.repeat(np.arange(len(chosen)), chosen.shape[1])
    row = chosen.ravel()
    normal = row < rows
    if chosen.shape[1] * DENSE > rows:
        dense = np.zeros((len(chosen), rows))
        dense[draw[normal], row[normal]] = 1
        return torch.from_numpy(dense) @ features
    members = csr_array((np.ones(normal.sum()), (draw[normal], row[normal])), shape=(len(chosen), rows))
    return torch.from_numpy(members @ features.numpy())


def own_rows(chosen: NDArray[np.int64], rows: int) -> Tensor:
    """Which of the group's own rows are in each draw: `(B, n)` of 0 and 1, float64.

    Args:
        chosen: `(B, n)` which rows are in each draw; those from `rows` on are the group's own.
        rows: how many normal rows there are.
    """
    own = np.zeros(chosen.shape)
    draw, position = np.nonzero(chosen >= rows)
    own[draw, chosen[draw, position] - rows] = 1
    return torch.from_numpy(own)
