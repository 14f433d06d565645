"""The section of the image benchmark: one versus rest, class by class, and the paper's own shares."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.images import SETS
from benchmarks.markdown import Row, cpu_seconds, grouped, methods, spread, table

PUBLISHED = Path(__file__).parent / "published" / "images.csv"
IMAGES = """## Images, one class normal in turn

Mean over the classes of a set; ± is the standard deviation over seeds of that mean. Peers see pixels 0 to 1.
CPU seconds: fit and score of one class, and the longest fit of one. *1-NN*: distance to the nearest training
image; *kNN*: mean of the five nearest; *PCA*: residual behind 95 % of the variance. Of CIFAR-10 a balanced
part of 12,000 + 3,000 images is used, of the other sets all.

*Published* rows are quoted, never re-run: (V) verified at the source named, (S) verified in a second source
that quotes it, (M) from memory and **not verified**. Those on CIFAR-10 had all 50,000 + 10,000 images.

*F1 by share*: the class's test images with a share ρ of others mixed in, the top ρ of the scores flagged. As
many are flagged as there are anomalies: precision and recall equal F1.
"""
MEASURES = ("auroc", "auprc")


def images(rows: Sequence[Row]) -> str:
    quoted = published()
    parts = [IMAGES]
    for name in SETS:
        group = [row for row in rows if row["set"] == name]
        if group:
            quoted_here = [row for row in quoted if row["set"] == name]
            parts += [
                f"### {name}\n\n{summary(group, quoted_here)}",
                f"#### {name}: AUROC by class\n\n{by_class(group, quoted_here, SETS[name][1])}",
                f"#### {name}: F1 by share\n\n{by_share(group)}{best(quoted_here)}",
            ]
    return "\n".join(parts)


def published() -> list[dict[str, str]]:
    with PUBLISHED.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(rows: Sequence[Row], quoted: Sequence[Row]) -> str:
    """Methods by AUROC, then what is published."""
    body = []
    for method in methods(rows):
        own = [row for row in rows if row["method"] == method]
        whole = whole_seeds(own, {row["class"] for row in rows})
        if whole:
            cells = [
                spread([float(np.mean([row[key] for row in seed])) for seed in whole]) for key in MEASURES
            ]
            fitted = [row for seed in whole for row in seed]
            seconds, longest = cpu_seconds(fitted) / len(fitted), max(row["fit_seconds"] for row in fitted)
            body.append([method, *cells, f"{seconds:.1f}", f"{longest:.1f}", str(len(whole))])
    body.sort(key=lambda line: -float(line[1].split()[0]))
    means = [row for row in quoted if row["class"] == "mean" and row["measure"] == "auroc"]
    means = sorted(means, key=lambda row: -float(row["value"]))
    lines = [[title(row, row["source"]), f"{100 * float(row['value']):.1f}", "", "", "", ""] for row in means]
    return table(("method", "AUROC", "AUPRC", "CPU s", "longest fit", "seeds"), [*body, *lines])


def whole_seeds(rows: Sequence[Row], classes: set[str]) -> list[list[Row]]:
    """The rows of each seed that has every class."""
    return [group for group in grouped(rows, "seed").values() if {row["class"] for row in group} == classes]


def title(row: Row, source: str = "") -> str:
    return f"*published:* {row['method']} ({row['mark']}{', ' + source if source else ''})"


def by_class(rows: Sequence[Row], quoted: Sequence[Row], names: Sequence[str]) -> str:
    """One line for each class, means over seeds; what is published by class behind."""
    measured, columns = grouped(rows, "class", "method"), methods(rows)
    published_by_class = {(row["class"], title(row)): row["value"] for row in quoted if row["class"] in names}
    theirs = list(dict.fromkeys(column for _, column in published_by_class))
    body = []
    for name in names:
        ours = [measured.get((name, column), []) for column in columns]
        cells = [f"{100 * np.mean([row['auroc'] for row in group]):.2f}" if group else "" for group in ours]
        values = (published_by_class.get((name, column)) for column in theirs)
        cells += [f"{100 * float(value):.1f}" if value else "" for value in values]
        body.append([name, *cells])
    return table(("class", *columns, *theirs), body)


def by_share(rows: Sequence[Row]) -> str:
    """Mean F1 over classes and seeds for each share of anomalies."""
    shares = [entry["rho"] for entry in rows[0]["mixed"]]
    body = []
    for (method,), own in grouped(rows, "method").items():
        group = [row for seed in whole_seeds(own, {row["class"] for row in rows}) for row in seed]
        if not group:
            continue
        means = np.mean([[entry["f1"] for entry in row["mixed"]] for row in group], axis=0)
        body.append([method, *(f"{mean:.4f}" for mean in means)])
    body.sort(key=lambda line: -float(line[1]))
    return table(("method", *(f"ρ = {share:g}" for share in shares)), body)


def best(quoted: Sequence[Row]) -> str:
    """What is published without its share."""
    found = [row for row in quoted if row["measure"] == "f1"]
    return "".join(f"\n{title(row)}: {float(row['value']):.4f}, {row['source']}.\n" for row in found)
