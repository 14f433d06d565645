"""What the pages of results are made of: Markdown tables, groups of rows, means with their spread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)]) + "\n"


def grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


def spread(values: Sequence[float], scale: float = 100.0, digits: int = 2) -> str:
    """mean +- standard deviation; the mean alone of a single value."""
    mean = f"{scale * np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {scale * np.std(values, ddof=1):.{digits}f}"


def methods(rows: Iterable[Row]) -> list[str]:
    """Names of the methods in the order in which they come."""
    return list(dict.fromkeys(row["method"] for row in rows))


def cpu_seconds(rows: Iterable[Row]) -> float:
    """Fit and score together."""
    return float(sum(row["fit_seconds"] + row["score_seconds"] for row in rows))
