"""Operations of PyTorch that its ONNX exporter does not translate, or less exactly than PyTorch computes them.

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

LEAST_PIVOT = 1e-24
DOUBLE, INT32 = 11, 6
"""ONNX's numbers of types."""


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The translations, by PyTorch's operation."""
    aten = torch.ops.aten
    plain = {
        aten.exp.default: "Exp",
        aten.log.default: "Log",
        aten.sigmoid.default: "Sigmoid",
        aten.tanh.default: "Tanh",
    }
    return {operation: _in_double(name) for operation, name in plain.items()} | {
        aten.log1p.default: log1p,
        aten.silu.default: silu,
        aten.softplus.default: softplus,
        aten._softmax.default: softmax,
        aten._log_softmax.default: log_softmax,
        aten.searchsorted.Tensor: searchsorted,
        aten.copysign.Tensor: copysign,
        aten.linalg_cholesky_ex.default: cholesky,
    }


def _in_double(name: str) -> Callable[[Any], Any]:
    """A function of each number, computed in double precision."""

    def translated(self: Any) -> Any:
        from onnxscript import opset18 as op

        return op.CastLike(getattr(op, name)(op.Cast(self, to=DOUBLE)), self)

    return translated


def log1p(self: Any) -> Any:
    """log(1 + x), exact for small x too (Kahan)."""
    from onnxscript import opset18 as op

    return op.CastLike(_log1p(op, op.Cast(self, to=DOUBLE)), self)


def _log1p(op: Any, x: Any) -> Any:
    one = op.Constant(value=_tensor(np.array(1.0)))
    above = op.Add(x, one)
    grown = op.Sub(above, one)
    same = op.Equal(above, one)
    ratio = op.Div(op.Mul(op.Log(above), x), op.Where(same, one, grown))
    return op.Where(same, x, ratio)


def silu(self: Any) -> Any:
    """x / (1 + e^-x)."""
    from onnxscript import opset18 as op

    x = op.Cast(self, to=DOUBLE)
    return op.CastLike(op.Mul(x, op.Sigmoid(x)), self)


def softplus(self: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^x); x itself beyond the threshold.

    Raises:
        NotImplementedError: another beta than one.
    """
    from onnxscript import opset18 as op

    if beta != 1.0:
        raise NotImplementedError(f"softplus with beta={beta}")
    x = op.Cast(self, to=DOUBLE)
    low = op.Min(x, op.Constant(value=_tensor(np.array(threshold))))
    grown = _log1p(op, op.Exp(low))
    beyond = op.Greater(x, op.Constant(value=_tensor(np.array(threshold))))
    return op.CastLike(op.Where(beyond, x, grown), self)


def softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    """Shares of exponentials along an axis."""
    from onnxscript import opset18 as op

    return op.CastLike(op.Softmax(op.Cast(self, to=DOUBLE), axis=dim), self)


def log_softmax(self: Any, dim: int, half_to_float: bool = False) -> Any:
    """Their logarithms."""
    from onnxscript import opset18 as op

    return op.CastLike(op.LogSoftmax(op.Cast(self, to=DOUBLE), axis=dim), self)


def searchsorted(
    sorted_sequence: Any,
    self: Any,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """Positions `(K, N)` at which numbers would be inserted into the rows of sorted tables `(K, V)`."""
    from onnxscript import opset18 as op

    flat = len(sorted_sequence.shape) == 1
    table, keys = (op.Unsqueeze(x, [0]) if flat else x for x in (sorted_sequence, self))
    length = int(sorted_sequence.shape[-1])
    last = op.Constant(value_int=length)
    found = op.Expand(op.Constant(value_int=0), op.Shape(keys))
    step = 1 << (length.bit_length() - 1)
    while step:
        tried = op.Add(found, op.Constant(value_int=step))
        at = op.Sub(op.Min(tried, last), op.Constant(value_int=1))
        value = op.GatherElements(table, at, axis=1)
        below = op.LessOrEqual(value, keys) if right or side == "right" else op.Less(value, keys)
        found = op.Where(op.And(below, op.LessOrEqual(tried, last)), tried, found)
        step //= 2
    return op.Squeeze(found, [0]) if flat else found


def copysign(self: Any, other: Any) -> Any:
    """Numbers with the signs of others."""
    from onnxscript import opset18 as op

    size = op.Abs(self)
    return op.Where(op.Less(other, op.CastLike(op.Constant(value_float=0.0), other)), op.Neg(size), size)


def cholesky(self: Any, upper: bool = False, check_errors: bool = False) -> tuple[Any, Any]:
    """The lower triangular roots of symmetric matrices `(..., d, d)`, float64, and zeros: none fails."""
    from onnxscript import opset18 as op

    size = int(self.shape[-1])
    least = op.Constant(value=_tensor(np.array(LEAST_PIVOT)))
    rest, columns = self, []
    for j in range(size):
        pivot = op.Sqrt(op.Max(_part(op, _part(op, rest, j, -1), j, -2), least))
        column, row = (op.Div(_part(op, rest, j, axis), pivot) for axis in (-1, -2))
        rest = op.Sub(rest, op.Mul(column, row))
        columns.append(column)
    root = op.Mul(op.Concat(*columns, axis=-1), op.Constant(value=_tensor(np.tril(np.ones((size, size))))))
    corner = op.Squeeze(_part(op, _part(op, self, 0, -1), 0, -2), [-2, -1])
    return root, op.Cast(op.Mul(corner, op.Constant(value=_tensor(np.array(0.0)))), to=INT32)


def _part(op: Any, x: Any, position: int, axis: int) -> Any:
    """The entries at one position of an axis, which stays."""
    return op.Slice(x, [position], [position + 1], [axis])


def _tensor(value: Any) -> Any:
    """An array as ONNX's tensor."""
    import onnx

    return onnx.numpy_helper.from_array(value)
