"""The architecture of a recurrent flow of sequences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch

from upland.data.encoder import Encoder
from upland.detectors.architecture import Architecture
from upland.models.base import EnergyModel
from upland.models.recurrent_flow import RecurrentFlow, features_of

LAGGED = 512
"""Numbers of the window that a flow of sequences sees, at most."""


@dataclass(frozen=True)
class SequenceFlow(Architecture):
    """A recurrent flow of sequences.

    Args:
        hidden: units of each layer of the net of the past.
        lags: steps of the window that a step is conditioned on; None goes by the encoded width.
        lags_most: the largest such window.
        features: random features of the forecast; None goes by the encoded width.
    """

    hidden: tuple[int, ...]
    lags: int | None
    lags_most: int
    features: int | None = None
    name: ClassVar[str] = "recurrent flow"
    of = (("flow", "sequence"),)
    model_type: ClassVar[type] = RecurrentFlow

    def resolved(self, encoder: Encoder) -> Self:
        """With the lags and the features."""
        lags = self.lags or max(1, min(self.lags_most, LAGGED // encoder.width))
        return replace(self, lags=lags, features=self.features or features_of(lags * encoder.width))

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `RecurrentFlow`."""
        sizes = self.resolved(encoder)
        assert sizes.lags is not None
        assert sizes.features is not None
        flow = (encoder.width, sizes.lags, self.hidden, sizes.features)
        return RecurrentFlow(*flow, generator=generator, context_width=encoder.context_width)
