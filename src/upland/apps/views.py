"""What results look like: tables and lines for a person, JSON documents for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from upland.apps.console import grid, pairs
from upland.apps.streaming import Outcome, Row, reason_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.calibration import Calibration
    from upland.explanation import Reason

RATES = {"false_alarm": "false-alarm rate", "fdr": "false-discovery rate"}


def info_lines(told: Mapping[str, Any]) -> RenderableType:
    """A detector's `info()`, one line or paragraph for each entry."""
    words = {name.replace("_", " "): _in_words(value) for name, value in told.items()}
    return pairs(words | {"columns": _columns(told["columns"])})


def strangest_table(rows: Sequence[Row]) -> RenderableType:
    """The strangest rows, worst first, with the columns to blame; a star marks a flagged row."""
    lines = [
        [
            f"{row.number}{'*' if row.is_anomaly else ' '}",
            f"{row.anomaly_score:.4g}",
            f"{row.p_value:.3g}",
            "\n".join(map(reason_text, row.reasons)),
        ]
        for row in rows
    ]
    return grid(
        ["row", "anomaly\nscore", "p-value", "why"], lines, right=["row", "anomaly\nscore", "p-value"]
    )


def outcome_line(outcome: Outcome, alpha: float, control: str) -> str:
    """How many rows were flagged, at which rate of which error."""
    share = outcome.flagged / outcome.rows
    return f"{outcome.flagged:,} of {outcome.rows:,} rows flagged ({share:.1%}) at {RATES[control]} {alpha:g}"


def outcome_document(
    outcome: Outcome, calibration: Calibration, alpha: float, control: str
) -> dict[str, Any]:
    """The same for a program.

    Args:
        outcome: What scoring came to.
        calibration: The calibration that the p-values come from.
        alpha: The rate asked for.
        control: Which rate it is: `false_alarm` or `fdr`.
    """
    return {
        "rows": outcome.rows,
        "flagged": outcome.flagged,
        "alpha": alpha,
        "control": control,
        "calibration": calibration.kind,
        "smallest_p": calibration.smallest_p,
        "extra_columns": outcome.extra,
        "strangest": [_row_document(row) for row in outcome.strangest],
    }


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "row": row.number,
        "anomaly_score": row.anomaly_score,
        "p_value": row.p_value,
        "is_anomaly": row.is_anomaly,
        "why": [_reason_document(reason) for reason in row.reasons],
    }


def _reason_document(reason: Reason) -> dict[str, Any]:
    return {
        "column": reason.column,
        "share": reason.share,
        "part": reason.part,
        "value": _plain(reason.value),
        "expected": _plain(reason.expected),
    }


def _plain(value: Any) -> str | float | None:
    """A cell for JSON: numbers and text as they are, a missing one as null, the rest as text."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:  # NaN differs from itself
        return None
    return value if isinstance(value, bool | str | int | float) else str(value)


def _columns(columns: Sequence[Mapping[str, str]]) -> str:
    """Names by kind: `2 numeric: flow, pressure; 1 categorical: valve`."""
    kinds = dict.fromkeys(column["kind"] for column in columns)
    names = {kind: [column["name"] for column in columns if column["kind"] == kind] for kind in kinds}
    return "; ".join(f"{len(found)} {kind}: {', '.join(found)}" for kind, found in names.items())


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_in_words(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        return "\n".join(map(_in_words, value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_in_words, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
