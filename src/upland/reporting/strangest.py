"""The rows with the highest scores, and the columns that contribute most to flagged rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from upland.reporting import causes
from upland.reporting.base import Floats
from upland.reporting.causes import REASONS, Flagged
from upland.reporting.charts import altair, finished, label, rows, unlike
from upland.reporting.page import Column, Part, Prose, Section, Table
from upland.reporting.phrases import percent
from upland.reporting.standings import Normal
from upland.scoring.words import cell_text, label_text, one_line

LEAST = 0.2
"""Of the part that a reason has at least: from this part on a column is shown beside the first."""

BARS = 15
"""Columns of the chart at most."""


def strangest_section(
    found: Sequence[Flagged], normal: Mapping[str, Normal], alpha: float, count: int
) -> Section:
    """The most anomalous rows with their contributing columns.

    Args:
        found: The rows with the highest scores, worst first.
        normal: What is normal in each column.
        alpha: The level of the flags.
        count: All rows.
    """
    timed = any(row.time is not None for row in found)
    segmented = any(row.segment is not None for row in found)
    columns = [
        Column("row", "number"),
        *([Column("time")] if timed else []),
        *([Column("segment")] if segmented else []),
        Column("score", "number"),
        Column("p", "p_value"),
        Column("flagged"),
        Column("column"),
        Column("share", "percent"),
        Column("value"),
        Column("expected"),
        Column("where it stands", "picture"),
    ]
    records = [_record(row, normal, alpha, timed, segmented) for row in found]
    note = (
        f"The {len(found):,} of {count:,} rows with the highest scores. Share is a column's part of what the "
        "score is made of; expected is what the model would have put there. The picture shows normal rows as "
        "bars and the value as a red line, with an arrow where it is outside their range."
    )
    note += " Normal rows are those of all segments." if segmented else ""
    return Section("The most anomalous rows", [Table(columns, records, note)])


def _record(
    row: Flagged, normal: Mapping[str, Normal], alpha: float, timed: bool, segmented: bool
) -> tuple[Any, ...]:
    least = LEAST * min(causes.LEAST, causes.EVEN / len(normal))
    some = [it for place, it in enumerate(row.contributions[:REASONS]) if not place or it.part >= least]
    return (
        row.number + 1,
        *([label_text(row.time) if row.time is not None else ""] if timed else []),
        *([row.segment or ""] if segmented else []),
        row.score,
        row.p_value,
        "yes" if row.p_value <= alpha else "no",
        tuple(one_line(it.column) for it in some),
        tuple(it.part for it in some),
        tuple(cell_text(it.value) for it in some),
        tuple(cell_text(it.expected) for it in some),
        tuple(normal[it.column].standing(it.value) for it in some),
    )


def columns_section(names: Sequence[str], parts: Floats, rows_of: str) -> Section:
    """The columns that contribute most.

    Args:
        names: Of the columns.
        parts: `(C,)` the mean part of each in the scores of some rows.
        rows_of: Which rows these are.
    """
    order = np.argsort(-parts, kind="stable")[:BARS].tolist()
    order = [number for number in order if parts[number] > 0]
    if not order:
        return Section("Contributing columns", [Prose(["No column contributes to any score."])])
    alt = altair()
    labels = unlike([names[number] for number in order])
    records = [
        {"place": place, "name": labels[place], "part": float(parts[number])}
        for place, number in enumerate(order)
    ]
    y = alt.Y("name:N", title=None, sort=alt.SortField("place"), axis=alt.Axis(ticks=False, domain=False))
    x = alt.X("part:Q", title="mean part of the score", axis=alt.Axis(format=".2~%", tickCount=5))
    bars = alt.Chart(rows(records)).mark_bar(style="normal", stroke=None).encode(x=x, y=y)
    words = ", ".join(f"{label(names[number])} {percent(float(parts[number]))}" for number in order[:5])
    left = len(names) - len(order)
    more = f" {left:,} further columns contribute less." if left > 0 else ""
    chart = finished(
        bars,
        f"Columns that contribute most to {rows_of}",
        f"Mean part of the score: {words}.{more}",
        26 * len(records),
    )
    found: list[Part] = [chart]
    return Section("Contributing columns", found)
