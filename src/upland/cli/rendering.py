"""What results look like: tables and lines for a person, JSON documents for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from upland.cli.console import grid, pairs
from upland.cli.tables import Outcome, Row
from upland.cli.verdicts import Finding, Judgement
from upland.cli.words import counted, json_value, label_text, reason_text, span_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from upland.calibration.conformal import Calibration
    from upland.detectors.base import Detector
    from upland.explanation import Reason

RATES = {"false_alarm": "false-alarm rate", "fdr": "false-discovery rate"}
SETTINGS = {
    "table": ("layers",),
    "sequence": ("id", "time", "window", "stride", "per", "frame", "cell", "smoothing"),
    "image": ("size", "mode", "filters", "kernel", "pool", "centres", "levels", "depth"),
}
"""Settings that are of one kind of data alone."""
SHOWN = 2
"""How many reasons of a moment, a sequence or an image a table has room for."""

FITTED_ON = {"table": "rows", "sequence": "windows", "image": "images"}


def told_of(detector: Detector) -> dict[str, Any]:
    """A detector's `info()`; of sequences with the steps that are judged together."""
    from upland.models.recurrent import RecurrentEnergy

    told, model = detector.info(), detector.models_[0]
    if detector.kind_ == "sequence":  # groups of them are compared by their scores
        del told["kept_rows"]
    if isinstance(model, RecurrentEnergy):
        told["frame"] = model.frame
    return told


def info_lines(told: Mapping[str, Any]) -> RenderableType:
    """The same, one line or paragraph for each entry, without the settings of other kinds of data."""
    kind = told["kind"]
    foreign = {name for other, names in SETTINGS.items() if other != kind for name in names}
    if kind == "image":
        foreign |= {"categorical", "ignore"}
    settings = {name: value for name, value in told["settings"].items() if name not in foreign}
    of = told["calibration"]["of"]
    known = {f"{of}s" if name == "rows" else name: value for name, value in told["calibration"].items()}
    entries: dict[str, Any] = {"detector": told["detector"], "kind": kind, "scores are of": f"{of}s"}
    if "frame" in told:
        entries["frame"] = f"{counted(told['frame'], 'step')} judged together"
    for name, value in told.items():
        entries.setdefault(FITTED_ON[kind] if name == "rows" else name, value)
    entries["settings"] = settings
    entries["calibration"] = {name: value for name, value in known.items() if name != "of"}
    words = {name.replace("_", " "): _in_words(value) for name, value in entries.items()}
    return pairs(words | {"columns": _columns(told["columns"])})


# -- tables --------------------------------------------------------------------------------------------------


def strangest_table(rows: Sequence[Row]) -> RenderableType:
    """The strangest rows, worst first, with the columns to blame; a star marks a flagged row."""
    lines = [
        [
            f"{row.number}{_star(row)}",
            f"{row.anomaly_score:.4g}",
            f"{row.p_value:.3g}",
            "\n".join(map(reason_text, row.reasons)),
        ]
        for row in rows
    ]
    return grid(
        ["row", "anomaly\nscore", "p-value", "why"], lines, right=["row", "anomaly\nscore", "p-value"]
    )


def outcome_line(outcome: Outcome, alpha: float, control: str) -> str:
    """How many rows were flagged, at which rate of which error."""
    return _flagged_line(outcome.flagged, outcome.rows, "row", alpha, control)


def outcome_document(
    outcome: Outcome, calibration: Calibration, alpha: float, control: str
) -> dict[str, Any]:
    """The same for a program.

    Args:
        outcome: What scoring came to.
        calibration: The calibration that the p-values come from.
        alpha: The rate asked for.
        control: Which rate it is: `false_alarm` or `fdr`.
    """
    return {
        "kind": "table",
        "unit": "row",
        "rows": outcome.rows,
        "flagged": outcome.flagged,
        **_terms(calibration, alpha, control),
        "extra_columns": outcome.extra,
        "strangest": [{"row": row.number, **_verdict_document(row)} for row in outcome.strangest],
    }


# -- sequences and images ------------------------------------------------------------------------------------


def findings_table(judged: Judgement) -> RenderableType:
    """What stands out, worst first, and why; a star marks what is flagged. Of steps each line is an
    episode.
    """
    names = [judged.called] if any(found.name is not None for found in judged.strangest) else []
    steps = ["when"] if judged.episodes is not None else []
    numbers = ["anomaly\nscore", "p-value"]
    lines = []
    for found in judged.strangest:
        cells = [label_text(found.name)] if names else []
        if steps:
            cells.append(span_text(found.start, found.end))
        cells[0] += _star(found)
        reasons = "\n".join(map(reason_text, found.reasons[:SHOWN]))
        lines.append([*cells, f"{found.anomaly_score:.4g}", f"{found.p_value:.3g}", reasons])
    return grid([*names, *steps, *numbers, "why"], lines, right=numbers)


def judged_note(judged: Judgement) -> str:
    """What the marks and numbers of the table mean."""
    if judged.unit == "step":
        return "* flagged; neighbouring flagged steps are one line, with its worst step's score and reasons"
    return f"* flagged; {judged.unit}s without a name are counted from 0"


def judged_line(judged: Judgement, alpha: float, control: str) -> str:
    """How many images, sequences or steps were flagged, and in how many episodes."""
    line = _flagged_line(judged.flagged, judged.count, judged.unit, alpha, control)
    if not judged.episodes:
        return line
    line += f": {counted(judged.episodes, 'episode')}"
    where = f" in {judged.hit:,} of {counted(judged.sequences, 'sequence')}"
    return line + (where if judged.sequences > 1 else "")


def judged_document(
    judged: Judgement, calibration: Calibration, alpha: float, control: str
) -> dict[str, Any]:
    """The same for a program, as `outcome_document`."""
    document: dict[str, Any] = {
        "kind": "image" if judged.unit == "image" else "sequence",
        "unit": judged.unit,
        f"{judged.unit}s": judged.count,
        "flagged": judged.flagged,
        **_terms(calibration, alpha, control),
    }
    if judged.unit == "step":
        document |= {"sequences": judged.sequences, "episodes": judged.episodes}
    document |= {"maps": judged.maps} if judged.unit == "image" else {"extra_columns": judged.extra}
    return document | {"strangest": [_finding_document(found, judged) for found in judged.strangest]}


def _finding_document(found: Finding, judged: Judgement) -> dict[str, Any]:
    key = "image" if judged.unit == "image" else "sequence"
    places = {name: json_value(getattr(found, name)) for name in ("start", "end", "peak", "steps")}
    return {
        key: json_value(found.name),
        **(places if judged.unit == "step" else {}),
        **_verdict_document(found),
    }


# -- parts ---------------------------------------------------------------------------------------------------


def _star(found: Row | Finding) -> str:
    return "*" if found.is_anomaly else " "


def _flagged_line(flagged: int, count: int, unit: str, alpha: float, control: str) -> str:
    return (
        f"{flagged:,} of {counted(count, unit)} flagged ({flagged / count:.1%}) at {RATES[control]} {alpha:g}"
    )


def _terms(calibration: Calibration, alpha: float, control: str) -> dict[str, Any]:
    return {
        "alpha": alpha,
        "control": control,
        "calibration": calibration.method,
        "smallest_p": calibration.smallest_p,
    }


def _verdict_document(found: Row | Finding) -> dict[str, Any]:
    return {
        "anomaly_score": found.anomaly_score,
        "p_value": found.p_value,
        "is_anomaly": found.is_anomaly,
        "why": [_reason_document(reason) for reason in found.reasons],
    }


def _reason_document(reason: Reason) -> dict[str, Any]:
    return {
        "column": reason.column,
        "share": reason.share,
        "part": reason.part,
        "value": json_value(reason.value),
        "expected": json_value(reason.expected),
    }


def _columns(columns: Sequence[Mapping[str, str]]) -> str:
    """Names by kind: `2 numeric: flow, pressure; 1 categorical: valve`."""
    kinds = dict.fromkeys(column["kind"] for column in columns)
    names = {kind: [column["name"] for column in columns if column["kind"] == kind] for kind in kinds}
    return "; ".join(f"{len(found)} {kind}: {', '.join(found)}" for kind, found in names.items())


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_in_words(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        return "\n".join(map(_in_words, value))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_in_words, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
