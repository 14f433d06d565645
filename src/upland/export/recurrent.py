"""A recurrent energy in a graph: the states of its net, and the frames of steps that are scored given them.

What `upland.models.recurrent.RecurrentEnergy.advance` computes, in float64 and with time as the first axis.
ONNX's own recurrent operators have no double precision in onnxruntime: the net is a Scan over steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from onnx import helper
from torch import nn

from upland.export.graph import Graph, Value
from upland.models.recurrent import RecurrentEnergy

Step = Callable[[list[Value], Value], tuple[list[Value], Value]]
"""From the states before, and what comes in, to the states after and what goes out."""


def scan(step: Step, states: Sequence[Value], x: Value, widths: Sequence[int]) -> Value:
    """What a recurrence gives at each step: `(T, N, K)` -> `(T, N, ...)`.

    Args:
        step: as `Step` says; it builds everything from its arguments.
        states: before the first step, `(N, ...)` each.
        x: what comes in.
        widths: of each state and of what comes in.
    """
    graph, body = x.graph, Graph(outer=x.graph)
    *before, given = (
        body.input(None, value.dtype, ["n", width]) for value, width in zip((*states, x), widths, strict=True)
    )
    after, out = step(list(before), given)
    for value in (*after, out):
        body.output(value, None, ["n", "k"])
    names = [graph.names.fresh() for _ in range(len(states) + 1)]
    inputs = [value.name for value in (*states, x)]
    graph.nodes.append(helper.make_node("Scan", inputs, names, body=body.proto("step"), num_scan_inputs=1))
    return Value(graph, names[-1], out.dtype)


def zeros(x: Value, *sizes: int | Value) -> Value:
    """Zeros of the type of a value.

    Args:
        x: a value of the graph.
        sizes: of the axes, numbers or `(1,)` values.
    """
    parts = [size if isinstance(size, Value) else x.graph.constant([size], np.int64) for size in sizes]
    return x.graph.op("Expand", x.graph.constant(0.0, x.dtype), x.graph.concat(parts, 0))


def first(x: Value, count: Value, start: int = 0) -> Value:
    """So many entries of the first axis, from one on.

    Args:
        x: `(M, ...)`.
        count: `(1,)`.
        start: number of the first entry.
    """
    at = x.graph.constant([start], np.int64)
    return x.graph.op("Slice", x, at, count + start, x.graph.constant([0], np.int64))


def frames_and_contexts(model: RecurrentEnergy, x: Value) -> Value:
    """The frame that ends with each step, and what it is conditioned on: `(T, N, D + C)` ->
    `(T, N, P D + S + P C)`.

    Args:
        model: of sequences.
        x: encoded steps, float64.
    """
    length, count = x.size(0), x.size(1)
    both = model.width + model.context_width
    steps = x.graph.concat([zeros(x, model.frame - 1, count, both), x], 0)
    frames = [first(steps, length, lag) for lag in range(model.frame)]
    states = first(x.graph.concat([zeros(x, model.frame, count, model.state), _states(model, x)], 0), length)
    if not model.context_width:
        return x.graph.concat([*frames, states], 2)
    channels = [frame.part(0, model.width, 2) for frame in frames]
    context = [frame.part(model.width, both, 2) for frame in frames]
    return x.graph.concat([*channels, states, *context], 2)


def _states(model: RecurrentEnergy, x: Value) -> Value:
    """The state of the net after each step: `(T, N, S)`."""
    net, width = model.net, model.state
    of_input, of_state, bias, state_bias = (
        getattr(net, f"{name}_l0").detach().double().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )

    def step(before: list[Value], given: Value) -> tuple[list[Value], Value]:
        h = before[0]
        recurrent = h @ of_state.T + state_bias
        parts = [
            [value.part(k * width, (k + 1) * width, 1) for k in range(gates)] for value in (given, recurrent)
        ]
        if isinstance(net, nn.LSTM):
            i, f, g, o = (one + other for one, other in zip(*parts, strict=True))
            cell = _sigmoid(f) * before[1] + _sigmoid(i) * _tanh(g)
            h = _sigmoid(o) * _tanh(cell)
            return [h, cell], h
        if isinstance(net, nn.GRU):
            (r, z, new), (of_r, of_z, of_new) = parts
            share = _sigmoid(z + of_z)
            h = (1.0 - share) * _tanh(new + _sigmoid(r + of_r) * of_new) + share * h
        else:
            h = _tanh(given + recurrent)
        return [h], h

    gates = len(of_input) // width
    states = [zeros(x, x.size(1), width) for _ in range(2 if isinstance(net, nn.LSTM) else 1)]
    return scan(step, states, x @ of_input.T + bias, [*(width for _ in states), gates * width])


def _sigmoid(x: Value) -> Value:
    return x.graph.op("Sigmoid", x)


def _tanh(x: Value) -> Value:
    return x.graph.op("Tanh", x)
