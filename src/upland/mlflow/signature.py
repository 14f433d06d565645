"""The signature and the example of a model, from what its file says of the columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from upland.data.image.feature_encoder import pixels_of
from upland.data.sequence.encoder import SequenceEncoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.segmented import SegmentedDetector
from upland.io.extras import needed
from upland.io.schema import Column, Schema
from upland.mlflow.scored import EXPLAIN
from upland.scoring.columns import ADDED

if TYPE_CHECKING:
    from upland.detectors.base import Detector

STEPS = 8
"""Steps of the example of sequences of any length."""
_TYPES = {"numeric": "double", "boolean": "boolean", "date": "datetime"}
_DAY = 86_400


def signature_of(detector: Detector) -> Any:
    """The `mlflow.models.ModelSignature` of a fitted detector.

    A column whose values MLflow has no type for, or of which pandas has several (categories, durations,
    decimals, dates with a time zone, whole numbers and booleans with missing cells, names of sequences and
    segments) is of any type.
    """
    types, schema_types = _module("mlflow.types"), _module("mlflow.types.schema")
    columns = _columns(detector)
    if columns is None:
        shape, dtype = _array(detector)
        inputs = types.Schema([types.TensorSpec(dtype, (-1, *shape))])
        kept = []
    else:
        any_type = schema_types.AnyType
        specs = [
            types.ColSpec(any_type() if kind == "any" else kind, name, required=required)
            for name, kind, required in columns
        ]
        inputs, kept = types.Schema(specs), specs if columns[0][0] is not None else []
    kinds = zip(ADDED, ("double", "double", "boolean"), strict=False)
    added = [types.ColSpec(kind, name) for name, kind in kinds]
    if detector.modality == "sequence" and detector.plan_.unit == "sequence":
        kept = kept[:1]
    params = [
        types.ParamSpec("alpha", "double", detector.alpha_),
        types.ParamSpec("explain", "long", EXPLAIN),
    ]
    outputs = types.Schema([*kept, *added])
    return _module("mlflow.models").ModelSignature(inputs, outputs, types.ParamSchema(params))


def example_of(detector: Detector) -> Any:
    """A typical row, series or image, made of what the model file says of each column; no row of the data.

    None for durations, dates with a time zone and decimals, which examples of MLflow cannot hold.
    """
    encoder = detector.encoder_
    table = encoder.table if isinstance(encoder, SequenceEncoder) else encoder
    if isinstance(table, TableEncoder) and any(map(_not_in_json, table.schema_.columns)):
        return None
    if isinstance(encoder, TableEncoder):
        cells = {column.name: [_cell(column)] for column in encoder.schema_.columns}
        if isinstance(detector, SegmentedDetector):
            cells = {detector.by_: [detector.segments_[0]], **cells}
        return _frame(encoder.schema_, cells)
    columns = _columns(detector)
    if columns is None:
        shape, dtype = _array(detector)
        return np.full((1, *(STEPS if side == -1 else side for side in shape)), _level(encoder), dtype=dtype)
    assert isinstance(encoder, SequenceEncoder)
    schema = encoder.table.schema_
    cells = {column.name: [_cell(column)] * STEPS for column in schema.columns}
    places: dict[Any, list[Any]] = {} if encoder.id is None else {encoder.id: ["a"] * STEPS}
    if encoder.time is not None:
        places[encoder.time] = list(range(STEPS))
    return _frame(schema, places | cells)


def _columns(detector: Detector) -> list[tuple[str | None, str, bool]] | None:
    """Name, type and whether it must be there, of each column; None where the data are an array."""
    encoder = detector.encoder_
    if isinstance(encoder, TableEncoder):
        schema = encoder.schema_
        first = [(detector.by_, "any", True)] if isinstance(detector, SegmentedDetector) else []
        of_columns = first + [(column.name, _type(column), not column.missing) for column in schema.columns]
        named = schema.naming == "names"
        return [(name if named else None, kind, required or not named) for name, kind, required in of_columns]
    if isinstance(encoder, SequenceEncoder) and (encoder.id is not None or encoder.time is not None):
        places = [(str(name), "any", True) for name in (encoder.id, encoder.time) if name is not None]
        return [
            *places,
            *((column.name, _type(column), not column.missing) for column in encoder.table.schema_.columns),
        ]
    return None


def _array(detector: Detector) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape of one image or sequence, -1 for any length, and the type of its values."""
    encoder = detector.encoder_
    if (pixels := pixels_of(encoder)) is not None:
        channels, height, width = pixels.shape
        return ((height, width) if channels == 1 else (height, width, channels)), pixels.dtype
    assert isinstance(encoder, SequenceEncoder)
    return (-1, encoder.table.n_columns), np.dtype(np.float64)


def _type(column: Column) -> str:
    """The type of MLflow for a column."""
    if column.form is not None:
        return "string"
    if column.dtype == "decimal" or column.zoned or column.kind == "categorical":  # also of pandas' own type
        return "any"
    if column.missing and (
        column.dtype == "integer" or column.kind == "boolean"
    ):  # pandas changes their type
        return "any"
    return "long" if column.dtype == "integer" else _TYPES.get(column.kind, "any")


def _not_in_json(column: Column) -> bool:
    typed = column.form is None
    return typed and (column.kind == "duration" or column.dtype == "decimal" or bool(column.zoned))


def _cell(column: Column) -> Any:
    """A typical value of a column, as it stands in the user's data."""
    if column.kind == "categorical":
        return column.levels[0]
    if column.kind == "boolean":
        value: Any = column.center >= 0.5
        return value if column.form is None else str(value).lower()
    if column.kind == "numeric":
        return _number(column)
    if column.kind == "duration":
        minutes, second = divmod(round(column.center) % _DAY, 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
    moment = datetime.fromtimestamp(round(column.center if column.parts is None else 0.0), UTC)
    if column.form is None:
        return moment.replace(tzinfo=None)
    if column.form.dayfirst is None:
        return moment.strftime("%Y-%m-%dT%H:%M:%S") + ("Z" if column.zoned else "")
    return moment.strftime("%d/%m/%Y" if column.form.dayfirst else "%m/%d/%Y")


def _number(column: Column) -> Any:
    whole = column.dtype == "integer"
    value: Any = round(column.center) + int(column.origin) if whole else float(column.center)
    if column.form is None:
        return value
    text = f"{value:.6g}".replace(".", column.form.decimal)
    return f"{column.form.prefix}{text}{column.form.suffix}"


def _level(encoder: Any) -> float:
    """Mid-grey of an image, the mean of a sequence's first channel."""
    if (pixels := pixels_of(encoder)) is not None:
        middle = float(np.mean(pixels.mean))
        return round(middle) if pixels.dtype.kind in "ui" else middle
    return float(encoder.table.schema_.columns[0].center)


def _frame(schema: Schema, cells: dict[Any, list[Any]]) -> Any:
    frame = needed("pandas", "MLflow models need pandas", "mlflow").DataFrame(cells)
    return frame if schema.naming == "names" else frame.to_numpy()


def _module(name: str) -> Any:
    return needed(name, "MLflow models need MLflow", "mlflow")
