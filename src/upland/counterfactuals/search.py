"""The search for the smallest change of a row that makes it normal: its counterfactual explanation.

For a row with p <= alpha a set S of at most k columns and values for them are sought with p > alpha (Wachter,
Mittelstadt and Russell 2017, https://arxiv.org/abs/1711.00399): fewest columns first; then as few emptied
cells as can be, but for columns in which most cells are missing; then the least sum of changes in standard
deviations. All of it is scored by the detector itself:

1. For S of 1, 2, ..., k columns, candidates of each column that may join S: what the members of the detector
   expect there, the values of those kept normal rows that are nearest to the row in the columns outside S,
   and typical values of the column. Of sets of columns the `BEAM` with the lowest scores are extended. Beside
   these, all columns of S at once, from the same three sources, for the sets S of the `BEAM` columns that are
   missing, unseen or have the largest shares: of two columns that depend on each other one alone may not
   lower the score. The first size with p > alpha ends the search.
2. What is found is made smaller (`upland.counterfactuals.smaller`): no changed column can be put back.

A row takes at most 6 k scorings, each of `MOST` candidates at most and one more, and k explanations of at
most `BEAM` rows, by each member. It is a search: a smaller change may exist, and not finding one is no proof
that there is none. Nothing is drawn at random. `AT_ONCE` rows are searched side by side, so that they share
the calls of the model, but what is found for a row does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.counterfactuals.smaller import BEAM, Asked, Changes, Row, Scored, Smaller, parts, with_changes
from upland.criteria.base import Floats, finite
from upland.data.table.domains import Domain, Plain, domain_of, plain_codes, recurring, table_of
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import TableView
from upland.data.table.replaced import limits_of
from upland.detectors.scoring import ScoringDetector
from upland.detectors.shares import member_shares

MOST = 2_048
"""Candidates of a row that are scored at once."""

AT_ONCE = 16
"""Rows that are searched side by side."""

NEAREST = 8
"""Kept normal rows from which a column takes candidates."""

PER_COLUMN = 16
"""Candidates of a column, by which the columns that are tried are counted."""

CLIP = 3.0
"""Distance of two cells at most: columns that are far off do not decide which normal rows are near."""

MARGIN = 1e-5
"""Relative margin of a score: by so much it may change with the number of threads."""


class Explained(NamedTuple):
    """What candidates of a row come from.

    Args:
        order: the columns, that with the largest share first.
        expected: by each member, plain values.
        away: `(R, C)` how far its columns are from those of the kept rows.
    """

    order: list[int]
    expected: list[Row]
    away: Floats


class Search:
    """Searches the counterfactuals of rows.

    Args:
        detector: of tables, fitted.
        types: of the user's columns, NumPy's or Arrow's.
        k: columns that are changed at most.
        alpha: what p-values must be above.
        fixed: numbers of columns that are not changed.
    """

    def __init__(
        self,
        detector: ScoringDetector,
        types: Sequence[Any],
        k: int,
        alpha: float,
        fixed: frozenset[int] = frozenset(),
    ) -> None:
        assert isinstance(detector.encoder_, TableEncoder)
        self.detector, self.encoder = detector, detector.encoder_
        self.k, self.alpha = k, alpha
        self.codes = _kept_codes(detector)
        self.seen = plain_codes(self.encoder, self.codes)
        columns, refused = self.encoder.schema_.columns, self.encoder.cells.missing_numbers
        recurs = _recurring(detector, self.encoder) or [False] * len(columns)
        self.domains: list[Domain] = [
            domain_of(column, seen, limits_of(type_), refused, again)
            for column, seen, type_, again in zip(columns, self.seen, types, recurs, strict=True)
        ]
        self.smaller = Smaller(self.domains)
        widths = [column.width for column in columns]
        self.used = [number for number, width in enumerate(widths) if width]
        self.starts = np.cumsum([0, *widths])[self.used]
        self.free = [number for number in self.used if number not in fixed]

    def smallest(self, rows: Sequence[Row]) -> list[Changes]:
        """For each row the smallest change that makes it normal; else the best that was reached, empty where
        none has a lower score than the row.

        Args:
            rows: plain values.
        """
        if not self.free:
            return [{} for _ in rows]
        found: list[Changes] = []
        for start in range(0, len(rows), AT_ONCE):
            found += self._side_by_side(rows[start : start + AT_ONCE])
        return found

    # -- rows side by side -------------------------------------------------------------------------

    def _side_by_side(self, rows: Sequence[Row]) -> list[Changes]:
        """The same, each search answered together with the others."""
        searches = [self._search(row) for row in rows]
        found: list[Changes] = [{} for _ in rows]
        asked = {number: next(search) for number, search in enumerate(searches)}
        while asked:
            waiting: dict[int, Asked] = {}
            for what, answer in (("score", self._scored), ("explain", self._explained)):
                numbers = [number for number, (wanted, _) in asked.items() if wanted == what]
                answers = answer([asked[number][1] for number in numbers]) if numbers else []
                for number, part in zip(numbers, answers, strict=True):
                    try:
                        waiting[number] = searches[number].send(part)
                    except StopIteration as stop:
                        found[number] = stop.value
            asked = waiting
        return found

    def _scored(self, asked: Sequence[list[Row]]) -> list[Scored]:
        table, detector = self._table(list(chain(*asked))), self.detector
        members = [
            detector.fitted_criterion(member, "row").score(detector.encode(member.encoder, table))
            for member in detector.members_
        ]
        scores = finite(np.stack(members, axis=1))
        safe = scores + MARGIN * np.abs(scores)
        calibration = detector.calibrations_["row"]
        if calibration.method == "split":
            safe = safe.mean(axis=1, keepdims=True)
        exact = scores.mean(axis=1, keepdims=True) if calibration.method == "split" else scores
        normal, surely = (calibration.p_values(some) > self.alpha for some in (exact, safe))
        return [Scored(scores[part].mean(axis=1), normal[part], surely[part]) for part in parts(asked)]

    def _explained(self, asked: Sequence[list[Row]]) -> list[list[Explained]]:
        table = self._table(list(chain(*asked)))
        shares = member_shares(self.detector, table, "row")
        order = np.argsort(-shares.mean, axis=1, kind="stable").tolist()
        expected = [
            list(zip(*plain_codes(member.encoder, np.asarray(codes, dtype=np.float64)), strict=True))
            for member, codes in zip(self.detector.members_, shares.expected, strict=True)
            if isinstance(member.encoder, TableEncoder)
        ]
        codes = self.encoder.transform(table)
        found = [
            Explained(order[row], [list(member[row]) for member in expected], self._away(codes[row]))
            for row in range(len(codes))
        ]
        return [found[part] for part in parts(asked)]

    def _table(self, rows: Sequence[Row]) -> TableView:
        columns: list[Plain] = []
        for number, domain in enumerate(self.domains):
            cells = np.empty(len(rows), dtype=object if domain.column.kind == "categorical" else np.float64)
            cells[:] = [row[number] for row in rows]
            columns.append(cells)
        return table_of(self.encoder.schema_, columns)

    def _away(self, code: NDArray[np.float32]) -> Floats:
        if not len(self.codes):
            return np.zeros((0, len(self.used)))
        squares = np.add.reduceat((self.codes - code) ** 2, self.starts, axis=1)
        return np.minimum(np.sqrt(squares), CLIP)

    # -- one row -----------------------------------------------------------------------------------

    def _search(self, row: Row) -> Generator[Asked, Any, Changes]:
        """Search one row: yields what it asks, and returns the change."""
        partials: list[Changes] = [{}]
        best: Changes = {}
        first: Explained | None = None
        for size in range(1, min(self.k, len(self.free)) + 1):
            explained = yield "explain", [with_changes(row, partial) for partial in partials]
            first = first or explained[0]
            together = self._together(row, first, size) if size > 1 else []
            candidates = [*together, *self._candidates(row, partials, explained)][:MOST]
            everything = [best, *candidates]
            scores, _, surely = yield "score", [with_changes(row, change) for change in everything]
            if surely[1:].any():
                some = [change for change, ok in zip(everything, surely, strict=True) if ok]
                return (yield from self.smaller.of(row, some))
            order = _order(scores)
            if better := order[: order.index(0)]:
                emptied = [self.smaller.size(row, everything[number])[0] for number in better]
                best = everything[better[int(np.argmin(emptied))]]
            partials = self._extended(row, [everything[number] for number in order if number])
            if not partials:
                break
        return best

    def _extended(self, row: Row, changes: Sequence[Changes]) -> list[Changes]:
        """Of changes, lowest score first, those that are extended by another column: that with the lowest
        score of each set of columns, and one of the cells that no normal row has like it.
        """
        apart: dict[tuple[int, ...], Changes] = {}
        for change in changes:
            apart.setdefault((self.smaller.size(row, change)[0], *sorted(change)), change)
        found = list(apart.values())
        odd = {n for n in self.free if self._oddness(row, n)[0] < 2}
        of_odd = [change for change in found if change.keys() <= odd or change.keys() >= odd]
        if len(odd) < 2 or not of_odd or any(change is of_odd[0] for change in found[:BEAM]):
            return found[:BEAM]
        return [*found[: BEAM - 1], of_odd[0]]

    def _oddness(self, row: Row, number: int) -> tuple[int, float]:
        """0 and how often it is so of a cell that is missing where most are not, 1 of a level or a number
        beyond those of the normal rows, 2 of all else.
        """
        domain, value = self.domains[number], row[number]
        column = domain.column
        if value is None or value != value:
            odd = column.missing <= 0.5 and column.parts is None
            return (0, column.missing) if odd else (2, 0.0)
        if column.kind == "categorical":
            return (2 if value in (*column.levels, *column.rare) else 1), 0.0
        return (2 if column.parts is not None or domain.low <= value <= domain.high else 1), 0.0

    def _together(self, row: Row, explained: Explained, size: int) -> list[Changes]:
        """Changes of several columns at once, of those that are odd or have the largest shares: to what kept
        rows that are nearest in the other columns hold there, what members expect, and typical values.
        """
        order, expected, away = explained
        odd = sorted((n for n in order if n in self.free), key=lambda n: self._oddness(row, n))
        found = []
        for columns in dict.fromkeys([tuple(odd[:size]), *combinations(odd[:BEAM], size)]):
            *without, last = columns
            near = self._nearest(away, without, [last])[last]
            offers = [[[self.seen[n][kept]] for n in columns] for kept in near]
            offers += [[[member[n]] for n in columns] for member in expected]
            offers.append([self.domains[n].typical(len(near)) for n in columns])
            for offer in offers:
                values = [
                    self.domains[n].allowed(row[n], some) for n, some in zip(columns, offer, strict=True)
                ]
                if all(values):
                    found.append({n: some[0] for n, some in zip(columns, values, strict=True)})
        return found

    def _candidates(
        self, row: Row, partials: Sequence[Changes], explained: Sequence[Explained]
    ) -> list[Changes]:
        """Changes of one more column than these have."""
        most = max(MOST // (PER_COLUMN * len(partials)), 1)
        found: dict[tuple[tuple[int, Any], ...], Changes] = {}
        for partial, (order, expected, away) in zip(partials, explained, strict=True):
            columns = [n for n in order if n in self.free and n not in partial][:most]
            nearest = self._nearest(away, list(partial), columns)
            for column in columns:
                values = [member[column] for member in expected]
                for change in self._of_column(row, partial, column, values, nearest[column]):
                    found.setdefault(tuple(sorted(change.items(), key=lambda item: item[0])), change)
        return list(found.values())

    def _of_column(
        self, row: Row, partial: Changes, column: int, expected: Sequence[Any], near: NDArray[np.int64]
    ) -> list[Changes]:
        """A change with one more column: its candidates, then normal rows' values of all its columns."""
        domain, seen = self.domains[column], self.seen
        values = domain.allowed(row[column], chain(expected, seen[column][near], domain.typical(len(near))))
        found = [{**partial, column: value} for value in values[: 2 * PER_COLUMN]]
        for kept in near if partial else ():
            together = {n: self.domains[n].allowed(row[n], [seen[n][kept]]) for n in (*partial, column)}
            if together[column]:
                found.append({n: (own or [partial[n]])[0] for n, own in together.items()})
        return found

    def _nearest(self, away: Floats, without: list[int], columns: list[int]) -> dict[int, NDArray[np.int64]]:
        """For each column the kept rows that are nearest in the others, less some."""
        if not len(away) or not columns:
            return dict.fromkeys(columns, np.zeros(0, dtype=np.int64))
        total = away.sum(axis=1) - away[:, [self.used.index(n) for n in without]].sum(axis=1)
        rest = total[:, None] - away[:, [self.used.index(n) for n in columns]]
        count = min(NEAREST, len(rest))
        some = np.sort(np.argpartition(rest, count - 1, axis=0)[:count], axis=0)
        order = np.argsort(np.take_along_axis(rest, some, axis=0), axis=0, kind="stable")
        rows = np.take_along_axis(some, order, axis=0)
        return {column: rows[:, place] for place, column in enumerate(columns)}


def _kept_codes(detector: ScoringDetector) -> Floats:
    """The encoded normal rows that the first member keeps: `(R, D)`, each once."""
    member = detector.members_[0]
    parts = [part for part in (member.standard, member.training_rows, member.held_out) if part is not None]
    codes = [np.zeros((0, detector.encoder_.width))] + [
        part.cpu().numpy().astype(np.float64) for part in parts
    ]
    found: Floats = np.unique(np.concatenate(codes), axis=0)
    return found


def _recurring(detector: ScoringDetector, encoder: TableEncoder) -> list[bool]:
    """Which columns have values that recur among training rows; [] if none are kept."""
    member = detector.members_[0]
    rows = member.training_rows if member.training_rows is not None else member.standard
    if rows is None or not len(rows):
        return []
    found = recurring(rows.cpu().numpy(), encoder.slots)
    return found + [False] * (encoder.n_columns - len(found))


def _order(scores: Floats) -> list[int]:
    """The numbers of scores, lowest first; of those that are equal but for rounding the earlier one."""
    with np.errstate(divide="ignore"):
        size = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(scores), 1e-30))) - 5)
    order: list[int] = np.argsort(np.rint(scores / size) * size, kind="stable").tolist()
    return order
