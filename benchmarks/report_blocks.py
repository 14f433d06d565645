"""The section of the page on block calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.markdown import table

ALPHAS = (0.05, 0.01)
TITLES = {
    "promise": "AR(1) scores",
    "detector": "A detector of two channels of AR(1)",
}


def blocks(rows: Sequence[dict[str, Any]]) -> str:
    """False episodes by blocks and by steps, and the power to find a shift."""
    note = (
        "False episodes a block over alpha (the promise is 1 at most, on average over calibrations; `reach` "
        "is what the number of blocks allows), false episodes a day of 1,440 steps at 0.05, and those of "
        "steps flagged at 0.05 (`benchmarks/blocks.py`); mean ± standard error.\n"
    )
    parts = ["## Episodes by block calibration\n", note]
    for part, title in TITLES.items():
        if some := [row for row in rows if row["part"] == part]:
            parts += [f"### {title}\n", _rates(some)]
    if some := [row for row in rows if row["part"] == "power"]:
        parts += ["### Shifts of 100 steps\n", _power(some)]
    return "\n".join(parts)


def _rates(rows: Sequence[dict[str, Any]]) -> str:
    head = ["coefficient", "calibrated on", "redraws", "B", "k"]
    head += [f"{what}, {alpha:g}" for alpha in ALPHAS for what in ("false / alpha", "reach", "warned")]
    head += ["a day", "allowed", "by steps"]
    body = []
    for row in rows:
        cells = [f"{row['phi']:g}", f"{row['size']:,}", f"{row['redraws']}"]
        cells += [f"{row['length']:.0f}", f"{row['blocks']:,.0f}"]
        for alpha in ALPHAS:
            cells.append(f"{row[f'false_{alpha}']:.2f} ± {row[f'false_{alpha}_error']:.2f}")
            cells += [f"{row[f'reach_{alpha}']:.2f}", f"{row[f'warned_{alpha}']:.0%}"]
        cells += [f"{row[f'{name}_a_day_0.05']:.3g}" for name in ("blocks", "promised", "steps")]
        body.append(cells)
    return table(head, body)


def _power(rows: Sequence[dict[str, Any]]) -> str:
    head = ["coefficient", "shift", *(f"{by}, {alpha:g}" for by in ("blocks", "steps") for alpha in ALPHAS)]
    body = []
    for row in rows:
        for shift in (1, 2, 3):
            keys = [f"{by}_{shift}_{alpha}" for by in ("blocks", "steps") for alpha in ALPHAS]
            found = [f"{row[f'found_{key}']:.0%} after {row[f'delay_{key}'] or 0:.1f}" for key in keys]
            body.append([f"{row['phi']:g}", f"{shift} sd", *found])
    return table(head, body)
