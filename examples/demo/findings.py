"""What the parts of the demonstration share: verdicts held against what is known of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.csv as csv

from upland.cli.console import grid

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.cli.verdicts import Bools

ALPHA = 0.05


@dataclass(frozen=True)
class Found:
    """How the verdicts compare with the truth.

    Args:
        normal: Normal ones that were scored.
        alarms: How many of them were flagged.
        odd: Others that were scored.
        hits: How many of them were flagged.
        auroc: Probability that one of the others scores above a normal one.
    """

    normal: int
    alarms: int
    odd: int
    hits: int
    auroc: float


def compared(scored: Path, odd: Bools, judged: Bools | None = None) -> Found:
    """Hold the verdicts of a scored CSV file against the truth.

    Args:
        scored: A file that scoring wrote.
        odd: `(N,)` which of its rows are not normal.
        judged: `(N,)` which of them are looked at; None for all.
    """
    from sklearn.metrics import roc_auc_score

    table = csv.read_csv(scored)
    if judged is not None:
        table, odd = table.filter(judged), odd[judged]
    flagged = table["is_anomaly"].to_numpy()
    return Found(
        normal=int((~odd).sum()),
        alarms=int((flagged & ~odd).sum()),
        odd=int(odd.sum()),
        hits=int((flagged & odd).sum()),
        auroc=float(roc_auc_score(odd, table["anomaly_score"].to_numpy())),
    )


def found_table(heading: str, lines: Sequence[tuple[str, bool, Found]]) -> RenderableType:
    """How many were flagged.

    Args:
        heading: What was scored.
        lines: Of each line what it is of, whether of the odd ones or of the normal ones, and the findings.
    """
    rows = []
    for name, odd, found in lines:
        flagged, count = (found.hits, found.odd) if odd else (found.alarms, found.normal)
        share = f"{flagged / count:.1%} {'detected' if odd else 'false alarms'}"
        rows.append([name, str(count), str(flagged), share])
    return grid([heading, "number", "flagged", ""], rows, right=["number", "flagged"])
