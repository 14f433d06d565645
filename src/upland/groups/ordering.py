"""Rows and groups in an order of their encoded values, whatever order they came in.

The last bits of sums and of vectorised functions depend on the order and position of rows, and so do the rows
that a random draw takes. Sorted first, the same groups of the same rows give the same bits in any order.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

MOST_ROWS = 4_096
"""Rows by which a larger group is tested, drawn from it with a fixed seed."""


class Group(NamedTuple):
    """A group of rows.

    Args:
        size: how many it has.
        key: the same for groups of the same rows.
        number: of the group.
        rows: `(n,)` the numbers of those that it is tested by, in the order of their values.
    """

    size: int
    key: bytes
    number: int
    rows: NDArray[np.int64]


def sorted_groups(x: Tensor, numbers: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[Group]:
    """The groups by size and then by their rows.

    Args:
        x: `(N, ...)` encoded rows.
        numbers: `(N,)` the number of each row's group.
        sizes: `(G,)` rows of each.
    """
    codes = _codes(x)
    order = codes.argsort(kind="stable")
    rows_of = np.split(order[np.argsort(numbers[order], kind="stable")], np.cumsum(sizes)[:-1])
    groups = []
    for number, (rows, size) in enumerate(zip(rows_of, sizes.tolist(), strict=True)):
        if size > MOST_ROWS:
            rows = rows[np.sort(np.random.default_rng(size).choice(size, MOST_ROWS, replace=False))]
        digest = blake2b(codes[rows].tobytes(), digest_size=16, key=b"%d" % size).digest()
        groups.append(Group(size, digest, number, rows))
    return sorted(groups, key=lambda group: group[:3])


def _codes(x: Tensor) -> NDArray[np.void]:
    """Each row as bytes, those of equal rows equal: `(N, ...)` -> `(N,)`."""
    values = x.flatten(1).numpy() + 0  # -0.0 becomes 0.0
    values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">")))
    whole: NDArray[np.void] = values.view(
        np.dtype((np.void, values.dtype.itemsize * values.shape[1]))
    ).ravel()
    return whole
