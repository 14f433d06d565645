"""The page of a watch: has anything changed, which batches are anomalous, what is advised.

It is made of plain values, as `upland.watch.summary` takes them from a history. Evidence is drawn in powers
of ten, as it may lie beyond any number that a computer holds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.reporting.batches import LineOfBatches, batch_chart
from upland.reporting.page import Chart, Column, Facts, Page, Part, Prose, Section, Table
from upland.reporting.phrases import clipped, counted, percent
from upland.scoring.words import cell_text

Record = Mapping[str, Any]

CHARTS = 4
"""Columns whose means are drawn."""

NAMES = {
    "changed": "change",
    "repeated change": "repeated change",
    "site": "site",
    "batch": "batch",
    "bucket": "time",
    "group": "group",
}
"""What kinds of alarms and of verdicts are called."""

ADVICE = {
    "nothing": "Nothing is to be done.",
    "check batch": "Advised: check the batch.",
    "check columns": "Advised: check the columns that moved, such as a sensor that drifts.",
    "check site": "Advised: check the one site.",
    "retrain": "Advised: retrain now on fresh normal data.",
}
"""What is advised, as a sentence."""


@dataclass(frozen=True)
class Watched:
    """A history in plain values.

    Args:
        settings: What it was begun with: `delta`, `run_length`, `fdr`, `by`, `every`, `block`.
        counts: `batches`, `rows`, `flagged`, `alarms` and `refused` in all.
        models: Each with its first batch.
        curves: Arrays `(B,)` by name, of some of the batches: batch, rows, flagged, counted, model,
            log_martingale, log_peak, log_detector, log_e_value, name, time.
        alarms: The latest, newest first; `deliveries` of each, if known.
        verdicts: Flagged groups, batches and parts of time, newest first.
        sites: Those with most evidence, the strongest first.
        means: The mean codes `(B,)` of some columns, those that moved furthest first.
        refused: The latest refused files, newest first.
        flagged: Flagged rows of the latest batches.
        action: What is advised after the last batch.
        why: The sentences that say why.
    """

    settings: Record
    counts: Mapping[str, int]
    models: Sequence[Record]
    curves: Mapping[str, NDArray[Any]]
    alarms: Sequence[Record]
    verdicts: Sequence[Record]
    sites: Sequence[Record]
    means: Mapping[str, NDArray[np.float64]]
    refused: Sequence[Record]
    flagged: Sequence[Record]
    action: str
    why: Sequence[str]

    @property
    def changes(self) -> list[Record]:
        """The alarms that say that something has changed since the last model began, newest first."""
        model = int(self.curves["model"][-1]) if self.curves["model"].size else None
        return [
            alarm
            for alarm in self.alarms
            if alarm["kind"] in ("changed", "repeated change", "site") and alarm["model"] == model
        ]

    def batches_of(self, *kinds: str) -> list[int]:
        """The batches with alarms of some kinds."""
        return [int(alarm["batch"]) for alarm in self.alarms if alarm["kind"] in kinds]


def history_page(found: Watched, name: str, footer: Sequence[str] = ()) -> Page:
    """The page of a history.

    Args:
        found: The history.
        name: What it is called.
        footer: What made the page.
    """
    sections: list[Section] = []
    if found.counts["batches"]:
        sections += [_change(found), _alarms(found), _batches(found), *_columns(found), *_sites(found)]
        sections += [*_verdicts(found), *_flagged(found)]
    sections += [*_refused(found), _begun(found)]
    return Page(f"Watch of {clipped(name)}", _summary(found), sections, footer)


def _summary(found: Watched) -> list[str]:
    counts = found.counts
    if not counts["batches"]:
        sentences = ["No batch has been taken yet."]
    else:
        taken, rows = counted(counts["batches"], "batch"), counts["rows"]
        share = ""
        if rows:
            flagged = counts["flagged"]
            share = f", of which {flagged:,} ({flagged / rows:.1%}) {'is' if flagged == 1 else 'are'} flagged"
        was = "was" if counts["batches"] == 1 else "were"
        sentences = [f"{taken} with {counted(rows, 'row')} {was} taken{share}."]
        sentences.append(_changed(found))
        if found.action != "nothing" or not found.changes:
            sentences.append(ADVICE.get(found.action, f"Advised: {found.action}."))
        sentences += list(found.why)
    if counts["refused"]:
        files = counted(counts["refused"], "file")
        sentences.append(f"{files} {'was' if counts['refused'] == 1 else 'were'} refused.")
    return sentences


def _changed(found: Watched) -> str:
    if found.changes:
        whole = [alarm for alarm in found.changes if alarm["kind"] != "site"]
        return str((whole or found.changes)[0]["text"])
    peak = float(found.curves["log_peak"][-1])
    delta = float(found.settings["delta"])
    return (
        f"There is no evidence that the data have changed: the test martingale has reached {power(peak)} at "
        f"most, and {power(-math.log(delta))} is an alarm, which unchanged data ever raise with probability "
        f"{delta:g} at most."
    )


def power(log_value: float) -> str:
    """A natural logarithm as a power of ten."""
    return "0" if log_value == -math.inf else f"10^{log_value / math.log(10):.1f}"


def _change(found: Watched) -> Section:
    """The evidence that the data have changed."""
    delta, length = float(found.settings["delta"]), float(found.settings["run_length"])
    curves = found.curves
    models = [int(model["first_batch"]) for model in found.models if int(model["first_batch"]) > 1]
    peak = float(curves["log_peak"].max())
    ever, again = found.batches_of("changed"), found.batches_of("repeated change")
    martingale = batch_chart(
        "Test martingale: evidence that the data have changed since the model was fitted",
        f"The dotted line is its largest value so far, within batches too: {power(peak)} at most. The "
        f"dashed line, {power(-math.log(delta))}, is an alarm; if nothing changes it is ever crossed with "
        f"probability {delta:g} at most.{_said('alarm', ever)}{_said('new model', models)}",
        curves["batch"],
        [
            LineOfBatches(curves["log_martingale"] / math.log(10)),
            LineOfBatches(curves["log_peak"] / math.log(10), dotted=True),
        ],
        limit=-math.log10(delta),
        marked=ever,
        models=models,
        powers=True,
    )
    detector = batch_chart(
        "E-detector: evidence of a change, again after each alarm",
        f"It begins again at nothing after an alarm, at {power(math.log(length))}, the dashed line. If "
        f"nothing changes, it is crossed within t batches with probability t / {length:,.10g} at most. A "
        "crossing soon after another is of the same episode and raises no other alarm."
        f"{_said('alarm', again)}",
        curves["batch"],
        [LineOfBatches(curves["log_detector"] / math.log(10))],
        limit=math.log10(length),
        marked=again,
        models=models,
        powers=True,
    )
    return Section("Has anything changed?", [martingale, detector])


def _said(what: str, batches: Sequence[int]) -> str:
    """Which batches are marked, as a sentence."""
    if not batches:
        return ""
    shown = ", ".join(map(str, sorted(set(batches))[:5]))
    more = ", ..." if len(set(batches)) > 5 else ""
    return f" {what.capitalize()} at batch {shown}{more}."


def _alarms(found: Watched) -> Section:
    if not found.alarms:
        return Section("Alarms", [Prose(["No alarm was raised."])])
    sent = any("deliveries" in alarm for alarm in found.alarms)
    columns = [Column("batch", "number"), Column("file or name"), Column("of"), Column("what it says")]
    columns += [Column("advised")]
    columns += [Column("since batch", "number"), *([Column("delivered")] if sent else [])]
    rows = []
    for alarm in found.alarms:
        says = tuple(re.split(r"(?<=[.;]) ", str(alarm["text"])))
        row = [
            alarm["batch"],
            _name_of(found, int(alarm["batch"])),
            _of(alarm),
            says,
            alarm["action"],
            alarm["since"],
        ]
        rows.append([*row, _sent(alarm)] if sent else row)
    total = found.counts["alarms"]
    note = f"The {len(rows):,} latest of {total:,} alarms." if total > len(rows) else ""
    return Section("Alarms", [Table(columns, rows, note)])


def _name_of(found: Watched, batch: int) -> str:
    """What a batch is called, where it is one of those that are shown."""
    at = np.flatnonzero(found.curves["batch"] == batch)
    name = found.curves["name"][at[0]] if at.size else None
    return "" if name is None else str(name)


def _of(record: Record) -> str:
    """What an alarm or a verdict is of."""
    name, subject = NAMES.get(str(record["kind"]), str(record["kind"])), record.get("subject")
    return name if subject is None else f"{name} {subject}"


def _sent(alarm: Record) -> tuple[str, ...] | str:
    """How an alarm was delivered, a line for each way."""
    lines = []
    for one in alarm.get("deliveries", ()):
        tries = f" after {counted(int(one['attempts']), 'attempt')}" if int(one["attempts"]) > 1 else ""
        error = f": {one['error']}" if one.get("error") and one["status"] != "delivered" else ""
        lines.append(f"{one['channel']}: {one['status']}{tries}{error}")
    return tuple(lines) if lines else "nobody asked for it"


def _batches(found: Watched) -> Section:
    curves = found.curves
    rows = np.maximum(curves["rows"], 1)
    marked = [int(one["batch"]) for one in found.verdicts if one["kind"] in ("batch", "bucket")]
    parts: list[Part] = []
    alphas = {float(model["alpha"]) for model in found.models}
    limit = alphas.pop() if len(alphas) == 1 else None
    line = (
        "" if limit is None else f" The dashed line is the share of normal rows that are flagged, {limit:g}."
    )
    shares = curves["flagged"] / rows
    top = int(np.argmax(shares))
    parts.append(
        batch_chart(
            "Share of each batch's rows that are flagged",
            f"The largest is {percent(float(shares[top]))}, of batch {int(curves['batch'][top])}.{line}",
            curves["batch"],
            [LineOfBatches(shares)],
            limit=limit,
            marked=marked,
            shares=True,
        )
    )
    fdr = float(found.settings["fdr"])
    strongest = int(np.argmax(curves["log_e_value"]))
    parts.append(
        batch_chart(
            "Evidence of each batch alone that it is anomalous: its e-value",
            f"The largest is {power(float(curves['log_e_value'][strongest]))}, of batch "
            f"{int(curves['batch'][strongest])}; an e-value of a normal batch is 1 on average."
            f"{_said('flagged', marked)}",
            curves["batch"],
            [LineOfBatches(curves["log_e_value"] / math.log(10))],
            marked=marked,
            powers=True,
        )
    )
    taken, total = curves["batch"].size, found.counts["batches"]
    thinned = f" {taken:,} of {total:,} batches are drawn." if taken < total else ""
    flagged = (
        f"Of all batches and groups that are ever flagged, {100 * fdr:g}% are normal on average at most."
    )
    words = flagged + thinned
    return Section("Batches", [Prose([words]), *parts])


def _columns(found: Watched) -> list[Section]:
    """The columns whose means moved furthest."""
    batches = found.curves["batch"]
    charts: list[Chart] = []
    for name, means in list(found.means.items())[:CHARTS]:
        there = means[np.isfinite(means)]
        if there.size < 2:
            continue
        first, last = cell_text(float(there[0])), cell_text(float(there[-1]))
        said = f"From {first} in the first batch to {last} in the last."
        charts.append(batch_chart(clipped(name), said, batches, [LineOfBatches(means)], height=90))
    if not charts:
        return []
    words = (
        "Means of the batches' values in standard deviations of the fit, of the columns whose means moved "
        "furthest beside their steps from batch to batch, that one first."
    )
    return [Section("Columns that moved", [Prose([words]), *charts])]


def _sites(found: Watched) -> list[Section]:
    if not found.sites:
        return []
    columns = [Column("site"), Column("rows", "number"), Column("last batch", "number")]
    columns += [Column("evidence, power of ten", "number"), Column("changed")]
    limit = -math.log(float(found.settings["delta"]))
    rows = []
    for site in found.sites:
        value = float(site["log_peak"]) + float(site["log_weight"])
        changed = "yes" if value >= limit else "no"
        rows.append([site["site"], site["rows"], site["last_batch"], value / math.log(10), changed])
    words = (
        "Each site's martingale at its peak, weighted among the sites: from "
        f"{power(limit)} on the site has changed; if no site changes any ever does with probability "
        f"{float(found.settings['delta']):g} at most."
    )
    return [Section("Sites", [Prose([words]), Table(columns, rows)])]


def _verdicts(found: Watched) -> list[Section]:
    if not found.verdicts:
        return []
    columns = [Column("batch", "number"), Column("of"), Column("rows", "number"), Column("p", "p_value")]
    columns += [Column("e-value, power of ten", "number"), Column("why"), Column("columns")]
    rows = []
    for one in found.verdicts:
        of = f"{NAMES.get(str(one['kind']), str(one['kind']))} {one['group']}"
        row = [one["batch"], of, one["rows"], one["p_value"], float(one["log_e_value"]) / math.log(10)]
        rows.append([*row, one["reason"] or "", ", ".join(_listed(one["columns"]))])
    return [Section("Flagged groups and batches", [Table(columns, rows)])]


def _listed(columns: Any) -> list[str]:
    """Names as a history keeps them, in JSON, or as a list."""
    if not columns:
        return []
    try:
        found = json.loads(columns) if isinstance(columns, str) else columns
    except ValueError:
        found = [columns]
    return [str(name) for name in found] if isinstance(found, list | tuple) else [str(found)]


def _flagged(found: Watched) -> list[Section]:
    if not found.flagged:
        return []
    why = any(one["reasons"] for one in found.flagged)
    columns = [Column("batch", "number"), Column("row", "number"), Column("score", "number")]
    columns += [Column("p", "p_value"), *([Column("contributes most")] if why else [])]
    rows = []
    for one in found.flagged:
        row = [one["batch"], int(one["row"]) + 1, one["score"], one["p_value"]]
        rows.append([*row, tuple(_listed(one["reasons"])) or ""] if why else row)
    return [Section("Flagged rows of the latest batches", [Table(columns, rows)])]


def _refused(found: Watched) -> list[Section]:
    if not found.refused:
        return []
    columns = [Column("file"), Column("after batch", "number"), Column("why it was refused")]
    rows = [[one["name"] or one["path"] or "", one["after_batch"], one["reason"]] for one in found.refused]
    return [Section("Refused files", [Table(columns, rows)])]


def _begun(found: Watched) -> Section:
    """What the history was begun with, and its models."""
    wanted = {key: "none" if value is None else str(value) for key, value in found.settings.items()}
    parts: list[Part] = [Facts(wanted)]
    if found.models:
        columns = [
            Column("from batch", "number"),
            Column("model"),
            Column("detector"),
            Column("alpha", "number"),
        ]
        columns += [Column("calibration rows", "number"), Column("digest")]
        rows = [
            [
                *(model["first_batch"], model["path"] or "", model["detector"], model["alpha"]),
                *(model["calibration_rows"], str(model["digest"])[:12]),
            ]
            for model in found.models
        ]
        parts.append(Table(columns, rows))
    return Section("What is watched, and by which model", parts)
