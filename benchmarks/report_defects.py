"""The section of planted local defects: by half and by sort of picture, then kind by kind and by defect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.markdown import Row, cpu_seconds, grouped, methods, spread, table

DEFECTS = """## Planted local defects

Normal pictures train; half of the test pictures have a scratch, a stain, a missing part, a swapped part or
a dent of 1 to 5 % of the area. *Textures* are crops of photographs, *objects* are enlarged pictures of one
class of Fashion-MNIST, *scenes* are views of one photograph, *generated* ones are drawn by a formula. Mean
over the kinds; ± is the standard deviation over seeds of that mean. AUPRO is integrated to 30 % false
positives. CPU seconds: fit, score and heat map of one kind, the backbone's maps included.

Choices look at the half *even* alone; the half *odd* confirms them.
"""
MEASURES = {"auroc": "image AUROC", "pixel_auroc": "pixel AUROC", "aupro": "AUPRO"}


def defects(rows: Sequence[Row]) -> str:
    noted = [row for row in rows if "note" in row]
    rows = [row for row in rows if "note" not in row]
    parts = [DEFECTS]
    for key in ("half", "group"):
        for (name,), group in sorted(grouped(rows, key).items()):
            title = f"half *{name}*" if key == "half" else name
            kinds = ", ".join(sorted({row["kind"] for row in group}))
            parts.append(f"### Defects, {title}: {kinds}\n\n{summary(group)}")
    for measure, title in MEASURES.items():
        parts.append(f"### Defects, {title} by kind\n\n{by_kind(rows, measure)}")
    parts.append(f"### Defects, image AUROC by defect\n\n{by_defect(rows)}")
    if noted:
        names = ", ".join(methods(noted))
        parts.append(f"Without rows: {names}; {noted[0]['note']}.\n")
    return "\n".join(parts)


def summary(rows: Sequence[Row]) -> str:
    """Methods by image AUROC, over the seeds that have every kind of the group."""
    kinds = {row["kind"] for row in rows}
    body = []
    for method in methods(rows):
        seeds = whole_seeds([row for row in rows if row["method"] == method], kinds)
        if seeds:
            cells = [spread_of(seeds, measure) for measure in MEASURES]
            count = sum(len(seed) for seed in seeds)
            seconds = sum(cpu_seconds(seed) for seed in seeds) / count
            body.append([method, *cells, f"{seconds:.1f}", str(len(seeds))])
    body.sort(key=lambda line: -float(line[1].split()[0]))
    return table(("method", *MEASURES.values(), "CPU s", "seeds"), body)


def whole_seeds(rows: Sequence[Row], kinds: set[Any]) -> list[list[Row]]:
    """The rows of each seed that has every kind."""
    return [group for group in grouped(rows, "seed").values() if {row["kind"] for row in group} == kinds]


def spread_of(seeds: Sequence[Sequence[Row]], measure: str) -> str:
    """Mean over the kinds, with its spread over the seeds; empty where the method has no heat map."""
    if any(measure not in row for seed in seeds for row in seed):
        return ""
    return spread([float(np.mean([row[measure] for row in seed])) for seed in seeds])


def by_kind(rows: Sequence[Row], measure: str) -> str:
    """One line for each kind, means over seeds."""
    values, columns = grouped([row for row in rows if measure in row], "kind", "method"), methods(rows)
    columns = [column for column in columns if any(key[1] == column for key in values)]
    body = []
    for kind, half in sorted({(row["kind"], row["half"]) for row in rows}):
        cells = [mean([row[measure] for row in values.get((kind, column), [])]) for column in columns]
        body.append([f"{kind} ({half})", *cells])
    return table(("kind", *columns), body)


def by_defect(rows: Sequence[Row]) -> str:
    """One line for each defect, means over kinds and seeds."""
    columns = methods(rows)
    body = []
    for name in dict.fromkeys(name for row in rows for name in row["by_defect"]):
        cells = []
        for column in columns:
            own = [row["by_defect"] for row in rows if row["method"] == column]
            cells.append(mean([values[name] for values in own if name in values]))
        body.append([name, *cells])
    return table(("defect", *columns), body)


def mean(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.2f}" if values else ""
