"""What the description of the server (OpenAPI) says of bodies, parameters and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upland.catalogue import STATISTICS
from upland.serve.errors import CODES
from upland.serve.files import SUFFIXES

_RECORD = {"type": "object", "additionalProperties": {"type": ["number", "string", "boolean", "null"]}}
_FILE = {"schema": {"type": "string", "format": "binary"}}
DATA: dict[str, Any] = {
    "application/json": {
        "schema": {
            "oneOf": [
                _RECORD,
                {"type": "array", "items": _RECORD},
                {"type": "object", "additionalProperties": {"type": "array"}},
            ]
        },
        "examples": {
            "a record": {"value": {"flow": 10.2, "valve": "open"}},
            "records": {"value": [{"flow": 10.2, "valve": "open"}, {"flow": None, "valve": "shut"}]},
            "columns": {"value": {"flow": [10.2, 9.8], "valve": ["open", "shut"]}},
        },
    },
    "application/x-ndjson": _FILE,
    **dict.fromkeys(SUFFIXES, _FILE),
    "image/png": _FILE,
    "image/jpeg": _FILE,
    "multipart/form-data": {
        "schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}
    },
}
"""The bodies that hold data."""

INFERENCE: dict[str, Any] = {
    "application/json": {
        "schema": {"type": "object", "required": ["inputs"]},
        "example": {
            "id": "1",
            "inputs": [
                {"name": "flow", "shape": [2], "datatype": "FP64", "data": [10.2, 9.8]},
                {"name": "valve", "shape": [2], "datatype": "BYTES", "data": ["open", "shut"]},
            ],
        },
    }
}
"""The body of an inference request."""

PARAMETERS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "name": ("The name of a model.", {"type": "string"}),
    "version": ("The version of a model: the first digits of its file's digest.", {"type": "string"}),
    "alpha": ("The rate that flags keep.", {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    "explain": ("How many reasons of each row.", {"type": "integer", "minimum": 0}),
    "by": ("The column that names groups, repeatable.", {"type": "array", "items": {"type": "string"}}),
    "statistic": ("What is measured of a group.", {"type": "string", "enum": list(STATISTICS)}),
    "series": ("The id of a series.", {"type": "string", "maxLength": 200}),
    "after": ("Steps that came before, as the client counts them; 409 if others.", {"type": "integer"}),
}
"""What each parameter means, and its schema."""


def described(
    names: Sequence[str] = (), data: Mapping[str, Any] | None = None, query: Sequence[str] = ()
) -> dict[str, Any]:
    """What FastAPI adds to the description of an address.

    Args:
        names: the parameters in its path.
        data: content types of its body.
        query: the parameters of its query.
    """
    places = [(name, "path") for name in names] + [(name, "query") for name in query]
    found: dict[str, Any] = {"parameters": [_parameter(name, place) for name, place in places]}
    if data is not None:
        found["requestBody"] = {"required": True, "content": dict(data)}
        found["responses"] = {
            str(status): {"description": CODES[status].replace("_", " ")}
            for status in (400, 401, 404, 413, 415, 422, 429, 504)
        }
    return found


def _parameter(name: str, place: str) -> dict[str, Any]:
    text, schema = PARAMETERS[name]
    required = place == "path" or name == "series"
    return {"name": name, "in": place, "required": required, "description": text, "schema": dict(schema)}
