"""The section of a few labelled rows: by half and by number of labelled anomalies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.markdown import Row, grouped, methods, spread, table
from benchmarks.report_tables import PARTS, TITLES
from benchmarks.table_tasks import HALVES

TEXT = """## A few labelled rows

`benchmarks/few_labels.py` has the protocol: 1, 5 or 20 anomalies and 20 normal rows of the test are labelled,
and all others scored. ± of AUROC and AUPRC is the standard deviation over seeds of the mean.
*worse*, *better*: the share of tasks and seeds at which AUROC is more than half a point below, above upland's
without labels; *least*: the largest loss, in points. *false alarms*: the mean share of normal rows with
p <= 0.05 and p <= 0.01.
"""
REFERENCE = "upland"
NOTABLE = 0.005
RATES = ("false_alarms_0.05", "false_alarms_0.01")


def few_labels(rows: Sequence[Row]) -> str:
    parts = [TEXT]
    for collection, title in TITLES.items():
        for half, name in PARTS.items():
            own = [row for row in rows if row["collection"] == collection and half in ("both", row["half"])]
            if own and (half != "both" or {row["half"] for row in own} == set(HALVES)):
                tasks = len({row["task"] for row in own})
                parts += [f"### {title}, {name}: {tasks} tasks\n", summary(own)]
    return "\n".join(parts)


def summary(rows: Sequence[Row]) -> str:
    """Methods for each number of labelled anomalies."""
    compared = ("AUROC - upland", "worse", "better", "least")
    head = ("anomalies", "method", "AUROC", "AUPRC", *compared, "false alarms", "tasks")
    body = []
    for (count,), group in sorted(grouped(rows, "anomalies").items()):
        usual = {(row["task"], row["seed"]): row["auroc"] for row in group if row["method"] == REFERENCE}
        body += [[str(count), *line(method, group, usual)] for method in methods(group)]
    return table(head, body)


def line(method: str, group: Sequence[Row], usual: dict[tuple[str, int], float]) -> list[str]:
    """One method, compared with upland at the same tasks and seeds."""
    own = [row for row in group if row["method"] == method]
    cells = [method]
    for measure in ("auroc", "auprc"):
        cells.append(spread([mean(seed, measure) for seed in grouped(own, "seed").values()]))
    places = [(row["task"], row["seed"]) for row in own]
    gains = np.array([row["auroc"] - usual[at] for row, at in zip(own, places, strict=True) if at in usual])
    if method == REFERENCE or not gains.size:
        cells += [""] * 4
    else:
        shares = [f"{(gains < -NOTABLE).mean():.0%}", f"{(gains > NOTABLE).mean():.0%}"]
        cells += [f"{100 * gains.mean():+.2f}", *shares, f"{100 * min(gains.min(), 0):.1f}"]
    alarms = [f"{mean(own, rate):.4f}" for rate in RATES] if RATES[0] in own[0] else []
    return [*cells, ", ".join(alarms), str(len({row["task"] for row in own}))]


def mean(rows: Sequence[Row], measure: str) -> float:
    return float(np.mean([row[measure] for row in rows]))
