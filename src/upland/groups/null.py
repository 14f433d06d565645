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
exact as well. With h = 20 a large p-value is coarse, its standard error about p / sqrt(20); where p is not
clearly above the rate that is kept, draws go on with h = 100. P(p <= a) stays at most a: let p' be the
p-value at 20 and p'' that at 100, both exact. What is reported is p' where p' > c and p'' otherwise, so that
{p <= a} is part of {p'' <= a} for a < c, and of {p' <= a} for a >= c.

Groups of one size share their draws; one that happens to hold none of the group's rows has the same T_b for
all, so that a thousand groups cost little more than one. The standard error of p over other draws from the
same rows is sqrt(p (1 - p) / draws), of disjoint groups (whose partition is drawn) at most about that.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upland.calibration.conformal import Floats
from upland.groups.draws import Block, Count, chosen_rows, own_rows, sums_of

Value = Callable[[Tensor, Tensor], Tensor]

SEED = 1991
LEAST_DRAWS, MOST_DRAWS = 999, 99_999
MARGIN = 2  # draws are so many times those that would just resolve what is asked
WORK = 2.5e9  # numbers that the draws of one group go through at most, beyond the least number of draws
MEMORY = 2**25  # numbers kept of draws that groups share
AT_ONCE = 2**21  # means of features of draws that are compared at once
COARSE = 0.1  # p-values above it have the accuracy of few draws
ROUNDING = 1e-9  # relative; what is nearer than this counts as reaching


class GroupPValue(NamedTuple):
    """The p-value of one group.

    Args:
        p: the p-value.
        smallest: the least it could have been.
        method: "disjoint groups" or "permutation".
        error: its standard error over other draws from the same rows.
        value: the statistic.
    """

    p: float
    smallest: float
    method: str
    error: float
    value: float


class Null:
    """P-values of groups from held-out normal rows.

    Args:
        features: `(R, F)` of those rows.
        value: the statistic of means `(G, F)` and sizes `(G,)`.
        resolution: the p-value that must be reachable: alpha, or alpha over the number of groups where false
            discoveries among these are controlled.
        seed: of the partition and the draws; the same gives the same p-values.
        coarse: the p-value above which draws stop early.

    Raises:
        ValueError: there are no rows, or the resolution is not in (0, 1).
    """

    def __init__(
        self,
        features: Tensor,
        value: Value,
        resolution: float = 0.05,
        seed: int = SEED,
        coarse: float = COARSE,
    ) -> None:
        if not len(features):
            raise ValueError("p-values of groups need held-out normal rows")
        if not 0 < resolution < 1:
            raise ValueError(f"resolution must be between 0 and 1, got {resolution!r}")
        self.features, self.value, self.seed = features, value, seed
        self.resolution, self.coarse = resolution, coarse
        wanted = math.ceil(MARGIN / resolution) - 1
        self.draws = min(max(wanted, LEAST_DRAWS), MOST_DRAWS)
        self._disjoint: dict[int, Tensor] = {}
        self._blocks: dict[int, Block] = {}
        self._size, self._kept = 0, 0

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
        return self.p_values([group])[0]

    def p_values(self, groups: Sequence[Tensor]) -> list[GroupPValue]:
        """The p-value of each of some groups of one size, which does not depend on the others.

        Args:
            groups: each `(n, F)` features of its rows, n >= 1.
        """
        n = len(groups[0])
        method, smallest = self.method(n), self.smallest(n)
        # One group at a time, since the last bit of a vectorised result may depend on its position.
        own = torch.cat([self._value(group.mean(0, keepdim=True), n) for group in groups])
        reached = own - ROUNDING * own.abs()
        if method == "disjoint groups":
            values = self._partition(n)
            draws = np.full(len(groups), len(values))
            p = (1 + (values >= reached[:, None]).sum(1).numpy()) / (len(values) + 1)
        else:
            p, draws = self._permuted(groups, reached)
        error = np.sqrt(p * (1 - p) / draws) if n > 1 else np.zeros(len(groups))
        parts = zip(p.tolist(), error.tolist(), own.tolist(), strict=True)
        return [GroupPValue(p, smallest, method, error, value) for p, error, value in parts]

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

    def _permuted(self, groups: Sequence[Tensor], reached: Tensor) -> tuple[Floats, NDArray[np.int64]]:
        """Draw until enough have reached each T, or to the end: the p-values, and their numbers of draws."""
        n, most = len(groups[0]), self.draws_of(len(groups[0]))
        counts = [Count(self.coarse) for _ in groups]
        active, start = list(range(len(groups))), 0
        while active and start < most:
            block = self._shared(n, start)
            most_groups = max(1, AT_ONCE // (block.sums.numel() + 1))
            for some in (active[i : i + most_groups] for i in range(0, len(active), most_groups)):
                values = self._draw(torch.stack([groups[i] for i in some]), block)[:, : most - start]
                for i, exceeds in zip(some, values >= reached[some, None], strict=True):
                    counts[i].add(exceeds)
            active = [i for i in active if not counts[i].stopped]
            start += len(block.values)
        return np.array([count.p for count in counts]), np.array([count.draws for count in counts])

    def _draw(self, groups: Tensor, block: Block) -> Tensor:
        """T of a block of draws from the pool of each group `(G, n, F)` and the normal rows: `(G, B)`."""
        values = block.values.expand(len(groups), -1)
        if not len(block.touched):
            return values
        sums = block.sums + block.members @ groups
        found = self._value(sums.flatten(0, 1) / groups.shape[1], groups.shape[1])
        return torch.index_copy(values, 1, block.touched, found.reshape(len(groups), -1))

    def _shared(self, n: int, start: int) -> Block:
        """The block of draws that begins here; those of the last size are kept as far as memory goes."""
        if n != self._size:
            self._blocks, self._size, self._kept = {}, n, 0
        if start in self._blocks:
            return self._blocks[start]
        block = self._prepared(n, start)
        self._kept += len(block.values) * (self.features.shape[1] + n)
        if self._kept <= MEMORY:
            self._blocks[start] = block
        return block

    def _prepared(self, n: int, start: int) -> Block:
        """What all groups of n rows have in common in a block of draws."""
        rows = len(self.features)
        chosen = chosen_rows(rows + n, n, start, self.seed)
        sums = sums_of(self.features, chosen)
        touched = torch.from_numpy(np.flatnonzero((chosen >= rows).any(1)))
        own = own_rows(chosen[touched.numpy()], rows)
        return Block(self._value(sums / n, n), touched, sums[touched], own)


def _log_choices(rows: int, n: int) -> float:
    return math.lgamma(rows + 1) - math.lgamma(n + 1) - math.lgamma(rows - n + 1)
