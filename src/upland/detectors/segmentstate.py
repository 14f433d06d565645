"""A fitted `SegmentedDetector` as plain data and tensors beside its pooled detector, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from upland.calibration.segments import SegmentCalibration
from upland.data.table.encoder import TableEncoder
from upland.data.table.vocabularies import pack, unpack
from upland.detectors.segmented import SegmentedDetector
from upland.detectors.segmentrows import EVERY
from upland.detectors.table import TableDetector
from upland.io.records import fits, shown
from upland.models.credibility import LEAST, MOST
from upland.models.segments import SegmentEnergies

FIELDS = {"by": str, "given": str | int, "unseen": str, "weights": list[float], "offset": float, "rows": int}
"""What a file says of a segmented detector, and the types."""

CENTRE_MOST = 1e3
"""Size that a centre cannot have: codes are bent (`upland.models.segments.bent`)."""

LARGEST = 1e39
"""Size that no energy has: they are computed in float32."""

NAMES = "names"
CALIBRATION = ("scores", "sizes", "unsegmented")


def to_state(detector: SegmentedDetector) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plain data, and tensors of all segments, one behind another, by name.

    Args:
        detector: fitted.
    """
    calibration = detector.segment_calibration_
    record = {
        "by": detector.by_,
        "given": detector.given_by_,
        "unseen": detector.unseen,
        "weights": list(detector.weights_),
        "offset": detector.offset_,
        "rows": detector.n_samples_fit_,
    }
    tensors = {f"energies/{name}": value.numpy() for name, value in detector.energies_.state_dict().items()}
    by_segment = calibration.scores[np.argsort(calibration.of, kind="stable")]
    held_out = {"scores": by_segment, "sizes": calibration.sizes, "unsegmented": calibration.unsegmented}
    tensors |= {f"calibration/{name}": value for name, value in held_out.items()}
    return record, tensors | {"counts": detector.counts_, **pack(detector.segments_, NAMES)}


def from_state(pooled: TableDetector, record: Any, tensors: Mapping[str, Any]) -> SegmentedDetector:
    """The detector of what `to_state` gave.

    Args:
        pooled: the fitted detector of all segments together.
        record: plain data.
        tensors: by name.

    Raises:
        ValueError: they are not as a fit leaves them.
    """
    if not isinstance(record, Mapping) or set(record) != set(FIELDS):
        raise ValueError("the segments have fields that are unknown or lacking")
    for name, hint in FIELDS.items():
        if not fits(record[name], hint):
            raise ValueError(f"{name} of the segments cannot be {shown(record[name])}")
    weights, rows = record["weights"], record["rows"]
    if len(weights) != 3 or not all(0 <= weight <= MOST for weight in weights):
        raise ValueError(f"the weights of the segments cannot be {shown(weights)}")
    if record["unseen"] not in ("pooled", "error") or rows < 2:
        raise ValueError(f"the segments cannot be {shown(record['unseen'])}, or of {rows} rows")
    by, given, encoder = record["by"], record["given"], pooled.encoder_
    assert isinstance(encoder, TableEncoder)
    if by not in encoder.inputs or by in encoder.column_names:
        raise ValueError(f"there is no column {shown(by)} of the fit that is no feature")
    if tuple(pooled.ignore)[-1:] != (given,) or (isinstance(given, str) and given != by):
        raise ValueError(f"the column of segments cannot have been given as {shown(given)}")
    if not abs(record["offset"]) < LARGEST**2:
        raise ValueError(f"the offset of the segments cannot be {shown(record['offset'])}")
    expected = {
        "counts",
        f"{NAMES}.text",
        f"{NAMES}.lengths",
        *(f"calibration/{name}" for name in CALIBRATION),
    }
    expected |= {f"energies/{name}" for name in SegmentEnergies.shapes(0, 0)}
    if set(tensors) != expected:
        raise ValueError("the segments have tensors that are lacking or that nothing needs")
    segments = unpack(tensors, NAMES)
    if not segments or segments != sorted(set(segments)):
        raise ValueError("the names of the segments must be sorted, each once")
    asked = clone(pooled)
    asked.set_params(ignore=tuple(asked.ignore)[:-1])  # the last is the column of segments
    detector = SegmentedDetector(asked, record["given"], record["unseen"])
    detector.restore_segments(
        pooled,
        segments=segments,
        by=record["by"],
        energies=_energies(tensors, len(segments), pooled.encoder_.width),
        counts=_training(tensors["counts"], len(segments), rows),
        calibration=_calibration(tensors, len(segments)),
        weights=(float(weights[0]), float(weights[1]), float(weights[2])),
        offset=record["offset"],
        rows=rows,
    )
    return detector


def _energies(tensors: Mapping[str, Any], count: int, width: int) -> SegmentEnergies:
    """The energies, their tensors checked before a module of such sizes is made."""
    found = {}
    for name, shape in SegmentEnergies.shapes(count, width).items():
        values = tensors[f"energies/{name}"]
        dtype = np.float32 if name == "precision" else np.float64
        if values.shape != shape or values.dtype != dtype or not np.isfinite(values).all():
            raise ValueError(f"{name} of the segments must be finite {np.dtype(dtype)} of shape {shape}")
        found[name] = torch.from_numpy(values)
    weight = tensors["energies/weight"]
    bounded = (
        np.abs(tensors["energies/centre"]) < CENTRE_MOST,
        np.abs(tensors["energies/location"]) < LARGEST,
        (tensors["energies/scale"] >= LEAST) & (tensors["energies/scale"] < LARGEST),
    )
    positive = (*bounded, np.diagonal(tensors["energies/precision"], axis1=1, axis2=2) > 0)
    if (
        not all(part.all() for part in positive)
        or weight[-1] != 0
        or not ((weight >= 0) & (weight <= 1)).all()
    ):
        raise ValueError("the energies of the segments are not those of a fit")
    energies = SegmentEnergies(count, width)
    energies.load_state_dict(found)
    return energies


def _counts(counts: Any, count: int) -> Any:
    if counts.dtype != np.int64 or counts.shape != (count,) or (counts < 0).any():
        raise ValueError("the counts of the segments must be whole numbers, one for each")
    return counts


def _training(counts: Any, count: int, rows: int) -> Any:
    counts = _counts(counts, count)
    if not rows - rows // EVERY - 1 <= sum(counts.tolist()) <= rows:
        raise ValueError(f"the counts of the segments cannot be those of {rows} rows")
    return counts


def _calibration(tensors: Mapping[str, Any], count: int) -> SegmentCalibration:
    scores, sizes, unsegmented = (tensors[f"calibration/{name}"] for name in CALIBRATION)
    for values in (scores, unsegmented):
        if values.dtype != np.float64 or values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError("the calibration scores of the segments must be finite numbers, one at least")
    sizes = _counts(sizes, count)
    if (sizes > scores.size).any() or sizes.sum() != scores.size:
        raise ValueError("the calibration rows must be of the segments")
    return SegmentCalibration(scores, np.repeat(np.arange(count), sizes), unsegmented, count)
