"""Results to Markdown: means over seeds beside the published rows; date, machine and versions below each.

The headline of ADBench is the mean over the sets that the protocol does not bootstrap; all sets come second.
The published kNN takes the distance to the fifth neighbour; the one of these runs takes the mean of five.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import (
    report_alarms,
    report_augmentation,
    report_blocks,
    report_defects,
    report_faults,
    report_groups,
    report_guarantees,
    report_images,
    report_labels,
    report_production,
    report_series,
    report_tables,
)
from benchmarks.markdown import Row, grouped, methods, spread, table

PUBLISHED = Path(__file__).parent / "published"
COLUMNS = ("DTE-NP", "kNN", "ICL", "DTE-C", "LOF", "OCSVM", "PCA", "VAE", "DeepSVDD", "IForest")
MEASURES = ("auroc", "auprc", "f1")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    files = [json.loads(path.read_text()) for path in options.results]
    text = report([file for file in files if "rows" in file])  # those of the fuzz have counts alone
    if options.output:
        options.output.write_text(text)
    else:
        print(text)
    return 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of the benchmarks, in any order")
    parser.add_argument("--output", "-o", type=Path, help="Markdown file; the screen if left out")
    return parser.parse_args(argv)


def report(files: Sequence[Row]) -> str:
    """The whole page: one section for each benchmark that has rows."""
    rows: dict[str, list[Row]] = defaultdict(list)
    headers: dict[str, list[Row]] = defaultdict(list)
    for file in files:
        for row in file["rows"]:
            rows[benchmark_of(row)].append(row)
        if file["rows"]:
            headers[benchmark_of(file["rows"][0])].append(file["header"])
    parts = ["# Benchmarks\n", "Written by `python -m benchmarks.report`; do not edit.\n"]
    for name, section in SECTIONS.items():
        if rows[name]:
            parts += [section(rows[name]), provenance(headers[name])]
    return "\n".join(parts).rstrip() + "\n"


def benchmark_of(row: Row) -> str:
    """Which benchmark wrote this row: by its name, or by its columns."""
    if "benchmark" in row:
        return str(row["benchmark"])
    if "variant" in row:
        return "ablation"
    if "redraw" in row:
        return "calibration"
    return "dagmm" if "precision" in row else "adbench" if "auprc" in row else "speed"


def provenance(headers: Iterable[Row]) -> str:
    """Date, machine and versions of the files of one section."""
    lines = []
    for header in headers:
        versions = ", ".join(f"{name} {number}" for name, number in header["versions"].items() if number)
        machine = f"{header['processor']}, {header['cores']} cores, {header['threads']} thread(s)"
        lines.append(f"* {header['date']}; {machine}; Python {header['python']}; {versions}")
    return "\n".join(["Runs:\n", *dict.fromkeys(lines)]) + "\n"


def published(name: str) -> list[dict[str, str]]:
    with (PUBLISHED / name).open(newline="") as file:
        return list(csv.DictReader(file))


# -- ADBench -------------------------------------------------------------------------------------------------


def adbench(rows: Sequence[Row]) -> str:
    copies = {row["set"] for row in rows if row["bootstrapped"]}
    names = sorted({row["set"] for row in rows})
    plain = [name for name in names if name not in copies]
    seeds = sorted({row["seed"] for row in rows})
    parts = [
        f"## ADBench, one-class protocol\n\nSeeds {', '.join(map(str, seeds))}; ± is the standard deviation "
        "over seeds of the mean over sets. CPU seconds: fit and score, all sets of one seed.\n",
        f"### The {len(plain)} sets without bootstrap\n\n{summary(rows, plain)}",
        f"### All {len(names)} sets (those with copies of training rows in the test included)\n\n"
        + summary(rows, names),
    ]
    for measure in MEASURES:
        parts.append(f"### {measure.upper()} by set\n\n{per_set(rows, plain, names, measure)}")
    return "\n".join(parts)


def summary(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Means over sets: our runs first, from high AUROC to low, then the published methods."""
    measured = [line for line in (averages(rows, names, method) for method in methods(rows)) if line]
    head = ("method", "AUROC", "AUPRC", "F1", "CPU s", "seeds")
    body = sorted(measured, key=lambda line: -float(line[1].split()[0]))
    return table(head, [*body, *published_averages(names)])


def averages(rows: Sequence[Row], names: Sequence[str], method: str) -> list[str] | None:
    """One line of the summary over the seeds that have every set; None where no seed has."""
    by_seed = grouped([row for row in rows if row["method"] == method and row["set"] in names], "seed")
    whole = [group for group in by_seed.values() if len(group) == len(names)]
    if not whole:
        return None
    cells = [
        spread([float(np.mean([row[measure] for row in group])) for group in whole]) for measure in MEASURES
    ]
    seconds = np.mean([sum(row["fit_seconds"] + row["score_seconds"] for row in group) for group in whole])
    return [method, *cells, f"{seconds:.1f}", str(len(whole))]


def published_averages(names: Sequence[str]) -> list[list[str]]:
    rows = grouped([row for row in published("adbench_one_class.csv") if row["dataset"] in names], "method")
    lines = []
    for (method,), group in rows.items():
        if len(group) == len(names):
            cells = [
                f"{np.mean([float(row[f'{measure}_mean']) for row in group]):.2f}" for measure in MEASURES
            ]
            lines.append([f"*published:* {method}", *cells, "", "5"])
    return sorted(lines, key=lambda line: -float(line[1]))


def per_set(rows: Sequence[Row], plain: Sequence[str], names: Sequence[str], measure: str) -> str:
    """Mean over seeds of one measure; published columns behind; bootstrapped sets last, in italics."""
    values = grouped(rows, "set", "method")
    quoted = {
        (row["dataset"], row["method"]): row[f"{measure}_mean"] for row in published("adbench_one_class.csv")
    }
    columns = methods(rows)
    body = []
    for name in [*plain, *(name for name in names if name not in plain)]:
        ours = [cell(values.get((name, method), ()), measure) for method in columns]
        theirs = [
            f"{float(quoted[name, method]):.2f}" if (name, method) in quoted else "" for method in COLUMNS
        ]
        body.append([name if name in plain else f"*{name}*", *ours, *theirs])
    return table(["set", *columns, *(f"*publ.* {name}" for name in COLUMNS)], body)


def cell(rows: Sequence[Row], measure: str) -> str:
    return f"{100 * np.mean([row[measure] for row in rows]):.2f}" if rows else ""


# -- DAGMM ---------------------------------------------------------------------------------------------------


def dagmm(rows: Sequence[Row]) -> str:
    parts = ["## KDD Cup 99 (10 %), Thyroid, Arrhythmia: DAGMM protocol\n"]
    quoted = grouped(published("dagmm.csv"), "set")
    for (name,), group in grouped(rows, "set").items():
        body = [dagmm_line(method, part) for (method,), part in grouped(group, "method").items()]
        body += [
            [
                f"*published:* {row['method']} ({row['source']})",
                *(f"{float(row[key]):.4f}" for key in PRF),
                "",
                "",
            ]
            for row in quoted[name,]
        ]
        head = ("method", "precision", "recall", "F1", "CPU s", "seeds")
        parts.append(f"### {name}\n\n{table(head, body)}")
    return "\n".join(parts)


PRF = ("precision", "recall", "f1")


def dagmm_line(method: str, rows: Sequence[Row]) -> list[str]:
    seconds = np.mean([row["fit_seconds"] + row["score_seconds"] for row in rows])
    cells = [spread([row[key] for row in rows], 1.0, 4) for key in PRF]
    return [method, *cells, f"{seconds:.1f}", str(len(rows))]


# -- speed, calibration --------------------------------------------------------------------------------------


def speed(rows: Sequence[Row]) -> str:
    parts = ["## Speed and memory, one thread, one run\n"]
    for (part,), group in grouped(rows, "part").items():
        keys = [
            key for key in dict.fromkeys(key for row in group for key in row) if key not in ("part", "method")
        ]
        body = [[row["method"], *(number(row.get(key)) for key in keys)] for row in group]
        parts.append(f"### {part}\n\n{table([part, *(key.replace('_', ' ') for key in keys)], body)}")
    return "\n".join(parts)


def number(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )


def calibration(rows: Sequence[Row]) -> str:
    head = ("calibration", "redraws", "alpha", "false alarms", "at least", *(text for text, _ in RATES))
    body = []
    for (case, alpha), group in grouped(rows, "case", "alpha").items():
        n = group[0]["n"]
        alarms, *others = (
            error([row[key] for row in group]) for key in ("false_alarms", *(k for _, k in RATES))
        )
        least = f"{np.floor(alpha * (n + 1)) / (n + 1):.4f}"
        name = f"{case}, {group[0]['rows']} rows, n = {n}"
        body.append([name, str(len(group)), f"{alpha:g}", alarms, least, *others])
    return "## Calibration over redraws of every row (mean ± standard error)\n\n" + table(head, body)


def ablation(rows: Sequence[Row]) -> str:
    """One line for each variant: the plain sets, all sets, the two small ones by F1, seconds."""
    head = ("variant", "plain AUROC", "AUPRC", "all AUROC", "AUPRC", *(f"{name} F1" for name in F1_SETS), "s")
    every = {row["set"] for row in rows} - set(F1_SETS)
    body, lacking = [], []
    for (variant,), group in grouped(rows, "variant").items():
        whole = [row for row in group if row["set"] not in F1_SETS]
        if missing := every - {row["set"] for row in whole}:
            lacking.append(f"{variant} ({', '.join(sorted(missing))})")
            continue
        plain = [row for row in whole if row["set"] not in BOOTSTRAPPED]
        cells = [_mean(part, key, 100.0, 2) for part in (plain, whole) for key in ("auroc", "auprc")]
        cells += [_mean([row for row in group if row["set"] == name], "f1", 1.0, 3) for name in F1_SETS]
        body.append([variant, *cells, _mean(whole, "fit_seconds", 1.0, 1)])
    note = "One change at a time, one seed of every set; s: mean CPU seconds of a fit.\n\n"
    left_out = f"\nNot every set has a row of: {'; '.join(lacking)}.\n" if lacking else ""
    return "## Ablation of the multi-scale energy\n\n" + note + table(head, body) + left_out


F1_SETS = ("thyroid", "arrhythmia")
BOOTSTRAPPED = ("glass", "ionosphere", "pima", "stamps", "wbc", "wdbc", "wine", "wpbc")


def _mean(rows: Sequence[Row], measure: str, scale: float, digits: int) -> str:
    return f"{scale * np.mean([row[measure] for row in rows]):.{digits}f}" if rows else ""


def contaminated(rows: Sequence[Row]) -> str:
    """Methods by their means over the sets and seeds that all of them have."""
    names = methods(rows)
    cases = {key for key, group in grouped(rows, "set", "seed").items() if len(group) == len(names)}
    whole = [row for row in rows if (row["set"], row["seed"]) in cases]
    body = []
    for (method,), group in grouped(whole, "method").items():
        cells = [_mean(group, key, 100.0, 2) for key in ("auroc", "auprc")]
        body.append([method, *cells, _mean(group, "fit_seconds", 1.0, 1)])
    body.sort(key=lambda line: -float(line[1]))
    sets, seeds = ({case[key] for case in cases} for key in (0, 1))
    note = (
        "Anomalies are left among the training rows, and these rows are scored. "
        f"Sets: {len(sets)}; seeds: {len(seeds)}; s: mean CPU seconds of a fit.\n\n"
    )
    return "## Contaminated training data\n\n" + note + table(("method", "AUROC", "AUPRC", "s"), body)


RATES = (("FDP, all normal", "fdp_normal"), ("FDP, with anomalies", "fdp_mixed"), ("power", "power"))


def error(values: Sequence[float]) -> str:
    """mean +- standard error of the mean."""
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.4f}"


SECTIONS: dict[str, Callable[[Sequence[Row]], str]] = {
    "adbench": adbench,
    "tables": report_tables.tables,
    "few labels": report_labels.few_labels,
    "ablation tables": report_tables.ablation,
    "dagmm": dagmm,
    "sequences": report_series.sequences,
    "telemetry": report_series.telemetry,
    "faults": report_faults.faults,
    "tsb_ad": report_series.tsb_ad,
    "images": report_images.images,
    "defects": report_defects.defects,
    "augmentation": report_augmentation.augmentation,
    "groups": report_groups.groups,
    "groups tables": report_groups.tables,
    "group fdr": report_groups.discoveries,
    "speed": speed,
    "calibration": calibration,
    "alarms": report_alarms.alarms,
    "blocks": report_blocks.blocks,
    "guarantees": report_guarantees.guarantees,
    "ablation": ablation,
    "contaminated": contaminated,
    "equality": report_production.equality,
    "scorer": report_production.scorer,
    "onnx": report_production.onnx,
    "onnx_modalities": report_production.onnx,
    "ray plan": report_production.ray_plan,
    "stragglers": report_production.stragglers,
    "streams": report_production.streams,
    "watching": report_production.watching,
    "watching faults": report_production.watching_faults,
}

if __name__ == "__main__":
    sys.exit(main())
