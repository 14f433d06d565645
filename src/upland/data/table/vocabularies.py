"""Large vocabularies as tensors: UTF-8 text, and the length of each word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INLINE_LEVELS = 256
_FIELDS = ("levels", "rare")


def pack(words: Sequence[str], name: str) -> dict[str, NDArray[Any]]:
    """Words as two tensors under a name; `unpack` is the way back."""
    parts = [word.encode("utf-8", "surrogatepass") for word in words]
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return {f"{name}.text": np.frombuffer(b"".join(parts), dtype=np.uint8).copy(), f"{name}.lengths": lengths}


def with_levels(columns: Sequence[Mapping[str, Any]], tensors: Mapping[str, NDArray[Any]]) -> list[Any]:
    """The columns of a schema as plain data, with the levels that are stored as tensors.

    Raises:
        ValueError: a tensor is lacking, or nothing needs it.
    """
    packed = {
        f"column{position}.{field}": (position, field)
        for position, column in enumerate(columns)
        if column.get("levels") is None
        for field in ("levels", "rare")
    }
    if set(tensors) - {f"{name}.{part}" for name in packed for part in ("text", "lengths")}:
        raise ValueError("the table encoder has tensors that nothing needs")
    found = [dict(column) for column in columns]
    for name, (position, field) in packed.items():
        found[position][field] = unpack(tensors, name)
    return found


def unpack(tensors: Mapping[str, NDArray[Any]], name: str) -> list[str]:
    """The words that `pack` stored under a name.

    Raises:
        ValueError: a tensor is lacking, or text and lengths do not fit.
    """
    try:
        letters, lengths = tensors[f"{name}.text"], tensors[f"{name}.lengths"]
    except KeyError as error:
        raise ValueError(f"the table encoder's tensor {error.args[0]!r} is lacking") from None
    if letters.dtype != np.uint8 or lengths.dtype != np.int64 or letters.ndim != 1 or lengths.ndim != 1:
        raise ValueError(f"the table encoder's tensor {name!r} holds no words")
    if lengths.size and not 0 <= lengths.min() <= lengths.max() <= letters.size:
        raise ValueError(f"the table encoder's tensor {name!r} does not fit its lengths")
    text, ends = letters.tobytes(), np.cumsum(lengths)
    if len(text) != (int(ends[-1]) if len(ends) else 0):
        raise ValueError(f"the table encoder's tensor {name!r} does not fit its lengths")
    return [
        text[end - length : end].decode("utf-8", "surrogatepass")
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]


def packed(columns: Sequence[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    """The large vocabularies of columns as tensors; in the columns' records None is put in their place."""
    tensors: dict[str, NDArray[Any]] = {}
    for position, record in enumerate(columns):
        if sum(len(record[field]) for field in _FIELDS) > _INLINE_LEVELS:
            for field in _FIELDS:
                tensors |= pack(record[field], f"column{position}.{field}")
                record[field] = None
    return tensors
