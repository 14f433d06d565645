"""The KL divergence of one latent's many small parts from those of normal rows (KLODS, arXiv 2002.03328).

The mean over the splits of the latent of the squared number of standard deviations of normal rows
(`upland.groups.divergence`, `upland.groups.joint`).
"""

from __future__ import annotations

from typing import ClassVar

from upland.criteria.of_groups import OfGroupOfOne
from upland.models.base import Latent


class Divergence(OfGroupOfOne):
    """The standardised divergence of each point's latent."""

    requires: ClassVar[type] = Latent
    statistic: ClassVar[str] = "divergence"
