"""The section of equality: each way of scoring beside the detector in memory."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.markdown import Row, grouped, table

EQUALITY = """## The same numbers everywhere

`benchmarks/equality.py` has the data and the ways. Each cell: the largest difference of a score from that of
`detector.assess` in memory, relative to the score or to the mean score where that is larger; then the largest
difference of a p-value, and how many flags differ, where any does. 0 is equal to the last bit.
"""


def equality(rows: Sequence[Row]) -> str:
    sets = list(dict.fromkeys(row["set"] for row in rows))
    body = []
    for (way,), group in grouped(rows, "way").items():
        by_set = {row["set"]: cell(row) for row in group}
        body.append([way, *(by_set.get(name, "") for name in sets)])
    counts = {row["set"]: row["rows"] for row in rows}
    return EQUALITY + "\n" + table(["way", *(f"{name} ({counts[name]})" for name in sets)], body)


def cell(row: Row) -> str:
    if "refused" in row:
        return "refused"
    text = f"{row['score_difference']:.1g}" if row["score_difference"] else "0"
    if row["p_value_difference"] or row["flags_changed"]:
        text += f"; p {row['p_value_difference']:.1g}, {row['flags_changed']} flags"
    return text
