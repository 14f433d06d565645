"""The architecture of a Gaussian of features of images, the flow of one linear map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.detectors.architecture import Architecture
from upland.models.base import EnergyModel
from upland.models.feature_gaussian import FeatureGaussian


@dataclass(frozen=True)
class GaussianOfFeatures(Architecture):
    """A Gaussian of the vectors of images, in closed form.

    Args:
        axes: with a variance of their own, at most.
    """

    axes: int
    name: ClassVar[str] = "gaussian of features"
    of = (("flow", "image"),)
    model_type: ClassVar[type] = FeatureGaussian
    in_closed_form: ClassVar[bool] = True
    leaves_out: ClassVar[bool] = True

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `FeatureGaussian`."""
        assert isinstance(encoder, FeatureEncoder)
        return FeatureGaussian(encoder.layout, self.axes)

    def of_classes(self, names: tuple[str, ...]) -> Architecture:
        """There is none.

        Args:
            names: of the classes.

        Raises:
            ValueError: always.
        """
        raise ValueError("classes are of a flow of pixels: leave features out")


def shapes_of_gaussian(
    model: GaussianOfFeatures, encoder: Encoder, weights: Mapping[str, Tensor]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each weight and its shape.

    Args:
        model: the architecture.
        encoder: fitted.
        weights: as they are stored, by name; not used: sizes go by the layout.
    """
    assert isinstance(encoder, FeatureEncoder)
    width = encoder.layout.of_vectors
    axes = min(model.axes, width)
    yield "anchor", (1,)
    yield "mean", (width,)
    yield "axes", (width, axes)
    yield "variances", (axes,)
    yield "rest", (1,)
