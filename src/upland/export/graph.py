"""A small builder of ONNX graphs: values that compute as arrays do, and what a graph is made of.

A `Value` is a tensor that the graph will hold when it runs; `a + b`, `a @ b`, `a < 0.5` add nodes. Numbers
and arrays beside a value become constants of its type, so that the formulas of a model read as in PyTorch,
and the precision of every step is that of the values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from onnx import GraphProto, ModelProto, TensorProto, compose, helper, numpy_helper

OPSET = 18
ML_OPSET = 3
"""Versions of the operators: of ONNX, and of its machine-learning ones, which look up texts."""

IR_VERSION = 8

STRING = np.dtype(object)
_LOOK_UPS = "ai.onnx.ml"


def element_type(dtype: DTypeLike) -> int:
    """ONNX's number of a type of NumPy's; objects are strings."""
    dtype = np.dtype(dtype)
    return TensorProto.STRING if dtype == STRING else helper.np_dtype_to_tensor_dtype(dtype)


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph.

    Args:
        graph: that computes it.
        name: in the graph.
        dtype: of its elements.
    """

    graph: Graph
    name: str
    dtype: np.dtype[Any]

    def _with(self, kind: str, other: Operand, dtype: DTypeLike | None = None, swap: bool = False) -> Value:
        pair = (self, self.graph.like(other, self))
        return self.graph.op(kind, *(reversed(pair) if swap else pair), dtype=dtype or self.dtype)

    def __add__(self, other: Operand) -> Value:
        return self._with("Add", other)

    def __sub__(self, other: Operand) -> Value:
        return self._with("Sub", other)

    def __rsub__(self, other: Operand) -> Value:
        return self._with("Sub", other, swap=True)

    def __mul__(self, other: Operand) -> Value:
        return self._with("Mul", other)

    def __truediv__(self, other: Operand) -> Value:
        return self._with("Div", other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self._with("Div", other, swap=True)

    def __matmul__(self, other: Operand) -> Value:
        return self._with("MatMul", other)

    def __pow__(self, other: Operand) -> Value:
        return self._with("Pow", other)

    def __neg__(self) -> Value:
        return self.graph.op("Neg", self)

    def __lt__(self, other: Operand) -> Value:
        return self._with("Less", other, bool)

    def __le__(self, other: Operand) -> Value:
        return self._with("LessOrEqual", other, bool)

    def __gt__(self, other: Operand) -> Value:
        return self._with("Greater", other, bool)

    def __or__(self, other: Value) -> Value:
        return self._with("Or", other, bool)

    def __and__(self, other: Value) -> Value:
        return self._with("And", other, bool)

    def equals(self, other: Operand) -> Value:
        """Where the elements are equal."""
        return self._with("Equal", other, bool)

    def to(self, dtype: DTypeLike) -> Value:
        """The same numbers in another type."""
        if self.dtype == np.dtype(dtype):
            return self
        return self.graph.op("Cast", self, dtype=dtype, to=element_type(dtype))

    def abs(self) -> Value:
        """The sizes."""
        return self.graph.op("Abs", self)

    def sqrt(self) -> Value:
        """The square roots."""
        return self.graph.op("Sqrt", self)

    def at_least(self, least: Operand) -> Value:
        """The larger of each element and a bound."""
        return self._with("Max", least)

    def at_most(self, most: Operand) -> Value:
        """The smaller of each element and a bound."""
        return self._with("Min", most)

    def sum(self, axis: int, keep: bool = False) -> Value:
        """Sums along an axis."""
        return self.graph.op("ReduceSum", self, self.graph.constant([axis], np.int64), keepdims=int(keep))

    def min(self, axis: int, keep: bool = False) -> Value:
        """Least elements along an axis."""
        return self.graph.op("ReduceMin", self, self.graph.constant([axis], np.int64), keepdims=int(keep))

    def take(self, index: Any, axis: int) -> Value:
        """Elements of these numbers along an axis."""
        index = index if isinstance(index, Value) else self.graph.constant(index, np.int64)
        return self.graph.op("Gather", self, index, dtype=self.dtype, axis=axis)

    def part(self, start: int, stop: int, axis: int) -> Value:
        """Elements from one number up to before another along an axis."""
        at = (self.graph.constant([number], np.int64) for number in (start, stop, axis))
        return self.graph.op("Slice", self, *at)

    def reshape(self, *shape: int) -> Value:
        """Another shape; -1 is what remains, 0 as it is."""
        return self.graph.op("Reshape", self, self.graph.constant(shape, np.int64))

    def transposed(self) -> Value:
        """Rows as columns: `(N, D) -> (D, N)`."""
        return self.graph.op("Transpose", self, perm=[1, 0])

    def size(self, axis: int) -> Value:
        """How many there are along an axis: `(1,)`, int64."""
        return self.graph.op("Shape", self, dtype=np.int64, start=axis, end=axis + 1)

    def columns(self) -> Value:
        """Each element of `(N,)` as a row: `(N, 1)`."""
        return self.reshape(-1, 1)


Operand = Any
"""A value, a number or an array."""


class Graph:
    """A graph that is being built.

    Args:
        reserved: names that belong to outputs.
        outer: the graph that this one is the body of; names are unique in both.
    """

    def __init__(self, reserved: Collection[str] = (), outer: Graph | None = None) -> None:
        self.names: Names = Names(reserved) if outer is None else outer.names
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def input(self, name: str | None, dtype: DTypeLike, shape: Sequence[int | str]) -> Value:
        """A value that whoever runs the graph gives.

        Args:
            name: None for one that no one sees.
            dtype: of its elements.
            shape: lengths, and words for those that are open.
        """
        name = name or self.names.fresh()
        self.inputs.append(helper.make_tensor_value_info(name, element_type(dtype), shape))
        return Value(self, name, np.dtype(dtype))

    def output(self, value: Value, name: str | None, shape: Sequence[int | str]) -> None:
        """A value that the graph gives; arguments are as for `input`."""
        shown = self.op("Identity", value, name=name)
        self.outputs.append(helper.make_tensor_value_info(shown.name, element_type(value.dtype), shape))

    def constant(self, value: ArrayLike, dtype: DTypeLike) -> Value:
        """A tensor that is part of the graph."""
        name = self.names.fresh()
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return Value(self, name, np.dtype(dtype))

    def like(self, other: Operand, value: Value) -> Value:
        """An operand as a value; numbers take the type of the one beside them."""
        return other if isinstance(other, Value) else self.constant(other, value.dtype)

    def op(
        self,
        kind: str,
        *given: Value,
        dtype: DTypeLike | None = None,
        name: str | None = None,
        **attributes: Any,
    ) -> Value:
        """A node with one result.

        Args:
            kind: ONNX's operator.
            given: its inputs.
            dtype: of the result; None for that of the first input.
            name: of the result; None for one that no one sees.
            attributes: of the operator.
        """
        name = name or self.names.fresh()
        domain = _LOOK_UPS if kind == "LabelEncoder" else ""
        inputs = [value.name for value in given]
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return Value(self, name, np.dtype(dtype or given[0].dtype))

    def where(self, condition: Value, one: Operand, other: Operand) -> Value:
        """The one where a condition holds, else the other; at least one of them is a value."""
        typed = one if isinstance(one, Value) else other
        assert isinstance(typed, Value)
        pair = self.like(one, typed), self.like(other, typed)
        return self.op("Where", condition, *pair, dtype=typed.dtype)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Values side by side along an axis."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def call(self, model: ModelProto, *given: Value, dtype: DTypeLike) -> Value:
        """The result of another model, such as PyTorch exports, whose nodes become part of this graph.

        Args:
            model: with one output, and as many inputs as are given, of these operators' version.
            given: its inputs.
            dtype: of its output.

        Raises:
            ValueError: the model is of another version of the operators.
        """
        versions = {entry.domain: entry.version for entry in model.opset_import}
        if versions.get("", OPSET) != OPSET:
            raise ValueError(f"a model of opset {versions['']} does not go into one of opset {OPSET}")
        inside: GraphProto = compose.add_prefix_graph(model.graph, f"{self.names.fresh()}/")
        self.constants += inside.initializer
        for entry, value in zip(inside.input, given, strict=True):
            self.nodes.append(helper.make_node("Identity", [value.name], [entry.name]))
        self.nodes += inside.node
        return Value(self, inside.output[0].name, np.dtype(dtype))

    def in_blocks(
        self,
        function: Callable[[Value], Value],
        x: Value,
        shape: Sequence[int],
        most: int,
        out: Sequence[int] = (),
    ) -> Value:
        """A result for each point, computed block by block, so that memory does not grow with the points.

        Blocks are of equal size, as few as possible, a multiple of `LEAST_BLOCK` points; zeros fill the last.

        Args:
            function: `(B, ...)` points to `(B, ...)` results, float64.
            x: `(N, ...)` points.
            shape: of one point.
            most: points of a block.
            out: shape of one result; none for a number.
        """
        count, one = x.size(0), self.constant(shape, np.int64)
        blocks = ((count + (most - 1)) / most).at_least(1)
        size = (count + (blocks - 1)) / blocks
        size = ((size + (LEAST_BLOCK - 1)) / LEAST_BLOCK).at_least(1) * LEAST_BLOCK
        lacking = self.concat([blocks * size - count, one], 0)
        zeros = self.op("Expand", self.constant(0, x.dtype), lacking)
        stacked = self.op("Reshape", self.concat([x, zeros], 0), self.concat([blocks, size, one], 0))
        body = Graph(outer=self)
        points = body.input(None, x.dtype, ["block", *shape])
        body.output(function(points), None, ["block", *out])
        found = self.op("Scan", stacked, dtype=np.float64, body=body.proto("block"), num_scan_inputs=1)
        start, axis = (self.constant([0], np.int64) for _ in range(2))
        return self.op("Slice", found.reshape(-1, *out), start, count, axis)

    def proto(self, name: str) -> GraphProto:
        """The graph as ONNX holds it."""
        used = {given for node in self.nodes for given in node.input}
        constants = [constant for constant in self.constants if constant.name in used]
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, constants)

    def model(self, name: str, producer: str, version: str, metadata: dict[str, str]) -> ModelProto:
        """The graph as a model.

        Args:
            name: of the graph.
            producer: the program that made it.
            version: of the program.
            metadata: words about it.
        """
        versions = [helper.make_opsetid("", OPSET), helper.make_opsetid(_LOOK_UPS, ML_OPSET)]
        model = helper.make_model(
            self.proto(name),
            producer_name=producer,
            producer_version=version,
            opset_imports=versions,
            ir_version=IR_VERSION,
        )
        helper.set_model_props(model, metadata)
        return model


LEAST_BLOCK = 16
"""Rows that a block is a multiple of: products with one row are summed in another order than with several."""


class Names:
    """Names of values that are not used yet.

    Args:
        reserved: names that are.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        self._reserved, self._count = set(reserved), 0

    def reserve(self, name: str) -> str:
        """A name like this one that no one has; it is empty for none."""
        while not name or name in self._reserved:
            name += "_"
        self._reserved.add(name)
        return name

    def fresh(self) -> str:
        """A new one."""
        while True:
            self._count += 1
            if (name := f"v{self._count}") not in self._reserved:
                return name
