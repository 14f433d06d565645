"""The architecture of the product of experts of images, the default model of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from upland.data.encoder import Encoder
from upland.data.image.feature_encoder import FeatureEncoder
from upland.detectors.architecture import Architecture
from upland.models.base import EnergyModel
from upland.models.image_experts import ImageExperts
from upland.training.schedule import SUPPORT_LEAST, SUPPORT_NUMBERS

SUPPORT_POINTS = 3_000


@dataclass(frozen=True)
class ExpertsOfImages(Architecture):
    """A product of experts of features of images, in closed form.

    Args:
        support_points: images that kernels stand on at most.
    """

    support_points: int
    name: ClassVar[str] = "product of experts of images"
    of = (("energy", "image"),)
    model_type: ClassVar[type] = ImageExperts
    in_closed_form: ClassVar[bool] = True

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """An `ImageExperts`."""
        assert isinstance(encoder, FeatureEncoder)
        layout = encoder.layout
        points = max(SUPPORT_LEAST, min(self.support_points, 2 * SUPPORT_NUMBERS // layout.of_vectors))
        return ImageExperts(layout, points)
