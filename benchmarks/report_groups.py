"""The sections of the two benchmarks on groups: of images, and of table rows."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.groups import FAR, POINTS, TRAIN
from benchmarks.groups_tables import ALARMS, PEERS, PERMUTED, SHARES
from benchmarks.markdown import Row, grouped, table

PUBLISHED = Path(__file__).parent / "published" / "groups.csv"
GROUPS = """## Groups of images

AUROC of the statistic between normal and outlying groups, × 100, mean over draws of groups and over
trainings; power: the share of outlying groups with p <= 0.05 by the detector's own null. *N % of each group*:
the others of its images are normal. *Shell*, *whitened*, *contrast matched*: made to look normal to the flow,
see `benchmarks.manipulations`; whitening is meant to defeat every divergence of Gaussians. Far pairs are
those of grey sets, lowered contrast included; a raised one mostly clips. The energy sees each image at its
own contrast, so that it sees little of another one.

*Published* means are quoted, never re-run, over other pairs with larger models: (V) verified at the source.
"""
TABLES = """## Groups of table rows

ADBench sets with at least 1,000 normal rows. *Permuted*: normal rows among which the column that the others
predict best is permuted within the group, so that only the dependence is off. Power at p <= 0.05, in percent,
mean over sets. *KS* tests every column (Bonferroni); *PSI* and *MMD* are compared with normal groups of the
same size. All have the same rows to compare with.
"""
DISCOVERIES = """## False discoveries among groups

At a false discovery rate of 5 %. *Any flag*: every group is normal, and in this share of redraws something is
flagged. In each redraw the reserve that groups are compared with and the groups are drawn anew, for a
detector that is fitted once; ± is the standard error over redraws. *Permuted*: two of ten groups of 50 have a
permuted column; power is the share of these that is flagged.
"""
FAR_PAIRS = "far pairs"


# -- images --------------------------------------------------------------------------------------------------


def groups(rows: Sequence[Row]) -> str:
    sizes = sorted({entry["size"] for row in rows for entry in row["sizes"]} - {1})
    usual = 5 if 5 in sizes else sizes[0]
    parts = [GROUPS, f"### Means\n\n{means(rows, sizes)}"]
    parts.append(f"### AUROC of every statistic at size {usual}\n\n{by_statistic(rows, usual, 'auroc')}")
    parts.append(f"### Power of every statistic at size {usual}\n\n{by_statistic(rows, usual, 'power')}")
    parts.append(f"### AUROC of *auto* and *typicality* by size\n\n{by_size(rows, sizes)}")
    parts.append(f"### Single images\n\n{by_statistic(rows, 1, 'auroc', points=True)}")
    parts.append(f"### Seconds of the CPU\n\n{seconds(rows)}")
    return "\n".join(parts)


def sorts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by the sort of their case: far pairs, single classes, and so on."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(sort(row), []).append(row)
    return found


def sort(row: Row) -> str:
    """Which sort of case."""
    if row["set"] not in TRAIN:
        return "single classes of Fashion-MNIST"
    if row["set"] == "CIFAR-10":
        return "CIFAR-10 → CIFAR-100"
    if row["case"].startswith("contrast "):
        return FAR_PAIRS if float(row["case"].split()[1]) < 1 else "contrast raised"
    if row["case"] in FAR[row["set"]]:
        return FAR_PAIRS
    how = row["case"].split(", ", 1)[1]
    return {"shell": "manipulated", "contrast matched": "manipulated"}.get(how, how)


def means(rows: Sequence[Row], sizes: Sequence[int]) -> str:
    """Mean and least AUROC of each sort of case, by method and statistic, and what is published."""
    shown = [
        ("flow", "auto"),
        ("flow", "divergence"),
        ("flow", "typicality"),
        ("vae", "auto"),
        ("energy", "auto"),
    ]
    body = []
    for name, group in sorts(rows).items():
        for method, statistic in shown:
            own = [row for row in group if (row["method"], row["statistic"]) == (method, statistic)]
            if own:
                cells = [both(values(own, size, "auroc")) for size in sizes]
                body.append([name, f"{method} {statistic}", *cells])
    for row in published():
        cells = [f"{100 * float(row['auroc']):.1f}" if str(size) == row["size"] else "" for size in sizes]
        if any(cells):
            body.append(["*published*", f"{row['method']} ({row['mark']}, {row['source']})", *cells])
    return table(("pairs", "method", *(f"n = {size}: mean (least)" for size in sizes)), body)


def values(rows: Sequence[Row], size: int, measure: str) -> list[float]:
    """A measure at one size, where it was taken."""
    return [e[measure] for row in rows for e in row["sizes"] if e["size"] == size and measure in e]


def both(found: Sequence[float]) -> str:
    return f"{100 * np.mean(found):.1f} ({100 * min(found):.1f})" if found else ""


def by_statistic(rows: Sequence[Row], size: int, measure: str, points: bool = False) -> str:
    """One line for each case, one column for each method and statistic."""
    if not points:
        rows = [row for row in rows if not row["statistic"].startswith(POINTS)]
    rows = [row for row in rows if values([row], size, measure)]
    columns = list(dict.fromkeys((row["method"], row["statistic"]) for row in rows))
    body = []
    for key, group in grouped(rows, "set", "case").items():
        cells = grouped(group, "method", "statistic")
        body.append([" → ".join(key), *(mean(values(cells.get(c, ()), size, measure)) for c in columns)])
    far = [row for row in rows if sort(row) == FAR_PAIRS]
    mean_cells = [
        mean(values([row for row in far if (row["method"], row["statistic"]) == c], size, measure))
        for c in columns
    ]
    head = (f"{method} {statistic.removeprefix(POINTS)}" for method, statistic in columns)
    text = table(("normal → outlying", *head), [*body, ["*mean of the far pairs*", *mean_cells]])
    if not points:
        return text
    quoted = [row for row in published() if row["unit"] == "image"]
    return text + "".join(
        f"\n*Published:* {row['method']} {100 * float(row['auroc']):.1f} ({row['mark']}, {row['source']}).\n"
        for row in quoted
    )


def mean(found: Sequence[float]) -> str:
    return f"{100 * np.mean(found):.1f}" if found else ""


def by_size(rows: Sequence[Row], sizes: Sequence[int]) -> str:
    """One line for each case, the sizes of two statistics of every method."""
    shown = [("flow", "auto"), ("flow", "typicality"), ("vae", "auto"), ("energy", "auto")]
    body = []
    for key, group in grouped(rows, "set", "case").items():
        cells = grouped(group, "method", "statistic")
        line = [" / ".join(mean(values(cells.get(c, ()), n, "auroc")) or "–" for n in sizes) for c in shown]
        body.append([" → ".join(key), *line])
    head = (f"{method} {statistic}, n = {' / '.join(map(str, sizes))}" for method, statistic in shown)
    return table(("normal → outlying", *head), body)


def seconds(rows: Sequence[Row]) -> str:
    """Of training, and of all verdicts, for each model."""
    body = []
    for (name, method), group in grouped(rows, "set", "method").items():
        fits = {row["seed"]: row["fit_seconds"] for row in group}
        verdicts = sum(row["verdict_seconds"] for row in group) / len(fits)
        first = group[0]
        cells = (f"{first['n_train']:,}", f"{first['parameters']:,}", f"{np.mean(list(fits.values())):.0f}")
        body.append([name, method, *cells, f"{verdicts:.0f}", str(len(fits))])
    return table(("set", "method", "images", "parameters", "training", "verdicts", "trainings"), body)


def published() -> list[dict[str, str]]:
    with PUBLISHED.open(newline="") as file:
        return list(csv.DictReader(file))


# -- tables --------------------------------------------------------------------------------------------------


def tables(rows: Sequence[Row]) -> str:
    tested = [row for row in rows if row["case"] != ALARMS]
    largest = max(entry["size"] for row in tested for entry in row["sizes"])
    parts = [
        TABLES,
        f"### Power and AUROC, mean over sets, groups of {largest}\n\n{over_sets(tested, largest)}",
    ]
    parts.append(
        f"### Permuted column, power by set, groups of {largest}\n\n{by_set(tested, PERMUTED, largest)}"
    )
    for case in ("20 % anomalies", "all anomalies"):
        parts.append(
            f"### {case.capitalize()}, power by set, groups of {largest}\n\n{by_set(tested, case, largest)}"
        )
    parts.append(f"### False alarms of *auto* over redraws of the reference\n\n{false_alarms(rows)}")
    return "\n".join(parts)


def name_of(row: Row) -> str:
    """The detector and the statistic; tests of drift by themselves."""
    return row["statistic"] if row["statistic"] in PEERS else f"{row['method']} {row['statistic']}"


def over_sets(rows: Sequence[Row], size: int) -> str:
    """One line for each statistic: of every case power and AUROC, and the alarms on normal groups."""
    cases = (*SHARES, PERMUTED)
    body = []
    for name in dict.fromkeys(map(name_of, rows)):
        own = [row for row in rows if name_of(row) == name]
        cells = []
        for case in cases:
            here = [row for row in own if row["case"] == case]
            cells.append(f"{mean(values(here, size, 'power'))} / {mean(values(here, size, 'auroc'))}")
        body.append([name, *cells, mean(values(own, size, "alarms"))])
    return table(("statistic", *(f"{case}: power / AUROC" for case in cases), "alarms"), body)


def by_set(rows: Sequence[Row], case: str, size: int) -> str:
    """Power in one case, one line for each set, and on how many it is above 90."""
    rows = [row for row in rows if row["case"] == case]
    names = list(dict.fromkeys(map(name_of, rows)))
    body, found = [], {name: [] for name in names}
    for (name,), group in grouped(rows, "set").items():
        cells = []
        for column in names:
            power = values([row for row in group if name_of(row) == column], size, "power")
            cells.append(mean(power))
            found[column] += [np.mean(power) > 0.9] if power else []
        first = group[0]
        facts = f"{first['columns']} columns, R² {first['r_squared']:.2f}" if case == PERMUTED else ""
        body.append([name, facts, *cells])
    body.append(["*above 90*", "", *(f"{sum(found[column])} of {len(found[column])}" for column in names)])
    return table(("set", "", *names), body)


def false_alarms(rows: Sequence[Row]) -> str:
    """Mean over sets by size, with the standard error, and the greatest excess over 5 % in such errors."""
    rows = [row for row in rows if row["case"] == ALARMS]
    sizes = sorted({entry["size"] for row in rows for entry in row["sizes"]})
    body = []
    for (method,), group in grouped(rows, "method").items():
        cells = []
        for size in sizes:
            entries: list[Any] = [e for row in group for e in row["sizes"] if e["size"] == size]
            error = np.sqrt(np.sum([e["error"] ** 2 for e in entries])) / len(entries)
            worst = max((e["alarms"] - 0.05) / max(e["error"], 1e-9) for e in entries)
            cells.append(f"{np.mean([e['alarms'] for e in entries]):.4f} ± {error:.4f} ({worst:+.1f})")
        body.append([method, str(len(group)), *cells])
    return table(
        ("method", "sets", *(f"n = {size} (worst set, in errors over 0.05)" for size in sizes)), body
    )


# -- false discoveries ---------------------------------------------------------------------------------------


def discoveries(rows: Sequence[Row]) -> str:
    """How often anything is flagged where every group is normal, and power."""
    body = [
        [
            *(str(row[key]) for key in ("set", "method", "case", "size", "groups", "held_out", "redraws")),
            f"{row['rate']:.3f} ± {row['error']:.3f}",
            f"{row['alarms']:.4f} ± {row['alarms_error']:.4f}" if "alarms" in row else "",
            f"{row['power']:.3f} ± {row['power_error']:.3f}" if "power" in row else "",
        ]
        for row in rows
    ]
    head = ["set", "method", "case", "size", "groups", "reserve", "redraws"]
    return DISCOVERIES + "\n" + table([*head, "any flag, or FDP", "p <= .05", "power"], body)
