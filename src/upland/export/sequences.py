"""Sequences in a graph: their steps as columns, and the criteria of steps and of whole sequences.

    inputs     one `(S,)` for each channel, as those of a table: all steps, sequence after sequence
               lengths `(sequences,)` int64: steps of each sequence

A step that upland would refuse makes the scores of all later steps of its sequence NaN, and that of the
whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from upland.criteria.max_channel import MaxChannel, channel_squares
from upland.criteria.reading import POINTS, precise
from upland.criteria.score_test import WHOLE, ScoreTest
from upland.criteria.score_vectors import LEAST_SQUARE, VectorReference, evidence
from upland.criteria.sequence import SequenceCriterion
from upland.criteria.step_residuals import StepReconstruction
from upland.data.sequence.encoder import SequenceEncoder
from upland.detectors.base import Detector
from upland.detectors.ensemble import Member
from upland.export.encoded import Encoded
from upland.export.graph import Graph, Value
from upland.export.recurrent import first, frames_and_contexts, scan, zeros
from upland.export.table import encoded_rows
from upland.export.tracing import traced
from upland.models.recurrent import RecurrentEnergy
from upland.models.sequential import SequenceModel

LENGTHS = "lengths"
"""Name of the input that says how many steps each sequence has."""


class Steps(NamedTuple):
    """Encoded steps.

    Args:
        codes: `(S, D)` float32, sequence after sequence.
        lengths: `(N,)` int64.
    """

    codes: Value
    lengths: Value


class Layout:
    """Where the steps of N sequences stand, T the longest.

    Args:
        lengths: `(N,)` steps of each.

    Attributes:
        there: `(N, T)` whether there is such a step.
        time: `(T,)` int64.
        longest: `(1,)` T.
    """

    def __init__(self, lengths: Value) -> None:
        self.lengths, graph = lengths, lengths.graph
        self.longest = graph.op("ReduceMax", lengths, keepdims=1)
        ends = (graph.constant(at, np.int64) for at in (0, 1))
        start, one = ends
        self.time = graph.op("Range", start, self.longest.reshape(), one)
        total = graph.op("CumSum", lengths, graph.constant(0, np.int64))
        self.there = self.time.reshape(1, -1) < lengths.columns()
        self._at = graph.where(self.there, (total - lengths).columns() + self.time.reshape(1, -1), 0)

    def spread(self, values: Value) -> Value:
        """Values of steps `(S, ...)` by sequence `(N, T, ...)`; behind the end of one stands some other."""
        return values.take(self._at, 0)

    def gathered(self, values: Value) -> Value:
        """Values by time and sequence, `(T, N)`, as values of steps `(S,)`."""
        graph = values.graph
        flat = values.transposed().reshape(-1)
        return graph.op("Compress", flat, self.there.reshape(-1), axis=0)

    def counted(self) -> Value:
        """Whether there is such a step, by time and sequence: `(T, N)`, 1 or 0, float64."""
        return self.there.to(np.float64).transposed()


def encoded(graph: Graph, detector: Detector) -> Encoded:
    """The steps of sequences as every member encodes them.

    Args:
        graph: that inputs and codes are added to.
        detector: fitted.
    """
    encoders = [member.encoder for member in detector.members_ if isinstance(member.encoder, SequenceEncoder)]
    lengths = graph.input(graph.names.reserve(LENGTHS), np.int64, ["sequences"])
    if any(encoder.clock.width for encoder in encoders):
        raise ValueError("a model that is conditioned on time has no ONNX graph: one of regular steps has")
    found = encoded_rows(graph, [encoder.table for encoder in encoders])
    codes = [
        rows.take(encoder.order, 1) if encoder.context else rows
        for encoder, rows in zip(encoders, found.points, strict=True)
    ]
    layout, per_step = Layout(lengths), detector.unit_ == "step"
    refused = [_refused(steps, layout, per_step) for steps in found.refused]
    about = {
        "name": LENGTHS,
        "type": "int64",
        "kind": "steps of each sequence; the other inputs are all steps",
    }
    points = [Steps(rows, lengths) for rows in codes]
    return replace(found, points=points, refused=refused, inputs=[*found.inputs, about])


def _refused(steps: Value, layout: Layout, per_step: bool) -> Value:
    """Which steps, or which sequences, rest on a step that is refused."""
    graph = steps.graph
    odd = (layout.spread(steps) & layout.there).to(np.int64)
    if not per_step:
        return odd.sum(1) > 0
    before = graph.op("CumSum", odd, graph.constant(1, np.int64))
    return layout.gathered((before > 0).transposed())


class SequenceScore:
    """The score of steps or of whole sequences by a member.

    Args:
        detector: fitted.
        member: of it.
        write: what adds the score to a graph.

    Attributes:
        unmeasured: the difference up to which scores are equal; models of sequences compute in float64.
    """

    unmeasured = 1e-10

    def __init__(self, detector: Detector, member: Member, write: Callable[..., Value]) -> None:
        self.criterion = detector.fitted_criterion(member, detector.unit_)
        self.write = write

    def added_to(self, graph: Graph, points: Steps) -> Value:
        """The scores of steps `(S,)` or of sequences `(N,)`, float64."""
        return self.write(self.criterion, points)

    def of_kept(self) -> None:
        """None: a member keeps no sequences."""
        return


def score(criterion: SequenceCriterion, steps: Steps) -> Value:
    """The scores by a fitted criterion, of the unit that it is for.

    Args:
        criterion: fitted.
        steps: encoded.

    Raises:
        ValueError: the model is the user's own kind of recurrent energy.
    """
    model = criterion.model
    if type(model) is not RecurrentEnergy:
        raise ValueError(
            f"a {type(model).__name__} has no ONNX graph: a RecurrentEnergy, upland's own, has one"
        )
    layout = Layout(steps.lengths)
    graph = steps.codes.graph
    x = graph.op("Transpose", layout.spread(steps.codes).to(np.float64), perm=[1, 0, 2])
    x = x * layout.counted().reshape(0, 0, 1)
    return WRITERS[type(criterion)](criterion, x, layout)


def _of_points(
    model: SequenceModel, function: Callable[[SequenceModel, Tensor, Tensor], Tensor], x: Value
) -> Value:
    """A function of the frame that ends with each step and of its context: `(T, N, D)` -> `(T, N, ...)`.

    Args:
        model: of sequences.
        function: `(model, points, context) -> one result a point`, `(M,)` or `(M, K)`.
        x: encoded steps, float64.
    """
    assert isinstance(model, RecurrentEnergy)
    exact = precise(model).cpu()
    inputs = model.frame * model.width
    width = inputs + model.conditions

    def of_both(both: Tensor) -> Tensor:
        return function(exact, both[:, :inputs], both[:, inputs:])

    with torch.no_grad():
        out = of_both(torch.zeros(1, width, dtype=torch.float64)).shape[1:]
    joined = frames_and_contexts(model, x)
    flat = x.graph.in_blocks(
        lambda block: traced(of_both, exact, block, (width,)),
        joined.reshape(-1, width),
        (width,),
        POINTS,
        out,
    )
    sizes = [x.size(0), x.size(1), *([x.graph.constant(list(out), np.int64)] if out else [])]
    return x.graph.op("Reshape", flat, x.graph.concat(sizes, 0))


def _arranged(criterion: SequenceCriterion, steps: Value, layout: Layout) -> Value:
    """Scores of steps `(T, N)` as those of the criterion's unit: one a step, or each sequence's mean."""
    if criterion.unit == "step":
        return layout.gathered(steps)
    return (steps * layout.counted()).sum(0) / layout.lengths.to(np.float64)


def _reconstruction(criterion: StepReconstruction, x: Value, layout: Layout) -> Value:
    def function(model: SequenceModel, points: Tensor, context: Tensor) -> Tensor:
        return criterion.of_points(model.given(context), points, criterion.sigma)

    return _arranged(criterion, _of_points(criterion.model, function, x), layout)


def _max_channel(criterion: MaxChannel, x: Value, layout: Layout) -> Value:
    def function(model: SequenceModel, points: Tensor, context: Tensor) -> Tensor:
        return channel_squares(model.given(context), points, model.frame)

    squares = _of_points(criterion.model, function, x)
    share, width = 2 / (criterion.smoothing + 1), criterion.model.width

    def step(before: list[Value], given: Value) -> tuple[list[Value], Value]:
        level = before[0] * (1 - share) + given * share
        return [level], level

    start = zeros(x, x.size(1), width) + criterion.usual.numpy()
    levels = scan(step, [start], squares, [width, width])
    most = x.graph.op("ReduceMax", levels, x.graph.constant([2], np.int64), keepdims=0)
    return _arranged(criterion, most, layout)


def _score_test(criterion: ScoreTest, x: Value, layout: Layout) -> Value:
    parts = _of_points(criterion.model, evidence, x)
    if criterion.unit == "sequence":
        return _of_wholes(criterion, parts, layout)
    width = criterion.model.width
    seen = (layout.time + 1).to(np.float64).reshape(-1, 1, 1)
    total: Value | None = None
    sums, reach = parts, 1
    for window, reference in criterion.references.items():
        while reach < window:
            earlier = first(
                x.graph.concat([zeros(x, reach, x.size(1), reference.center.numel()), sums], 0), x.size(0)
            )
            sums, reach = sums + earlier, 2 * reach
        lacking = float(window) - seen.at_most(float(window))
        means = (sums + lacking * reference.usual(width).numpy()) / window
        test = _test(reference, means, width, 2)
        total = test if total is None else total + test
    assert total is not None
    return layout.gathered(total)


def _of_wholes(criterion: ScoreTest, parts: Value, layout: Layout) -> Value:
    """The statistic of whole sequences, over their full frames: `(T, N, K)` -> `(N,)`."""
    frame, lengths = criterion.model.frame, layout.lengths
    short = (lengths < frame).reshape(1, -1)
    full = (layout.time > frame - 2).columns() | short
    counted = full.to(np.float64) * layout.counted()
    counts = parts.graph.where(lengths < frame, lengths, lengths - (frame - 1)).to(np.float64)
    means = (parts * counted.reshape(0, 0, 1)).sum(0) / counts.columns()
    return _test(criterion.references[WHOLE], means, criterion.model.width, 1)


def _test(reference: VectorReference, means: Value, width: int, axis: int) -> Value:
    """T of means of parts, in units of the median T: `(..., K)` -> `(...)`; `axis` is the last."""
    size = reference.center.numel()
    logs = means.graph.op("Log", means.part(size - width, size, axis) + LEAST_SQUARE)
    vectors = means.graph.concat([means.part(0, size - width, axis), logs], axis)
    away = (vectors - reference.center.numpy()) @ reference.whitening.numpy()
    return (away * away).sum(axis) / (size * reference.unit)


WRITERS: dict[type[Any], Callable[[Any, Value, Layout], Value]] = {
    StepReconstruction: _reconstruction,
    MaxChannel: _max_channel,
    ScoreTest: _score_test,
}
"""What writes the scores by a criterion: `(criterion, steps (T, N, D), layout)` to those of its unit."""
