"""The smallest change of a row that makes it normal: its counterfactual explanation.

For a row with p <= alpha a set S of at most k columns and values for them are sought with p > alpha (Wachter,
Mittelstadt and Russell 2017, https://arxiv.org/abs/1711.00399), fewest columns first, then the least sum of
changes in standard deviations. All of it is scored by the detector itself:

1. For S of 1, 2, ..., k columns, candidates of each column that may join S: what the members of the detector
   expect there, the values of those kept normal rows that are nearest to the row in the columns outside S,
   and typical values of the column. Of sets of more than one column the `BEAM` with the lowest scores are
   extended. The first size with p > alpha ends the search.
2. Each number goes back towards its former value along the grid of its column (`upland.data.table.domains`)
   as long as p > alpha, in three rounds of sixteen points.
3. The changed row, in the user's types, is scored once more: only where that gives p > alpha it counts as
   found.

A row takes at most 4 k + 1 scorings, each of about `MOST` candidates at most, and k explanations of at most
`BEAM` rows, by each member. It is a search: a smaller change may exist, and not finding one is no proof that
there is none. Nothing is drawn at random, and each row is treated by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.criteria.base import Floats, finite
from upland.data.rows import take_rows
from upland.data.table.domains import Domain, Plain, domain_of, plain_codes, plain_values, table_of
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import TableView, view_table
from upland.data.table.matching import find_positions, listed
from upland.data.table.replaced import NewCells, cell_of, replaced, resolution_in, type_of
from upland.detectors.scoring import ScoringDetector
from upland.detectors.shares import member_shares

MOST = 2_048
"""Candidates that are scored at once."""

BEAM = 6
"""Sets of columns that are extended by another, and that are made smaller."""

NEAREST = 8
"""Kept normal rows from which a column takes candidates."""

PER_COLUMN = 16
"""Candidates of a column, by which the columns that are tried are counted."""

CLIP = 3.0
"""Distance of two cells at most: columns that are far off do not decide which normal rows are near."""

POINTS, ROUNDS = 16, 3
"""Points on the way back to a former value, and how often the last interval is divided again."""

MARGIN = 1e-5
"""Relative margin of a score: by so much it may change with the number of threads."""

Changes = dict[int, Any]
"""New plain values by the number of their column."""


class Change(NamedTuple):
    """One changed cell of a row: its column, what the row holds, and what would make it normal."""

    column: str
    value: Any
    proposed: Any


@dataclass(frozen=True)
class Counterfactual:
    """For each row the smallest change that was found to make it normal.

    Args:
        changes: for each row its changed cells, the largest change first; none for a row that is normal, or
            where no change lowers the score.
        found: `(N,)` whether the p-value of the changed row is above alpha. Where it is not, the changes are
            the best that were reached.
        p_before: `(N,)` p-values of the rows.
        p_after: `(N,)` p-values of the changed rows.
        distance: `(N,)` size of the change: the sum over its columns of standard deviations, a category, a
            boolean, a date by its parts and a cell that was or becomes missing counting 1.
        table: all rows with their changes, in the types of the data and where it can be in their container;
            an Arrow table otherwise.

    Examples:
        >>> import numpy as np
        >>> changes = [[Change("flow", 40.0, 12.5)]]
        >>> one, p = np.array([True]), np.array([0.01])
        >>> found = Counterfactual(changes, one, p, p + 0.05, p, np.array([[12.5, 3.0]]))
        >>> found.changes[0][0].proposed
        12.5
    """

    changes: list[list[Change]]
    found: NDArray[np.bool_]
    p_before: Floats
    p_after: Floats
    distance: Floats
    table: Any

    def to_frame(self) -> Any:
        """A pandas frame with a line for each changed cell: the number of its row, column, value, proposed,
        both p-values and whether the row becomes normal.

        Raises:
            ImportError: pandas is not installed; the message says what to install.
        """
        try:
            import pandas as pd
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install 'upland[pandas]'") from None
        lines = [
            (row, *change, self.p_before[row], self.p_after[row], bool(self.found[row]))
            for row, changes in enumerate(self.changes)
            for change in changes
        ]
        names = ["row", "column", "value", "proposed", "p_before", "p_after", "found"]
        columns = zip(*lines, strict=True) if lines else [()] * len(names)
        return pd.DataFrame({name: list(values) for name, values in zip(names, columns, strict=True)})


def counterfactual(
    detector: ScoringDetector, X: Any, k: int, alpha: float, fixed: Sequence[str | int] = ()
) -> Counterfactual:
    """The smallest change of each row of a table that makes it normal.

    Args:
        detector: of tables, fitted.
        X: a table, in memory.
        k: columns that are changed at most.
        alpha: a row is normal where its p-value is above this.
        fixed: columns that are not changed.

    Raises:
        ValueError: k or alpha is out of its range, a name in `fixed` is unknown, or the detector refuses X.
    """
    encoder = detector.encoder_
    assert isinstance(encoder, TableEncoder)
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, got {k!r}")
    detector.check_alpha(alpha)
    before = detector.p_values(X)
    rows = view_table(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they were said of these rows
        places = find_positions(rows, encoder.schema_, encoder.column_names, encoder.owner)
        types = [
            type_of(rows, place, column)
            for place, column in zip(places, encoder.schema_.columns, strict=True)
        ]
        search = _Search(detector, encoder, types, int(k), alpha, _numbers(encoder, fixed))
        cells = plain_values(encoder, X)
        made = {
            int(row): search.smallest([column[row] for column in cells])
            for row in np.flatnonzero(before <= alpha)
        }
        return _result(detector, X, rows, places, types, search, cells, before, alpha, made)


def _numbers(encoder: TableEncoder, fixed: Sequence[str | int]) -> frozenset[int]:
    """The columns in use among those that are not changed."""
    if isinstance(fixed, str):
        raise TypeError(f"fixed must be a list of column names, not one text: fixed=[{fixed!r}]")
    schema = encoder.schema_
    names = [
        f"x{name}" if schema.naming == "none" and not isinstance(name, str) else str(name) for name in fixed
    ]
    if unknown := [name for name in names if name not in schema.inputs]:
        raise ValueError(
            f"fixed names columns that are not in the table: {listed(unknown)}; "
            f"it has {listed(schema.inputs)}"
        )
    return frozenset(number for number, name in enumerate(schema.names) if name in names)


def _result(
    detector: ScoringDetector,
    X: Any,
    rows: TableView,
    places: Sequence[int],
    types: Sequence[Any],
    search: _Search,
    cells: Sequence[Plain],
    before: Floats,
    alpha: float,
    made: dict[int, Changes],
) -> Counterfactual:
    """The changed rows in the user's types, and what the detector says of them."""
    columns = search.encoder.schema_.columns
    new: dict[int, NewCells] = {}
    changes: list[list[Change]] = [[] for _ in before]
    distance = np.zeros(len(before))
    for row, changed in made.items():
        base = [column[row] for column in cells]
        for number in search.by_size(base, changed):
            cell = cell_of(changed[number], columns[number], types[number])
            place = places[number]
            new.setdefault(place, NewCells([], []))
            new[place].rows.append(row)
            new[place].values.append(cell)
            changes[row].append(Change(columns[number].name, _shown(rows, place, row), _item(cell)))
        distance[row] = search.distance(base, changed)
    table = replaced(X, rows, new)
    after = before.copy()
    for row in [number for number, changed in enumerate(changes) if changed]:
        after[row] = detector.p_values(take_rows(table, np.array([row])))[0]
    return Counterfactual(changes, after > alpha, before, after, distance, table)


def _shown(rows: TableView, position: int, row: int) -> Any:
    values = rows.read(position)
    return _item(values[row] if isinstance(values, np.ndarray) else values[row].as_py())


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


class _Search:
    """Searches counterfactuals of single rows.

    Args:
        detector: of tables.
        encoder: of its first member.
        types: of the user's columns.
        k: columns that are changed at most.
        alpha: what p-values must be above.
        fixed: numbers of columns that are not changed.
    """

    def __init__(
        self,
        detector: ScoringDetector,
        encoder: TableEncoder,
        types: Sequence[Any],
        k: int,
        alpha: float,
        fixed: frozenset[int],
    ) -> None:
        self.detector, self.encoder = detector, encoder
        self.k, self.alpha, self.fixed = k, alpha, fixed
        self.codes = _kept_codes(detector)
        self.seen = plain_codes(encoder, self.codes)
        refused = encoder.cells.missing_numbers
        self.domains: list[Domain] = [
            domain_of(column, seen, resolution_in(type_), refused)
            for column, seen, type_ in zip(encoder.schema_.columns, self.seen, types, strict=True)
        ]
        widths = [column.width for column in encoder.schema_.columns]
        self.used = [number for number, width in enumerate(widths) if width]
        self.starts = np.cumsum([0, *widths])[self.used]

    def smallest(self, base: list[Any]) -> Changes:
        """The smallest change that makes a row normal; else the one with the lowest score, empty where none
        is lower than that of the row.

        Args:
            base: plain values of the row.
        """
        partials: list[Changes] = [{}]
        best: tuple[float, Changes] = (np.inf, {})
        for _ in range(self.k):
            candidates = self._candidates(base, partials)
            scores, normal = self._scored(base, [*candidates, *partials])
            if normal[: len(candidates)].any():
                return self._shrunk(base, [c for c, ok in zip(candidates, normal, strict=False) if ok])
            order = np.argsort(scores, kind="stable").tolist()
            everything = [*candidates, *partials]
            best = min(best, (float(scores[order[0]]), everything[order[0]]), key=lambda found: found[0])
            apart: dict[tuple[int, ...], Changes] = {}
            for number in order:
                if number < len(candidates):
                    apart.setdefault(tuple(sorted(candidates[number])), candidates[number])
            partials = list(apart.values())[:BEAM]
            if not partials:
                break
        return best[1]

    def by_size(self, base: list[Any], changes: Changes) -> list[int]:
        """The numbers of the changed columns, the largest change first."""
        return sorted(changes, key=lambda n: (-self.domains[n].distance(base[n], changes[n]), n))

    def distance(self, base: list[Any], changes: Changes) -> float:
        """The sum of the sizes of changes."""
        return sum(self.domains[n].distance(base[n], value) for n, value in changes.items())

    # -- candidates --------------------------------------------------------------------------------

    def _candidates(self, base: list[Any], partials: Sequence[Changes]) -> list[Changes]:
        """Changes of one more column than these have."""
        rows = [_with(base, partial) for partial in partials]
        table = self._table(base, partials)
        shares = member_shares(self.detector, table, "row")
        expected = [
            plain_codes(member.encoder, np.asarray(codes, dtype=np.float64))
            for member, codes in zip(self.detector.members_, shares.expected, strict=True)
            if isinstance(member.encoder, TableEncoder)
        ]
        away = self._away(self.encoder.transform(table))
        most = max(MOST // (PER_COLUMN * len(partials)), 1)
        found: dict[tuple[tuple[int, Any], ...], Changes] = {}
        for number, partial in enumerate(partials):
            order = np.argsort(-shares.mean[number], kind="stable").tolist()
            free = [n for n in order if n in self.used and n not in partial and n not in self.fixed][:most]
            nearest = self._nearest(away[number], list(partial), free)
            for column in free:
                values = [member[column][number] for member in expected]
                near = nearest.get(column, np.zeros(0, dtype=np.int64))
                for change in self._of_column(rows[number], partial, column, values, near):
                    found.setdefault(tuple(sorted(change.items(), key=lambda item: item[0])), change)
        return list(found.values())[:MOST]

    def _of_column(
        self, row: list[Any], partial: Changes, column: int, expected: Sequence[Any], near: NDArray[np.int64]
    ) -> list[Changes]:
        """A change with one more column: its candidates, then normal rows' values of all its columns."""
        domain, seen = self.domains[column], self.seen
        values = domain.allowed(row[column], chain(expected, seen[column][near], domain.typical))
        found = [{**partial, column: value} for value in values[: 2 * PER_COLUMN]]
        for kept in near if partial else ():
            together = {n: self.domains[n].allowed(row[n], [seen[n][kept]]) for n in (*partial, column)}
            if together[column]:
                found.append({n: (own or [partial[n]])[0] for n, own in together.items()})
        return found

    def _away(self, codes: NDArray[np.float32]) -> list[Floats]:
        """For each of some rows how far its columns are from those of the kept rows: `(R, C)`."""
        if not len(self.codes):
            return [np.zeros((0, len(self.used))) for _ in codes]
        squares = [np.add.reduceat((self.codes - row) ** 2, self.starts, axis=1) for row in codes]
        return [np.minimum(np.sqrt(square), CLIP) for square in squares]

    def _nearest(self, away: Floats, without: list[int], columns: list[int]) -> dict[int, NDArray[np.int64]]:
        """For each column the kept rows that are nearest in the others, less some."""
        if not len(away) or not columns:
            return {}
        total = away.sum(axis=1) - away[:, [self.used.index(n) for n in without]].sum(axis=1)
        rest = total[:, None] - away[:, [self.used.index(n) for n in columns]]
        count = min(NEAREST, len(rest))
        some = np.sort(np.argpartition(rest, count - 1, axis=0)[:count], axis=0)
        order = np.argsort(np.take_along_axis(rest, some, axis=0), axis=0, kind="stable")
        rows = np.take_along_axis(some, order, axis=0)
        return {column: rows[:, place] for place, column in enumerate(columns)}

    # -- scores ------------------------------------------------------------------------------------

    def _table(self, base: list[Any], changes: Sequence[Changes]) -> TableView:
        columns: list[Plain] = []
        for number, value in enumerate(base):
            kind = object if self.domains[number].column.kind == "categorical" else np.float64
            cells = np.empty(len(changes), dtype=kind)
            cells[:] = [change.get(number, value) for change in changes]
            columns.append(cells)
        return table_of(self.encoder.schema_, columns)

    def _scored(self, base: list[Any], changes: Sequence[Changes]) -> tuple[Floats, NDArray[np.bool_]]:
        """The scores of changed rows, and whether they are normal: surely, by a margin for rounding."""
        table, detector = self._table(base, changes), self.detector
        scores = np.stack(
            [
                detector.fitted_criterion(member, "row").score(detector.encode(member.encoder, table))
                for member in detector.members_
            ],
            axis=1,
        )
        safe = finite(scores) + MARGIN * np.abs(scores)
        calibration = detector.calibrations_["row"]
        if calibration.method == "split":
            safe = safe.mean(axis=1, keepdims=True)
        return scores.mean(axis=1), calibration.p_values(safe) > self.alpha

    # -- smaller -----------------------------------------------------------------------------------

    def _shrunk(self, base: list[Any], changes: Sequence[Changes]) -> Changes:
        """The smallest of some changes that make a row normal, once their numbers went back towards the row
        as far as they can.
        """
        apart: dict[tuple[int, ...], Changes] = {}
        for change in sorted(changes, key=lambda change: self.distance(base, change)):
            apart.setdefault(tuple(sorted(change)), change)
        found = [dict(change) for change in list(apart.values())[:BEAM]]
        orders = [self.by_size(base, change) for change in found]
        for turn in range(len(orders[0])):
            walks = []
            for change, order in zip(found, orders, strict=True):
                column = order[turn]
                path = self.domains[column].path(base[column], change[column])
                walks.append(_Walk(change, column, path))
            for _ in range(ROUNDS):
                self._walk(base, [walk for walk in walks if walk.tried().size])
        return min(found, key=lambda change: self.distance(base, change))

    def _walk(self, base: list[Any], walks: Sequence[_Walk]) -> None:
        """Bring each as far as all points up to there are normal."""
        tried = [walk.tried() for walk in walks]
        points = [
            {**walk.change, walk.column: walk.path[place].item()}
            for walk, places in zip(walks, tried, strict=True)
            for place in places
        ]
        if not points:
            return
        normal = self._scored(base, points)[1]
        for walk, part in zip(walks, np.split(normal, np.cumsum([len(t) for t in tried])[:-1]), strict=True):
            walk.move(part)


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

    def move(self, normal: NDArray[np.bool_]) -> None:
        """Go on to the last point before one that is not normal.

        Args:
            normal: of the points that were tried.
        """
        tried = self.tried()
        passed = int(np.argmin(normal)) if not normal.all() else len(normal)
        self.beyond = self.beyond if passed == len(tried) else int(tried[passed])
        self.reached = int(tried[passed - 1]) if passed else self.reached
        self.change[self.column] = self.path[self.reached].item()


def _kept_codes(detector: ScoringDetector) -> Floats:
    """The encoded normal rows that the first member keeps: `(R, D)`, each once."""
    member = detector.members_[0]
    parts = [part for part in (member.standard, member.training_rows, member.held_out) if part is not None]
    width = detector.encoder_.width
    codes = [np.zeros((0, width))] + [part.cpu().numpy().astype(np.float64) for part in parts]
    found: Floats = np.unique(np.concatenate(codes), axis=0)
    return found


def _with(base: list[Any], changes: Changes) -> list[Any]:
    return [changes.get(number, value) for number, value in enumerate(base)]
