"""Operations that PyTorch's ONNX exporter does not translate, or less exactly than PyTorch computes them.

* Exponentials, logarithms and their like are computed in double precision and rounded once.
* searchsorted: a binary search over sorted tables, one step for each power of two up to their length.
* copysign: by comparing with zero; the sign of a zero does not count.
* linalg_cholesky_ex: column by column, for the matrices of few rows that statistics of latents have. A pivot
  counts as at least 1e-24, so that no matrix fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from upland.io.extras import needed

LEAST_PIVOT = 1e-24
DOUBLE, INT32 = 11, 6
"""ONNX's numbers of types."""

Formula = Callable[[Any, Any], Any]
"""From ONNX's operators and a value to a value."""


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The translations, by PyTorch's operation."""
    aten = torch.ops.aten
    return {
        aten.exp.default: _in_double(lambda op, x: op.Exp(x)),
        aten.log.default: _in_double(lambda op, x: op.Log(x)),
        aten.log1p.default: _in_double(_log1p),
        aten.sigmoid.default: _in_double(lambda op, x: op.Sigmoid(x)),
        aten.silu.default: _in_double(lambda op, x: op.Mul(x, op.Sigmoid(x))),
        aten.tanh.default: _in_double(lambda op, x: op.Tanh(x)),
        aten.softplus.default: softplus,
        aten._softmax.default: softmax,
        aten._log_softmax.default: log_softmax,
        aten.searchsorted.Tensor: searchsorted,
        aten.copysign.Tensor: copysign,
        aten.linalg_cholesky_ex.default: cholesky,
    }


def _operators() -> Any:
    """ONNX's operators, which add nodes to the graph that is being written."""
    return needed("onnxscript", "The ONNX export of nets needs onnxscript", "onnx").opset18


def _in_double(formula: Formula) -> Callable[[Any], Any]:
    """A function of each number, computed in double precision."""

    def translated(self: Any) -> Any:
        op = _operators()
        return op.CastLike(formula(op, op.Cast(self, to=DOUBLE)), self)

    return translated


def _log1p(op: Any, x: Any) -> Any:
    """log(1 + x), exact for small x too (Kahan)."""
    one = _constant(op, 1.0)
    above = op.Add(x, one)
    same = op.Equal(above, one)
    ratio = op.Div(op.Mul(op.Log(above), x), op.Where(same, one, op.Sub(above, one)))
    return op.Where(same, x, ratio)


def softplus(self: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^x); x itself beyond the threshold.

    Raises:
        NotImplementedError: another beta than one.
    """
    if beta != 1.0:
        raise NotImplementedError(f"softplus with beta={beta}")

    def formula(op: Any, x: Any) -> Any:
        bound = _constant(op, threshold)
        return op.Where(op.Greater(x, bound), x, _log1p(op, op.Exp(op.Min(x, bound))))

    return _in_double(formula)(self)


def softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    """Shares of exponentials along an axis."""
    return _in_double(lambda op, x: op.Softmax(x, axis=dim))(self)


def log_softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    """Their logarithms."""
    return _in_double(lambda op, x: op.LogSoftmax(x, axis=dim))(self)


def searchsorted(
    sorted_sequence: Any,
    self: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Positions `(K, N)` at which numbers would be inserted into the rows of sorted tables `(K, V)`."""
    op = _operators()
    flat = len(sorted_sequence.shape) == 1
    table, keys = (op.Unsqueeze(x, [0]) if flat else x for x in (sorted_sequence, self))
    length = int(sorted_sequence.shape[-1])
    last, one = op.Constant(value_int=length), op.Constant(value_int=1)
    found = op.Expand(op.Constant(value_int=0), op.Shape(keys))
    step = 1 << (length.bit_length() - 1)
    while step:
        tried = op.Add(found, op.Constant(value_int=step))
        value = op.GatherElements(table, op.Sub(op.Min(tried, last), one), axis=1)
        below = op.LessOrEqual(value, keys) if right or side == "right" else op.Less(value, keys)
        found = op.Where(op.And(below, op.LessOrEqual(tried, last)), tried, found)
        step //= 2
    return op.Squeeze(found, [0]) if flat else found


def copysign(self: Any, other: Any) -> Any:
    """Numbers with the signs of others."""
    op = _operators()
    size, zero = op.Abs(self), op.CastLike(op.Constant(value_float=0.0), other)
    return op.Where(op.Less(other, zero), op.Neg(size), size)


def cholesky(self: Any, upper: bool = False, check_errors: bool = False) -> tuple[Any, Any]:
    """The lower triangular roots of symmetric matrices `(..., d, d)`, float64, and zeros: none fails."""
    op = _operators()
    size = int(self.shape[-1])
    rest, columns = self, []
    for j in range(size):
        pivot = op.Sqrt(op.Max(_part(op, _part(op, rest, j, -1), j, -2), _constant(op, LEAST_PIVOT)))
        column, row = (op.Div(_part(op, rest, j, axis), pivot) for axis in (-1, -2))
        rest = op.Sub(rest, op.Mul(column, row))
        columns.append(column)
    root = op.Mul(op.Concat(*columns, axis=-1), _constant(op, np.tril(np.ones((size, size)))))
    corner = op.Squeeze(_part(op, _part(op, self, 0, -1), 0, -2), [-2, -1])
    return root, op.Cast(op.Mul(corner, _constant(op, 0.0)), to=INT32)


def _part(op: Any, x: Any, position: int, axis: int) -> Any:
    """The entries at one position of an axis, which stays."""
    return op.Slice(x, [position], [position + 1], [axis])


def _constant(op: Any, value: Any) -> Any:
    """A number or an array, float64."""
    import onnx

    return op.Constant(value=onnx.numpy_helper.from_array(np.asarray(value, dtype=np.float64)))
