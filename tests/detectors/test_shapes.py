"""Every architecture has the weights that its shapes say; a plan that asks for more is refused unbuilt."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from toys.tiny_features import tiny
from upland.data.image.encoder import ImageEncoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.data.image.features import VectorsAlone
from upland.data.table.encoder import TableEncoder
from upland.detectors.architectures import (
    ARCHITECTURES,
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
from upland.detectors.experts import Experts
from upland.detectors.features.dictionary import PatchDictionary
from upland.detectors.image_experts import ExpertsOfImages
from upland.detectors.image_gaussian import GaussianOfFeatures
from upland.detectors.recurrent_flows import SequenceFlow
from upland.detectors.shapes import SHAPES, check_shapes
from upland.io.cells import CellOptions
from upland.models.experts import PARTS


def rows(width):
    return SimpleNamespace(width=width, shape=(width,), modality="table", context_width=0)


def numbers(width, count=30):
    return np.random.default_rng(0).normal(size=(count, width))


def mixed_rows(count=40):
    """Numbers with and without missing cells, repeated values, categories, dates and parts of them."""
    rng = np.random.default_rng(0)
    flow = rng.normal(size=count)
    return pd.DataFrame(
        {
            "flow": flow,
            "lacking": np.where(rng.random(count) < 0.2, np.nan, flow),
            "steps": rng.integers(0, 3, count),
            "gear": rng.integers(0, 2, count),
            "valve": rng.choice(["open", "shut"], count),
            "when": pd.date_range("2026-01-01", periods=count, freq="7h"),
        }
    )


def encoded(table, dates="parts"):
    """A fitted encoder, and the rows that it was fitted on as it encodes them."""
    categorical = ["gear"] if isinstance(table, pd.DataFrame) else []
    encoder = TableEncoder(categorical=categorical, cells=CellOptions(dates=dates)).fit(table)
    return encoder, torch.from_numpy(encoder.transform(table))


def images(*shape):
    encoder = ImageEncoder(scaling="levels")
    encoder._set_scaling(shape, "uint8", 255.0, None, None)
    return encoder


def vectors():
    encoder = FeatureEncoder(ImageEncoder(scaling="levels"), VectorsAlone(tiny()))
    return encoder.fit_batches([np.random.default_rng(0).integers(0, 256, (4, 9, 8, 3), dtype=np.uint8)])


TABLES = {"one": numbers(1), "three": numbers(3), "wide": numbers(300), "mixed": mixed_rows()}
PRODUCTS = [
    *[
        (Experts(tuple(one for one in PARTS if one in ("local", part)), 16, 3, 10), name)
        for part in PARTS
        for name in ("one", "three", "mixed")
    ],
    *[(Experts(tuple(PARTS), 16, groups, 10), name) for groups in (1, 2, 8) for name in TABLES],
]
"""Products of experts, and tables for them."""

CASES = [
    *[(architecture, encoded(TABLES[name])[0]) for architecture, name in PRODUCTS],
    *[(Dense(hidden), rows(3)) for hidden in [(4,), (4, 2, 7)]],
    *[
        (Multiscale((5, 4), n_nets, (0.5, 1.0), prior, 10), rows(2))
        for n_nets in (1, 3)
        for prior in ("kernel", "mixture", "centre")
    ],
    *[(Recurrent(hidden, frame), rows(3)) for hidden in [(4,), (4, 2)] for frame in (1, 5)],
    *[(SequenceFlow(hidden, lags, 32, 6), rows(3)) for hidden in [(4,), (4, 2)] for lags in (1, 5)],
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
    *[
        (ClassFlow(levels, 1, 3, 16, classes), images(9, 8, 1))
        for levels in (1, 2)
        for classes in [("a", "b"), ("1", "2", "3")]
    ],
    *[(GaussianOfFeatures(axes), vectors()) for axes in (1, 5, 64)],
    *[(TableVAE(hidden, 2), rows(5)) for hidden in [(4,), (4, 3)]],
    *[(ImageVAE(filters, 3), images(height, 7, 3)) for filters in [(), (2,), (2, 5)] for height in (6, 9)],
]  # fmt: skip
"""Architectures of several sizes, and encoders of several widths."""


@pytest.mark.parametrize(("architecture", "encoder"), CASES, ids=map(str, range(len(CASES))))
def test_the_shapes_are_those_of_the_model_that_is_built(architecture, encoder):
    assert_only_its_own(architecture, encoder, architecture.build(encoder).state_dict())


@pytest.mark.parametrize(("architecture", "name"), PRODUCTS, ids=map(str, range(len(PRODUCTS))))
def test_the_shapes_of_a_product_of_experts_go_by_what_it_was_fitted_on(architecture, name):
    encoder, rows = encoded(TABLES[name])
    assert_fitted_is_taken_up(architecture, encoder, rows)


@pytest.mark.parametrize("source", [PatchDictionary, tiny, lambda: VectorsAlone(tiny())])
def test_the_shapes_of_experts_of_images_go_by_what_they_were_fitted_on(source):
    made = source()
    pictures = np.random.default_rng(0).integers(0, 256, (12, 9, 16, 3), dtype=np.uint8)
    encoder = FeatureEncoder(ImageEncoder(scaling=made.scaling), made).fit_batches([pictures])
    architecture, rows = ExpertsOfImages(8), torch.from_numpy(encoder.transform(pictures))
    assert_fitted_is_taken_up(architecture, encoder, rows)


def assert_fitted_is_taken_up(architecture, encoder, rows):
    """A model fitted on rows has the shapes of the architecture, and another takes its weights up."""
    model = architecture.build(encoder)
    model.init_from_data(rows, torch.Generator().manual_seed(0))
    weights = model.state_dict()
    assert_only_its_own(architecture, encoder, weights)
    again = architecture.build(encoder)
    again.load_state_dict(weights)
    assert torch.equal(again.joined_score(rows), model.joined_score(rows))


def assert_only_its_own(architecture, encoder, weights):
    """These weights have the shapes of the architecture; with any of them changed they do not."""
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
    assert own == set(SHAPES) == {ExpertsOfImages, *(type(architecture) for architecture, _ in CASES)}


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
    (ClassFlow(1, MANY, 3, 16, ("a", "b")), images(8, 8, 1)),
    (TableVAE((4,), MANY), rows(5)),
    (ImageVAE((MANY,), 3), images(6, 7, 3)),
]


def test_a_product_of_experts_takes_no_memory_of_the_sizes_that_its_plan_says():
    encoder, _ = encoded(TABLES["mixed"])
    weights = Experts(tuple(PARTS), MANY, MANY, MANY).build(encoder).state_dict()
    assert sum(value.numel() for value in weights.values()) < 10 * encoder.width * encoder.width


def test_a_part_twice_is_refused():
    with pytest.raises(ValueError, match="each once"):
        Experts(("local", "local"), 16, 3, 10)


@pytest.mark.parametrize(("architecture", "encoder"), HUGE, ids=map(str, range(len(HUGE))))
def test_a_huge_plan_is_refused_by_its_first_weights(architecture, encoder):
    small = next(a for a, _ in CASES if type(a) is type(architecture))
    weights = small.build(encoder).state_dict()
    with pytest.raises(ValueError, match="must be"):
        check_shapes(architecture, encoder, weights)
