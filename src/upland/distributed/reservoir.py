"""A uniform sample without replacement of rows in many partitions, whoever reads which of them when.

Each row has a random key, by the seed, the number of its partition and its own number there alone; those with
the smallest keys are the sample. So samples of partitions merge: the smallest of all keys are among the
smallest of each partition. Every set of rows of the sample's size is equally likely, since a random order of
all rows decides; more workers, another order of the work or a second try change nothing.

Reference: J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical Software 11
(1985); the keys are those of P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir",
Information Processing Letters 97 (2006), with equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

STREAM = 14
"""Keeps the keys apart from what else is drawn by the same seed."""

MARGIN = 10.0
"""Standard deviations by which partitions offer more rows than are wanted of all of them together."""


def keys_of(seed: int, partition: int, n_rows: int) -> NDArray[np.float64]:
    """The random keys of the rows of a partition: `(n,)` in [0, 1).

    Args:
        seed: of the sample.
        partition: its number.
        n_rows: how many rows it has.
    """
    return np.random.default_rng([seed, STREAM, partition]).random(n_rows)


def bound_of(size: int, n_all: int) -> float:
    """A bound below which, but for a chance below 1e-20, there are as many keys as are wanted; infinite where
    all rows are.

    Args:
        size: rows that are wanted.
        n_all: all rows.
    """
    wanted = size + MARGIN * math.sqrt(size) + MARGIN**2
    return wanted / n_all if wanted < n_all else math.inf


@dataclass(frozen=True, eq=False)
class Reservoir:
    """The rows with the smallest keys, in rising order of partition and row.

    Args:
        size: how many rows it holds at most.
        keys: `(n,)` of the rows.
        partitions: `(n,)` numbers of their partitions.
        rows: `(n,)` their numbers there.
    """

    size: int
    keys: NDArray[np.float64]
    partitions: Indices
    rows: Indices

    @classmethod
    def of(cls, size: int, seed: int, partition: int, n_rows: int, bound: float = math.inf) -> Self:
        """The sample of the rows of one partition.

        Args:
            size: how many rows it holds at most.
            seed: of the sample.
            partition: its number.
            n_rows: how many rows it has.
            bound: keys from here on are left out.
        """
        keys = keys_of(seed, partition, n_rows)
        numbers = np.flatnonzero(keys < bound)
        return cls(size, keys[numbers], np.full(len(numbers), partition, dtype=np.int64), numbers)._cut()

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """The sample of the rows of all partitions that some samples are of.

        Args:
            parts: at least one, of different partitions.
        """
        keys = np.concatenate([part.keys for part in parts])
        partitions = np.concatenate([part.partitions for part in parts])
        return cls(parts[0].size, keys, partitions, np.concatenate([part.rows for part in parts]))._cut()

    def _cut(self) -> Self:
        order = np.lexsort((self.rows, self.partitions, self.keys))[: self.size]
        order = order[np.lexsort((self.rows[order], self.partitions[order]))]
        return type(self)(self.size, self.keys[order], self.partitions[order], self.rows[order])

    def rows_in(self, partition: int) -> Indices:
        """The sorted numbers of the rows of one partition that it holds.

        Args:
            partition: its number.
        """
        first, last = np.searchsorted(self.partitions, [partition, partition + 1])
        return self.rows[first:last]
