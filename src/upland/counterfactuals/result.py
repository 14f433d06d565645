"""The smallest change of each row of a table that makes it normal, in the user's types.

`upland.counterfactuals.search` says how it is sought. The changed rows are scored once more as the user holds
them: only where that gives a p-value above alpha a change counts as found.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from upland.counterfactuals.search import Search
from upland.counterfactuals.smaller import Changes
from upland.criteria.base import Floats
from upland.data.rows import take_rows
from upland.data.table.domains import plain_values
from upland.data.table.encoder import TableEncoder
from upland.data.table.frames import TableView, view_table
from upland.data.table.matching import as_names, find_positions, listed
from upland.data.table.replaced import NewCells, cell_in, cell_of, replaced, type_of
from upland.detectors.scoring import ScoringDetector
from upland.io.locks import warnings_apart


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
            boolean, a date by its parts and a cell that was or becomes missing counting 1; the largest double
            where it is larger.
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
    view, columns = view_table(X), encoder.schema_.columns
    with warnings_apart():
        warnings.simplefilter("ignore", UserWarning)  # they were said of these rows
        places = find_positions(view, encoder.schema_, encoder.column_names, encoder.owner)
        types = [type_of(view, place, column) for place, column in zip(places, columns, strict=True)]
        search = Search(detector, types, int(k), alpha, _numbers(encoder, fixed))
        cells = plain_values(encoder, X)
        numbers = np.flatnonzero(before <= alpha).tolist()
        rows = {number: [column[number] for column in cells] for number in numbers}
        found = dict(zip(rows, search.smallest(list(rows.values())), strict=True))
        changes, new = _cells(view, places, types, search, rows, found)
        table = replaced(X, view, new)
        after, distance = before.copy(), np.zeros(len(before))
        if changed := [number for number in rows if found[number]]:
            after[changed] = detector.p_values(take_rows(table, np.array(changed)))
            distance[changed] = [search.smaller.distance(rows[number], found[number]) for number in changed]
    everything = [changes.get(number, []) for number in range(len(before))]
    return Counterfactual(everything, after > alpha, before, after, distance, table)


def _numbers(encoder: TableEncoder, fixed: Sequence[str | int]) -> frozenset[int]:
    """The columns in use among those that are not changed."""
    schema = encoder.schema_
    by_position = schema.naming == "none"
    names = [
        f"x{name}" if by_position and isinstance(name, int) else str(name)
        for name in as_names(fixed, "fixed")
    ]
    if unknown := [name for name in names if name not in schema.inputs]:
        raise ValueError(
            f"fixed names columns that are not in the table: {listed(unknown)}; "
            f"it has {listed(schema.inputs)}"
        )
    return frozenset(number for number, name in enumerate(schema.names) if name in names)


def _cells(
    view: TableView,
    places: Sequence[int],
    types: Sequence[Any],
    search: Search,
    rows: dict[int, list[Any]],
    found: dict[int, Changes],
) -> tuple[dict[int, list[Change]], dict[int, NewCells]]:
    """The changes of each row in the user's types, less those of `found` that are none in these, which are
    deleted there; the same by the position of their column.
    """
    columns = search.encoder.schema_.columns
    changes: dict[int, list[Change]] = {}
    new: dict[int, NewCells] = {}
    for row, changed in found.items():
        for number in search.smaller.by_size(rows[row], changed):
            cell, place = cell_of(changed[number], columns[number], types[number]), places[number]
            made = Change(columns[number].name, cell_in(view, place, row), _item(cell))
            if made.proposed == made.value:  # in the user's type
                del changed[number]
                continue
            cells = new.setdefault(place, NewCells([], []))
            cells.rows.append(row)
            cells.values.append(cell)
            changes.setdefault(row, []).append(made)
    return changes, new


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
