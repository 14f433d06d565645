"""The architecture of the product of experts, the default model of tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from upland.data.encoder import Encoder
from upland.data.table.encoder import TableEncoder
from upland.detectors.architecture import Architecture
from upland.io.records import shown
from upland.models.base import EnergyModel
from upland.models.experts import COUNTS, PARTS, ProductOfExperts
from upland.models.parts import Layout
from upland.training.schedule import SUPPORT_LEAST, SUPPORT_NUMBERS

SUPPORT_POINTS, SUPPORT_POINTS_FAST = 3_000, 500
GROUPS, FEATURES = 8, 100


@dataclass(frozen=True)
class Experts(Architecture):
    """A product of experts in closed form.

    Args:
        parts: names of `upland.models.experts.PARTS`.
        support_points: rows that kernels stand on at most.
        groups: of columns that the pseudo-likelihood hides together, at most.
        features: its random features, at most.
    """

    parts: tuple[str, ...]
    support_points: int
    groups: int
    features: int
    name: ClassVar[str] = "product of experts"
    of = (("energy", "table"),)
    model_type: ClassVar[type] = ProductOfExperts

    def __post_init__(self) -> None:
        """Refuse what no fit resolves to; raises ValueError."""
        if self.parts != tuple(name for name in PARTS if name in self.parts) or not {*self.parts} - {*COUNTS}:
            raise ValueError(
                f"parts must be some of {', '.join(PARTS)}, each once, and not {shown(self.parts)}"
            )

    in_closed_form: ClassVar[bool] = True

    def build(self, encoder: Encoder, generator: torch.Generator | None = None) -> EnergyModel:
        """A `ProductOfExperts`."""
        assert isinstance(encoder, TableEncoder)
        points = max(SUPPORT_LEAST, min(self.support_points, SUPPORT_NUMBERS // encoder.width))
        return ProductOfExperts(layout_of(encoder), self.parts, points, self.groups, self.features)


def experts(parts: tuple[str, ...] | None, fast: bool) -> Experts:
    """The architecture that the constructor's arguments ask for.

    Args:
        parts: names of `upland.models.experts.PARTS`; None for the usual ones.
        fast: whether there are fewer support points.
    """
    return Experts(parts or tuple(PARTS), SUPPORT_POINTS_FAST if fast else SUPPORT_POINTS, GROUPS, FEATURES)


def layout_of(encoder: TableEncoder) -> Layout:
    """Which encoded inputs belong to which column.

    Args:
        encoder: fitted.
    """
    columns = encoder.schema_.columns
    return Layout(
        tuple(int(slot) for slot in encoder.slots),
        tuple(column.kind == "categorical" for column in columns),
        tuple(column.parts is not None for column in columns),
        tuple(abs(column.center) / (column.scale or 1.0) for column in columns),
    )
