"""Which detectors and criteria have a graph, and how their parts become one.

A modality has a function that opens the inputs and encodes them; a criterion has one that scores encoded
points. Both are found by name in the tables below.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import ModelProto

from upland import __version__
from upland.catalogue import home_for_unit, load
from upland.detectors.base import Detector
from upland.detectors.segmented import SegmentedDetector
from upland.export import segmented
from upland.export.calibration import p_values
from upland.export.encoded import Encoded
from upland.export.functions import any_of
from upland.export.graph import OPSET, Graph, Value
from upland.export.members import Writer, tie_of
from upland.export.nets import lacking
from upland.io.advice import Advice, Argument

OUTPUTS = ("anomaly_score", "p_value", "is_anomaly")

ENCODINGS: dict[str, str] = {
    "table": "upland.export.table:encoded",
    "image": "upland.export.images:encoded",
    "sequence": "upland.export.sequences:encoded",
}
"""What opens the inputs of a modality and encodes them, `(graph, detector) -> Encoded`."""

SCORES: dict[str, str] = {
    "Experts": "upland.export.experts:joined",
}
"""What scores encoded points by a criterion, by its class: `(criterion, points) -> scores`, float64."""

OF_SEQUENCES = "upland.export.sequences:score"
"""What scores encoded sequences, by any criterion."""

MEMBERS: dict[str, str] = {"sequence": "upland.export.sequences:SequenceScore"}
"""The score of a member, of modalities whose points are no single rows."""

TRACED = "upland.export.nets:traced_score"
"""The same of every other criterion."""


def model_of(detector: Detector, alpha: float, digest: str | None) -> ModelProto:
    """The model of a fitted detector.

    Args:
        detector: fitted.
        alpha: the level that flags are at.
        digest: SHA-256 of the model file, for the metadata; None for a detector of no file.

    Raises:
        ValueError: there is no graph of such a detector; the message says what has one.
    """
    info = detector.info()
    detector = _on_processor(detector)
    write = _writer(detector)
    graph = Graph(OUTPUTS)
    encoded: Encoded = load(ENCODINGS[detector.modality])(graph, detector)
    of_member = load(MEMBERS.get(detector.modality, "upland.export.members:MemberScore"))
    members = [of_member(detector, member, write) for member in detector.members_]
    scores = [member.added_to(graph, points) for member, points in zip(members, encoded.points, strict=True)]
    refused, inputs = [*encoded.refused], [*encoded.inputs]
    mean = scores[0]
    for score in scores[1:]:
        mean = mean + score
    mean = mean / len(scores)
    if isinstance(detector, SegmentedDetector):
        tie = tie_of(members, detector.pooled_.calibration_)
        named = segmented.segments(graph, detector)
        mean = segmented.scores(graph, detector.energies_, encoded.points[0], mean, named.of)
        p = segmented.p_values(detector.segment_calibration_, mean, named.of, tie)
        refused, inputs = [*refused, named.refused], [*inputs, named.input.to_json()]
    else:
        calibration = detector.calibration_
        tie = tie_of(members, calibration)
        p = p_values(calibration, scores if calibration.method == "cross" else [mean], tie)
    _give(graph, mean, p, refused, alpha, "sequences" if detector.unit_ == "sequence" else "N")
    return graph.model("upland", "upland", __version__, _metadata(info, inputs, alpha, digest))


def _on_processor(detector: Detector) -> Detector:
    """The detector, or a copy of one whose models are on a graphics card."""
    weights = (weight for member in detector.members_ for weight in member.model.parameters())
    if all(weight.device.type == "cpu" for weight in weights):
        return detector
    found = copy.copy(detector)
    found.members_ = [
        replace(member, model=copy.deepcopy(member.model).cpu(), criteria={}) for member in detector.members_
    ]
    return found


def _writer(detector: Detector) -> Writer:
    """What writes the score of the detector's criterion."""
    homes, unit = detector.offered_.homes, detector.unit_
    kinds = {name: load(home_for_unit(name, homes, unit)) for name in homes}
    name = detector.criterion_of(detector.unit_)
    if missing := lacking(kinds[name]):
        others = [other for other, kind in kinds.items() if not lacking(kind)]
        if not others:
            raise ValueError(f"a {type(detector).__name__} has no ONNX graph: the score needs {missing}")
        raise ValueError(
            Advice(
                f"a {type(detector).__name__} with criterion={name!r} has no ONNX graph: the score needs "
                f"{missing}; fit with ",
                Argument("criterion", others[0]),
                " for one that has",
            )
        )
    of_sequences = detector.modality == "sequence"
    found: Writer = load(OF_SEQUENCES if of_sequences else SCORES.get(kinds[name].__name__, TRACED))
    return found


def _give(graph: Graph, scores: Value, p: Value, refused: Sequence[Value], alpha: float, axis: str) -> None:
    """The outputs of a graph, `(axis,)` each."""
    none = any_of([*refused, graph.op("IsNaN", scores, dtype=bool)])
    scores, p = (graph.where(none, np.nan, value) for value in (scores, p))
    for name, value in zip(OUTPUTS, (scores, p, (p <= alpha) | none), strict=True):
        graph.output(value, name, [axis])


def _metadata(
    info: dict[str, Any], inputs: Sequence[dict[str, Any]], alpha: float, digest: str | None
) -> dict[str, str]:
    calibration = info["calibration"]
    found = {
        "upland.version": __version__,
        "upland.detector": info["detector"],
        "upland.criterion": info["criterion"],
        "upland.inputs": json.dumps(list(inputs)),
        "upland.alpha": repr(alpha),
        "upland.calibration": json.dumps(calibration),
        "upland.guarantee": calibration["guarantee"],
        "upland.opset": str(OPSET),
        "upland.refused": "NaN scores and p-values, and flags, where upland would refuse a row",
    }
    return found if digest is None else found | {"upland.model_sha256": digest}
