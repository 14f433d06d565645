"""The sections of the two sequence benchmarks: one versus rest, and telemetry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.markdown import Row, cpu_seconds, grouped, methods, spread, table
from benchmarks.series import COLLECTIONS, SETS

RECURRENT, DENSE = "upland", "upland dense"
SEQUENCES = """## Labelled sequences, one class normal in turn

Mean over the classes of a set, then over sets; ± is the standard deviation over seeds of the mean over sets.
CPU seconds: fit and score, all classes of all sets, one seed. *flat*: z-scored steps as one row; *features*:
six numbers per channel; *upland dense*: the dense energy on the flat rows.
"""
TELEMETRY = """## SMAP, MSL, NAB and chaotic series

One detector for each series, mean over series, no point adjustment; ± is the standard deviation over seeds
of that mean. VUS-PR: buffers of width 0 to 100, 250 thresholds. Series whose scored part has no anomaly are
left out. Peers see windows of 32 steps and score the middle; PyOD's LSTM forecasts the step behind a window
and has 10 epochs instead of its 50; matrix profile and POLY see the first channel. Neighbours, OC-SVM and LOF
are fitted on at most 5,000 windows. The chaotic series are made: a seam breaks the dynamics, nothing
else. CPU seconds: fit and score, all series, one seed.
"""


# -- one versus rest -----------------------------------------------------------------------------------------


def sequences(rows: Sequence[Row]) -> str:
    names = [name for name in SETS if any(row["set"] == name for row in rows)]
    parts = [SEQUENCES, buys(rows), summary(rows, names)]
    for measure in ("auroc", "auprc"):
        parts.append(f"### {measure.upper()} by set\n\n{by_set(rows, names, measure)}")
    return "\n".join(part for part in parts if part)


def summary(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Means over sets of the methods that have every set, from high AUROC to low."""
    body = []
    for method in methods(rows):
        seeds = grouped([row for row in rows if row["method"] == method], "seed")
        whole = [group for group in seeds.values() if {row["set"] for row in group} == set(names)]
        if whole:
            cells = [spread([over_sets(group, measure) for group in whole]) for measure in ("auroc", "auprc")]
            seconds = np.mean([cpu_seconds(group) for group in whole])
            body.append([method, *cells, f"{seconds:.1f}", str(len(whole))])
    return table(("method", "AUROC", "AUPRC", "CPU s", "seeds"), by_number(body, 1))


def over_sets(rows: Sequence[Row], measure: str) -> float:
    """Mean over sets of the mean over classes."""
    sets = grouped(rows, "set").values()
    return float(np.mean([np.mean([row[measure] for row in group]) for group in sets]))


def by_set(rows: Sequence[Row], names: Sequence[str], measure: str) -> str:
    """One line for each method; of each set the mean over classes and seeds."""
    values = grouped(rows, "method", "set")
    body = []
    for method in methods(rows):
        groups = [values.get((method, name), []) for name in names]
        body.append([method, *(spread([np.mean([row[measure] for row in g])]) if g else "" for g in groups)])
    return table(("method", *names), body)


def buys(rows: Sequence[Row]) -> str:
    """What recurrence buys: on how many sets it is above the dense energy."""
    groups = grouped(rows, "method", "set")
    values = {key: np.mean([row["auroc"] for row in group]) for key, group in groups.items()}
    both = [name for name in SETS if (RECURRENT, name) in values and (DENSE, name) in values]
    if not both:
        return ""
    above = sum(values[RECURRENT, name] > values[DENSE, name] for name in both)
    return f"By AUROC *{RECURRENT}* is above *{DENSE}* on {above} of {len(both)} sets.\n"


# -- telemetry -----------------------------------------------------------------------------------------------


def telemetry(rows: Sequence[Row]) -> str:
    parts = [TELEMETRY, over_collections([row for row in rows if row["collection"] in COLLECTIONS])]
    parts += [collection(name, group) for (name,), group in grouped(rows, "collection").items()]
    return "\n".join(part for part in parts if part)


def over_collections(rows: Sequence[Row]) -> str:
    """Mean over the collections of the methods that have every series of every collection."""
    every = {(row["collection"], row["series"]) for row in rows}
    body = []
    for method in methods(rows):
        seeds = grouped([row for row in rows if row["method"] == method], "seed").values()
        whole = [group for group in seeds if len(group) == len(every)]
        if whole:
            cells = [spread([collections_mean(group, key) for group in whole]) for key in MEASURES]
            body.append([method, *cells, str(len(whole))])
    head = ("method", "VUS-PR", "AUPRC", "AUROC", "seeds")
    return f"### Mean over SMAP, MSL and NAB\n\n{table(head, by_number(body, 1))}" if body else ""


def collections_mean(rows: Sequence[Row], measure: str) -> float:
    groups = grouped(rows, "collection").values()
    return float(np.mean([np.mean([row[measure] for row in group]) for group in groups]))


def collection(name: str, rows: Sequence[Row]) -> str:
    """Means over the series of one collection; methods that lack some come last, with their own number."""
    total = len({row["series"] for row in rows})
    steps = sum({row["series"]: row["n_test"] for row in rows}.values())
    whole, part = [], []
    for method in methods(rows):
        seeds = list(grouped([row for row in rows if row["method"] == method], "seed").values())
        most = max(len(group) for group in seeds)
        full = [group for group in seeds if len(group) == most]
        cells = [over_series(full, key) for key in (*MEASURES, *BESIDE)]
        seconds = np.mean([cpu_seconds(group) for group in full])
        line = [method, *cells, str(most), f"{seconds:.0f}", str(len(full))]
        (whole if most == total else part).append(line)
    named = ("VUS-PR", "AUPRC", "AUROC", "Range-AUC-PR", "affiliation F")
    head = ("method", *named, "series", "CPU s", "seeds")
    lines = [*by_number(whole, 1), *([f"*{line[0]}*", *line[1:]] for line in by_number(part, 1))]
    title = name.upper() if name in COLLECTIONS else name.capitalize()
    return f"### {title}: {total} series, {steps:,} scored steps\n\n{table(head, lines)}"


def over_series(seeds: Sequence[Sequence[Row]], measure: str) -> str:
    """Mean over series and its spread over seeds; nothing where some rows do not have the measure."""
    if any(row.get(measure) is None for group in seeds for row in group):
        return ""
    return spread([float(np.mean([row[measure] for row in group])) for group in seeds])


MEASURES = ("vus_pr", "auprc", "auroc")
BESIDE = ("range_auc_pr", "affiliation_f")


# -- TSB-AD --------------------------------------------------------------------------------------------------

TSB_AD = """## Files of TSB-AD, by its own protocol

Peers run here, with the windows and settings of that benchmark, beside its published VUS-PR; all steps count,
the training part included. Affiliation F: steps above mean + 3 standard deviations. LOF and KNN of several
channels compare single steps, many of which are equal, so that their order is rounding.
"""


def tsb_ad(rows: Sequence[Row]) -> str:
    """A line for each file and method: mean over seeds, and what was published."""
    body = []
    for (file, method), group in grouped(rows, "file", "method").items():
        published = group[0]["published"]
        cells = [spread([row[key] for row in group]) for key in ("vus_pr", "range_auc_pr")]
        flagged = [row["affiliation_f"] for row in group if row["affiliation_f"] is not None]
        other = [spread([published]) if published is not None else "", spread(flagged) if flagged else ""]
        body.append([file.split("_tr_")[0], method, cells[0], other[0], cells[1], other[1], seconds(group)])
    head = ("file", "method", "VUS-PR", "published", "Range-AUC-PR", "affiliation F", "CPU s")
    return f"{TSB_AD}\n{table(head, body)}"


def seconds(rows: Sequence[Row]) -> str:
    return f"{cpu_seconds(rows) / len(rows):.1f}"


def by_number(lines: Sequence[Sequence[str]], column: int) -> list[Sequence[str]]:
    """Lines from high to low by the leading number of one cell."""
    return sorted(lines, key=lambda line: -float(line[column].split()[0]))
