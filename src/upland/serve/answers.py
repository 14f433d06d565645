"""Results as JSON or as an Arrow stream, by what a request accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from upland.scoring.words import plain_value
from upland.serve.errors import Refusal
from upland.serve.numbers import real

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
_SPECIAL = {math.inf: "Infinity", -math.inf: "-Infinity"}


def accepted(header: str) -> str:
    """The content type of the answer: JSON, or an Arrow stream where that is asked for.

    Args:
        header: `Accept` of the request; empty where there is none.

    Raises:
        Refusal: 406 where neither is accepted.
    """
    if not header or header == "*/*" or header == JSON:
        return JSON
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (word.strip() for word in part.split(";"))
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        weights[name.lower()] = real(quality) or 0.0
    arrow = weights.get(ARROW, 0.0)
    plain = max(weights.get(name, 0.0) for name in (JSON, "application/*", "*/*"))
    if arrow > plain:
        return ARROW
    if plain > 0:
        return JSON
    raise Refusal(406, f"answers are {JSON} or {ARROW}")


def json_bytes(value: Any) -> bytes:
    """Plain data as JSON; an infinite number is a text, as in the JSON of protocol buffers."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":")).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(cell) for key, cell in value.items()}
    if isinstance(value, list):
        return list(map(_finite, value))
    if isinstance(value, float) and not math.isfinite(value):
        return _SPECIAL.get(value)
    return value


def listed(values: Any) -> list[Any]:
    """A column as plain values for JSON: dates as texts in ISO form."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        values = values.to_pylist()
    elif isinstance(values, np.ndarray):
        values = values.tolist() if values.dtype.kind in "biuf" else list(values)
    return list(map(plain, values))


def plain(value: Any) -> Any:
    """A value for JSON: numbers, texts, lists and records as they are, dates and all else as texts."""
    value = plain_value(value)
    if isinstance(value, tuple):
        return list(map(plain, value))
    return value if isinstance(value, str | int | float | list | dict | None) else str(value)


def records(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns as a record for each row."""
    names, lists = list(columns), [listed(values) for values in columns.values()]
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def arrow_bytes(columns: Mapping[str, Any], details: Mapping[str, Any]) -> bytes:
    """Columns as an Arrow stream, what is said of all of them in the metadata of its schema.

    Args:
        columns: by name.
        details: plain data.
    """
    arrays = {
        name: values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(list(values))
        for name, values in columns.items()
    }
    table = pa.table(arrays)
    table = table.replace_schema_metadata({name: json.dumps(value) for name, value in details.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
