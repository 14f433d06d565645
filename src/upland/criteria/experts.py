"""The score of a product of experts: the cubic mean of the standard scores of its parts
(`upland.models.experts`, of images `upland.models.image_experts`).
"""

from __future__ import annotations

from typing import ClassVar

from upland.criteria.joined import Joined
from upland.models.base import ExpertEnergy


class Experts(Joined):
    """The anomaly over all experts, in standard deviations of normal rows; shares sum to it."""

    requires: ClassVar[type] = ExpertEnergy
