"""Functions of values that ONNX has no operator for, as exact as those of PyTorch and NumPy.

Exponentials and logarithms of single-precision values are computed in double precision and rounded once,
which is what the libraries below PyTorch come to for nearly every number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upland.export.graph import Operand, Value


def exp(x: Value) -> Value:
    """e^x."""
    return _in_double(lambda y: y.graph.op("Exp", y), x)


def log1p(x: Value) -> Value:
    """log(1 + x), x >= 0, exact for small x too (Kahan)."""
    return _in_double(_log1p, x)


def _log1p(x: Value) -> Value:
    above = x + 1.0
    grown = (above - 1.0).at_least(1e-300)
    return x.graph.where(above > 1.0, x.graph.op("Log", above) * (x / grown), x)


def expm1(x: Value) -> Value:
    """e^x - 1, x >= 0, exact for small x too (Kahan)."""
    return _in_double(_expm1, x)


def _expm1(x: Value) -> Value:
    grown = x.graph.op("Exp", x)
    log = x.graph.op("Log", grown).at_least(1e-300)
    return x.graph.where(grown > 1.0, (grown - 1.0) * (x / log), x)


def softplus(x: Value) -> Value:
    """log(1 + e^x) in double precision."""
    return x.at_least(0.0) + log1p(exp(-x.abs()))


def copysign(size: Value, sign: Value) -> Value:
    """A size with the sign of another value."""
    return size.graph.where(sign < 0.0, -size, size)


def _in_double(function: Callable[[Value], Value], x: Value) -> Value:
    return function(x.to(np.float64)).to(x.dtype)


def below(table: NDArray[Any], keys: Value) -> Value:
    """How many numbers of each row of a table are below a key, by bisection: `(K, V)`, `(K, N)` -> `(K, N)`.

    Args:
        table: each row ascending.
        keys: of the table's type.
    """
    steps = max(int(table.shape[1]), 1).bit_length()
    last = np.inf if table.dtype.kind == "f" else np.iinfo(table.dtype).max
    padded = np.full((len(table), (1 << steps) - 1), last, dtype=table.dtype)
    padded[:, : table.shape[1]] = table
    graph = keys.graph
    sorted_keys = graph.constant(padded, table.dtype)
    count: Value | None = None
    for step in reversed(range(steps)):
        last_of = (1 << step) - 1
        if count is None:
            at = graph.op(
                "Expand", graph.constant(last_of, np.int64), graph.op("Shape", keys, dtype=np.int64)
            )
        else:
            at = count + last_of
        smaller = elements(sorted_keys, at) < keys
        gained = smaller.to(np.int64) * (1 << step)
        count = gained if count is None else count + gained
    assert count is not None
    return count


def elements(table: Value, at: Value) -> Value:
    """The elements of each row at some places: `(K, V)`, `(K, N)` -> `(K, N)`."""
    return table.graph.op("GatherElements", table, at, axis=1)


def number_of(words: Value, numbers: Mapping[str, int], other: int) -> Value:
    """The number of each word, and another one of words that have none: `(N,) -> (N,)`, int64."""
    keys = [word.encode("utf-8", "surrogatepass") for word in numbers]
    values = list(numbers.values())
    return words.graph.op(
        "LabelEncoder", words, dtype=np.int64, keys_strings=keys, values_int64s=values, default_int64=other
    )


def any_of(conditions: Sequence[Value]) -> Value:
    """Where at least one of some conditions holds."""
    found = conditions[0]
    for condition in conditions[1:]:
        found = found | condition
    return found


def square(x: Value) -> Value:
    """x^2."""
    return x * x


def within(x: Value, least: Operand, most: Operand) -> Value:
    """The numbers cut to an interval."""
    return x.at_least(least).at_most(most)
