"""Scores and p-values of rows in segments, in a graph: what `upland.models.segments` and
`upland.calibration.segments` compute.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from upland.calibration.conformal import Floats
from upland.calibration.segments import LEVELS, SegmentCalibration
from upland.data.table.segmentnames import numbers_of
from upland.detectors.segmented import SegmentedDetector
from upland.export.calibration import at_least, spread
from upland.export.columns import BLANKS, Input
from upland.export.functions import below, log1p, number_of, softplus, square
from upland.export.graph import STRING, Graph, Value
from upland.models.segments import BEND, NUMBERS, SegmentEnergies

LEAST_ROWS = 16
"""Rows of a block, at least."""


class Segments(NamedTuple):
    """The segments of rows.

    Args:
        of: `(N,)` the number of each row's segment; that of segments where the fit has not seen it.
        refused: `(N,)` whether upland would refuse the row for its segment.
        input: what the graph takes.
    """

    of: Value
    refused: Value
    input: Input


def segments(graph: Graph, detector: SegmentedDetector) -> Segments:
    """The segments of rows, by a text that names each.

    Args:
        graph: that the input is added to.
        detector: fitted.
    """
    numbers, count = numbers_of(detector.segments_), len(detector.segments_)
    missing = next(word for word in BLANKS if word not in numbers)
    column = Input(detector.by_, graph.names.reserve(detector.by_), "string", "categorical", missing)
    found = number_of(graph.input(column.name, STRING, ["N"]), numbers | {missing: count + 1}, count)
    return Segments(
        found.at_most(count), found > (count if detector.unseen == "pooled" else count - 1), column
    )


def scores(graph: Graph, energies: SegmentEnergies, x: Value, pooled: Value, of: Value) -> Value:
    """`SegmentEnergies.score`: `(N, D)`, `(N,)`, `(N,)` -> `(N,)`, float64.

    Args:
        graph: that they are added to.
        energies: fitted.
        x: encoded rows.
        pooled: their scores by the detector of all segments together.
        of: the numbers of their segments.
    """
    width = energies.centre.shape[1]
    together = graph.concat([x.to(np.float64), pooled.columns(), of.to(np.float64).columns()], 1)
    most = max(NUMBERS // width**2, LEAST_ROWS)
    return graph.in_blocks(lambda rows: _scores(energies, rows, width), together, (width + 2,), most)


def _scores(energies: SegmentEnergies, rows: Value, width: int) -> Value:
    graph = rows.graph
    x, pooled = rows.part(0, width, 1), rows.part(width, width + 1, 1)
    of = rows.part(width + 1, width + 2, 1).to(np.int64).reshape(-1)
    precision, diagonal = energies.precision, energies.precision.diagonal(dim1=1, dim2=2).double()
    d = _bent(x) - _of(graph, energies.centre.numpy(), of)
    own = graph.constant(precision.numpy(), np.float32).take(of, 0).to(np.float64)
    product = (own @ d.reshape(0, width, 1)).reshape(0, width)
    squares = square(product) / _of(graph, diagonal.numpy(), of)
    distance = (product * d).sum(1, keep=True)
    conditional = log1p(squares / 3.0).sum(1, keep=True) / width
    values = graph.concat([pooled, conditional, log1p(distance.at_least(0.0) / width)], 1)
    z = (values - _of(graph, energies.location.numpy(), of)) / _of(graph, energies.scale.numpy(), of)
    weight = energies.weight.numpy()
    weights = _of(graph, np.stack([np.ones_like(weight), weight, weight], 1), of)
    soft = softplus(z)
    return ((weights * (soft * soft * soft)).sum(1) / weights.sum(1)) ** (1 / 3)


def _of(graph: Graph, table: Floats, of: Value) -> Value:
    """The entries of a table that are of some segments."""
    return graph.constant(table, np.float64).take(of, 0)


def _bent(x: Value) -> Value:
    """`upland.models.segments.bent`."""
    size = x.abs()
    far = x.graph.op("Sign", x) * (log1p((size - BEND).at_least(0.0)) + BEND)
    return x.graph.where(size > BEND, far, x)


def p_values(calibration: SegmentCalibration, score: Value, of: Value, tie: float) -> Value:
    """`SegmentCalibration.p_values`: `(N,)`, `(N,)` -> `(N,)`.

    Args:
        calibration: of the detector.
        score: of rows.
        of: the numbers of their segments.
        tie: difference up to which scores are equal, in units of their size and the spread.
    """
    graph, ranked = score.graph, np.sort(calibration.scores)
    usual = spread(ranked)
    number = np.append(calibration.classes, 0)
    classes = graph.constant(number, np.int64).take(of, 0)
    of_class = _p_values(ranked[:0], score, tie, usual)
    for level in sorted(set(number.tolist())):
        reference = np.sort(calibration.scores[calibration.classes[calibration.of] == level])
        of_class = graph.where(classes.equals(level), _p_values(reference, score, tie, usual), of_class)
    least = _of(graph, 1 / (np.array(LEVELS)[number] + 1), of)
    own = _own(calibration, score, of, tie)
    p = graph.where(own > least, own, of_class.at_most(least))
    return graph.where(
        of < calibration.count, p, _p_values(np.sort(calibration.unsegmented), score, tie, usual)
    )


def _own(calibration: SegmentCalibration, score: Value, of: Value, tie: float) -> Value:
    """p-values against the calibration rows of the same segment."""
    graph, ranked, size = score.graph, np.sort(calibration.scores), calibration.scores.size
    rank = (at_least(ranked, score, tie, spread(ranked)) * -1) + size
    ranks = np.searchsorted(ranked, calibration.scores, side="left")
    keys = np.sort(calibration.of * (size + 1) + ranks).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(calibration.sizes)])
    key = (of * (size + 1) + rank).reshape(1, -1)
    reached = below(keys[None], key).reshape(-1) - graph.constant(starts, np.int64).take(of, 0)
    sizes = graph.constant(np.append(calibration.sizes, 0), np.int64).take(of, 0)
    return (sizes - reached + 1).to(np.float64) / (sizes + 1).to(np.float64)


def _p_values(reference: Floats, score: Value, tie: float, usual: float) -> Value:
    """Split conformal p-values against sorted scores."""
    return (at_least(reference, score, tie, usual) + 1).to(np.float64) / (reference.size + 1)
