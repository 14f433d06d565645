"""A fitted detector as an ONNX model: from the user's columns to scores, p-values and flags in one graph.

    inputs     one `(N,)` for each column of a table (`upland.export.columns`)
    outputs    anomaly_score `(N,)` float64, p_value `(N,)` float64, is_anomaly `(N,)` bool

The graph holds all that a score needs: encoder, models and calibration. A graph cannot refuse a row: where
upland would raise, as for an infinite number, score and p-value are NaN, and the row is flagged.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from upland.calibration.false_discovery import check_rate
from upland.detectors.base import Detector
from upland.detectors.foreign import check_detector
from upland.detectors.host import usual_settings
from upland.io.extras import needed
from upland.io.modelfile import read_bytes
from upland.io.replace import replacing
from upland.persistence import load_bytes

INPUTS, ALPHA = "upland.inputs", "upland.alpha"
"""The entries of the metadata that say what a graph takes, and at which level its flags are."""


def to_onnx(
    detector: Detector | str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    alpha: float | None = None,
    overwrite: bool = True,
) -> bytes:
    """The bytes of an ONNX model of a fitted detector, which are written to a file where one is named; like a
    model file it is its owner's alone, since it may hold rows of the training.

    Args:
        detector: what `fit` returned, or the path of a model file.
        path: the file to write, by custom `*.onnx`; None writes none.
        alpha: the level that `is_anomaly` is at, in (0, 1); None is the detector's `alpha_`.
        overwrite: whether an existing file may be replaced.

    Raises:
        ImportError: the package onnx is not installed.
        TypeError: it is no detector.
        ValueError: alpha is not in (0, 1), or there is no graph of such a detector; the message says what
            has one.
        FileExistsError: the file exists and may not be replaced.
        OSError: a file cannot be read or written.
    """
    needed("onnx", "The ONNX export needs onnx", "onnx")
    from upland.export.detectors import model_of

    if alpha is not None:
        check_rate(alpha, "false_alarm")
    digest = None
    if isinstance(detector, str | os.PathLike):
        data = read_bytes(Path(detector))
        digest, detector = hashlib.sha256(data).hexdigest(), load_bytes(data, Path(detector))
    check_detector(detector, "to_onnx")
    with usual_settings():
        level = detector.alpha_ if alpha is None else alpha
        found = model_of(detector, level, digest).SerializeToString(deterministic=True)
    if path is not None:
        with replacing(path, overwrite, private=True) as file:
            file.write(found)
    return bytes(found)


def inputs_in(graph: bytes) -> list[dict[str, Any]]:
    """What an ONNX model of `to_onnx` takes: of each input the column, name and type, the kind of the column
    and what stands for a missing cell.

    Args:
        graph: all bytes of the file.

    Raises:
        ImportError: the package onnx is not installed.
        ValueError: it is no ONNX model, or none of upland.
    """
    inputs: list[dict[str, Any]] = json.loads(_metadata(graph)[INPUTS])
    return inputs


def alpha_in(graph: bytes) -> float:
    """The level that `is_anomaly` of an ONNX model of `to_onnx` is at; raises as `inputs_in`.

    Args:
        graph: all bytes of the file.
    """
    return float(_metadata(graph)[ALPHA])


def _metadata(graph: bytes) -> dict[str, str]:
    """What an ONNX model says of itself; raises as `inputs_in`."""
    onnx = needed("onnx", "The ONNX export needs onnx", "onnx")
    try:
        model = onnx.load_from_string(graph)
    except Exception as error:  # protobuf's own, which may change
        raise ValueError("these bytes are no ONNX model that upland wrote") from error
    found = {entry.key: entry.value for entry in model.metadata_props}
    if INPUTS not in found:
        raise ValueError("these bytes are no ONNX model that upland wrote")
    return found
