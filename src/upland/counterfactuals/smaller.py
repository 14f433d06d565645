"""How large the change of a row is, and how it is made smaller while the row stays normal.

1. Columns without whose change p > alpha too are put back, that which saves most first.
2. Each number goes back towards its former value along the grid of its column (`upland.data.table.domains`)
   as long as p > alpha, in `ROUNDS` rounds of `POINTS` points.
3. As 1: a number that came back, or all but for the grid, is put back altogether.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from itertools import chain, pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.criteria.base import Floats
from upland.data.table.domains import Domain, Plain

BEAM = 6
"""Sets of columns that are extended by another, and that are made smaller."""

POINTS, ROUNDS = 16, 3
"""Points on the way back to a former value, and how often the last interval is divided again."""

Row = list[Any]
"""The plain values of a row (`upland.data.table.domains`), one a column in use."""

Changes = dict[int, Any]
"""New plain values by the number of their column."""

Asked = tuple[Literal["score", "explain"], list[Row]]
"""Rows of which a search wants the scores or the explanations."""


class Scored(NamedTuple):
    """Scores of rows, whether they are normal, and whether surely so, by a margin for rounding."""

    scores: Floats
    normal: NDArray[np.bool_]
    surely: NDArray[np.bool_]


class Smaller:
    """Makes changes of rows smaller.

    Args:
        domains: of the columns in use.
    """

    def __init__(self, domains: Sequence[Domain]) -> None:
        self.domains = domains

    def by_size(self, row: Row, changes: Changes) -> list[int]:
        """The numbers of the changed columns, the largest change first.

        Args:
            row: before the change.
            changes: of it.
        """
        return sorted(changes, key=lambda n: (-self.domains[n].distance(row[n], changes[n]), n))

    def distance(self, row: Row, changes: Changes) -> float:
        """The sum of the sizes of changes; the largest double where it is larger.

        Args:
            row: before the change.
            changes: of it.
        """
        total = sum(self.domains[n].distance(row[n], value) for n, value in changes.items())
        return min(total, sys.float_info.max)

    def size(self, row: Row, change: Changes) -> tuple[int, float]:
        """How many cells a change empties that mostly are not missing, and its distance.

        Args:
            row: before the change.
            change: of it.
        """
        emptied = sum(self.domains[n].empties(row[n], value) for n, value in change.items())
        return emptied, self.distance(row, change)

    def of(self, row: Row, changes: Sequence[Changes]) -> Generator[Asked, Any, Changes]:
        """The smallest of some changes that make a row normal, once they are made smaller: yields what it
        asks.

        Args:
            row: before the change.
            changes: that make it normal.
        """
        apart: dict[tuple[int, ...], Changes] = {}
        for change in sorted(changes, key=lambda change: self.size(row, change)):
            apart.setdefault(tuple(sorted(change)), change)
        found = yield from self._put_back(row, list(apart.values())[:BEAM])
        found = yield from self._walked(row, found)
        found = yield from self._put_back(row, found)
        return min(found, key=lambda change: self.size(row, change))

    def _put_back(self, row: Row, changes: Sequence[Changes]) -> Generator[Asked, Any, list[Changes]]:
        """Those of fewest columns, once all columns that need no change are put back."""
        found = list(changes)
        going = [number for number, change in enumerate(found) if len(change) > 1]
        while going:
            tried = [_each_without(found[number]) for number in going]
            _, normal, _ = yield "score", [with_changes(row, change) for change in chain(*tried)]
            still = []
            for number, options, part in zip(going, tried, parts(tried), strict=True):
                some = [change for change, ok in zip(options, normal[part], strict=True) if ok]
                if some:
                    found[number] = min(some, key=lambda change: self.size(row, change))
                    still += [number] * (len(found[number]) > 1)
            going = still
        least = min(map(len, found))
        return [change for change in found if len(change) == least]

    def _walked(self, row: Row, changes: Sequence[Changes]) -> Generator[Asked, Any, list[Changes]]:
        """Changes of as many columns each, once their numbers went back as far as they can."""
        found = [dict(change) for change in changes]
        orders = [self.by_size(row, change) for change in found]
        for columns in zip(*orders, strict=True):
            walks = [
                _Walk(change, column, self.domains[column].path(row[column], change[column]))
                for change, column in zip(found, columns, strict=True)
            ]
            for _ in range(ROUNDS):
                going = [walk for walk in walks if walk.tried().size]
                if going:
                    tried = [walk.changes() for walk in going]
                    _, _, surely = yield "score", [with_changes(row, change) for change in chain(*tried)]
                    for walk, part in zip(going, parts(tried), strict=True):
                        walk.move(surely[part])
        return found


class _Walk:
    """A number on its way back to its former value.

    Args:
        change: that it is of; it is kept up to date.
        column: of the number.
        path: from what was proposed towards what was there.
    """

    def __init__(self, change: Changes, column: int, path: Plain) -> None:
        self.change, self.column, self.path = change, column, path
        self.reached, self.beyond = 0, len(path)

    def tried(self) -> NDArray[np.int64]:
        """The next points to try."""
        points = np.linspace(self.reached, self.beyond - 1, POINTS + 1).round().astype(np.int64)
        return np.unique(points[points > self.reached])

    def changes(self) -> list[Changes]:
        """The change with each of these points."""
        return [{**self.change, self.column: self.path[place].item()} for place in self.tried()]

    def move(self, normal: NDArray[np.bool_]) -> None:
        """Go on to the last point before one that is not normal.

        Args:
            normal: of the points that were tried.
        """
        tried = self.tried()
        passed = len(normal) if normal.all() else int(np.argmin(normal))
        self.beyond = self.beyond if passed == len(tried) else int(tried[passed])
        self.reached = int(tried[passed - 1]) if passed else self.reached
        self.change[self.column] = self.path[self.reached].item()


def parts(asked: Sequence[Sequence[Any]]) -> list[slice]:
    """Where each of some lists lies in all of them together.

    Args:
        asked: The lists.
    """
    ends = np.cumsum([0, *map(len, asked)]).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def with_changes(row: Row, changes: Changes) -> Row:
    """A row with its changes.

    Args:
        row: Before.
        changes: Of it.
    """
    return [changes.get(number, value) for number, value in enumerate(row)]


def _each_without(change: Changes) -> list[Changes]:
    """A change without each of its columns."""
    return [{n: value for n, value in change.items() if n != left} for left in change]
