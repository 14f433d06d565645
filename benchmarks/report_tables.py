"""The section of OddBench and of the families of mixed tables: by half and by kind of task.

Every family counts once: the mean over its tasks is taken first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.markdown import Row, grouped, methods, spread, table
from benchmarks.table_tasks import HALVES

if TYPE_CHECKING:
    from pandas import DataFrame, Series

TEXT = """## Tables: OddBench, and families of mixed columns

Training rows are normal; `benchmarks/table_tasks.py` has the protocol and the halves. What is chosen by
results is chosen on the half for choosing alone. upland takes words and missing cells as they are; peers take
numbers: medians for missing cells, one column a word, standardised by the training rows. A family counts
once, with the mean over its tasks.

± of AUROC and AUPRC is the standard deviation over seeds of the mean; ± of a difference to kNN (points, at
the same seeds) is the standard error over families. *rank*: mean rank by AUROC among the methods listed,
1 = best. s: mean CPU seconds of one task, without the preparation for peers.
"""
TITLES = {"oddbench": "OddBench", "families": "Families of mixed tables"}
PARTS = {"choose": "half for choosing", "confirm": "half for confirming", "both": "both halves"}
MEASURES = ("auroc", "auprc")
REFERENCE = "kNN"


def tables(rows: Sequence[Row]) -> str:
    parts = [TEXT]
    for collection, title in TITLES.items():
        own = [row for row in rows if row["collection"] == collection]
        for half, name in PARTS.items():
            group = [row for row in own if half in ("both", row["half"])]
            if group and (half != "both" or {row["half"] for row in group} == set(HALVES)):
                heading = f"### {title}, {name}: {sizes(group)}\n"
                parts += [heading, summary(group), *by_kind(group)]
        if own:
            parts.append(f"### {title}: AUROC by task\n\n{by_task(own)}")
    return "\n".join(parts)


def sizes(rows: Sequence[Row]) -> str:
    families, tasks = (len({row[key] for row in rows}) for key in ("family", "task"))
    return f"{families} sets" if families == tasks else f"{families} families, {tasks} tasks"


def summary(rows: Sequence[Row]) -> str:
    """Methods by AUROC: means, differences to kNN, rank, seconds."""
    wide = {measure: by_method(rows, measure) for measure in (*MEASURES, "fit_seconds", "score_seconds")}
    ranks = mean_ranks(wide["auroc"])
    body = []
    for method in ranks.index:
        own = {measure: values[method] for measure, values in wide.items()}
        cells = [spread(list(per_seed(own[measure]))) for measure in MEASURES]
        gains = [difference(wide[measure], method) for measure in MEASURES]
        seconds = [f"{own[key].to_numpy().mean():.2f}" for key in ("fit_seconds", "score_seconds")]
        body.append([method, *cells, *gains, f"{ranks[method]:.2f}", *seconds, str(own["auroc"].shape[1])])
    body.sort(key=lambda line: -float(line[1].split()[0]))
    head = ("method", "AUROC", "AUPRC", "AUROC - kNN", "AUPRC - kNN", "rank", "fit s", "score s", "seeds")
    absent = [method for method in methods(rows) if method not in ranks.index]
    note = f"\nWithout a seed that has every task: {', '.join(absent)}.\n" if absent else ""
    return table(head, body) + note


def by_kind(rows: Sequence[Row]) -> list[str]:
    """One table with the columns of each kind of task, where there are several kinds."""
    kinds = {kind: by_method(group, "auroc") for (kind,), group in sorted(grouped(rows, "kind").items())}
    if len(kinds) < 2:
        return []
    precision = {kind: by_method(group, "auprc") for (kind,), group in grouped(rows, "kind").items()}
    ranks = {kind: mean_ranks(wide) for kind, wide in kinds.items()}
    body = []
    for method in methods(rows):
        cells = [method]
        for kind, wide in kinds.items():
            if method in ranks[kind].index:
                means = [spread(list(per_seed(part[method])), digits=1) for part in (wide, precision[kind])]
                cells += [*means, difference(wide, method), f"{ranks[kind][method]:.2f}"]
            else:
                cells += [""] * 4
        body.append(cells)
    head = [f"{kind}: AUROC, AUPRC, AUROC - kNN, rank".split(", ") for kind in kinds]
    return [table(["method", *(name for part in head for name in part)], body)]


def by_task(rows: Sequence[Row]) -> str:
    """Mean over seeds of each method on each task."""
    columns = methods(rows)
    body = []
    for (task, half), group in sorted(grouped(rows, "task", "half").items()):
        own = {method: [row["auroc"] for row in part] for (method,), part in grouped(group, "method").items()}
        cells = [f"{100 * sum(own[name]) / len(own[name]):.1f}" if name in own else "" for name in columns]
        body.append([task, half, *cells])
    return table(["task", "half", *columns], body)


# -- ablation ------------------------------------------------------------------------------------------------

ABLATION = """## Ablation of the product of experts

AUROC / AUPRC of the default, and of every variant the points above it (below: -) at the same tasks and seeds,
by collection and half; ± is the standard error over families of the difference in AUROC. s: mean CPU seconds
of a fit.
"""
DEFAULT = "default"
PLACES = {"oddbench": "OddBench", "families": "families", "adbench": "ADBench"}


def ablation(rows: Sequence[Row]) -> str:
    """One line a variant, one column a collection and half."""
    rows = [{**row, "method": row["variant"]} for row in rows]
    places = {
        f"{title}, {half}": [row for row in rows if (row["collection"], row["half"]) == (collection, half)]
        for collection, title in PLACES.items()
        for half in HALVES
    }
    wide = {
        place: [by_method(group, measure) for measure in MEASURES] for place, group in places.items() if group
    }
    body = []
    for (variant,), group in grouped(rows, "variant").items():
        seconds = sum(row["fit_seconds"] for row in group) / len(group)
        body.append([variant, *(change(*pair, variant) for pair in wide.values()), f"{seconds:.2f}"])
    return ABLATION + "\n" + table(["variant", *wide, "s"], body)


def change(auroc: DataFrame, auprc: DataFrame, variant: str) -> str:
    """What a variant has above the default; of the default itself the means; nothing where tasks lack."""
    if variant not in auroc.columns or DEFAULT not in auroc.columns:
        return ""
    if variant == DEFAULT:
        return " / ".join(spread(list(per_seed(wide[variant])), digits=1) for wide in (auroc, auprc))
    higher = difference(auprc, variant, DEFAULT).split(" ")[0]
    return f"{difference(auroc, variant, DEFAULT)} / {higher}"


# -- means ---------------------------------------------------------------------------------------------------


def by_method(rows: Sequence[Row], measure: str) -> DataFrame:
    """Values with one line a task (family, task), one column a method and seed that has every task."""
    import pandas as pd

    return (
        pd.DataFrame(list(rows))
        .pivot(index=["family", "task"], columns=["method", "seed"], values=measure)
        .dropna(axis=1)
        .sort_index(axis=1)
    )


def per_seed(values: DataFrame) -> Series:
    """Of one method: the mean over families for each seed."""
    return values.groupby("family").mean().mean()


def difference(wide: DataFrame, method: str, reference: str = REFERENCE) -> str:
    """Points above a reference at the seeds that both have, with the standard error over families."""
    if method == reference or reference not in wide.columns:
        return ""
    gaps = (wide[method] - wide[reference]).dropna(axis=1)
    if gaps.shape[1] == 0:
        return ""
    gaps = 100 * gaps.groupby("family").mean().mean(axis=1)
    return f"{gaps.mean():+.2f}" + (f" ± {gaps.sem():.2f}" if len(gaps) > 1 else "")


def mean_ranks(wide: DataFrame) -> Series:
    """Mean rank of each method, of its mean over seeds; 1 = highest."""
    means = wide.T.groupby(level="method").mean().T
    return means.rank(axis=1, ascending=False).groupby("family").mean().mean()
