"""Arrays by name as one compressed blob, and the exact way back: the state that goes on after a restart.

A blob is a safetensors file compressed by zlib. It is checked against its own size before memory is taken.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from upland.io.bounds import limit_of

Arrays = Mapping[str, NDArray[Any]]

LEVEL = 1
"""Of zlib: the counts of the monitor are small numbers, which the fastest level halves."""


class StateError(ValueError):
    """A state that cannot be read."""


def packed(arrays: Arrays) -> bytes:
    """Arrays of numbers as a blob.

    Args:
        arrays: by name.
    """
    return zlib.compress(save({name: np.array(value, order="C") for name, value in arrays.items()}), LEVEL)


def unpacked(blob: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a blob.

    Args:
        blob: of `packed`.

    Raises:
        StateError: it is damaged.
    """
    reader = zlib.decompressobj()
    try:
        data = reader.decompress(blob, limit_of(len(blob)))
        if not reader.eof:
            raise StateError("it is longer than it may be, or cut off")
        found: dict[str, NDArray[Any]] = load(data)
    except (zlib.error, SafetensorError) as error:
        raise StateError(str(error)) from None
    return found


def under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The same arrays, each name behind a prefix.

    Args:
        prefix: of the part.
        arrays: by name.
    """
    return {f"{prefix}/{name}": value for name, value in arrays.items()}


def of(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays of a part, as `under` took them.

    Args:
        prefix: of the part.
        arrays: of all parts.
    """
    start = f"{prefix}/"
    return {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}
