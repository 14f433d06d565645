"""The section of the page on budgets of alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import grouped, table

COLUMNS = {
    "false": "false / bound",
    "history_rate": "a day on the history",
    "next_rate": "a day in the month after",
    "kept": "budget kept there",
    "covered": "interval holds the true rate",
}


def alarms(rows: Sequence[dict[str, Any]]) -> str:
    """Means and standard errors of each case."""
    head = ("history", "redraws", *COLUMNS.values(), "the same at a fixed level")
    body = []
    for (case,), group in grouped(rows, "case").items():
        done = [row for row in group if row["chosen"] is not None]
        cells = [_error([float(row[name]) for row in done]) for name in COLUMNS]
        body.append([case, f"{len(group)}", *cells, _error([float(row["fixed_covered"]) for row in group])])
    note = (
        "A level chosen by `1 per day` on 30 days of simulated scores, and what it does in the 30 days after "
        "(`benchmarks/alarms.py` says how they are drawn); mean ± standard error.\n\n"
    )
    return "## Budgets of alarms\n\n" + note + table(head, body)


def _error(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.3f}"
