"""Sums of single-precision numbers in the order in which PyTorch adds them, so that they are rounded alike.

PyTorch adds along the first axis of a matrix in cascades: sixteen numbers one after another, then the sums
of sixteen, and so on. Along the last axis, where the numbers of a row lie side by side, it adds vectors of
eight, four vectors beside each other, and at last what is left over and the numbers of the vector
(`aten/src/ATen/native/cpu/SumKernel.cpp`, the same on every x86 processor). Products of matrices are sums one
after another in PyTorch and in onnxruntime, fused with the multiplication but for fewer than four rows in
PyTorch. On other processors, and where there are more than 128 terms, the last bits may differ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from upland.export.graph import Value

STEP = 16
"""Numbers of one level of a cascade."""

LANES, SIDE_BY_SIDE = 8, 4
"""Numbers of a vector, and vectors that are added beside each other."""


FUSED = 4
"""Rows of a product from which multiplication and addition are fused."""


def product(matrix: NDArray[np.float32], x: Value, start: Value | None = None) -> Value:
    """A product, added to where it starts: `(..., M, K)`, `(..., K, N)` -> `(..., M, N)`."""
    rows, terms = matrix.shape[-2:]
    if rows >= FUSED:
        found = x.graph.constant(matrix, np.float32) @ x
        return found if start is None else start + found
    axis = matrix.ndim - 1
    one = x.graph.constant([axis - 1], np.int64)
    parts = x.graph.constant(matrix[..., None], np.float32) * x.graph.op("Unsqueeze", x, one)
    if start is not None:
        parts = x.graph.concat(
            [x.graph.op("Unsqueeze", start, x.graph.constant([axis], np.int64)), parts], axis
        )
        terms += 1
    running = x.graph.op("CumSum", parts, x.graph.constant(axis, np.int64)).part(terms - 1, terms, axis)
    return x.graph.op("Squeeze", running, x.graph.constant([axis], np.int64))


def of_columns(x: Value, count: int) -> Value:
    """Sums along the first axis, of `count` rows: `(count, ...) -> (1, ...)`."""
    totals = []
    while count:
        whole, rest = divmod(count, STEP)
        if rest:
            totals.append(_running(x.part(whole * STEP, count, 0), rest))
        if whole:
            starts = range(0, whole * STEP, STEP)
            x = x.graph.concat([_running(x.part(start, start + STEP, 0), STEP) for start in starts], 0)
        count = whole
    return _added(totals)


def of_rows(x: Value, width: int) -> Value:
    """Sums of each row: `(N, width) -> (N, 1)`."""
    columns, whole = x.transposed(), width // LANES * LANES
    if not whole:
        return _of_vectors(columns.reshape(width, 1, -1), width).transposed()
    lanes = _of_vectors(columns.part(0, whole, 0).reshape(whole // LANES, LANES, -1), whole // LANES)
    rest = [columns.part(whole, width, 0)] if whole < width else []
    return _running(x.graph.concat([*rest, lanes], 0), width - whole + LANES).transposed()


def _of_vectors(vectors: Value, count: int) -> Value:
    """The sum of vectors, number by number: `(count, L, N) -> (L, N)`."""
    whole = count // SIDE_BY_SIDE
    beside = [
        of_columns(vectors.take(np.arange(first, whole * SIDE_BY_SIDE, SIDE_BY_SIDE), 0), whole)
        for first in range(SIDE_BY_SIDE if whole else 0)
    ]
    rest = [vectors.part(number, number + 1, 0) for number in range(whole * SIDE_BY_SIDE, count)]
    found = _added([*beside[:1], *rest, *beside[1:]])
    return vectors.graph.op("Squeeze", found, vectors.graph.constant([0], np.int64))


def _added(values: Sequence[Value]) -> Value:
    """Values one after another."""
    found = values[0]
    for value in values[1:]:
        found = found + value
    return found


def _running(x: Value, count: int) -> Value:
    """The sum along the first axis, of `count` rows, one after another."""
    if count == 1:
        return x
    return x.graph.op("CumSum", x, x.graph.constant(0, np.int64)).part(count - 1, count, 0)
