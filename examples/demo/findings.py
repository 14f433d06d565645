"""What the parts of the demonstration share: a fit, a scoring, and flags compared with labels."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.csv as csv
from numpy.typing import NDArray

import upland
from upland.cli.console import grid
from upland.cli.results import Request, Result
from upland.cli.scoring import score_path

if TYPE_CHECKING:
    from rich.console import RenderableType

ALPHA = 0.05

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """How the flags compare with the labels.

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


def fitted(data: Any, model: Path, modality: Any = None, **arguments: Any) -> tuple[Any, float]:
    """A fitted detector, which is saved too, and the seconds that the fit took.

    Args:
        data: Normal data.
        model: The file to save it in.
        modality: What the data are, where they could be several things.
        arguments: Of the detector.
    """
    start = time.perf_counter()
    detector = upland.detector_for(data, modality=modality, **arguments).fit(data)
    seconds = time.perf_counter() - start
    upland.save(detector, model)
    return detector, seconds


def scored(detector: Any, data: Path, target: Path, maps: Path | None = None) -> Result:
    """The result of scoring, as `upland score --why --top 3` gives it.

    Args:
        detector: Fitted.
        data: What is scored.
        target: The file to write.
        maps: The folder for heat maps.
    """
    request = Request(target, alpha=ALPHA, why=True, overwrite=True, top=3)
    return score_path(detector, data, request, maps)


def compared(scored: Path, odd: Bools, used: Bools | None = None) -> Found:
    """Compare the flags of a scored CSV file with labels.

    Args:
        scored: A file that scoring wrote.
        odd: `(N,)` which of its rows are not normal.
        used: `(N,)` which of them count; None for all.
    """
    from sklearn.metrics import roc_auc_score

    table = csv.read_csv(scored)
    if used is not None:
        table, odd = table.filter(used), odd[used]
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
