"""The Open Inference Protocol, version 2: tensors in JSON, one for each column.

Source: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from upland.data.image.feature_encoder import pixels_of
from upland.scoring.inputs import keys_of
from upland.serve.answers import listed
from upland.serve.bodies import Body
from upland.serve.errors import Refusal
from upland.serve.models import Served
from upland.serve.numbers import numbers_of, whole
from upland.serve.reading import inputs_as_body

INTEGERS = {f"{sign}INT{bits}": f"{sign}int{bits}".lower() for sign in ("", "U") for bits in (8, 16, 32, 64)}
FLOATS = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}
DTYPES = {"BOOL": "bool", **INTEGERS, **FLOATS}
OUTPUTS = {"anomaly_score": "FP64", "p_value": "FP64", "is_anomaly": "BOOL"}
"""The tensors of every answer; `reason` (BYTES) is one more where the parameter `explain` asks for it."""

DIMENSIONS = 32
"""Dimensions of a tensor at most."""

_KINDS = {"numeric": "FP64", "boolean": "BOOL", "categorical": "BYTES", "date": "BYTES", "duration": "FP64"}


def metadata(served: Served) -> dict[str, Any]:
    """What a model takes and gives, as the protocol describes it.

    Args:
        served: the model.
    """
    encoder, modality = served.detector.encoder_, served.detector.modality
    if (pixels := pixels_of(encoder)) is not None:
        channels, height, width = pixels.shape
        datatype = {dtype: name for name, dtype in DTYPES.items()}.get(str(pixels.dtype), "UINT8")
        inputs = [{"name": "image", "datatype": datatype, "shape": [-1, height, width, channels]}]
    elif served.schema is not None and (modality == "table" or encoder.named):
        found = {column.name: _datatype(column) for column in served.schema.columns}
        own = dict.fromkeys(keys_of(served.detector), "BYTES")
        columns = own | {name: found[name] for name in encoder.inputs if name in found}
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
    _check_envelope(request)
    inputs: dict[str, Any] = {}
    for tensor in request["inputs"]:
        name, values = _tensor(tensor)
        if name in inputs:
            raise Refusal(400, f"there are two inputs {name!r}")
        inputs[name] = values
    return inputs_as_body(inputs, served)


def _check_envelope(request: Mapping[str, Any]) -> None:
    """Refuse what stands beside the inputs where it is of another type; null is as good as nothing."""
    if not isinstance(request.get("id"), str | None):
        raise Refusal(400, '"id" is a text')
    if not isinstance(request.get("parameters"), dict | None):
        raise Refusal(400, '"parameters" is an object')
    asked = request.get("outputs")
    if asked is not None and not (isinstance(asked, list) and all(isinstance(one, dict) for one in asked)):
        raise Refusal(400, '"outputs" is a list of objects with a "name"')


def _tensor(tensor: Any) -> tuple[str, Any]:
    """The name and the values of an input: plain ones of a column, an array of more dimensions."""
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise Refusal(400, 'an input is an object with "name", "shape", "datatype" and "data"')
    name, shape, datatype = tensor["name"], tensor.get("shape"), tensor.get("datatype")
    if datatype != "BYTES" and datatype not in DTYPES:
        known = ", ".join(["BYTES", *DTYPES])
        raise Refusal(400, f"input {name!r} has no datatype of the protocol; these are {known}")
    if not isinstance(shape, list) or not 0 < len(shape) <= DIMENSIONS or None in map(_size, shape):
        raise Refusal(400, f'input {name!r}: "shape" is a list of 1 to {DIMENSIONS} whole numbers')
    values = tensor.get("data")
    if not isinstance(values, list):
        raise Refusal(400, f'input {name!r}: "data" is a list')
    values = _flat(name, values, shape)
    if len(values) != prod(shape):
        raise Refusal(
            400, f"input {name!r} has {len(values)} values, and its shape {shape} takes {prod(shape)}"
        )
    _check(name, values, datatype)
    if len(shape) == 1 or (prod(shape[1:]) == 1 and len(shape) == 2):
        return name, values
    return name, numbers_of(values, None if None in values else DTYPES.get(datatype)).reshape(shape)


def _size(value: Any) -> int | None:
    """A part of a shape; a text is none."""
    return None if isinstance(value, str) else whole(value)


def _flat(name: str, values: list[Any], shape: list[int]) -> list[Any]:
    """Values in one list; nested lists are as good as it where they have the tensor's shape."""
    depth = 1
    while values and isinstance(values[0], list):
        if not all(isinstance(part, list) for part in values):
            raise Refusal(400, f"input {name!r}: lists and values stand beside each other")
        lengths = {len(part) for part in values}
        if len(values) != prod(shape[:depth]) or lengths != set(shape[depth : depth + 1]):
            raise Refusal(400, f"input {name!r}: the nested lists do not have its shape {shape}")
        values, depth = [value for part in values for value in part], depth + 1
    if depth not in (1, len(shape)):
        raise Refusal(400, f"input {name!r}: the nested lists do not have its shape {shape}")
    return values


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
        names = [str(one.get("name")) for one in asked]
        if wrong := [name for name in names if name not in columns]:
            raise Refusal(400, f"there is no output {wrong[0][:80]!r}; there are {', '.join(columns)}")
    return [_output(name, columns[name]) for name in names]


def _output(name: str, values: Any) -> dict[str, Any]:
    data = listed(values)
    return {"name": name, "datatype": OUTPUTS.get(name, "BYTES"), "shape": [len(data)], "data": data}
