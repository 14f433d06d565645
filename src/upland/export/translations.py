"""Operations that PyTorch's ONNX exporter does not translate, or less exactly than PyTorch computes them.

* Numbers beside a double-precision tensor keep their precision, which PyTorch's exporter rounds to single.
* Exponentials, logarithms and their like are computed in double precision and rounded once.
* Single-precision sums along the last axis are added in PyTorch's order (`upland.export.sums`).
* searchsorted: a binary search over sorted tables, one step for each power of two up to their length.
* copysign: by comparing with zero; the sign of a zero does not count.
* linalg_cholesky_ex: column by column, for the matrices of few rows that statistics of latents have. A pivot
  counts as at least 1e-24, so that no matrix fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from upland.export.sums import LANES, SIDE_BY_SIDE, STEP
from upland.io.extras import needed

LEAST_PIVOT = 1e-24
FLOAT, INT32, DOUBLE = 1, 6, 11
"""ONNX's numbers of types."""

MOST_IN_ORDER = 128
"""Terms of a sum that are added in PyTorch's order, at most."""

Formula = Callable[[Any, Any], Any]
"""From ONNX's operators and a value to a value."""


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The translations, by PyTorch's operation."""
    aten = torch.ops.aten
    return {
        aten.exp.default: _in_double(lambda op, x: op.Exp(x)),
        aten.log.default: _in_double(lambda op, x: op.Log(x)),
        aten.log1p.default: _in_double(_log1p),
        aten.expm1.default: _in_double(_expm1),
        aten.sigmoid.default: _in_double(lambda op, x: op.Sigmoid(x)),
        aten.silu.default: _in_double(lambda op, x: op.Mul(x, op.Sigmoid(x))),
        aten.tanh.default: _in_double(lambda op, x: op.Tanh(x)),
        aten.softplus.default: softplus,
        aten._softmax.default: softmax,
        aten._log_softmax.default: log_softmax,
        aten.scalar_tensor.default: scalar_tensor,
        aten.sum.dim_IntList: row_sums,
        aten.searchsorted.Tensor: searchsorted,
        aten.copysign.Tensor: copysign,
        aten.linalg_cholesky_ex.default: cholesky,
    }


def _operators() -> Any:
    """ONNX's operators, which add nodes to the graph that is being written."""
    return needed("onnxscript", "The ONNX export of nets needs onnxscript", "onnx").opset18


def scalar_tensor(
    s: float, dtype: int | None = None, layout: str = "", device: str = "", pin_memory: bool = False
) -> Any:
    """A number as a tensor of a type."""
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(FLOAT if dtype in (None, -1) else int(dtype))
    return _operators().Constant(value=onnx.numpy_helper.from_array(np.asarray(s, dtype=kind)))


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


def _expm1(op: Any, x: Any) -> Any:
    """e^x - 1, exact for small x too (Kahan)."""
    one = _constant(op, 1.0)
    grown = op.Exp(x)
    same, log = op.Equal(grown, one), op.Log(grown)
    ratio = op.Div(op.Mul(op.Sub(grown, one), x), op.Where(op.Equal(log, _constant(op, 0.0)), one, log))
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


def row_sums(
    self: Any, dim: int | Sequence[int] | None = None, keepdim: bool = False, dtype: int | None = None
) -> Any:
    """Sums along axes."""
    op = _operators()
    axes = list(range(len(self.shape))) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    width, is_last = (
        self.shape[-1] if axes else None,
        {axis % len(self.shape) for axis in axes} == {len(self.shape) - 1},
    )
    if is_last and int(self.dtype) == FLOAT and isinstance(width, int) and 1 < width <= MOST_IN_ORDER:
        found = _in_order(op, self, width)
        found = found if keepdim else op.Squeeze(found, [-1])
    else:
        found = op.ReduceSum(self, axes, keepdims=int(keepdim))
    return found if dtype in (None, -1) else op.Cast(found, to=dtype)


def _in_order(op: Any, x: Any, width: int) -> Any:
    """Sums along the last axis: `(..., width) -> (..., 1)`."""

    def part(start: int, stop: int, of: Any = x) -> Any:
        return op.Slice(of, [start], [stop], [-1])

    def add(values: Sequence[Any]) -> Any:
        return reduce(op.Add, values)

    whole = width // LANES
    if not whole:
        return _of_vectors(add, [part(k, k + 1) for k in range(width)])
    lanes = _of_vectors(add, [part(k * LANES, (k + 1) * LANES) for k in range(whole)])
    rest = [part(k, k + 1) for k in range(whole * LANES, width)]
    return add([*rest, *(part(k, k + 1, lanes) for k in range(LANES))])


def _of_vectors(add: Callable[[Sequence[Any]], Any], vectors: Sequence[Any]) -> Any:
    """Four sums beside each other, and then what is left over."""
    whole = len(vectors) // SIDE_BY_SIDE * SIDE_BY_SIDE
    beside = [_cascade(add, vectors[k:whole:SIDE_BY_SIDE]) for k in range(SIDE_BY_SIDE if whole else 0)]
    return add([*beside[:1], *vectors[whole:], *beside[1:]])


def _cascade(add: Callable[[Sequence[Any]], Any], values: Sequence[Any]) -> Any:
    """Sixteen numbers one after another, then the sums of sixteen, and so on."""
    totals = []
    while values:
        whole = len(values) // STEP * STEP
        if values[whole:]:
            totals.append(add(values[whole:]))
        values = [add(values[k : k + STEP]) for k in range(0, whole, STEP)]
    return add(totals)


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
