"""The names, shapes and types of the weights that an architecture has, without building it.

A file says how large a model is to be, and may say anything. So its weights are compared with these one by
one, up to the first that is another, before a model is built: no loop is longer, and no tensor larger, than
what is in the file. PyTorch compares them again when the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from upland.data.encoder import Encoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.architecture import Architecture
from upland.detectors.architectures import (
    ClassFlow,
    Convolutional,
    Dense,
    FlowOrGaussian,
    ImageFlow,
    ImageVAE,
    Multiscale,
    Recurrent,
    TableFlow,
    TableVAE,
)
from upland.detectors.experts import Experts, layout_of
from upland.detectors.image_experts import ExpertsOfImages
from upland.detectors.image_gaussian import GaussianOfFeatures, shapes_of_gaussian
from upland.detectors.image_shapes import shapes_of_image_experts
from upland.detectors.recurrent_flows import SequenceFlow
from upland.models.conditional import hidden_sizes
from upland.models.couplings import BINS
from upland.models.flow import WIDEST
from upland.models.kernel_prior import VIEWS
from upland.models.multiscale import SCALE_FEATURES
from upland.models.recurrent import STATE
from upland.models.recurrent_flow import STATE as FLOW_STATE
from upland.models.recurrent_flow import TERMS

Shape = tuple[int, ...]
Shapes = Iterator[tuple[str, Shape]]
Weights = Mapping[str, Tensor]

WHOLE = ("permutation", "order", "used", "members", "pairs")
"""Weights that are whole numbers, by the last part of their name."""


def check_shapes(architecture: Architecture, encoder: Encoder, weights: Weights) -> None:
    """Refuse weights that are not those of an architecture.

    Args:
        architecture: upland's own, with all sizes.
        encoder: fitted.
        weights: as they are stored, by name.

    Raises:
        ValueError: a name, shape or type is another; it is named.
    """
    left = dict(weights)
    for name, shape in SHAPES[type(architecture)](architecture, encoder, weights):
        dtype = torch.int64 if name.rpartition(".")[2] in WHOLE else torch.float32
        found = left.pop(name, None)
        if found is None or found.shape != shape or found.dtype != dtype:
            there = "lacking" if found is None else f"{found.dtype} of shape {tuple(found.shape)}"
            raise ValueError(f"the weights {name} must be {dtype} of shape {shape}, and are {there}")
    if left:
        raise ValueError(f"there are {len(left)} weights more than the model has")


def _dense(model: Dense, encoder: Encoder, weights: Weights) -> Shapes:
    yield "prior", (encoder.width,)
    yield from _layers([encoder.width, *model.hidden], outputs_first=True)


def _multiscale(model: Multiscale, encoder: Encoder, weights: Weights) -> Shapes:
    nets, width = model.n_nets, encoder.width
    yield "centre", (nets, 1, width)
    for number, (inputs, outputs) in enumerate(pairwise([width, *model.hidden])):
        yield f"weights.{number}", (nets, inputs, outputs)
        yield f"biases.{number}", (nets, 1, outputs)
        yield f"scale_weights.{number}", (nets, SCALE_FEATURES, outputs)
    yield "gains", (nets, 1, model.hidden[-1])
    for name in ("normal_means", "normal_deviations"):
        yield name, (len(model.scales),)
    if model.prior != "centre":
        yield from _prior(width, weights)


def _prior(width: int, weights: Weights) -> Shapes:
    """Of a prior, which has as many centres and knots as there are; one at least."""
    rows, knots = (
        max(1, weights[name].numel() // size) if name in weights else 1
        for name, size in (("prior.penalties", 1), ("prior.ranks.heights", width))
    )
    yield "prior.centres", (rows, width)
    yield "prior.penalties", (rows,)
    for name in ("bandwidths", "normal_means", "normal_deviations"):
        yield f"prior.{name}", (VIEWS,)
    yield "prior.ranks.knots", (width, knots)
    yield "prior.ranks.heights", (width, knots)
    yield "prior.ranks.slopes", (width, knots + 1)


def _experts(model: Experts, encoder: Encoder, weights: Weights) -> Shapes:
    """Of a product of experts, whose sizes go by the training rows as far as its tensors say."""
    width = encoder.width
    rows = _counted(weights, "rows", width)
    yield "anchor", (1,)
    yield "rows", (rows, width)
    for name in ("normal_means", "normal_deviations"):
        yield name, (len(model.parts),)
    if "part_weights" in weights or "tilt" in weights:
        yield "part_weights", (len(model.parts),)
        yield "tilt", (2 * width + 1,)
    for name in model.parts:
        yield from _under(f"parts.{name}", EXPERTS[name](model, encoder, rows, _inside(weights, name)))


def _kernel(whitened: bool) -> Callable[[Experts, Encoder, int, Weights], Shapes]:
    def shapes(model: Experts, encoder: Encoder, rows: int, weights: Weights) -> Shapes:
        width = encoder.width
        axes = width if whitened else 0
        yield from _columns(width, "scale", "mean")
        yield "axes", (axes, axes)
        yield "bandwidths", (rows,)
        yield "usual_distance", (1,)

    return shapes


def _conditional(model: Experts, encoder: Encoder, rows: int, weights: Weights) -> Shapes:
    assert isinstance(encoder, TableEncoder)
    width, groups, largest = encoder.width, *hidden_sizes(layout_of(encoder), model.groups)
    features = max(1, weights["offsets"].numel() if "offsets" in weights else 1)
    yield "random", (features, width)
    yield "offsets", (features,)
    yield "of_inputs", (groups, 2 * largest, width)
    yield "of_features", (groups, 2 * largest, features)
    yield "constants", (groups, 2 * largest, 1)
    yield "usual", (groups, largest, 1)


def _unseen(model: Experts, encoder: Encoder, rows: int, weights: Weights) -> Shapes:
    used = weights["used"].numel() if "used" in weights else 0
    yield "used", (used,)
    yield "keys", (used, _counted(weights, "keys", used))
    yield "weights", (used,)


def _pairs(model: Experts, encoder: Encoder, rows: int, weights: Weights) -> Shapes:
    used = weights["used"].numel() if "used" in weights else 0
    pairs = weights["weights"].numel() if "weights" in weights else 0
    yield "used", (used,)
    yield "keys", (used, _counted(weights, "keys", used))
    yield "members", (pairs, 2)
    yield "pairs", (pairs, _counted(weights, "pairs", pairs))
    yield "weights", (pairs,)


def _counted(weights: Weights, name: str, width: int) -> int:
    """How many rows of some width a tensor has, at least one."""
    if name not in weights or not width:
        return 1
    return max(1, weights[name].numel() // width)


def _inside(weights: Weights, part: str) -> Weights:
    """The weights of a part, by their names within it."""
    start = f"parts.{part}."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


EXPERTS: dict[str, Callable[[Experts, Encoder, int, Weights], Shapes]] = {
    "distance": _kernel(False),
    "local": _kernel(False),
    "whitened": _kernel(True),
    "conditional": _conditional,
    "unseen": _unseen,
    "pairs": _pairs,
}
"""The weights of each part of a product of experts."""


def _recurrent(model: Recurrent, encoder: Encoder, weights: Weights) -> Shapes:
    sizes = [model.frame * encoder.width, *model.hidden]
    yield "prior", (sizes[0],)
    yield from _layers(sizes, outputs_first=True)
    context = encoder.context_width
    yield "of_context", (sum(sizes), STATE + model.frame * context)
    yield from _lstm(encoder.width + context, STATE)


def _lstm(width: int, state: int) -> Shapes:
    gates = 4 * state
    yield "net.weight_ih_l0", (gates, width)
    yield "net.weight_hh_l0", (gates, state)
    yield "net.bias_ih_l0", (gates,)
    yield "net.bias_hh_l0", (gates,)


def _sequence_flow(model: SequenceFlow, encoder: Encoder, weights: Weights) -> Shapes:
    width, inputs, features = encoder.width, (model.lags or 0) * encoder.width, model.features or 0
    hidden, terms = model.hidden[-1], width * TERMS
    yield "regression.random", (inputs, features)
    yield "regression.offsets", (features,)
    yield "regression.coefficients", (inputs + features, width)
    yield "regression.constant", (width,)
    yield "regression.whitening.mean", (width,)
    yield "regression.whitening.triangle", (width, width)
    context = encoder.context_width
    yield from _lstm(width + context, FLOW_STATE)
    yield from _under("past", _layers([inputs + 1 + FLOW_STATE + context, *model.hidden]))
    yield "conditioner.of_past", (hidden, hidden)
    yield "conditioner.of_channels", (width, hidden)
    yield "conditioner.bias", (hidden,)
    yield "conditioner.direct", (hidden, terms)
    yield "conditioner.last", (hidden, terms)
    yield "conditioner.offset", (terms,)


def _convolutional(model: Convolutional, encoder: Encoder, weights: Weights) -> Shapes:
    filters = model.filters or ()
    channels, height, width = encoder.shape
    yield "centres", (model.n_centres, encoder.width)
    if model.n_centres > 1:
        yield "mixture_logits", (model.n_centres,)
    yield from _filters([channels, *filters], model.kernel_size)
    for _ in filters:
        height, width = (height + 1) // 2, (width + 1) // 2
    sizes = [[channels, *filters][-1] * height * width, *model.hidden]
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        yield f"weights.{number}", (outputs, inputs)
    for number, units in enumerate([*filters, *model.hidden]):
        yield f"biases.{number}", (units,)


def _flow_or_gaussian(model: FlowOrGaussian, encoder: Encoder, weights: Weights) -> Shapes:
    if model.density == "flow":
        yield from _table_flow(model, encoder, weights)
        return
    yield "bijections.0.mean", (encoder.width,)
    yield "bijections.0.triangle", (encoder.width, encoder.width)


def _table_flow(model: TableFlow, encoder: Encoder, weights: Weights) -> Shapes:
    width, place = encoder.width, 0
    moved = width - width // 2
    outputs = 2 * moved if model.coupling == "affine" else (3 * BINS - 1) * moved
    for _ in range(model.layers):
        yield from _under(f"bijections.{place}", _columns(width, "mean", "log_scale"))
        yield from _under(f"bijections.{place + 1}", _mixing(width))
        yield from _under(f"bijections.{place + 2}.net", _layers([width // 2, *model.hidden, outputs]))
        place += 3
    yield from _under(f"bijections.{place}", _columns(width, "mean", "log_scale"))


def _mixing(width: int) -> Shapes:
    """Of a matrix in triangular factors, or of a permutation where there are many columns."""
    if width > WIDEST:
        yield "order", (width,)
        return
    yield "lower", (width, width)
    yield "upper", (width, width)
    yield from _columns(width, "log_diagonal", "signs", "permutation")


def _image_flow(model: ImageFlow, encoder: Encoder, weights: Weights) -> Shapes:
    channels, height, width = encoder.shape
    levels, tones = model.levels or 0, model.tones or 0
    yield "tones.heights", (tones + 1,)
    for number in range(levels):
        last, odd = number == levels - 1, height % 2 or width % 2
        yield from _under(f"levels.{number}", _level(channels, model.depth, model.filters, bool(odd), last))
        channels, height, width = 2 * channels, height // 2, width // 2


def _class_flow(model: ClassFlow, encoder: Encoder, weights: Weights) -> Shapes:
    yield from _under("flow", _image_flow(model, encoder, weights))
    yield "prior.log_weights", (len(model.classes),)
    yield "prior.means", (len(model.classes), encoder.width)
    yield "prior.log_scales", (len(model.classes), encoder.width)


def _level(channels: int, depth: int, filters: int, odd: bool, last: bool) -> Shapes:
    """Of one level of a Glow."""
    if odd:
        yield "edges.scale", (channels, 1)
        yield "edges.bias", (channels, 1)
        yield from _under("edges.conditioner", _conditioner(channels, channels, filters))
    inner = 4 * channels
    for name in ("lower", "upper", "permutations"):
        yield f"channels.{name}", (depth, inner, inner)
    for name in ("diagonal", "scale", "bias", "signs"):
        yield f"channels.{name}", (depth, inner)
    for step in range(depth):
        yield from _under(f"couplings.{step}.conditioner", _conditioner(inner // 2, inner // 2, filters))
    if not last:
        yield from _under("split.conditioner", _conditioner(inner // 2, inner // 2, 0))


def _conditioner(inputs: int, outputs: int, filters: int) -> Shapes:
    """Of the net of a coupling of channels."""
    if filters:
        yield "conv_weights.0", (filters, inputs, 3, 3)
        yield "conv_weights.1", (filters, filters, 1, 1)
        yield "biases.0", (filters,)
        yield "biases.1", (filters,)
    yield "last", (2 * outputs, filters or inputs, 3, 3)
    yield "offset", (2 * outputs,)


def _table_vae(model: TableVAE, encoder: Encoder, weights: Weights) -> Shapes:
    latent = model.latent or 0
    yield "log_width", (1,)
    yield from _under("encoder", _layers([encoder.width, *model.hidden, 2 * latent]))
    yield from _under("decoder", _layers([latent, *model.hidden[::-1], encoder.width]))


def _image_vae(model: ImageVAE, encoder: Encoder, weights: Weights) -> Shapes:
    channels, height, width = encoder.shape
    ways = [channels, *model.filters]
    for _ in model.filters:
        height, width = (height + 1) // 2, (width + 1) // 2
    top = ways[-1] * height * width
    yield "log_width", (1,)
    for part, sizes in (("encoder", ways), ("decoder", ways[::-1])):
        yield from _under(part, _filters(sizes, 3))
        for number, units in enumerate(sizes[1:]):
            yield f"{part}.biases.{number}", (units,)
    yield from _under("encoder.top", _layers([top, 2 * model.latent]))
    yield from _under("decoder.bottom", _layers([model.latent, top]))


def _layers(sizes: Sequence[int], outputs_first: bool = False) -> Shapes:
    """Of dense layers, the first size that of their inputs."""
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        yield f"weights.{number}", (outputs, inputs) if outputs_first else (inputs, outputs)
        yield f"biases.{number}", (outputs,)


def _filters(sizes: Sequence[int], side: int) -> Shapes:
    """Of convolutions, the first size that of their inputs."""
    for number, (inputs, outputs) in enumerate(pairwise(sizes)):
        yield f"conv_weights.{number}", (outputs, inputs, side, side)


def _columns(width: int, *names: str) -> Shapes:
    """Of weights of one number a column."""
    for name in names:
        yield name, (width,)


def _under(place: str, shapes: Shapes) -> Shapes:
    """The same, of a part of a model."""
    for name, shape in shapes:
        yield f"{place}.{name}", shape


SHAPES: dict[type[Architecture], Callable[[Any, Encoder, Weights], Shapes]] = {
    Dense: _dense,
    Multiscale: _multiscale,
    Experts: _experts,
    Recurrent: _recurrent,
    SequenceFlow: _sequence_flow,
    Convolutional: _convolutional,
    TableFlow: _table_flow,
    FlowOrGaussian: _flow_or_gaussian,
    ExpertsOfImages: shapes_of_image_experts,
    ImageFlow: _image_flow,
    ClassFlow: _class_flow,
    GaussianOfFeatures: shapes_of_gaussian,
    TableVAE: _table_vae,
    ImageVAE: _image_vae,
}
"""The weights of each of upland's own architectures."""
