"""Which detectors and criteria have a graph, and how their parts become one.

A modality has a function that opens the inputs and encodes them; a criterion has one that scores encoded
points. Both are found by name in the tables below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto

from upland import __version__
from upland.catalogue import load
from upland.criteria.base import Criterion
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.export.calibration import p_values
from upland.export.graph import OPSET, Graph, Value

OUTPUTS = ("anomaly_score", "p_value", "is_anomaly")

ENCODINGS: dict[str, str] = {
    "table": "upland.export.table:encoded",
}
"""What opens the inputs of a modality and encodes them, `(graph, detector) -> Encoded`."""

SCORES: dict[str, str] = {
    "Experts": "upland.export.experts:joined",
}
"""What scores encoded points by a criterion, by its class: `(criterion, points) -> scores`, float64."""


@dataclass(frozen=True)
class Encoded:
    """Encoded points of every member of a detector.

    Args:
        points: of each member, `(N, ...)` as its model takes them.
        refused: `(N,)` bool, which of them upland would refuse; None where a graph's types rule that out.
        inputs: what the graph takes, as plain data for the metadata.
    """

    points: Sequence[Value]
    refused: Value | None
    inputs: Sequence[dict[str, Any]]


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
    write = _writer(detector)
    graph = Graph(OUTPUTS)
    encoded: Encoded = load(ENCODINGS[detector.modality])(graph, detector)
    scores = [
        _score(graph, write, detector, member, points)
        for member, points in zip(detector.members_, encoded.points, strict=True)
    ]
    mean = scores[0]
    for score in scores[1:]:
        mean = mean + score
    mean = mean / len(scores)
    calibration = detector.calibration_
    p = p_values(calibration, scores if calibration.method == "cross" else [mean])
    _give(graph, mean, p, encoded.refused, alpha)
    return graph.model("upland", "upland", __version__, _metadata(info, encoded.inputs, alpha, digest))


Writer = Callable[[Criterion[Any, Any], Value], Value]


def _writer(detector: Detector) -> Writer:
    """What writes the score of the detector's criterion."""
    homes = {name: load(home).__name__ for name, home in detector.offered_.homes.items()}
    name = detector.criterion_of(detector.unit_)
    if detector.modality in ENCODINGS and homes[name] in SCORES:
        found: Writer = load(SCORES[homes[name]])
        return found
    what = f"a {type(detector).__name__} with criterion={name!r} has no ONNX graph"
    others = [name for name, of in homes.items() if of in SCORES and detector.modality in ENCODINGS]
    if others:
        raise ValueError(f"{what}: criterion={others[0]!r} has one")
    raise ValueError(f"{what}: an EnergyDetector of a table has one")


def _score(graph: Graph, write: Writer, detector: Detector, member: Member, points: Value) -> Value:
    """The scores of encoded points by one member: `(N, ...) -> (N,)`, float64."""
    criterion = detector.fitted_criterion(member, detector.unit_)
    return graph.in_blocks(
        lambda block: write(criterion, block), points, member.encoder.shape, member.model.block_rows
    )


def _give(graph: Graph, scores: Value, p: Value, refused: Value | None, alpha: float) -> None:
    """The outputs of a graph."""
    flags = p <= alpha
    if refused is not None:
        flags = flags | refused
        scores, p = (graph.where(refused, np.nan, value) for value in (scores, p))
    for name, value in zip(OUTPUTS, (scores, p, flags), strict=True):
        graph.output(value, name, ["N"])


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
