r"""The missing-mass energy: values, and pairs of values, that no normal row has had, where that is rare.

Many columns of tables repeat their values: counts, codes, categories, readings of a certain resolution. How
likely a new row is to have a value that no row has had before is known without any assumption: with n_1 of n
values seen exactly once, that probability, the missing mass p, is close to

    n_1 / n

(Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40,
1953). If an anomalous row has an unseen value with probability q = 1/2, the logarithm of the likelihood ratio
is log(q / p), and the energy is the sum of these over the columns with p < q in which the row has an unseen
value. Distances do not see it: 12.345 lies among 12.3 and 12.4. Pairs of such columns are treated alike, each
pair of values being one value; they find rows whose values are all usual but not together.

Good's estimate holds for rows in random order. Rows of a file often drift: a sensor is read with other
decimals from some day on, numbers of new articles come up. So rows are left out in blocks of neighbours, and

    p = max(rows whose value no row of another block has, 1) / (n + 1),

which is Good's with every row a block of its own. A column with drift has a large p, and counts for little.

Values that differ by no more than rounding to float32 are one value: the same table comes as doubles in one
file and as floats in another. They are not in columns, such as time stamps, whose values are that close.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from upland.models.parts import Layout, Part
from upland.models.recurring_values import (
    Counted,
    countable_columns,
    counted,
    nearest_keys,
    positions_of,
    tolerance_of,
    values_of,
)
from upland.models.stored import require

EXPECTED = 0.5
"""Probability q that an anomalous row has an unseen value."""

MOST_OF_COLUMN, MOST_OF_PAIR = 0.3, 0.3
"""Missing mass from which a column has no part in pairs, and from which a pair is not looked up."""

PAIRS = 64

ROWS = 20_000
"""Training rows whose values are counted, at most."""

MEASURED = 2_000
SHIFT, LAST = 1 << 32, (1 << 63) - 1
"""Keys of values are positions below the first; keys of pairs are padded with the second."""

CANDIDATES = 300
"""Pairs of columns that are counted, at most."""

MOST_WEIGHT = 50.0


class Counting(Part):
    """A part that looks values up among those of training rows: abstract, `unseen` to write.

    Args:
        layout: of the encoded inputs.
    """

    unbounded = ("keys",)

    used: Tensor
    keys: Tensor
    tolerance: Tensor
    weights: Tensor

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.columns = countable_columns(layout)
        self.register_buffer("used", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("keys", torch.zeros(0, 1, dtype=torch.float32))
        self.register_buffer("tolerance", torch.zeros(0, 1, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", torch.zeros(0, dtype=torch.float32))

    @abstractmethod
    def unseen(self, x: Tensor) -> Tensor:
        """Which of the things that are looked up no training row had: `(N, D) -> (K, N)` bool."""

    def values(self, x: Tensor) -> Tensor:
        """The sum of log(q / p) over what is unseen: `(N, D) -> (N,)`, float64."""
        return self.weights.double() @ self.unseen(x).double()

    def least_deviation(self) -> float:
        """The deviation of the energy where all is unseen as rarely as the missing mass says."""
        w = self.weights.double()
        return float((EXPECTED * (-w).exp() * w.square()).sum().sqrt())

    def after_loading(self) -> None:
        """Find for which columns close numbers are one value."""
        offsets = [self.columns.offsets[int(c)] for c in self.used]
        found = [tolerance_of(row, offset) for row, offset in zip(self.keys, offsets, strict=True)]
        self.tolerance = self.keys.new_tensor(found).reshape(-1, 1)

    def count(self, x: Tensor, blocks: Tensor | None = None) -> list[Counted]:
        """Count the values of each column of training rows.

        Args:
            x: `(N, D)` encoded rows.
            blocks: `(N,)` blocks of rows that are left out together; each row is one by default.
        """
        values = values_of(x[:ROWS], self.columns)
        part = None if blocks is None else blocks[:ROWS]
        return [
            counted(column, part, offset) for column, offset in zip(values, self.columns.offsets, strict=True)
        ]

    def keep(self, counts: Sequence[Counted], used: Sequence[int], x: Tensor) -> None:
        """Keep the values of some columns to look others up in.

        Args:
            counts: of each column.
            used: numbers of the columns, ascending.
            x: `(N, D)` encoded rows, for type and device.
        """
        self.used = torch.tensor(used, dtype=torch.int64, device=x.device)
        self.keys = _padded([counts[c].keys for c in used], x)
        self.after_loading()

    def look_up(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where the value of each column stands among those kept, and whether it is none: `(U, N)` twice."""
        offsets = torch.tensor(self.columns.offsets, dtype=torch.float32, device=x.device)[self.used]
        values = values_of(x, self.columns)[self.used]
        return nearest_keys(self.keys, values, offsets[:, None], self.tolerance)

    def first_inputs(self) -> Tensor:
        """The first input of each column whose values are kept: `(U,)`."""
        return torch.tensor(self.columns.first, dtype=torch.int64, device=self.used.device)[self.used]


class UnseenValues(Counting):
    """The missing-mass energy of single values.

    Args:
        layout: of the encoded inputs.

    Examples:
        >>> import torch
        >>> from upland.models.parts import plain_layout
        >>> x = torch.arange(100.0).remainder(5).reshape(-1, 1)
        >>> part = UnseenValues(plain_layout(1))
        >>> float(part.fit(x, None).max())
        0.0
        >>> [round(value, 2) for value in part.values(torch.tensor([[2.0], [2.5]])).tolist()]
        [0.0, 3.92]
    """

    sized = ("used", "keys", "weights")

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.blocks: Tensor | None = None

    def set_blocks(self, blocks: Tensor) -> None:
        """Take the block `(N,)` of neighbours in the data that each training row is of."""
        self.blocks = blocks

    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Count the values of training rows; returned are the energies of the first, each without its
        block.

        Args:
            x: `(N, D)` encoded rows in random order.
            generator: not used.
        """
        counts = self.count(x, self.blocks)
        used = [c for c, count in enumerate(counts) if _weight(count) > 0 and len(count.keys) > 1]
        self.keep(counts, used, x)
        self.weights = x.new_tensor([_weight(counts[c]) for c in used])
        found = x.new_zeros(min(len(x), MEASURED), dtype=torch.float64)
        for c, weight in zip(used, self.weights.double(), strict=True):
            found += weight * counts[c].alone[:MEASURED]
        return found

    def unseen(self, x: Tensor) -> Tensor:
        """Which values no training row had: `(N, D) -> (U, N)` bool, U the columns that are looked up."""
        return self.look_up(x)[1]

    def shares(self, x: Tensor) -> Tensor:
        """What each column adds, at its first input: `(N, D) -> (N, D)`, float64."""
        found = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        found[:, self.first_inputs()] = (self.weights.double()[:, None] * self.unseen(x).double()).T
        return found

    def check_values(self) -> None:
        """Refuse columns that are not there, keys out of order and weights below zero; raises ValueError."""
        _check_table(self.used, len(self.columns.first), self.keys, self.weights)
        require(self.used.diff() > 0, "columns must ascend")


class UnseenPairs(Counting):
    """The missing-mass energy of pairs of values.

    Args:
        layout: of the encoded inputs.
        most: pairs of columns that are looked up, at most: those where values drawn independently would most
            often make an unseen pair.
    """

    sized = ("used", "keys", "members", "pairs", "weights")

    members: Tensor
    pairs: Tensor

    def __init__(self, layout: Layout, most: int = PAIRS) -> None:
        super().__init__(layout)
        self.most = most
        self.register_buffer("members", torch.zeros(0, 2, dtype=torch.int64))
        self.register_buffer("pairs", torch.zeros(0, 1, dtype=torch.int64))

    def fit(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Count the pairs of values of training rows; the energies of the first, each without
        itself.

        Args:
            x: `(N, D)` encoded rows in random order.
            generator: chooses pairs of columns where there are too many to count all.
        """
        counts = self.count(x)
        able = [
            c
            for c, count in enumerate(counts)
            if len(count.keys) > 1 and count.missing_mass <= MOST_OF_COLUMN
        ]
        found = _informative([counts[c] for c in able], self.most, generator)
        self.keep(counts, able, x)
        self.members = (
            torch.tensor([pair for pair, _ in found], dtype=torch.int64).reshape(-1, 2).to(x.device)
        )
        self.pairs = _padded([count.keys for _, count in found], self.members)
        self.weights = x.new_tensor([_weight(count) for _, count in found])
        energies = x.new_zeros(min(len(x), MEASURED), dtype=torch.float64)
        for (_, count), weight in zip(found, self.weights.double(), strict=True):
            energies += weight * count.alone[:MEASURED]
        return energies

    def unseen(self, x: Tensor) -> Tensor:
        """Which pairs of values no training row had: `(N, D) -> (P, N)` bool."""
        positions, absent = self.look_up(x)
        one, other = self.members.T
        keys = positions[one] * SHIFT + positions[other]
        return positions_of(self.pairs, keys)[1] | absent[one] | absent[other]

    def shares(self, x: Tensor) -> Tensor:
        """What each pair adds, half at each column's first input: `(N, D) -> (N, D)`, float64."""
        found = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
        first = self.first_inputs()
        halves = 0.5 * (self.weights.double()[:, None] * self.unseen(x).double()).T
        for side in self.members.T:
            found.index_add_(1, first[side], halves)
        return found

    def check_values(self) -> None:
        """Refuse columns and values that are not there, keys out of order and weights below zero; raises
        ValueError.
        """
        _check_table(self.used, len(self.columns.first), self.keys, self.weights.new_zeros(len(self.used)))
        require(self.used.diff() > 0, "columns must ascend")
        require(len(self.weights) <= self.most, "there must not be more pairs than a fit leaves")
        require(self.members[:, 0] < self.members[:, 1], "a pair must be of two columns")
        _check_table(self.members.flatten(), len(self.used), self.pairs, self.weights)
        keys, values = self.pairs[self.pairs < LAST], self.keys.shape[1]
        require((keys >= 0) & (keys // SHIFT < values) & (keys % SHIFT < values), "pairs must be of values")


def _informative(
    counts: list[Counted], most: int, generator: torch.Generator | None
) -> list[tuple[tuple[int, int], Counted]]:
    """The pairs of columns where values drawn independently would most often make a pair that is unseen."""
    candidates = list(combinations(range(len(counts)), 2))
    if len(candidates) > CANDIDATES:
        some = torch.randperm(len(candidates), generator=generator)[:CANDIDATES]
        candidates = [candidates[int(number)] for number in some.sort().values]
    found = []
    for one, other in candidates:
        pair = counted(counts[one].of_row * SHIFT + counts[other].of_row)
        shares = [counts[c].counts.double() / len(pair.of_row) for c in (one, other)]
        seen = (shares[0][pair.keys // SHIFT] * shares[1][pair.keys % SHIFT]).sum()
        if pair.missing_mass <= MOST_OF_PAIR and seen < 1 - pair.missing_mass:
            found.append((float(seen), (one, other), pair))
    found.sort(key=lambda entry: entry[:2])
    return [(columns, pair) for _, columns, pair in found[:most]]


def _weight(count: Counted) -> float:
    """log(q / p), at least zero."""
    return max(math.log(EXPECTED / count.missing_mass), 0.0)


def _padded(rows: list[Tensor], like: Tensor) -> Tensor:
    """Sorted keys of different numbers as one matrix, padded with the largest number."""
    most = max(map(len, rows), default=1)
    last = math.inf if like.is_floating_point() else LAST
    found = torch.full((len(rows), most), last, dtype=like.dtype, device=like.device)
    for number, keys in enumerate(rows):
        found[number, : len(keys)] = keys
    return found


def _check_table(used: Tensor, columns: int, keys: Tensor, weights: Tensor) -> None:
    require((used >= 0) & (used < columns), "columns must be those of the table")
    require(keys[:, :-1] <= keys[:, 1:], "keys of values must be sorted")
    require((weights >= 0) & (weights <= MOST_WEIGHT), "weights of values must not be negative")
