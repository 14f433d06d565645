r"""The p-value of a group at its own size, from R held-out normal rows that nothing fitted has seen.

A statistic T of n rows is a function of means of features (`upland.groups.base`). Two procedures, both exact
for every T that is fixed before:

* *disjoint groups*: one fixed random partition of the R rows into k = floor(R / n) groups of n. The group
  tested is exchangeable with them if it is normal, so p = (1 + #{T_b >= T}) / (k + 1), as for single rows.
* *permutation*, where 1 / (k + 1) does not resolve what is asked: pool the n rows with the R, draw n of the n
  + R without replacement, B times: p = (1 + #{T_b >= T}) / (B + 1). If the group is normal, all R + n rows
  are exchangeable, its own n are one more such draw, and P(p <= alpha) <= alpha at every n.

The pool must hold the group itself, and draws must be without replacement. Drawing from the R rows alone or
with replacement makes groups that the tested one is not exchangeable with: copies of rows make drawn groups
differ from fresh ones, all the more the larger n is against R.

Draws stop early (Besag and Clifford 1991): with the h-th draw that reaches T, at draw l, p = h / l, which is
exact as well. Groups of one size share their draws; one that happens to hold none of the group's rows has the
same T_b for all, so that a thousand groups cost little more than one.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

Value = Callable[[Tensor, Tensor], Tensor]

SEED = 1991
BLOCK = 128  # draws at a time
ENOUGH_EXCEEDED = 20  # draws that reach T, after which there are no more
LEAST_DRAWS, MOST_DRAWS = 999, 99_999
MARGIN = 2  # draws are so many times those that would just resolve what is asked
WORK = 2.5e9  # numbers that the draws of one group go through at most, beyond the least number of draws
MEMORY = 2**25  # numbers kept of draws that groups share
DENSE = 20  # part of the rows in a draw, 1 in so many, from which a matrix product is quicker
ROUNDING = 1e-9  # relative; what is nearer than this counts as reaching


class GroupPValue(NamedTuple):
    """The p-value of one group.

    Args:
        p: the p-value.
        smallest: the least it could have been.
        method: "disjoint groups" or "permutation".
    """

    p: float
    smallest: float
    method: str


class Null:
    """P-values of groups from held-out normal rows.

    Args:
        features: `(R, F)` of those rows.
        value: the statistic of means `(G, F)` and sizes `(G,)`.
        resolution: the p-value that must be reachable: alpha, or alpha over the number of groups where false
            discoveries among these are controlled.
        seed: of the partition and the draws; the same gives the same p-values.

    Raises:
        ValueError: there are no rows, or the resolution is not in (0, 1).
    """

    def __init__(self, features: Tensor, value: Value, resolution: float = 0.05, seed: int = SEED) -> None:
        if not len(features):
            raise ValueError("p-values of groups need held-out normal rows")
        if not 0 < resolution < 1:
            raise ValueError(f"resolution must be between 0 and 1, got {resolution!r}")
        self.features, self.value, self.seed = features, value, seed
        self.resolution = resolution
        wanted = math.ceil(MARGIN / resolution) - 1
        self.draws = min(max(wanted, LEAST_DRAWS), MOST_DRAWS)
        self._disjoint: dict[int, Tensor] = {}
        self._blocks: dict[int, _Block] = {}
        self._size = 0

    def method(self, n: int) -> str:
        """How a group of n rows is tested.

        Args:
            n: its size.
        """
        return (
            "permutation"
            if n > 1 and 1 / (len(self.features) // n + 1) > self.resolution
            else "disjoint groups"
        )

    def draws_of(self, n: int) -> int:
        """How many draws a group of n rows gets at most: of large groups fewer, as each costs more.

        Args:
            n: its size.
        """
        affordable = int(WORK // (n * self.features.shape[1]))
        return max(min(self.draws, affordable), min(self.draws, LEAST_DRAWS))

    def smallest(self, n: int) -> float:
        """The least p-value that a group of n rows can have.

        Args:
            n: its size.
        """
        if self.method(n) == "disjoint groups":
            return 1 / (len(self.features) // n + 1)
        return max(1 / (self.draws_of(n) + 1), math.exp(-_log_choices(len(self.features) + n, n)))

    def p_value(self, group: Tensor) -> GroupPValue:
        """The p-value of one group.

        Args:
            group: `(n, F)` features of its rows, n >= 1.
        """
        n = len(group)
        method = self.method(n)
        statistic = self._value(group.mean(0, keepdim=True), n)[0]
        reached = statistic - ROUNDING * statistic.abs()
        if method == "disjoint groups":
            values = self._partition(n)
            p = (1 + int((values >= reached).sum())) / (len(values) + 1)
        else:
            p = self._permuted(group, reached)
        return GroupPValue(p, self.smallest(n), method)

    def _value(self, means: Tensor, n: int) -> Tensor:
        return self.value(means, torch.full((len(means),), float(n), dtype=torch.float64))

    def _partition(self, n: int) -> Tensor:
        """T of the disjoint groups of n rows."""
        if n not in self._disjoint:
            count = len(self.features) // n
            order = np.random.default_rng([self.seed, 0]).permutation(len(self.features))[: count * n]
            groups = self.features[torch.from_numpy(order)].reshape(count, n, -1)
            self._disjoint[n] = self._value(groups.mean(1), n)
        return self._disjoint[n]

    def _permuted(self, group: Tensor, reached: Tensor) -> float:
        """Draw until enough have reached T, or to the end."""
        exceeded, drawn, most = 0, 0, self.draws_of(len(group))
        while drawn < most:
            values = self._draw(group, drawn // BLOCK)[: most - drawn]
            total = exceeded + torch.cumsum(values >= reached, 0)
            if total[-1] >= ENOUGH_EXCEEDED:
                last = drawn + 1 + int(torch.searchsorted(total, ENOUGH_EXCEEDED))
                return ENOUGH_EXCEEDED / last
            exceeded, drawn = int(total[-1]), drawn + len(values)
        return (1 + exceeded) / (most + 1)

    def _draw(self, group: Tensor, number: int) -> Tensor:
        """T of a block of draws from the pool of a group and the normal rows: `(BLOCK,)`."""
        n = len(group)
        block = self._shared(n, number)
        values = block.values.clone()
        if len(block.touched):
            values[block.touched] = self._value((block.sums + block.members @ group) / n, n)
        return values

    def _shared(self, n: int, number: int) -> "_Block":
        """A block of draws; those of the last size are kept as far as memory goes."""
        if n != self._size:
            self._blocks, self._size = {}, n
        if number in self._blocks:
            return self._blocks[number]
        block = self._prepared(n, number)
        if (len(self._blocks) + 1) * BLOCK * (self.features.shape[1] + n) <= MEMORY:
            self._blocks[number] = block
        return block

    def _prepared(self, n: int, number: int) -> "_Block":
        """What all groups of n rows have in common in a block of draws."""
        rows = len(self.features)
        source = np.random.default_rng([self.seed, n, number])
        chosen = np.stack([source.choice(rows + n, n, replace=False, shuffle=False) for _ in range(BLOCK)])
        sums = _sums(self.features, chosen)
        own = chosen >= rows
        touched = np.flatnonzero(own.any(1))
        members = np.zeros((len(touched), n))
        draw, position = np.nonzero(own[touched])
        members[draw, chosen[touched][draw, position] - rows] = 1
        return _Block(
            self._value(sums / n, n),
            torch.from_numpy(touched),
            sums[torch.from_numpy(touched)],
            torch.from_numpy(members),
        )


class _Block(NamedTuple):
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


def _sums(features: Tensor, chosen: NDArray[np.int64]) -> Tensor:
    """Sums of features over the normal rows of each draw: `(B, n)` -> `(B, F)`."""
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


def _log_choices(rows: int, n: int) -> float:
    return math.lgamma(rows + 1) - math.lgamma(n + 1) - math.lgamma(rows - n + 1)
