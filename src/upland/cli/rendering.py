"""What results look like: a table and a line for a person, one JSON document for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from upland.cli.console import grid, pairs
from upland.cli.results import Finding, Result
from upland.cli.words import counted, json_value, plural, span_text
from upland.scoring.columns import COUNTERFACTUAL
from upland.scoring.words import label_text, one_line, reason_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.detectors.base import Detector
    from upland.detectors.plan import FitPlan
    from upland.explanation import Reason

RATES = {"false_alarm": "false-alarm rate", "fdr": "false discovery rate"}
SHOWN = 2
"""How many reasons of a step, a sequence or an image a table shows."""


ROWS = {"table": "rows", "sequence": "sequences", "image": "images"}
"""What a group consists of; a fit on sequences is on windows of them."""


# -- for a person --------------------------------------------------------------------------------------------


def findings_table(result: Result) -> RenderableType:
    """What is shown of a result, a line for each finding; a star marks what is flagged."""
    score = "statistic" if result.unit == "group" else "anomaly\nscore"
    named = any(found.name is not None for found in result.findings)
    names = [one_line(result.called)] if named else []
    of_episodes = bool(result.details.get("blocks"))
    if result.unit == "step":
        names.append("when")
    p_values = ["step's\np-value", "episode's"] if of_episodes else ["p-value"]
    sizes = [result.details["size_in"]] if result.unit == "group" else []
    lines = []
    for found in result.shown():
        cells = [label_text(found.name)] if named else []
        if result.unit == "step":
            cells.append(span_text(found.details["start"], found.details["end"]))
        cells[0] += "*" if found.is_anomaly else " "
        if sizes:
            cells.append(f"{found.details['size']:,}")
        own = [f"{found.details['episode_p_value']:.3g}"] if of_episodes else []
        lines.append([*cells, f"{found.score:.4g}", f"{found.p_value:.3g}", *own, _why(found, result)])
    right = [*(names if result.unit == "row" else []), *sizes, score, *p_values]
    return grid([*names, *sizes, score, *p_values, "reason"], lines, right=right)


def note(result: Result) -> str:
    """What the marks and numbers of the table mean, and what it leaves out."""
    if result.unit == "row":
        return "* flagged; rows are counted from 1, without the header"
    if result.unit == "step":
        text = "* flagged; neighbouring flagged steps are one line, with its worst step's score and reasons"
        return text + _of_blocks(result.details.get("blocks"))
    if result.unit != "group":
        return f"* flagged; {result.unit}s without a name are counted from 0"
    parts = ["* flagged"]
    if any(found.details["reason"] for found in result.findings):
        parts.append("marginals: values by themselves; dependence: how they go together")
    if (here := len(result.shown())) < result.count:
        parts.append(f"the {here:,} most anomalous of {result.count:,}, worst first; -o FILE writes all")
    return "; ".join(parts)


def _of_blocks(blocks: Mapping[str, Any] | None) -> str:
    """What p-values of episodes are by, and what is to be said of them."""
    if blocks is None:
        return ""
    verb = "is" if blocks["searched"] == 1 else "are"
    text = (
        f"; an episode's p-value is by the peaks of {counted(blocks['count'], 'held-out block')} of "
        f"{counted(blocks['length'], 'step')}, and here {verb} {counted(blocks['searched'], 'block')}"
    )
    return "; ".join([text, *blocks["doubts"]])


def line(result: Result) -> str:
    """How much is flagged, at which rate of which error: `2 of 12 shifts are anomalous (...)`."""
    rate, alpha = RATES[result.request.control], result.request.alpha
    if result.unit == "group":
        what = result.called if result.count == 1 else plural(result.called)
        verb = "is" if result.flagged == 1 or result.count == 1 else "are"
        return f"{result.flagged:,} of {result.count:,} {what} {verb} anomalous ({rate} {100 * alpha:.3g} %)"
    share = result.flagged / result.count
    of = f"{result.flagged:,} of {counted(result.count, result.unit)}"
    text = f"{of} flagged ({share:.1%}) at {rate} {alpha:g}"
    if not result.details.get("episodes"):
        return text
    text += f": {counted(result.details['episodes'], 'episode')}"
    sequences = result.details["sequences"]
    return text + (
        f" in {result.details['hit']:,} of {counted(sequences, 'sequence')}" if sequences > 1 else ""
    )


def _why(found: Finding, result: Result) -> str:
    """The reasons of a finding; of a group, where p <= alpha, what stands out in it."""
    if result.unit != "group":
        reasons = found.reasons[: None if result.unit == "row" else SHOWN]
        change = found.details.get(COUNTERFACTUAL)
        more = [f"{COUNTERFACTUAL}: {change}"] if change else []
        return "\n".join([*_with_kind(found, [*map(reason_text, reasons)]), *more])
    columns = one_line(", ".join(found.details["columns"]))
    anomalous = found.p_value <= result.request.alpha
    return f"{found.details['reason']}: {columns}" if columns and anomalous else ""


def _with_kind(found: Finding, texts: list[str]) -> list[str]:
    """The reasons of a worst step with the kind of its episode: of the channel that contributes most to all
    of its steps, which may be another one.
    """
    kind = found.details.get("kind")
    if not kind:
        return texts
    channel = found.details["channels"][0]
    column, part = channel["column"], channel["part"]
    if found.reasons and found.reasons[0].column == column:
        return [f"{one_line(column)}: {kind}", *texts]
    return [*texts, f"of the whole episode {one_line(column)} {part:.0%}: {kind}"]


# -- for a program -------------------------------------------------------------------------------------------


def document(result: Result) -> dict[str, Any]:
    """The same as plain data."""
    grouped = result.unit == "group"
    findings = [_finding(found, result) for found in result.findings]
    return {
        "modality": result.modality,
        **({} if grouped else {"unit": result.unit}),
        f"{result.unit}s": result.count,
        "flagged": result.flagged,
        "alpha": result.request.alpha,
        "control": result.request.control,
        **{name: value for name, value in result.details.items() if name != "hit"},
        ("verdicts" if grouped else "most_anomalous"): findings,
    }


def _finding(found: Finding, result: Result) -> dict[str, Any]:
    grouped = result.unit == "group"
    name = "sequence" if result.unit == "step" else result.unit
    details = {key: json_value(value) for key, value in found.details.items() if key != "channels"}
    details |= {key: value for key, value in found.details.items() if key == "channels"}
    return {
        name: json_value(found.name),
        **details,
        ("statistic" if grouped else "anomaly_score"): found.score,
        "p_value": found.p_value,
        "is_anomaly": found.is_anomaly,
        **({} if grouped else {"reason": [_reason(reason) for reason in found.reasons]}),
    }


def _reason(reason: Reason) -> dict[str, Any]:
    values = {"value": json_value(reason.value), "expected": json_value(reason.expected)}
    return {"column": reason.column, "share": reason.share, "part": reason.part, **values}


# -- a model -------------------------------------------------------------------------------------------------


def described(detector: Detector) -> dict[str, Any]:
    """What the detector's `info()` gives, the criterion of each unit, and what the fit's plan came to."""
    units = detector.calibrations_
    criteria = {"criteria": {unit: detector.criterion_of(unit) for unit in units}}
    info = detector.info()
    plan = _resolved(detector.plan_) | {"random_state": info["settings"]["random_state"]}
    if "segments" in info:
        plan["calibration"] = info["calibration"]["method"]
    return info | criteria | {"plan": plan}


def _resolved(plan: FitPlan) -> dict[str, Any]:
    """The arguments of a fit, by their own names, as the plan has resolved them; without those that other
    entries of `info()` hold, and without those that the modality does not have.
    """
    from upland.data.sequence.reader import SequenceReader
    from upland.data.table.reader import TableReader
    from upland.detectors.plan import CLOSED_FORM

    record, sequential = plan.to_json(), plan.reader.modality == "sequence"
    training, reader = record["training"], record["reader"]
    rate = training["learning_rate"]  # a name where it goes by the number of columns
    closed = record["training"]["objective"] == CLOSED_FORM
    length = {"epochs": training["epochs"]} if training["epochs"] else {"steps": training["steps"]}
    if isinstance(training["steps"], str) and not training["epochs"]:
        length = {}  # by the number of rows: as many as the training's entry says
    steps = {**length, **{name: training[name] for name in ("batch_size", "patience")}}
    steps |= {} if isinstance(rate, str) else {"learning_rate": rate}
    return {
        "calibration": plan.calibration,
        **{name: value for name, value in reader.items() if name not in ("owner", "scaling", "cells")},
        **(plan.reader.cells.to_json() if isinstance(plan.reader, TableReader | SequenceReader) else {}),
        **({"per": plan.unit, "smoothing": plan.smoothing} if sequential else {}),
        **({} if closed else steps),
        **({} if sequential else {"keep_rows": plan.keep_rows}),
    }


def info_lines(info: Mapping[str, Any]) -> RenderableType:
    """What a model file holds, one line or paragraph for each entry.

    Args:
        info: As `described` gives it.
    """
    modality, of = info["modality"], info["calibration"]["of"]
    criteria = info["criteria"]
    by_unit = ", ".join(f"{name} of {unit}s" for unit, name in criteria.items())
    entries: dict[str, Any] = {
        "detector": info["detector"],
        "modality": modality,
        "scores are of": f"{of}s",
        "criterion": by_unit if len(set(criteria.values())) > 1 else info["criterion"],
    }
    if frame := info["architecture"].get("frame"):
        entries["frame"] = f"{counted(frame, 'step')} scored together"
    for name, value in info.items():
        entries.setdefault((ROWS | {"sequence": "windows"})[modality] if name == "rows" else name, value)
    left_out = {
        "settings": True,  # the plan says what they came to
        "criteria": True,
        "kept_rows": info["detector"] == "SequenceEnergyDetector",  # groups are compared by their scores
        "prior": info["detector"] != "EnergyDetector" and not info["prior"]["training_rows"],
    }
    entries = {name: value for name, value in entries.items() if not left_out.get(name)}
    entries |= {name: _arguments(info[name]) for name in ("architecture", "plan")}
    if len(info["noise"]) and all(noise == info["noise"][0] for noise in info["noise"]):
        entries["noise"] = info["noise"][0]
    entries["calibration"] = {
        f"{of}s" if name == "rows" else name: value
        for name, value in info["calibration"].items()
        if name != "of"
    }
    words = {name.replace("_", " "): _in_words(value) for name, value in entries.items()}
    if modality == "sequence":
        words = {"kept steps" if name == "kept rows" else name: text for name, text in words.items()}
    return pairs(words | {"columns": _columns(info["columns"])})


def _arguments(values: Mapping[str, Any]) -> str:
    """Arguments by their own names."""
    return ", ".join(f"{name} {_in_words(value)}" for name, value in values.items())


def _columns(columns: Sequence[Mapping[str, str]]) -> str:
    """Names by kind: `2 numeric: flow, pressure; 1 categorical: valve`."""
    kinds = dict.fromkeys(_kind(column) for column in columns)
    names = {
        kind: [one_line(column["name"]) for column in columns if _kind(column) == kind] for kind in kinds
    }
    return "; ".join(f"{len(found)} {kind}: {', '.join(found)}" for kind, found in names.items())


def _kind(column: Mapping[str, str]) -> str:
    return " ".join(column[part] for part in ("kind", "role") if part in column)


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_in_words(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        return "\n".join(map(_in_words, value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_in_words, value))})" if value else "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
