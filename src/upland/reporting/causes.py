"""Anomalies grouped by cause: flagged rows with like reasons together.

The rule. The reasons of a row are those of the columns that `upland score --why` names that have at least
`LEAST` of the sum of its shares, or `EVEN` times as much as on average. A reason is a column and the way in
which its value is unusual: above or below the range of the middle 95 percent of normal values, within it (the
value is unusual only beside the others), missing, a level, or a level unseen among normal rows. Where no
column has so much, the one reason is that many columns contribute.

The weight of a reason is the sum, over the rows that have it, of its part of the row's sum times the natural
logarithm of alpha / p, which is 1 on average where normal rows are flagged by chance. The reason of the
greatest weight is the first cause, and all rows that have it are its group; the rest is grouped likewise,
until no row is left. Of equal weights the one whose column stands first in the fit is taken. A group has in
common what at least `MOSTLY` of its rows have among their reasons; what is within the normal range is named
only where the cause itself is.

Nothing is drawn at random, and the order of the rows changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from upland.explanation import Reason as Contribution
from upland.reporting.page import Column, Part, Prose, Section, Table
from upland.reporting.standings import LEVEL, Normal, NormalLevels, NormalNumbers, Reason, number_of
from upland.scoring.words import cell_text, label_text, one_line

REASONS = 3
"""Reasons of a row at most, as many as `upland score --why` names."""

LEAST, EVEN = 0.1, 20
"""Part of a row's sum that a reason has at least; of many columns so many times an even part."""

MOSTLY = 0.5
"""Share of the rows of a group that have a reason in common."""

USUAL = 0.05
"""Share of normal rows from which a level is usual by itself."""

SHOWN = 20
"""Causes that are shown at most."""

MANY = Reason("", "many")
"""The reason of rows to which many columns contribute a little."""


@dataclass(frozen=True)
class Flagged:
    """A flagged row.

    Args:
        number: Of the row in the data, from 0.
        score: Its anomaly score.
        p_value: Likewise.
        contributions: The columns that contribute most, the first first.
        time: When it was, where that is known.
        segment: That it is of, of a detector of segments.
    """

    number: int
    score: float
    p_value: float
    contributions: Sequence[Contribution]
    time: Any = None
    segment: str | None = None


@dataclass(frozen=True)
class Cause:
    """Rows with like reasons.

    Args:
        reason: That all of them have.
        others: Reasons that most of them have beside it.
        rows: Sorted by their number.
    """

    reason: Reason
    others: Sequence[Reason]
    rows: Sequence[Flagged]

    @property
    def worst(self) -> Flagged:
        """The row with the highest score; of equals, the earlier one."""
        return max(self.rows, key=lambda row: (row.score, -row.number))


def reasons_of(contributions: Sequence[Contribution], normal: Mapping[str, Normal]) -> dict[Reason, float]:
    """The reasons of a row with their parts of its sum.

    Args:
        contributions: The columns that contribute most, the first first.
        normal: What is normal in each column.
    """
    least = min(LEAST, EVEN / len(normal))
    kept = [it for it in contributions[:REASONS] if it.part >= least]
    found = {Reason(it.column, normal[it.column].way(it.value)): it.part for it in kept}
    return found or {MANY: contributions[0].part}


def causes_of(rows: Sequence[Flagged], normal: Mapping[str, Normal], alpha: float) -> list[Cause]:
    """The groups, by the rule of the module's page, the weightiest first.

    Args:
        rows: Flagged, in any order.
        normal: What is normal in each column, in the order of the fit.
        alpha: The level of the flags.
    """
    order = {name: place for place, name in enumerate(normal)}
    left = [(row, reasons_of(row.contributions, normal)) for row in sorted(rows, key=lambda row: row.number)]
    found = []
    while left:
        parts: dict[Reason, list[float]] = defaultdict(list)
        for row, reasons in left:
            for reason, part in reasons.items():
                parts[reason].append(part * math.log(alpha / row.p_value))
        weights = {reason: float(np.sum(np.sort(some))) for reason, some in parts.items()}
        first = min(weights, key=lambda one: (-weights[one], order.get(one.column, -1), one.way))
        inside = [(row, reasons) for row, reasons in left if first in reasons]
        others = [
            one
            for one in weights
            if one != first and "within" not in {one.way} - {first.way} and _share(one, inside) >= MOSTLY
        ]
        others.sort(key=lambda one: (-_share(one, inside), order.get(one.column, -1), one.way))
        found.append(Cause(first, others, [row for row, _ in inside]))
        left = [(row, reasons) for row, reasons in left if first not in reasons]
    return found


def _share(reason: Reason, rows: Sequence[tuple[Flagged, Mapping[Reason, float]]]) -> float:
    return sum(reason in reasons for _, reasons in rows) / len(rows)


# -- in words ------------------------------------------------------------------------------------------------


def sentence(cause: Cause, normal: Mapping[str, Normal]) -> str:
    """A cause in a sentence.

    Args:
        cause: The rows.
        normal: What is normal in each column.
    """
    many = len(cause.rows)
    others = [_short(reason) for reason in cause.others if reason.way != "within"]
    beside = f", mostly with {_listed(others)}" if others and many > 1 else ""
    beside = f", with {_listed(others)}" if others and many == 1 else beside
    first = cause.rows[0]
    when = "" if first.time is None else f", {label_text(first.time)}"
    where = f"{'first ' if many > 1 else ''}row {first.number + 1:,}{when}"
    segments = {row.segment for row in cause.rows}
    some = sorted(segment for segment in segments if segment is not None)
    of = f", of {_listed([named(segment) for segment in some])}" if 0 < len(some) <= 3 else ""
    return f"{_counted(many)}{of}: {_long(cause, normal)}{beside}; {where}."


def _counted(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def named(name: str, most: int = 80) -> str:
    """The name of a column or a level in a sentence.

    Args:
        name: From the data.
        most: Characters of it that are shown.
    """
    line = one_line(name)
    return f"“{line if len(line) <= most else line[: most - 1] + '…'}”"


def _short(reason: Reason) -> str:
    column, way = named(reason.column), reason.way
    if reason == MANY:
        return "many columns"
    if way in ("above", "below"):
        return f"{'high' if way == 'above' else 'low'} {column}"
    if way.startswith(LEVEL):
        return f"{column} {LEVEL}{named(way.removeprefix(LEVEL))}"
    return f"{column} unseen among normal rows" if way == "unseen" else f"{column} {way}"


def _long(cause: Cause, normal: Mapping[str, Normal]) -> str:
    column, way = cause.reason
    if cause.reason == MANY:
        return "many columns contribute, each a little"
    of_column = normal[column]
    name, words = named(column), of_column.words()
    usual = f", normal {words}" if words else ""
    if way == "missing":
        return f"{name} is missing"
    if isinstance(of_column, NormalNumbers):
        median = cell_text(of_column.typed(float(np.median([number_of(it.value) for it in values(cause)]))))
        if way == "within":
            most = [named(reason.column) for reason in cause.others if reason.way == "within"]
            beside = f", mostly {_listed(most)}" if most else ""
            return (
                f"{name} does not fit the other columns{beside}, though its value is within what is normal "
                f"(median {median}{usual})"
            )
        return f"{name} {way} what is normal (median {median}{usual})"
    if way == "unseen":
        seen = Counter(cell_text(it.value) for it in values(cause))
        some = [named(word, 60) for word, _ in sorted(seen.items(), key=lambda it: (-it[1], it[0]))]
        more = [f"{len(some) - 3:,} more"] if len(some) > 3 else []
        return f"{name} is {_listed([*some[:3], *more])}, unseen among normal rows"
    level = way.removeprefix(LEVEL)
    share = of_column.share(level) if isinstance(of_column, NormalLevels) else 1.0
    if share >= USUAL:
        what = f"{named(level)} ({share:.0%} of normal rows)" if way.startswith(LEVEL) else "its value"
        return f"{name} does not fit the other columns, though {what} is usual by itself"
    return f"{name} {LEVEL}{named(level)} (normal {words})"


def values(cause: Cause) -> list[Contribution]:
    """The contribution of the cause's column to each of its rows."""
    column = cause.reason.column
    return [next(it for it in row.contributions if it.column == column) for row in cause.rows]


# -- on the page ---------------------------------------------------------------------------------------------


def causes_section(causes: Sequence[Cause], normal: Mapping[str, Normal], flagged: int) -> Section:
    """The causes, a sentence each, with where the median value stands.

    Args:
        causes: Of the flagged rows, or of the most anomalous of them.
        normal: What is normal in each column.
        flagged: All rows that are flagged.
    """
    explained = sum(len(cause.rows) for cause in causes)
    if not flagged:
        return Section(
            "Anomalies by cause", [Prose(["No row is flagged, so that there is no cause to name."])]
        )
    table = Table(
        [
            Column("cause"),
            Column("rows", "number"),
            Column("smallest p", "p_value"),
            Column("where it stands", "picture"),
        ],
        [_record(cause, normal) for cause in causes[:SHOWN]],
        _note(causes, explained, flagged),
    )
    parts: list[Part] = [table]
    return Section("Anomalies by cause", parts)


def _record(cause: Cause, normal: Mapping[str, Normal]) -> tuple[Any, ...]:
    smallest = min(row.p_value for row in cause.rows)
    picture = None
    if cause.reason != MANY:
        found = values(cause)
        middle = sorted(found, key=lambda it: (np.nan_to_num(number_of(it.value)), str(it.value)))[
            len(found) // 2
        ]
        picture = normal[cause.reason.column].standing(middle.value)
    return sentence(cause, normal), len(cause.rows), smallest, picture


def _note(causes: Sequence[Cause], explained: int, flagged: int) -> str:
    lines = []
    if explained < flagged:
        lines.append(f"Of {flagged:,} flagged rows the {explained:,} with the highest scores are grouped.")
    if len(causes) > SHOWN:
        rest = sum(len(cause.rows) for cause in causes[SHOWN:])
        lines.append(f"{len(causes) - SHOWN:,} further causes with {rest:,} rows are not shown.")
    lines.append(
        "Rows stand together that share a contributing column which is unusual in the same way; causes of "
        "many rows with small p-values come first."
    )
    return " ".join(lines)
