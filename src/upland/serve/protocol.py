"""The Open Inference Protocol, version 2: tensors in JSON, one for each column.

Source: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from upland.data.sequence.encoder import SequenceEncoder
from upland.serve.answers import listed
from upland.serve.bodies import Body, checked_array
from upland.serve.errors import Refusal
from upland.serve.models import Served
from upland.serve.reading import inputs_as_body

INTEGERS = {f"{sign}INT{bits}": f"{sign}int{bits}".lower() for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOATS = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
DTYPES = {"BOOL": "bool", **INTEGERS, **FLOATS}
OUTPUTS = {"anomaly_score": "FP64", "p_value": "FP64", "is_anomaly": "BOOL"}
"""The tensors of every answer; `reason` (BYTES) is one more where the parameter `explain` asks for it."""

_KINDS = {"numeric": "FP64", "boolean": "BOOL", "categorical": "BYTES", "date": "BYTES", "duration": "FP64"}


def metadata(served: Served) -> dict[str, Any]:
    """What a model takes and gives, as the protocol describes it.

    Args:
        served: the model.
    """
    encoder = served.detector.encoder_
    if served.schema is not None and served.detector.modality == "table":
        kinds = {column.name: column for column in served.schema.columns}
        inputs = [
            {"name": name, "datatype": _datatype(kinds[name]), "shape": [-1]}
            for name in encoder.inputs
            if name in kinds
        ]
    elif served.detector.modality == "image":
        channels, height, width = encoder.shape
        datatype = {dtype: name for name, dtype in DTYPES.items()}.get(str(encoder.dtype), "UINT8")  # type: ignore[attr-defined]
        inputs = [{"name": "image", "datatype": datatype, "shape": [-1, height, width, channels]}]
    elif encoder.named and isinstance(encoder, SequenceEncoder) and served.schema is not None:
        found = {column.name: _datatype(column) for column in served.schema.columns}
        named = {str(name): "BYTES" for name in (encoder.id, encoder.time) if name is not None}
        columns = named | {name: found[name] for name in encoder.inputs}
        inputs = [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in columns.items()]
    else:
        inputs = [{"name": "x", "datatype": "FP64", "shape": [-1, -1, len(encoder.inputs)]}]
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "upland",
        "inputs": inputs,
        "outputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in OUTPUTS.items()],
    }


def _datatype(column: Any) -> str:
    if column.kind == "categorical" and column.dtype == "integer":
        return "INT64"
    return _KINDS[column.kind]


def inference_body(request: Any, served: Served) -> Body:
    """The data of an inference request.

    Args:
        request: the JSON of its body.
        served: the model.

    Raises:
        Refusal: it is no inference request, or its tensors are no data of the model.
    """
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list) or not request["inputs"]:
        raise Refusal(400, 'an inference request is an object with a list of tensors, "inputs"')
    inputs: dict[str, Any] = {}
    for tensor in request["inputs"]:
        name, values = _tensor(tensor)
        if name in inputs:
            raise Refusal(400, f"there are two inputs {name!r}")
        inputs[name] = values
    return inputs_as_body(inputs, served)


def _tensor(tensor: Any) -> tuple[str, Any]:
    """The name and the values of an input: plain ones of a column, an array of more dimensions."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise Refusal(400, 'an input is an object with "name", "shape", "datatype" and "data"')
    name, shape, datatype = tensor["name"], tensor.get("shape"), tensor.get("datatype")
    if datatype != "BYTES" and datatype not in DTYPES:
        known = ", ".join(["BYTES", *DTYPES])
        raise Refusal(400, f"input {name!r} has no datatype of the protocol; these are {known}")
    if not isinstance(shape, list) or not shape or not all(type(n) is int and n >= 0 for n in shape):
        raise Refusal(400, f'input {name!r}: "shape" is a list of whole numbers')
    values = tensor.get("data")
    if not isinstance(values, list):
        raise Refusal(400, f'input {name!r}: "data" is a list')
    while values and isinstance(values[0], list):  # nested lists are as good as a flat one
        if not all(isinstance(part, list) for part in values):
            raise Refusal(400, f"input {name!r}: lists and values stand beside each other")
        values = [value for part in values for value in part]
    if len(values) != prod(shape):
        raise Refusal(
            400, f"input {name!r} has {len(values)} values, and its shape {shape} takes {prod(shape)}"
        )
    _check(name, values, datatype)
    if len(shape) == 1 or (prod(shape[1:]) == 1 and len(shape) == 2):
        return name, values
    return name, checked_array(
        np.array(values, dtype=None if None in values else DTYPES.get(datatype)).reshape(shape)
    )


def _check(name: str, values: list[Any], datatype: str) -> None:
    """Refuse a value that is not of its tensor's type; null is a missing value."""
    types: tuple[type, ...] = {"BYTES": (str,), "BOOL": (bool,)}.get(datatype, (int,))
    types = (int, float) if datatype in FLOATS else types
    for row, value in enumerate(values):
        if value is not None and type(value) not in types:
            raise Refusal(400, f"input {name!r}, value {row + 1} is not of the type {datatype}")
    if datatype in INTEGERS:
        bounds = np.iinfo(INTEGERS[datatype])
        if not all(value is None or bounds.min <= value <= bounds.max for value in values):
            raise Refusal(400, f"input {name!r} holds a number outside of {datatype}")


def outputs(request: Mapping[str, Any], columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tensors of an answer, those that the request asks for.

    Args:
        request: the inference request.
        columns: of scores, by name.

    Raises:
        Refusal: it asks for a tensor that there is not.
    """
    asked = request.get("outputs")
    names = list(columns)
    if asked:
        if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
            raise Refusal(400, '"outputs" is a list of objects with a "name"')
        names = [str(one.get("name")) for one in asked]
        if wrong := [name for name in names if name not in columns]:
            raise Refusal(400, f"there is no output {wrong[0][:80]!r}; there are {', '.join(columns)}")
    return [_output(name, columns[name]) for name in names]


def _output(name: str, values: Any) -> dict[str, Any]:
    data = listed(values)
    return {"name": name, "datatype": OUTPUTS.get(name, "BYTES"), "shape": [len(data)], "data": data}
