"""A product of experts in a graph: what `upland.models.experts` and its parts compute, by the same steps.

Products and sums keep the precision and the layout that they have in PyTorch, so that where both libraries
sum in the same order the numbers are equal, and elsewhere they differ by rounding.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from upland.criteria.base import PointCriterion
from upland.export.functions import (
    any_of,
    below,
    copysign,
    elements,
    exp,
    expm1,
    log1p,
    softplus,
    square,
    within,
)
from upland.export.graph import Value
from upland.export.sums import of_columns, of_rows, product
from upland.models import adaptive_kernel as kernels
from upland.models import conditional as pseudo
from upland.models import missing_mass as mass
from upland.models import recurring_values as values
from upland.models import tilt
from upland.models.adaptive_kernel import AdaptiveKernel
from upland.models.conditional import ConditionalEnergy
from upland.models.experts import POWER, ProductOfExperts
from upland.models.missing_mass import Counting, UnseenPairs, UnseenValues
from upland.models.parts import Part
from upland.models.views import CODES_KNEE, FARTHEST


def joined(criterion: PointCriterion, x: Value) -> Value:
    """The cubic mean of the parts: `(N, D) -> (N,)`, float64.

    Args:
        criterion: `upland.criteria.experts.Experts`, fitted.
        x: encoded rows.
    """
    model = criterion.reference.model
    assert isinstance(model, ProductOfExperts)
    soft = softplus(standard_scores(model, x))
    terms = soft * soft * soft * model.shares_of_parts.numpy()[:, None]
    if model.tilt is not None:
        terms = terms * exp(log_odds(model.tilt, x)).reshape(1, -1)
    return terms.sum(0) ** (1 / POWER)


def standard_scores(model: ProductOfExperts, x: Value) -> Value:
    """The standard score of each part: `(N, D) -> (P, N)`, float64."""
    energies = [
        part_values(part, x).reshape(1, -1) for part in model.parts.values() if isinstance(part, Part)
    ]
    means, deviations = (
        tensor.double().numpy()[:, None] for tensor in (model.normal_means, model.normal_deviations)
    )
    most = np.array(model.most)[:, None]
    return ((x.graph.concat(energies, 0) - means) / deviations).at_most(most)


def log_odds(coefficients: Tensor, x: Value) -> Value:
    """`upland.models.tilt.log_odds`."""
    known = coefficients.double().numpy()
    x = x.to(np.float64)
    size = x.abs()
    bent = x.graph.op("Sign", x) * (size.at_most(tilt.BEND) + log1p((size - tilt.BEND).at_least(0.0)))
    features = x.graph.concat([bent, bent.abs()], 1)
    return within((features @ known[:-1, None]).reshape(-1) + known[-1], -tilt.LARGEST, tilt.LARGEST)


def part_values(part: Part, x: Value) -> Value:
    """The energy of one part: `(N, D) -> (N,)`, float64; raises TypeError for one that is not known."""
    if isinstance(part, AdaptiveKernel):
        return kernel(part, x)
    if isinstance(part, ConditionalEnergy):
        return conditional(part, x)
    if isinstance(part, Counting):
        return counting(part, x)
    raise TypeError(f"{type(part).__name__} is no part that a graph is known of")


# -- kernels


def kernel(part: AdaptiveKernel, x: Value) -> Value:
    """`AdaptiveKernel.values`."""
    seen = in_view(part, x)
    width = len(part.scale)
    squares = square(seen)
    squares = (
        of_columns(squares.transposed(), width).transposed()
        if part.view == "whitened"
        else of_rows(squares, width)
    )
    columns = x.graph.concat([seen, squares, squares * 0.0 + 1.0], 1).transposed()
    factors = x.graph.constant(part.factors.numpy(), np.float32)
    gaps = (factors @ columns).reshape(len(part.factors) // part.chunk, part.chunk, -1)
    nearest = gaps.min(1)
    rounding = (squares * kernels.ROUNDING).transposed()
    nearest = x.graph.where(nearest < rounding, 0.0, nearest)
    scale = float(2 * (part.sharpness * part.usual_distance).square())
    least = nearest.min(0, keep=True)
    weights = exp(((least - nearest) / scale).at_least(kernels.FAINTEST))
    chunks = len(part.factors) // part.chunk
    masses = of_columns(weights, chunks) / chunks
    soft = least.to(np.float64) - x.graph.op("Log", masses.to(np.float64)) * scale
    return soft.at_least(kernels.LEAST_ENERGY).sqrt().reshape(-1)


def in_view(part: AdaptiveKernel, x: Value) -> Value:
    """`AdaptiveKernel.rows_in_view`."""
    scale = part.scale.numpy()
    if part.view == "plain":
        levels = x.graph.constant(part.levels.numpy(), bool)
        return x.graph.where(levels, x, log_compressed(x, kernels.WIDE_KNEE)) * scale
    if part.view == "bent":
        return x * scale
    return product(part.axes.T.numpy(), (x * scale - part.mean.numpy()).transposed()).transposed()


def log_compressed(x: Value, knee: float) -> Value:
    """The values of `upland.models.views.log_compressed`."""
    size = x.abs()
    out = within(size - CODES_KNEE, 0.0, FARTHEST)
    z = size.at_most(CODES_KNEE) + expm1(out)
    beyond = (z - knee).at_least(0.0)
    value = z.at_most(knee) + log1p(beyond) + (size - CODES_KNEE - FARTHEST).at_least(0.0)
    return copysign(value, x)


# -- the pseudo-likelihood


def conditional(part: ConditionalEnergy, x: Value) -> Value:
    """`ConditionalEnergy.values`."""
    width = part.of_inputs.shape[2]
    if part.groups == 1:
        return x.to(np.float64).part(0, 1, 1).reshape(-1) * 0.0
    away, log_spread = predicted(part, x)
    terms = log1p(square(away * exp(-log_spread)) / pseudo.FREEDOM) / width
    return terms.to(np.float64).reshape(part.hidden.numel(), -1).sum(0)


def predicted(part: ConditionalEnergy, x: Value) -> tuple[Value, Value]:
    """Residuals and log widths of the hidden inputs: `(N, D) -> (G, H, N)` twice."""
    graph, columns = x.graph, x.transposed()
    groups, outputs, width = part.of_inputs.shape
    hidden = graph.concat([columns, columns.part(0, 1, 0) * 0.0], 0).take(part.hidden.numpy(), 0)
    linear = product(part.of_inputs.reshape(groups * outputs, width).numpy(), columns)
    features = _features(part, columns, hidden)
    found = product(part.of_features.numpy(), features, linear.reshape(groups, outputs, -1))
    found = found + part.constants.numpy()
    half = outputs // 2
    log_spread = within(found.part(half, outputs, 1), -pseudo.MOST_LOG_SPREAD, pseudo.MOST_LOG_SPREAD)
    return hidden - found.part(0, half, 1), log_spread + part.usual.numpy()


def _features(part: ConditionalEnergy, columns: Value, hidden: Value) -> Value:
    """`ConditionalEnergy._features`: `(D, N)`, `(G, H, N)` -> `(G, F, N)`."""
    graph, width = columns.graph, part.of_inputs.shape[2]
    random = part.random.numpy()
    padded = np.concatenate([random, np.zeros_like(random[:, :1])], 1)
    weights = padded[:, part.hidden.numpy()].transpose(1, 0, 2)
    whole = (graph.constant(random, np.float32) @ columns).reshape(1, len(random), -1)
    phases = whole - graph.constant(weights, np.float32) @ hidden
    visible = (width - (part.hidden < width).sum(1)).clamp(min=1)
    ratios = (width / visible.float()).sqrt()[:, None, None].numpy()
    features = (phases * ratios + part.offsets.numpy()[:, None]).at_least(0.0)
    # a constant with an axis: onnxruntime moves a plain number to behind the product that follows
    return features / np.full((1, len(random), 1), math.sqrt(len(random)))


# -- values and pairs of values


def counting(part: Counting, x: Value) -> Value:
    """`Counting.values`."""
    weights = part.weights.double().numpy()
    if not len(weights):
        return x.to(np.float64).part(0, 1, 1).reshape(-1) * 0.0
    return (unseen(part, x).to(np.float64) * weights[:, None]).sum(0)


def unseen(part: Counting, x: Value) -> Value:
    """What no training row had: `(N, D) -> (K, N)` bool; raises TypeError for a part that is not known."""
    if isinstance(part, UnseenValues):
        return look_up(part, x)[1]
    if not isinstance(part, UnseenPairs):
        raise TypeError(f"{type(part).__name__} is no part that a graph is known of")
    positions, absent = look_up(part, x)
    one, other = part.members.numpy().T
    keys = positions.take(one, 0) * mass.SHIFT + positions.take(other, 0)
    table = part.pairs.numpy()
    at = below(table, keys).at_most(table.shape[1] - 1)
    same = elements(x.graph.constant(table, np.int64), at).equals(keys)
    not_there = x.graph.op("Not", same)
    return any_of([not_there, absent.take(one, 0), absent.take(other, 0)])


def look_up(part: Counting, x: Value) -> tuple[Value, Value]:
    """`Counting.look_up`: `(N, D) -> (U, N)` twice."""
    offsets = np.array(part.columns.offsets, dtype=np.float32)[part.used.numpy()][:, None]
    found = [value_of(part, int(column), x) for column in part.used]
    keys = x.graph.concat(found, 0)
    table = part.keys.numpy()
    known = x.graph.constant(table, np.float32)
    right = below(table, keys).at_most(table.shape[1] - 1)
    left = (right - 1).at_least(0)
    above, under = ((elements(known, at) - keys).abs() for at in (right, left))
    positions = x.graph.where(under < above, left, right)
    return positions, under.at_most(above) > rounding(keys, offsets) * part.tolerance.numpy()


def value_of(part: Counting, column: int, x: Value) -> Value:
    """One row of `upland.models.recurring_values.values_of`: `(N, D) -> (1, N)`."""
    columns = part.columns
    first, last, one_hot = columns.first[column], columns.last[column], columns.one_hot[column]
    if one_hot:
        place = x.graph.op("ArgMax", x.part(first, last + 1, 1), dtype=np.int64, axis=1, keepdims=0)
        return place.to(np.float32).reshape(1, -1)
    value = x.part(first, first + 1, 1).transposed()
    if last == first:
        return value
    return x.graph.where(x.part(last, last + 1, 1).transposed() > 0.0, values.MISSING, value)


def rounding(codes: Value, offset: np.ndarray) -> Value:
    """`upland.models.recurring_values.rounding`."""
    size = codes.abs()
    grown = expm1(within(size - CODES_KNEE, 0.0, FARTHEST))
    of_value = (size.at_most(CODES_KNEE) + grown + offset) / (grown + 1.0)
    return of_value * values.ROUNDING + size * (2 * values.ROUNDING)
