"""Every architecture has the weights that its shapes say; a plan that asks for more is refused unbuilt."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from upland.data.image.encoder import ImageEncoder
from upland.detectors.architectures import (
    ARCHITECTURES,
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
from upland.detectors.shapes import SHAPES, check_shapes


def rows(width):
    return SimpleNamespace(width=width, shape=(width,), modality="table")


def images(*shape):
    encoder = ImageEncoder(scaling="levels")
    encoder._set_scaling(shape, "uint8", 255.0, None, None)
    return encoder


CASES = [
    *[(Dense(hidden), rows(3)) for hidden in [(4,), (4, 2, 7)]],
    *[
        (Multiscale((5, 4), n_nets, (0.5, 1.0), prior, 10), rows(2))
        for n_nets in (1, 3)
        for prior in ("kernel", "mixture", "centre")
    ],
    *[(Recurrent(hidden, frame), rows(3)) for hidden in [(4,), (4, 2)] for frame in (1, 5)],
    *[
        (Convolutional(filters, 3, pool, (4, 3), centres, 1.0), images(height, 7, 3))
        for filters in [(), (2, 5)]
        for pool in ("average", "none")
        for centres in (1, 4)
        for height in (6, 9)
    ],
    *[
        (made(layers, hidden, coupling), rows(width))
        for made in (TableFlow, *(partial(FlowOrGaussian, density=d) for d in ("flow", "gaussian")))
        for layers in (1, 3)
        for hidden in [(4,), (4, 6)]
        for coupling in ("affine", "spline")
        for width in (1, 5, 300)
    ],
    *[
        (ImageFlow(levels, depth, 3, 16), images(height, width, channels))
        for levels in (1, 2, 3)
        for depth in (1, 2)
        for height, width, channels in [(8, 8, 1), (9, 14, 3), (13, 13, 1)]
    ],
    *[(TableVAE(hidden, 2), rows(5)) for hidden in [(4,), (4, 3)]],
    *[(ImageVAE(filters, 3), images(height, 7, 3)) for filters in [(), (2,), (2, 5)] for height in (6, 9)],
]  # fmt: skip
"""Architectures of several sizes, and encoders of several widths."""


@pytest.mark.parametrize(("architecture", "encoder"), CASES, ids=map(str, range(len(CASES))))
def test_the_shapes_are_those_of_the_model_that_is_built(architecture, encoder):
    weights = architecture.build(encoder).state_dict()
    check_shapes(architecture, encoder, weights)
    for name, value in weights.items():
        other = value.to(torch.float64) if value.dtype == torch.float32 else value.float()
        longer = value[None]
        less = {k: v for k, v in weights.items() if k != name}
        for wrong in (less, less | {name: other}, less | {name: longer}, weights | {f"{name}x": value}):
            with pytest.raises(ValueError, match=r"the weights .* must be|weights more"):
                check_shapes(architecture, encoder, wrong)


def test_every_architecture_of_uplands_own_has_its_shapes():
    own = {architecture for architecture in ARCHITECTURES.values() if not architecture.own}
    assert own == set(SHAPES) == {type(architecture) for architecture, _ in CASES}


MANY = 10**12
HUGE = [
    (Dense((MANY, MANY)), rows(3)),
    (Multiscale((4,), MANY, (0.5,), "kernel", 10), rows(2)),
    (Recurrent((4,), MANY), rows(3)),
    (Convolutional((2,), MANY + 1, "none", (4,), 1, 1.0), images(6, 6, 1)),
    (Convolutional((2,), 3, "none", (4,), MANY, 1.0), images(6, 6, 1)),
    (TableFlow(MANY, (4,), "affine"), rows(3)),
    (FlowOrGaussian(MANY, (4,), "affine", "flow"), rows(3)),
    (ImageFlow(MANY, 1, 3, 16), images(8, 8, 1)),
    (ImageFlow(1, MANY, 3, 16), images(8, 8, 1)),
    (ImageFlow(1, 1, 3, MANY), images(8, 8, 1)),
    (TableVAE((4,), MANY), rows(5)),
    (ImageVAE((MANY,), 3), images(6, 7, 3)),
]


@pytest.mark.parametrize(("architecture", "encoder"), HUGE, ids=map(str, range(len(HUGE))))
def test_a_huge_plan_is_refused_by_its_first_weights(architecture, encoder):
    small = next(a for a, _ in CASES if type(a) is type(architecture))
    weights = small.build(encoder).state_dict()
    with pytest.raises(ValueError, match="must be"):
        check_shapes(architecture, encoder, weights)
